// SPDX-License-Identifier: Apache-2.0
/// Exact selection of the nearest tokens, from candidates: the cut is found by counting those above a score. Nothing is
/// sorted.
#include "lhk_adamas_pick.h"

#include <float.h>
#include <longhand/adamas.h>

/// Parts values by halving until there is a cut between number `wanted` and number `most` + 1 from above: then all >= the
/// result are the ones before it. Among equal values there may be no such cut; then the result is the value itself. After
/// every halving the bounds move to values that there are, so that few steps do.
float lhk_adamas_cut(const lhk_adamas_kernel *kernel, const float *values, int64_t count, int64_t wanted, int64_t most) {
    lhk_adamas_parting all = kernel->part(values, count, -FLT_MAX);
    float low = all.least_above, high = FLT_MAX;
    if (all.count <= most) return low;
    high = kernel->part(values, count, INFINITY).most_below;
    while (low < high) {
        float middle = low / 2 + high / 2;
        if (!(middle > low)) middle = high;
        lhk_adamas_parting p = kernel->part(values, count, middle);
        if (p.count >= wanted && p.count <= most) return p.least_above;
        if (p.count > wanted) low = p.least_above;
        else high = p.most_below;
    }
    return low;
}

void lhk_adamas_pick(const lhk_adamas_kernel *kernel, const float *scores, int64_t all, float least, int64_t wanted,
                     int32_t *which, float *kept) {
    if (wanted == 0) return;
    int64_t count = kernel->above(scores, all, least, which, kept);
    if (count == wanted) return;
    for (int64_t i = count; i < lhk_round_up(count, 16); i++) kept[i] = -INFINITY;
    float cut = lhk_adamas_cut(kernel, kept, lhk_round_up(count, 16), wanted, wanted);
    int64_t greater = 0, equal = 0, n = 0;
    for (int64_t i = 0; i < count; i++) {
        greater += kept[i] > cut;
        equal += kept[i] == cut;
    }
    int64_t passed = equal - (wanted - greater);  // so many of the older ones among equals are left out
    for (int64_t i = 0; i < count; i++) {
        bool tie = kept[i] == cut, take = kept[i] > cut || (tie && passed <= 0);
        passed -= tie;
        which[n] = which[i];
        kept[n] = kept[i];
        n += take;
    }
}

// ---- the direct call, on distances ----

int64_t lhk_adamas_nearest(const uint16_t *distances, int64_t rows, int64_t budget, int32_t *tokens) {
    if (budget >= rows) {
        for (int64_t j = 0; j < rows; j++) tokens[j] = (int32_t)j;
        return rows;
    }
    if (budget <= 0) return 0;
    int64_t high[256] = {0}, low[256] = {0}, rank = budget;
    for (int64_t j = 0; j < rows; j++) high[distances[j] >> 8]++;
    int h = 0, l = 0;
    while (rank > high[h]) rank -= high[h++];
    for (int64_t j = 0; j < rows; j++)
        if (distances[j] >> 8 == h) low[distances[j] & 255]++;
    while (rank > low[l]) rank -= low[l++];
    uint16_t cut = (uint16_t)(h << 8 | l);
    int64_t passed = low[l] - rank, n = 0;
    for (int64_t j = 0; j < rows; j++) {
        if (distances[j] > cut || (distances[j] == cut && passed-- > 0)) continue;
        tokens[n++] = (int32_t)j;
    }
    return n;
}
