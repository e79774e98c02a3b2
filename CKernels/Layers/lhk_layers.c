// SPDX-License-Identifier: Apache-2.0
// Argument checks and dispatch of the elementwise kernels.
#include <stdbool.h>

#include "lhk_layers_table.h"

const lhk_layers_table *lhk_layers_for_isa(uint64_t isa) {
#if defined(__x86_64__)
    if (isa & LHK_ISA_AVX512) return &lhk_layers_avx512;
    if (isa & LHK_ISA_AVX2) return &lhk_layers_avx2;
#endif
    (void)isa;
    return &lhk_layers_scalar;
}

const char *lhk_layer_status_text(lhk_layer_status status) {
    static const char *const texts[] = {
        [0] = "ok",
        [1] = "the tensor type is not supported",
        [2] = "the number of elements is not a multiple of the tensor type's block size",
        [3] = "a row index, token id or part index is out of range",
        [4] = "a size or stride is inconsistent or too large",
        [5] = "the BLAS library was not found: install libopenblas-dev",
        [6] = "the BLAS library has not been loaded",
        [7] = "the BLAS library uses instructions that the ISA mask excludes",
        [8] = "another BLAS library is already loaded",
    };
    bool known = status >= 0 && (size_t)status < sizeof texts / sizeof texts[0];
    return known ? texts[status] : "unknown status";
}

/// Elements and bytes per block; zero elements for an unknown type.
static void lhk_block_format(int32_t type, size_t *elements, size_t *bytes) {
    *elements = 1;
    switch (type) {
        case LHK_GGUF_F32: *bytes = 4; return;
        case LHK_GGUF_F16:
        case LHK_GGUF_BF16: *bytes = 2; return;
#define LHK_CASE(name, number, block_elements, block_bytes) \
    case number:                                            \
        *elements = block_elements;                         \
        *bytes = block_bytes;                               \
        return;
            LHK_GGUF_BLOCK_FORMATS(LHK_CASE)
#undef LHK_CASE
        default: *elements = *bytes = 0; return;
    }
}

lhk_layer_status lhk_layer_row_bytes(int32_t type, size_t count, size_t *bytes) {
    size_t block_elements, block_bytes;
    lhk_block_format(type, &block_elements, &block_bytes);
    if (block_elements == 0) return LHK_LAYER_UNKNOWN_TYPE;
    if (count % block_elements != 0) return LHK_LAYER_PARTIAL_BLOCK;
    if (count / block_elements > SIZE_MAX / block_bytes) return LHK_LAYER_BAD_SHAPE;
    *bytes = count / block_elements * block_bytes;
    return LHK_LAYER_OK;
}

lhk_layer_status lhk_layer_dequantize(uint64_t isa, int32_t type, const void *src, float *dst, size_t count) {
    size_t bytes;
    lhk_layer_status status = lhk_layer_row_bytes(type, count, &bytes);
    if (status != LHK_LAYER_OK || count == 0) return status;
    lhk_layers_for_isa(isa)->dequantize(type, src, dst, count);
    return LHK_LAYER_OK;
}

lhk_layer_status lhk_layer_embed(
    uint64_t isa, int32_t type, const void *table, size_t rows, size_t cols, const int32_t *ids, size_t count,
    float *out) {
    size_t row_bytes;
    lhk_layer_status status = lhk_layer_row_bytes(type, cols, &row_bytes);
    if (status != LHK_LAYER_OK) return status;
    if (row_bytes != 0 && rows > SIZE_MAX / row_bytes) return LHK_LAYER_BAD_SHAPE;
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= rows) return LHK_LAYER_OUT_OF_RANGE;
    }
    if (cols == 0) return LHK_LAYER_OK;
    const lhk_layers_table *kernels = lhk_layers_for_isa(isa);
    for (size_t i = 0; i < count; i++) {
        kernels->dequantize(type, (const uint8_t *)table + (size_t)ids[i] * row_bytes, out + i * cols, cols);
    }
    return LHK_LAYER_OK;
}

void lhk_layer_rms_norm(
    uint64_t isa, const float *x, size_t x_stride, const float *w, float eps, float *out, size_t out_stride,
    size_t rows, size_t cols) {
    lhk_layers_for_isa(isa)->rms_norm(x, x_stride, w, eps, out, out_stride, rows, cols);
}

void lhk_layer_add(uint64_t isa, const float *a, const float *b, float *out, size_t count) {
    lhk_layers_for_isa(isa)->add(a, b, out, count);
}

void lhk_layer_scale(uint64_t isa, const float *x, float factor, float *out, size_t count) {
    lhk_layers_for_isa(isa)->scale(x, factor, out, count);
}

void lhk_layer_silu_mul(uint64_t isa, const float *gate, const float *up, float *out, size_t count) {
    lhk_layers_for_isa(isa)->silu_mul(gate, up, out, count);
}

void lhk_layer_gelu_tanh_mul(uint64_t isa, const float *gate, const float *up, float *out, size_t count) {
    lhk_layers_for_isa(isa)->gelu_tanh_mul(gate, up, out, count);
}

void lhk_layer_exp(uint64_t isa, const float *x, float *out, size_t count) {
    lhk_layers_for_isa(isa)->exp(x, out, count);
}

lhk_layer_status lhk_layer_logit_statistics(
    uint64_t isa, const float *logits, size_t count, lhk_layer_logit_stats *stats) {
    if (count > INT32_MAX) return LHK_LAYER_BAD_SHAPE;
    lhk_layers_for_isa(isa)->logit_statistics(logits, count, &stats->max, &stats->argmax, &stats->log_sum_exp);
    return LHK_LAYER_OK;
}

lhk_layer_status lhk_layer_argmax(uint64_t isa, const float *logits, size_t count, int64_t *index) {
    if (count > INT32_MAX) return LHK_LAYER_BAD_SHAPE;
    float max;
    lhk_layers_for_isa(isa)->logit_statistics(logits, count, &max, index, NULL);
    return LHK_LAYER_OK;
}

lhk_layer_status lhk_layer_token_nll(
    uint64_t isa, const float *logits, size_t stride, const int32_t *targets, size_t rows, size_t cols, double *nll) {
    if (cols > INT32_MAX) return LHK_LAYER_BAD_SHAPE;
    for (size_t r = 0; r < rows; r++) {
        if (targets[r] < 0 || (size_t)targets[r] >= cols) return LHK_LAYER_OUT_OF_RANGE;
    }
    const lhk_layers_table *kernels = lhk_layers_for_isa(isa);
    for (size_t r = 0; r < rows; r++) {
        const float *row = logits + r * stride;
        float max;
        int64_t argmax;
        double log_sum_exp;
        kernels->logit_statistics(row, cols, &max, &argmax, &log_sum_exp);
        nll[r] = log_sum_exp - (double)row[targets[r]];
    }
    return LHK_LAYER_OK;
}
