// SPDX-License-Identifier: Apache-2.0
/// The table of kernels that each ISA file instantiates; arguments are checked by the dispatching functions.
#ifndef LHK_LAYERS_TABLE_H
#define LHK_LAYERS_TABLE_H

#include "longhand_layers.h"

/// The block formats of GGUF: name, tensor type number in the file, elements per block, bytes per block.
#define LHK_GGUF_BLOCK_FORMATS(X) \
    X(q4_0, 2, 32, 18)            \
    X(q4_1, 3, 32, 20)            \
    X(q5_0, 6, 32, 22)            \
    X(q5_1, 7, 32, 24)            \
    X(q8_0, 8, 32, 34)            \
    X(q4_k, 12, 256, 144)         \
    X(q5_k, 13, 256, 176)         \
    X(q6_k, 14, 256, 210)

/// Tensor type numbers of the formats without blocks.
enum { LHK_GGUF_F32 = 0, LHK_GGUF_F16 = 1, LHK_GGUF_BF16 = 30 };

typedef void lhk_layers_binary(const float *a, const float *b, float *out, size_t count);

typedef struct lhk_layers_table {
    /// `type` is known and `count` a multiple of its block size.
    void (*dequantize)(int32_t type, const uint8_t *src, float *dst, size_t count);
    void (*rms_norm)(
        const float *x, size_t x_stride, const float *w, float eps, float *out, size_t out_stride, size_t rows,
        size_t cols);
    lhk_layers_binary *add;
    lhk_layers_binary *silu_mul;
    lhk_layers_binary *gelu_tanh_mul;
    void (*scale)(const float *x, float factor, float *out, size_t count);
    void (*exp)(const float *x, float *out, size_t count);
    /// `dtype` is F16 or BF16.
    void (*narrow)(uint32_t dtype, const float *x, uint16_t *out, size_t count);
    /// `log_sum_exp` may be null.
    void (*logit_statistics)(const float *logits, size_t count, float *max, int64_t *argmax, double *log_sum_exp);
    void (*compare_logits)(const float *reference, const float *other, size_t count, lhk_layer_comparison *out);
    /// Columns `[begin, end)` of y = x * w^T, for few rows.
    void (*linear_small)(
        const lhk_linear_shape *shape, const float *x, const float *w, float *y, size_t begin, size_t end);
} lhk_layers_table;

extern const lhk_layers_table lhk_layers_scalar;
#if defined(__x86_64__)
extern const lhk_layers_table lhk_layers_avx2;
extern const lhk_layers_table lhk_layers_avx512;
#elif defined(__aarch64__)
extern const lhk_layers_table lhk_layers_neon;
#endif

/// The best table inside the mask.
const lhk_layers_table *lhk_layers_for_isa(lhk_isa isa);

#endif
