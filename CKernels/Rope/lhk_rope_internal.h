// SPDX-License-Identifier: Apache-2.0
/// What the files of this family share.
#ifndef LHK_ROPE_INTERNAL_H
#define LHK_ROPE_INTERNAL_H

#include <lhk/support.h>
#include <longhand/reference.h>
#include <longhand/rope.h>

/// Step 1: cosines[t], sines[t] of position * frequencies[t], times the magnitude, for all pairs of the table.
typedef void lhk_rope_fill_step(const lhk_rope_table *table, double position, float *cosines, float *sines);
/// Step 2: rotates one head x[head_dim] of `dtype` to out[head_dim]; out may be x.
typedef void lhk_rope_rotate_step(const lhk_rope_table *table, const float *cosines, const float *sines, const void *x,
                                  lhk_dtype dtype, float *out, int64_t head_dim);

/// The steps for one instruction set. All do the same arithmetic in the same order, without FMA, so that their results
/// are equal bit for bit.
typedef struct lhk_rope_kernel {
    lhk_isa isa;
    double nanoseconds;  ///< per rotated element, rough: ranks the variants
    lhk_rope_fill_step *fill;
    lhk_rope_rotate_step *rotate;
} lhk_rope_kernel;

#define LHK_ROPE_VARIANT(name, isa, nanoseconds)  \
    extern lhk_rope_fill_step lhk_rope_fill_##name; \
    extern lhk_rope_rotate_step lhk_rope_rotate_##name;
#include "lhk_rope_variants.inc"
#undef LHK_ROPE_VARIANT

/// All of them, widest first; the last one runs anywhere.
extern const lhk_rope_kernel lhk_rope_kernels[];

/// Checks the operands of an application of `table`; `out` may be null (the reference has another output).
lhk_status lhk_rope_check(const lhk_rope_table *table, const lhk_tensor *x, int64_t first, const lhk_tensor *out,
                          lhk_error *error);

/// Applies `table` with the steps of `kernel`; operands are checked.
lhk_status lhk_rope_apply_with(const lhk_rope_kernel *kernel, const lhk_rope_table *table, const lhk_host *host,
                               const lhk_tensor *x, int64_t first, const lhk_tensor *out, lhk_error *error);

extern const lhk_life_ops lhk_rope_life_ops;
extern const lhk_position_ops lhk_rope_position_ops;
extern const lhk_position_reference lhk_rope_formula;

#endif
