// SPDX-License-Identifier: Apache-2.0
/// Nearest codes of a sparse level, which training for `form=product` spends most of its time on: 16 tokens are lanes.
/// Included by every ISA file.

typedef uint8_t LHK_NAME(sixteen) __attribute__((vector_size(16)));

LHK_ALWAYS_INLINE double LHK_NAME(nearest_of)(const int32_t width, const lhk_commvq_sparse_level *level, const float *const *x,
                                              int64_t count, uint8_t *codes) {
    double sum = 0;
    lhk_commvq_floats sums = {0};
    for (int64_t t = 0; t < count; t += 16) {
        lhk_commvq_floats at[LHK_COMMVQ_PRODUCT_WIDTH], least = (lhk_commvq_floats){0} + INFINITY;
        lhk_commvq_ints best = {0};
        LHK_UNROLL
        for (int32_t j = 0; j < width; j++) memcpy(&at[j], x[j] + t, sizeof at[j]);
        for (int32_t c = 0; c < (int32_t)LHK_COMMVQ_CODES; c++) {
            lhk_commvq_floats d = {0};
            LHK_UNROLL
            for (int32_t j = 0; j < width; j++) {
                const lhk_commvq_floats e = at[j] - level->entries[c][j];
                d += e * e;
            }
            const lhk_commvq_ints nearer = (lhk_commvq_ints)(d < least);
            least = (lhk_commvq_floats)(((lhk_commvq_ints)d & nearer) | ((lhk_commvq_ints)least & ~nearer));
            best = (c & nearer) | (best & ~nearer);
        }
        const LHK_NAME(sixteen) bytes = __builtin_convertvector(best, LHK_NAME(sixteen));
        memcpy(codes + t, &bytes, sizeof bytes);
        for (int i = 0; i < 16 && t + 16 > count; i++) least[i] = t + i < count ? least[i] : 0;
        sums += least;
        if (t % 1024 < 1008 && t + 16 < count) continue;
        for (int i = 0; i < 16; i++) sum += (double)sums[i];
        sums = (lhk_commvq_floats){0};
    }
    return sum;
}

double LHK_NAME(nearest_codes)(const lhk_commvq_sparse_level *level, const float *const *x, int64_t count, uint8_t *codes) {
    switch (level->width) {
        case 1: return LHK_NAME(nearest_of)(1, level, x, count, codes);
        case 2: return LHK_NAME(nearest_of)(2, level, x, count, codes);
        case 3: return LHK_NAME(nearest_of)(3, level, x, count, codes);
        case 4: return LHK_NAME(nearest_of)(4, level, x, count, codes);
        case 5: return LHK_NAME(nearest_of)(5, level, x, count, codes);
        case 6: return LHK_NAME(nearest_of)(6, level, x, count, codes);
        case 7: return LHK_NAME(nearest_of)(7, level, x, count, codes);
        default: return LHK_NAME(nearest_of)(8, level, x, count, codes);
    }
}
