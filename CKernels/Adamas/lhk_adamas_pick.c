// SPDX-License-Identifier: Apache-2.0
/// Exact selection of the nearest tokens. The greatest scores of 64 tokens each bound the cut from below, so that only few
/// tokens are looked at one by one; among these the cut is found by counting bytes of their scores. Nothing is sorted.
#include "lhk_adamas_pick.h"

#include <float.h>
#include <longhand/adamas.h>

static uint32_t order_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits ^ ((uint32_t)((int32_t)bits >> 31) | 0x80000000u);
}

float lhk_adamas_nth_greatest(const float *values, int64_t count, int64_t rank) {
    uint32_t prefix = 0, mask = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        int32_t bins[2][256] = {{0}};  // two, so that equal neighbours do not wait for each other
        for (int64_t i = 0; i < count; i++) {
            uint32_t order = order_of(values[i] + 0.0f);  // one zero
            if ((order & mask) == prefix) bins[i & 1][order >> shift & 255]++;
        }
        int bin = 255;
        while (rank > bins[0][bin] + bins[1][bin]) {
            rank -= bins[0][bin] + bins[1][bin];
            bin--;
        }
        prefix |= (uint32_t)bin << shift;
        mask |= UINT32_C(255) << shift;
    }
    uint32_t bits = prefix & 0x80000000u ? prefix & 0x7fffffffu : ~prefix;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

/// A score that at least `wanted` tokens reach.
static float bound_of(const lhk_adamas_scores *s, int64_t wanted) {
    int64_t peaks = s->count / LHK_ADAMAS_PEAK;
    if (wanted > peaks) return -FLT_MAX;
    float bound = lhk_adamas_nth_greatest(s->peaks, peaks, wanted);
    return bound < -FLT_MAX ? -FLT_MAX : bound;  // blocks without a token that may be picked
}

/// Tokens that reach `least`, from the blocks whose peak does.
static int64_t collect(const lhk_adamas_kernel *kernel, const lhk_adamas_scores *s, float least, int32_t *tokens,
                       float *kept) {
    int64_t n = 0;
    for (int64_t b = 0; b < s->count / LHK_ADAMAS_PEAK; b++)
        if (s->peaks[b] >= least)
            n += kernel->above(s->scores, b * LHK_ADAMAS_PEAK, LHK_ADAMAS_PEAK, least, tokens + n, kept + n);
    return n;
}

void lhk_adamas_pick(const lhk_adamas_kernel *kernel, const lhk_adamas_scores *s, int64_t wanted, int32_t *tokens,
                     float *kept) {
    if (wanted == 0) return;
    int64_t count = collect(kernel, s, bound_of(s, wanted), tokens, kept);
    if (count == wanted) return;
    float cut = lhk_adamas_nth_greatest(kept, count, wanted);
    int64_t greater = 0, equal = 0, n = 0;
    for (int64_t i = 0; i < count; i++) {
        greater += kept[i] > cut;
        equal += kept[i] == cut;
    }
    int64_t passed = equal - (wanted - greater);  // so many of the older ones among equals are left out
    for (int64_t i = 0; i < count; i++) {
        bool tie = kept[i] == cut, take = kept[i] > cut || (tie && passed <= 0);
        passed -= tie;
        tokens[n] = tokens[i];
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
