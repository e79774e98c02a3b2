// SPDX-License-Identifier: Apache-2.0
/// Levels of `form=product` in training: what their sharing out and their fitting have in common.
#ifndef LHK_COMMVQ_TRAIN_LEVELS_H
#define LHK_COMMVQ_TRAIN_LEVELS_H

#include "lhk_commvq_train_plan.h"

#define LHK_COMMVQ_PRODUCT_LEVELS (LHK_COMMVQ_PRODUCT_BITS * LHK_COMMVQ_MAX_DIM / 4)

/// Numbers of many tokens, channel by channel.
typedef struct lhk_commvq_columns {
    float *at;       ///< [dim][stride]
    int64_t stride;  ///< a multiple of 16, with zeros after the last token
    int64_t count;   ///< tokens
    lhk_commvq_nearest_step *nearest;
} lhk_commvq_columns;

/// The levels of a head's keys or values. Supports of two runs have no channel in common.
typedef struct lhk_commvq_level_plan {
    int32_t levels, runs;
    int32_t begin[LHK_COMMVQ_PRODUCT_LEVELS + 1];  ///< first level of each run, and the end of the last one
    lhk_commvq_sparse_level level[LHK_COMMVQ_PRODUCT_LEVELS];
} lhk_commvq_level_plan;

/// Floats at `scratch` that fitting takes, for columns of this stride: a run's residuals, and codes of all of its levels.
static inline int64_t lhk_commvq_fit_floats(int64_t stride) { return (LHK_COMMVQ_PRODUCT_WIDTH + 4) * stride; }

/// Fits one level to tokens of `x` [width], as many as `columns` has, by k-means, from vectors found by k-means++ unless `warm`.
/// Returns the squared distances that are left; codes are those of the entries, [stride].
double lhk_commvq_fit_level(lhk_commvq_sparse_level *level, const float *const *x, const lhk_commvq_columns *columns,
                            int64_t steps, bool warm, uint64_t *seed, uint8_t *codes);
/// Takes what the codes stand for out of the columns.
void lhk_commvq_take_out(const lhk_commvq_sparse_level *level, float *const *x, int64_t count, const uint8_t *codes);
/// Fits the levels of a run, one after the other, and then by turns, to what the others leave.
void lhk_commvq_fit_run(lhk_commvq_level_plan *plan, int32_t run, const lhk_commvq_columns *columns, int64_t steps,
                        bool warm, uint64_t *seed, float *scratch);
/// Finds the codes of all tokens level by level; `decoded` gets what they stand for, as columns.
void lhk_commvq_decode_levels(const lhk_commvq_level_plan *plan, const lhk_commvq_columns *columns, int64_t dim, float *decoded,
                              float *scratch);

/// Shares out exactly plan->levels levels to units of one channel, or (`paired`) of two, so that least is left: supports are
/// set, entries are not. `columns`: a sample of the tokens, centred. False: no memory.
bool lhk_commvq_share_levels(lhk_commvq_level_plan *plan, const lhk_commvq_columns *columns, int64_t dim, bool paired,
                             uint64_t *seed);

/// Axes [dim][dim] of the columns: principal ones, those of most variance first. `work`: [2 * dim * dim].
void lhk_commvq_principal_axes(const lhk_commvq_columns *columns, int64_t dim, double *axes, double *work);
/// Turns the axes so that the columns along them come as near as can be to what levels make of them (orthogonal Procrustes
/// problem). `turned`, `decoded`: along the axes as they are. `work`: [4 * dim * dim].
void lhk_commvq_turn_axes(const lhk_commvq_columns *turned, const float *decoded, int64_t dim, double *axes, double *work);
/// Columns along axes, of all tokens within the stride.
void lhk_commvq_along_axes(const float *columns, int64_t stride, int64_t dim, const double *axes, float *out);

#endif
