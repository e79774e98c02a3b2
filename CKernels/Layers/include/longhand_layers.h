// SPDX-License-Identifier: Apache-2.0
/// Elementwise and dense kernels of the model runner: dequantisation of GGUF weights, RMSNorm, gated activations,
/// residual adds, statistics of logits, linear layers.
///
/// Conventions of every function here:
/// - arrays are row-major `float` (IEEE binary32) and contiguous unless a row stride (in elements) is a parameter;
/// - the first parameter is the ISA mask: the bits of `LHK_ISA_*` that may be used. No instruction outside the mask is
///   executed; 0 means the baseline of the architecture. Bits of other architectures are ignored;
/// - nothing allocates, prints, aborts or starts a thread. All functions are reentrant; the only shared state is the
///   BLAS handle of `lhk_linear_load`, which is guarded by a lock;
/// - NaN in an input that takes part reaches the output it takes part in;
/// - an output may be the same array as an input of the same shape where the text says "in place"; any other overlap of
///   an output with an input is undefined;
/// - pointers may be null only where the number of elements behind them is 0.
#ifndef LONGHAND_LAYERS_H
#define LONGHAND_LAYERS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef LHK_ISA_BITS
#define LHK_ISA_BITS 1
/// AVX2, FMA and F16C.
static const uint64_t LHK_ISA_AVX2 = UINT64_C(1) << 0;
/// AVX-512 F, BW, VL and DQ; implies `LHK_ISA_AVX2`.
static const uint64_t LHK_ISA_AVX512 = UINT64_C(1) << 1;
#endif

/// Result of the functions that can fail; `lhk_layer_status_text` says it in words.
typedef int32_t lhk_layer_status;
static const lhk_layer_status LHK_LAYER_OK = 0;
/// A tensor type that is not one of the types listed at `lhk_layer_dequantize`.
static const lhk_layer_status LHK_LAYER_UNKNOWN_TYPE = 1;
/// The number of elements is not a multiple of the type's block size.
static const lhk_layer_status LHK_LAYER_PARTIAL_BLOCK = 2;
/// A row index, token id or part index lies outside its range.
static const lhk_layer_status LHK_LAYER_OUT_OF_RANGE = 3;
/// A size or stride is inconsistent, or too large to be addressed (or, for linear layers, for a 32-bit BLAS).
static const lhk_layer_status LHK_LAYER_BAD_SHAPE = 4;
/// The BLAS library, or a function in it, was not found.
static const lhk_layer_status LHK_LAYER_BLAS_MISSING = 5;
/// `lhk_linear_load` has not succeeded yet in this process.
static const lhk_layer_status LHK_LAYER_BLAS_NOT_LOADED = 6;
/// The BLAS library of this process runs kernels for instructions that the ISA mask excludes.
static const lhk_layer_status LHK_LAYER_BLAS_ABOVE_ISA = 7;
/// Another BLAS library was loaded earlier in this process.
static const lhk_layer_status LHK_LAYER_BLAS_CONFLICT = 8;

/// One line, a string constant, never null.
const char *lhk_layer_status_text(lhk_layer_status status);

// MARK: Quantised weights

/// Bytes of `count` elements of a GGUF tensor type.
/// Errors: unknown type; `count` not a multiple of the block size; the result does not fit in `size_t`.
lhk_layer_status lhk_layer_row_bytes(int32_t type, size_t count, size_t *bytes);

/// Converts `count` elements of a GGUF tensor type to f32.
///
/// `type` is the tensor type number of the GGUF file: 0 F32, 1 F16, 2 Q4_0, 3 Q4_1, 6 Q5_0, 7 Q5_1, 8 Q8_0, 12 Q4_K,
/// 13 Q5_K, 14 Q6_K, 30 BF16. `src` needs no alignment. Every product and sum is rounded to f32 by itself, so the
/// result is the same bit for bit under every ISA mask (NaN payloads excepted).
/// Source of the layouts: ggml's quantisation formats, as documented with GGUF.
/// Errors: unknown type; `count` not a multiple of the block size.
lhk_layer_status lhk_layer_dequantize(uint64_t isa, int32_t type, const void *src, float *dst, size_t count);

/// Embedding look-up: `out[i][0..cols) = dequantised table[ids[i]]` for `i < count`.
///
/// `table` holds `rows` rows of `cols` elements of the GGUF type `type`, without padding between rows.
/// Errors: as `lhk_layer_dequantize`; an id that is negative or not below `rows` (then nothing is written).
lhk_layer_status lhk_layer_embed(
    uint64_t isa, int32_t type, const void *table, size_t rows, size_t cols, const int32_t *ids, size_t count,
    float *out);

// MARK: Elementwise

/// RMSNorm (Zhang and Sennrich 2019): `out = x * w / sqrt(mean(x^2) + eps)` for each of `rows` rows of `cols` elements.
///
/// Rows lie `x_stride` and `out_stride` elements apart; `w` has `cols` elements. For the norm of every head of Q or K,
/// `rows` is tokens * heads and `cols` the head dimension. The weights of gemma models in GGUF files already contain
/// the "+ 1" of their definition, so this one form serves llama and gemma. In place allowed. The sum of squares is
/// kept in f32: rows whose sum of squares exceeds 3.4e38 become 0, or NaN where x is infinite.
void lhk_layer_rms_norm(
    uint64_t isa, const float *x, size_t x_stride, const float *w, float eps, float *out, size_t out_stride,
    size_t rows, size_t cols);

/// `out = a + b`. In place allowed.
void lhk_layer_add(uint64_t isa, const float *a, const float *b, float *out, size_t count);

/// `out = x * factor`. In place allowed.
void lhk_layer_scale(uint64_t isa, const float *x, float factor, float *out, size_t count);

/// SwiGLU gate (Shazeer 2020): `out = silu(gate) * up` with `silu(g) = g / (1 + exp(-g))`. In place allowed.
/// A gate of -inf gives NaN.
void lhk_layer_silu_mul(uint64_t isa, const float *gate, const float *up, float *out, size_t count);

/// GeGLU gate (Shazeer 2020) with the tanh form of GELU (Hendrycks and Gimpel 2016):
/// `out = 0.5 g (1 + tanh(sqrt(2/pi) (g + 0.044715 g^3))) * up`. In place allowed. A gate of -inf gives NaN.
void lhk_layer_gelu_tanh_mul(uint64_t isa, const float *gate, const float *up, float *out, size_t count);

/// `out = exp(x)`, relative error below 2e-7 for normal results; exp(-inf) = 0, overflow gives +inf. In place allowed.
void lhk_layer_exp(uint64_t isa, const float *x, float *out, size_t count);

// MARK: Logits

/// What a softmax over a row needs to know about it.
typedef struct lhk_layer_logit_stats {
    /// Log of the sum of exp over the row, accumulated in f64. -inf for an empty row or one of only -inf.
    double log_sum_exp;
    /// Index of the first maximum; -1 for an empty row and for a row with a NaN.
    int64_t argmax;
    /// Largest element; -inf for an empty row, NaN for a row with a NaN.
    float max;
} lhk_layer_logit_stats;

/// Maximum, its index, and log-sum-exp of one row of logits.
/// Errors: `count` above 2^31 - 1 (indices are kept in 32-bit lanes).
lhk_layer_status lhk_layer_logit_statistics(
    uint64_t isa, const float *logits, size_t count, lhk_layer_logit_stats *stats);

/// Index of the first maximum; -1 for an empty row and for a row with a NaN. `count` as above.
lhk_layer_status lhk_layer_argmax(uint64_t isa, const float *logits, size_t count, int64_t *index);

/// Negative log-likelihood of `targets[r]` under softmax of row r, in nats: `nll[r] = log_sum_exp - logits[r][target]`.
/// Rows lie `stride` elements apart. Errors: a target outside `[0, cols)` (then nothing is written); `cols` as above.
lhk_layer_status lhk_layer_token_nll(
    uint64_t isa, const float *logits, size_t stride, const int32_t *targets, size_t rows, size_t cols, double *nll);

// MARK: Linear layers

/// The shape of `y[m][n] = x[m][k] * w[n][k]^T`: m tokens, n outputs, k inputs.
typedef struct lhk_linear_shape {
    size_t m, n, k;
    /// Elements between rows of x (at least k) and of y (at least n). Rows of w are contiguous.
    size_t ldx, ldy;
} lhk_linear_shape;

/// Loads OpenBLAS for this process, once; later calls with the same library do nothing.
///
/// `library` is a file name for dlopen, or null for the default `libopenblas.so.0`. The first call decides which
/// kernels OpenBLAS uses, by the ISA mask (its own detection takes AVX2 kernels on CPUs it does not know), unless the
/// user has set OPENBLAS_CORETYPE. OpenBLAS gets one thread, because the caller splits the work. The environment is
/// changed during the call and then restored: make the call before other threads read or write the environment.
/// `message` (may be null) receives at most `message_size` bytes of explanation, zero-terminated, empty on success.
/// Errors: library or symbol missing; the library, or the user's OPENBLAS_CORETYPE, needs instructions above `isa`;
/// another library is loaded already.
lhk_layer_status lhk_linear_load(uint64_t isa, const char *library, char *message, size_t message_size);

/// Name of the kernels that the loaded OpenBLAS runs ("SkylakeX", "Haswell", ...), or null before loading.
const char *lhk_linear_core_name(void);

/// Into how many parts a linear layer is cut. Depends on (m, n, k) only, never on workers or ISA; at least 1.
size_t lhk_linear_parts(const lhk_linear_shape *shape);

/// The outputs of one part: columns `[*begin, *end)` of y. Parts are disjoint, ascending, and cover all n columns.
void lhk_linear_part_columns(const lhk_linear_shape *shape, size_t part, size_t *begin, size_t *end);

/// Computes the parts `[part_begin, part_end)` of `y = x * w^T` with f32 weights; other columns of y are not touched.
///
/// y must not overlap x or w. Parts may run at the same time in any order on any threads: each result is the same bit
/// for bit, since a part is always computed alone. Up to `LHK_LINEAR_SMALL_M` rows run on kernels of this library, for
/// which a row of y does not depend on m either; more rows need OpenBLAS (call `lhk_linear_load` first).
/// k = 0 gives zeros. Errors: inconsistent strides; sizes above 2^31 - 1; part outside the plan; OpenBLAS not loaded
/// or above the mask.
lhk_layer_status lhk_linear_f32(
    uint64_t isa, const lhk_linear_shape *shape, const float *x, const float *w, float *y, size_t part_begin,
    size_t part_end);

/// Largest m that needs no BLAS library.
static const size_t LHK_LINEAR_SMALL_M = 32;

#ifdef __cplusplus
}
#endif

#endif
