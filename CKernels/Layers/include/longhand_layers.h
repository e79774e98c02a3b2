// SPDX-License-Identifier: Apache-2.0
/// Elementwise and dense kernels of the model runner: dequantisation of GGUF weights, RMSNorm, gated activations,
/// residual adds, statistics of logits, linear layers.
///
/// Conventions of every function here:
/// - arrays are row-major `float` (IEEE binary32) and contiguous unless a row stride (in elements) is a parameter;
/// - the first parameter is the ISA mask: the bits of `LHK_ISA_*` that may be used. No instruction outside the mask is
///   executed; 0 means the baseline of the architecture. Bits of other architectures are ignored;
/// - nothing allocates (opening OpenBLAS and its own packing buffers excepted), prints, aborts or starts a thread. All
///   functions are reentrant; the only shared state is the BLAS handle of `lhk_linear_load`, guarded by a lock;
/// - NaN in an input that takes part reaches the output it takes part in;
/// - an output may be the same array as an input of the same shape where the text says "in place"; any other overlap of
///   an output with an input is undefined;
/// - functions that can fail return a status and, when `error` is given, say in words what is wrong and with which
///   argument. No other pointer may be null unless it is marked so.
#ifndef LONGHAND_LAYERS_H
#define LONGHAND_LAYERS_H

#include <longhand/host.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

// MARK: Quantised weights

/// Bytes of `count` elements of a GGUF tensor type.
/// Errors: unsupported (type); argument (`count` is not a multiple of the block size); overflow.
lhk_status lhk_layer_row_bytes(int32_t type, size_t count, size_t *bytes, lhk_error *LHK_NULLABLE error);

/// Converts `count` elements of a GGUF tensor type to f32.
///
/// `type` is the tensor type number of the GGUF file: 0 F32, 1 F16, 2 Q4_0, 3 Q4_1, 6 Q5_0, 7 Q5_1, 8 Q8_0, 12 Q4_K,
/// 13 Q5_K, 14 Q6_K, 30 BF16. `src` needs no alignment. Every product and sum is rounded to f32 by itself, so the
/// result is the same bit for bit under every ISA mask (NaN payloads excepted).
/// Source of the layouts: ggml's quantisation formats, as documented with GGUF.
/// Errors: as `lhk_layer_row_bytes`; then nothing is written.
lhk_status lhk_layer_dequantize(
    lhk_isa isa, int32_t type, const void *src, float *dst, size_t count, lhk_error *LHK_NULLABLE error);

/// Embedding look-up: `out[i][0..cols) = dequantised table[ids[i]]` for `i < count`.
///
/// `table` holds `rows` rows of `cols` elements of the GGUF type `type`, without padding between rows.
/// Errors: as `lhk_layer_row_bytes`; argument (an id that is negative or not below `rows`). Then nothing is written.
lhk_status lhk_layer_embed(
    lhk_isa isa, int32_t type, const void *table, size_t rows, size_t cols, const int32_t *ids, size_t count,
    float *out, lhk_error *LHK_NULLABLE error);

// MARK: Elementwise

/// RMSNorm (Zhang and Sennrich 2019): `out = x * w / sqrt(mean(x^2) + eps)` for each of `rows` rows of `cols` elements.
///
/// Rows lie `x_stride` and `out_stride` elements apart; `w` has `cols` elements. For the norm of every head of Q or K,
/// `rows` is tokens * heads and `cols` the head dimension. The weights of gemma models in GGUF files already contain
/// the "+ 1" of their definition, so this one form serves llama and gemma. In place allowed. The sum of squares is
/// kept in f32: rows whose sum of squares exceeds 3.4e38 become 0, or NaN where x is infinite.
void lhk_layer_rms_norm(
    lhk_isa isa, const float *x, size_t x_stride, const float *w, float eps, float *out, size_t out_stride,
    size_t rows, size_t cols);

/// `out = a + b`. In place allowed.
void lhk_layer_add(lhk_isa isa, const float *a, const float *b, float *out, size_t count);

/// `out = x * factor`. In place allowed.
void lhk_layer_scale(lhk_isa isa, const float *x, float factor, float *out, size_t count);

/// SwiGLU gate (Shazeer 2020): `out = silu(gate) * up` with `silu(g) = g / (1 + exp(-g))`. In place allowed.
/// A gate of -inf gives NaN.
void lhk_layer_silu_mul(lhk_isa isa, const float *gate, const float *up, float *out, size_t count);

/// GeGLU gate (Shazeer 2020) with the tanh form of GELU (Hendrycks and Gimpel 2016):
/// `out = 0.5 g (1 + tanh(sqrt(2/pi) (g + 0.044715 g^3))) * up`. In place allowed. A gate of -inf gives NaN.
void lhk_layer_gelu_tanh_mul(lhk_isa isa, const float *gate, const float *up, float *out, size_t count);

/// `out = exp(x)`, relative error below 2e-7 for normal results; exp(-inf) = 0, overflow gives +inf. In place allowed.
void lhk_layer_exp(lhk_isa isa, const float *x, float *out, size_t count);

/// Rounds `count` floats to nearest even as F16 or BF16 (`dtype`): values too large for F16 become infinite, NaN stays
/// NaN. The same bits under every ISA mask. `out` must not overlap x. Errors: argument (another dtype).
lhk_status lhk_layer_narrow(
    lhk_isa isa, lhk_dtype dtype, const float *x, uint16_t *out, size_t count, lhk_error *LHK_NULLABLE error);

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
/// Errors: overflow (`count` above 2^31 - 1: indices are kept in 32-bit lanes).
lhk_status lhk_layer_logit_statistics(
    lhk_isa isa, const float *logits, size_t count, lhk_layer_logit_stats *stats,
    lhk_error *LHK_NULLABLE error);

/// Index of the first maximum; -1 for an empty row and for a row with a NaN. `count` as above.
lhk_status lhk_layer_argmax(
    lhk_isa isa, const float *logits, size_t count, int64_t *index, lhk_error *LHK_NULLABLE error);

/// Negative log-likelihood of `targets[r]` under softmax of row r, in nats: `nll[r] = log_sum_exp - logits[r][target]`.
/// Rows lie `stride` elements apart. Errors: argument (a target outside `[0, cols)`), overflow (`cols`, as above).
/// Then nothing is written.
lhk_status lhk_layer_token_nll(
    lhk_isa isa, const float *logits, size_t stride, const int32_t *targets, size_t rows, size_t cols, double *nll,
    lhk_error *LHK_NULLABLE error);

/// How the distribution of one row of logits differs from that of a reference row. Accumulated in f64.
typedef struct lhk_layer_comparison {
    /// Kullback-Leibler divergence of `other` from `reference`, sum of p (log p - log q) in nats, never negative: +inf
    /// where the reference's probability lies on a token that `other` excludes with -inf, NaN where a row is empty, has
    /// a NaN or +inf, or only -inf. Absolute error below 1e-12 for logits below 1e3.
    double kl_divergence;
    /// As in `lhk_layer_logit_stats`.
    double reference_log_sum_exp, other_log_sum_exp;
    int64_t reference_argmax, other_argmax;
} lhk_layer_comparison;

/// Compares two rows of `count` logits. Errors: overflow (`count`, as above).
lhk_status lhk_layer_compare_logits(
    lhk_isa isa, const float *reference, const float *other, size_t count, lhk_layer_comparison *out,
    lhk_error *LHK_NULLABLE error);

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
/// kernels OpenBLAS uses, by the ISA mask (its own detection takes AVX2 kernels on CPUs it does not know). A core type
/// that the user has set in OPENBLAS_CORETYPE is kept where it stays within `isa`; one above it is overridden, because
/// the mask (LONGHAND_ISA) is the more specific wish. OpenBLAS gets one thread, because the caller splits the work.
/// The environment is changed during the call and then restored: make the call before other threads read or write it.
/// Errors: not found (library, or a symbol in it); unsupported (the library runs kernels above `isa` all the same, or
/// was loaded earlier with such kernels); argument (another library is loaded already).
lhk_status lhk_linear_load(lhk_isa isa, const char *LHK_NULLABLE library, lhk_error *LHK_NULLABLE error);

/// Name of the kernels that the loaded OpenBLAS runs ("SkylakeX", "Haswell", ...), or null before loading.
const char *LHK_NULLABLE lhk_linear_core_name(void);

/// Into how many parts a linear layer is cut. Depends on (m, n, k) only, never on workers or ISA; at least 1.
size_t lhk_linear_parts(const lhk_linear_shape *shape);

/// The outputs of one part: columns `[*begin, *end)` of y. Parts are disjoint, ascending, and cover all n columns.
void lhk_linear_part_columns(const lhk_linear_shape *shape, size_t part, size_t *begin, size_t *end);

/// Computes the parts `[part_begin, part_end)` of `y = x * w^T` with f32 weights; other columns of y are not touched.
///
/// y must not overlap x or w. Parts may run at the same time in any order on any threads: each result is the same bit
/// for bit, since a part is always computed alone. Up to `LHK_LINEAR_SMALL_M` rows run on kernels of this library, for
/// which a row of y does not depend on m either; more rows need OpenBLAS (call `lhk_linear_load` first).
/// k = 0 gives zeros. Errors: argument (inconsistent strides, a part outside the plan); overflow (sizes above
/// 2^31 - 1); not found (OpenBLAS is not loaded); unsupported (it runs kernels above `isa`). Then nothing is written.
lhk_status lhk_linear_f32(
    lhk_isa isa, const lhk_linear_shape *shape, const float *x, const float *w, float *y, size_t part_begin,
    size_t part_end, lhk_error *LHK_NULLABLE error);

/// Largest m that needs no BLAS library.
#define LHK_LINEAR_SMALL_M 32

// MARK: Whole operations on the workers of a host

/// The functions below run the kernels above over many rows on `host`, with its ISA. The rows or parts of a task depend
/// on the shape only, so results are the same bit for bit for any number of workers.

/// `y[m][n] = x[m][k] * w[n][k]^T`. Errors: as `lhk_linear_f32`; y is then undefined.
lhk_status lhk_run_linear(
    const lhk_host *host, const lhk_linear_shape *shape, const float *x, const float *w, float *y,
    lhk_error *LHK_NULLABLE error);

/// `lhk_layer_rms_norm` of all rows.
void lhk_run_rms_norm(
    const lhk_host *host, const float *x, size_t x_stride, const float *w, float eps, float *out, size_t out_stride,
    size_t rows, size_t cols);

/// `lhk_layer_rms_norm` in place of each of `heads` vectors of `dim` elements, one after another, in each of `rows` rows that
/// lie `stride` elements apart; `w` has `dim` elements.
void lhk_run_head_norm(
    const lhk_host *host, float *x, size_t stride, const float *w, float eps, size_t rows, size_t heads, size_t dim);

/// `out = a + b` of `rows` contiguous rows of `cols` elements. In place allowed.
void lhk_run_add(const lhk_host *host, const float *a, const float *b, float *out, size_t rows, size_t cols);

#define LHK_GATE_SILU 0u
#define LHK_GATE_GELU_TANH 1u
/// `out[r] = act(gate_up[r][0..cols)) * gate_up[r][cols..2 cols)` for `rows` contiguous rows of 2 cols elements.
void lhk_run_gate(const lhk_host *host, uint32_t gate, const float *gate_up, float *out, size_t rows, size_t cols);

/// `lhk_layer_compare_logits` of `rows` pairs of contiguous rows of `cols` logits. Errors: as there.
lhk_status lhk_run_compare_logits(
    const lhk_host *host, const float *reference, const float *other, size_t rows, size_t cols,
    lhk_layer_comparison *out, lhk_error *LHK_NULLABLE error);

/// Dequantises `rows` rows of `cols` elements, stored without padding. Errors: as `lhk_layer_dequantize`.
lhk_status lhk_run_dequantize(
    const lhk_host *host, int32_t type, const void *src, float *dst, size_t rows, size_t cols,
    lhk_error *LHK_NULLABLE error);

LHK_ASSUME_NONNULL_END
LHK_END_DECLS

#endif
