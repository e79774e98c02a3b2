// SPDX-License-Identifier: Apache-2.0
/// From scores to lists of tokens: selection by counting.
#ifndef LHK_ADAMAS_PICK_H
#define LHK_ADAMAS_PICK_H

#include "lhk_adamas_kernel.h"

/// A number that at least `wanted` of the values reach and, unless some are equal to it, at most `most` do. `count` values,
/// a multiple of 16, of which at least `wanted` are finite.
float lhk_adamas_cut(const lhk_adamas_kernel *kernel, const float *values, int64_t count, int64_t wanted, int64_t most);

/// Numbers of the `wanted` greatest scores, ascending, later ones first among equals. At least that many of the `count`
/// scores, a multiple of 16, reach `least`. `which` and `kept` have room for `count` + 16 entries each; the numbers picked and their
/// scores are the first `wanted`.
void lhk_adamas_pick(const lhk_adamas_kernel *kernel, const float *scores, int64_t count, float least, int64_t wanted,
                     int32_t *which, float *kept);

#endif
