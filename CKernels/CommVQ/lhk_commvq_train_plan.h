// SPDX-License-Identifier: Apache-2.0
/// What the parts of training share. It runs once per model, so that it may allocate.
#ifndef LHK_COMMVQ_TRAIN_PLAN_H
#define LHK_COMMVQ_TRAIN_PLAN_H

#include "lhk_commvq_store.h"

#include <complex.h>

/// The training of one head's keys or values; all memory is there.
typedef struct lhk_commvq_training {
    int64_t tokens, check;  ///< rows to learn from, and those after them to be judged by
    int64_t dim, count;     ///< count: levels, or bits
    int64_t steps;
    uint64_t seed;
    float *rows;      ///< [tokens + check][dim]; keys planar. In the end: what the codes leave of them
    float *codebook;  ///< [levels][16][dim], or [bits][dim]
    float *offset;    ///< [dim], of values
    float *scratch;   ///< lhk_commvq_scratch_floats
} lhk_commvq_training;

/// A random number below `bound`.
static inline int64_t lhk_commvq_random(uint64_t *seed, int64_t bound) {
    uint64_t x = *seed += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (int64_t)((x ^ x >> 31) % (uint64_t)bound);
}

// ---- form=product ----

/// One level: its support, and its 16 vectors there.
typedef struct lhk_commvq_sparse_level {
    int32_t width;
    uint8_t channels[LHK_COMMVQ_PRODUCT_WIDTH];
    float entries[LHK_COMMVQ_CODES][LHK_COMMVQ_PRODUCT_WIDTH];
} lhk_commvq_sparse_level;

/// Codes [count rounded up to 16] of tokens whose channels of the level's support are `x` [width], each readable up to there.
/// Returns the sum of squared distances. An ISA file provides it.
typedef double lhk_commvq_nearest_step(const lhk_commvq_sparse_level *level, const float *const *x, int64_t count,
                                       uint8_t *codes);

// ---- form=additive ----

/// Rows and offset by least squares: `squares` [bits + 1]^2 times them is `sums` [bits + 1][dim].
void lhk_commvq_solve_values(lhk_commvq_training *t, const float *squares, const float *sums);
/// First codebook: along the principal axes, bits where most is left.
void lhk_commvq_begin_values(lhk_commvq_training *t);
int64_t lhk_commvq_scratch_floats(int64_t dim, int64_t bits);

// ---- shared by both forms ----

/// Whether samples can be trained on; the reason if not.
lhk_status lhk_commvq_check_samples(const lhk_commvq_samples *s, uint32_t most_bits, lhk_error *error);
/// What errors of each pair of a head's keys count: the length that its queries have there, over the mean one, from 1/8 up.
void lhk_commvq_take_weights(const lhk_commvq_samples *s, const uint16_t *channels, uint32_t head, float *out);
/// Inverse norms of tokens over all heads, of keys and then of values, [2][tokens + check], 0 where there is none; to be freed.
/// Null: no memory. `channels`: of planar keys, gets lhk_commvq_pair_channels.
float *lhk_commvq_take_scales(const lhk_commvq_samples *s, uint16_t *channels);
/// Turns the symmetric matrix m [n][n] into its eigenvalues, on the diagonal, and v into the eigenvectors, its rows (Jacobi).
void lhk_commvq_diagonalise(double *m, double *v, int64_t n);

#endif
