// SPDX-License-Identifier: Apache-2.0
/// Rotary positions on strided row-major tensors: direct calls, no registry, no global state.
///
/// Pair t of a head at position p turns by the angle p * f[t] and is multiplied by the magnitude m:
///   (a, b) -> (m (a cos - b sin), m (b cos + a sin)),  f[t] = base^(-2t/dims) unless scaled, see lhk_rope_table_init
/// Sources: RoFormer (arXiv 2104.09864, section 3.2.2), YaRN (arXiv 2309.00071, sections 3.1 to 3.4).
#ifndef LONGHAND_ROPE_H
#define LONGHAND_ROPE_H

#include <longhand/roles.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

#define LHK_ROPE_MAX_DIMS 576u
#define LHK_ROPE_MAX_POSITION (INT64_C(1) << 40)

/// Frequencies of one layer: plain data without pointers, free to copy and to keep on the stack.
typedef struct lhk_rope_table {
    uint32_t struct_size;
    uint32_t dims;         ///< rotated dimensions, even, 2 to LHK_ROPE_MAX_DIMS; the rest of a head is copied
    uint32_t interleaved;  ///< 0: pair (x[t], x[t + dims/2]); 1: pair (x[2t], x[2t+1])
    uint32_t reserved;
    double magnitude;  ///< m above: 1 unless the scaling tempers the scores
    double frequencies[LHK_ROPE_MAX_DIMS / 2];  ///< radians per token, [dims/2] are used
} lhk_rope_table;

/// Computes the frequencies f[t] of `params` for heads of `head_dim`, in double precision. With f = base^(-2t/dims),
/// divided by `factors[t]` where those are given (Llama 3), and s = `factor`:
///   none    f
///   linear  f / s (position interpolation)
///   ntk     base' = base * s^(dims / (dims - 2)): the first pair unchanged, the last as with linear; dims >= 4
///   yarn    f/s * r + f * (1 - r), where r rises from 0 at pair low to 1 at pair high,
///           low  = max(floor(c(beta_fast)), 0), high = min(ceil(c(beta_slow)), dims - 1), at least 0.001 apart,
///           c(n) = dims * ln(original_context / (2 pi n)) / (2 ln base)
/// The magnitude is `attention_factor` where that is not 0; else 1 + 0.1 ln s with yarn, and 1 with the others.
/// LHK_ERROR_ARGUMENT for what makes no sense, such as a base not above 1 or a frequency above 256. [thread-safe]
LHK_API lhk_status lhk_rope_table_init(const lhk_position_params *params, uint32_t head_dim, lhk_rope_table *out,
                                       lhk_error *LHK_NULLABLE error);

/// Writes rows of x [tokens][heads][head_dim] (F32, BF16 or F16), token i at position first + i, rotated to `out` (F32,
/// same shape). Last strides are 1. `out` may be the same view as an F32 x, but must not overlap it otherwise, nor
/// itself. Positions lie within +-LHK_ROPE_MAX_POSITION; negative ones turn backwards. Angles are computed and reduced
/// in double precision: cos and sin are off by at most 2e-12 + 4e-16 |p| (for f <= 1) before they are rounded to float.
/// Same bits for any number of workers and any instruction set. NaN stays in its pair. [thread-safe]
LHK_API lhk_status lhk_rope_apply(const lhk_rope_table *table, const lhk_host *host, const lhk_tensor *x, int64_t first,
                                  const lhk_tensor *out, lhk_error *LHK_NULLABLE error);

/// The same by the formula in double precision, single-threaded: the oracle. `out` is contiguous
/// [tokens][heads][head_dim]. [thread-safe]
LHK_API lhk_status lhk_rope_reference(const lhk_rope_table *table, const lhk_tensor *x, int64_t first, double *out,
                                      lhk_error *LHK_NULLABLE error);

/// The plugin `longhand.rope` with the position method `rope`, for `lhk_registry_register`. Static storage.
LHK_API const lhk_plugin *lhk_rope_plugin(void);
/// The object behind it, for the entry of the shared library.
extern const lhk_plugin lhk_rope_plugin_object;

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
