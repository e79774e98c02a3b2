// SPDX-License-Identifier: Apache-2.0
/// From scores to lists of tokens: selection by counting, on peaks first.
#ifndef LHK_ADAMAS_PICK_H
#define LHK_ADAMAS_PICK_H

#include "lhk_adamas_kernel.h"

/// Scores of tokens [0, count), of which those in [from, to) may be picked; `peaks` [count/64] hold the greatest score of
/// each 64, of tokens that may be picked. `count` is a multiple of 256; other scores are -inf.
typedef struct lhk_adamas_scores {
    const float *scores, *peaks;
    int64_t count;
} lhk_adamas_scores;

/// The `wanted` tokens of greatest score, ascending, later ones first among equals; at least that many may be picked.
/// `tokens` and `kept` have room for `count` + 16 entries each; the picked tokens and their scores are the first `wanted`.
void lhk_adamas_pick(const lhk_adamas_kernel *kernel, const lhk_adamas_scores *s, int64_t wanted, int32_t *tokens,
                     float *kept);

#endif
