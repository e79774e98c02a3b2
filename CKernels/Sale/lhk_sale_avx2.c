// SPDX-License-Identifier: Apache-2.0
/// AVX2: pairs of byte products in 16 bits, which cannot saturate because codes end at 127 (2 * 127 *
/// 127 < 2^15), pairs of these in 32. 3 rows x 4 vectors of sums.
#if defined(__x86_64__)
#include <immintrin.h>

#include "lhk_sale_vector.h"

LHK_TARGET_BEGIN(LHK_FEATURES_AVX2)
#define LHK_NAME(x) lhk_sale_avx2_##x
#define LHK_SALE_STRIP 3
#define LHK_SALE_SCORE_ROWS 4

typedef union LHK_NAME(pair) {
    lhk_sale_floats whole;
    __m256 half[2];
} LHK_NAME(pair);
#define LHK_SALE_FMA(a, b, c)                                                       \
    ({                                                                              \
        LHK_NAME(pair) a_ = {(a)}, b_ = {(b)}, c_ = {(c)};                          \
        c_.half[0] = _mm256_fmadd_ps(a_.half[0], b_.half[0], c_.half[0]);           \
        c_.half[1] = _mm256_fmadd_ps(a_.half[1], b_.half[1], c_.half[1]);           \
        c_.whole;                                                                   \
    })

LHK_ALWAYS_INLINE void LHK_NAME(halves)(const uint16_t *from, lhk_sale_floats *to) {
    __m256 x[2];
    for (int i = 0; i < 2; i++) x[i] = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from + i));
    memcpy(to, x, sizeof *to);
}

LHK_ALWAYS_INLINE void LHK_NAME(dot)(const uint8_t *keys, int64_t tile_bytes, const int32_t *order, const uint32_t *codes,
                                     int64_t steps, lhk_sale_ints (*acc)[2]) {
    __m256i sum[LHK_SALE_STRIP][4];
    memcpy(sum, acc, sizeof sum);
    for (int64_t s = 0; s < steps; s++, codes += LHK_SALE_STRIP) {
        LHK_UNROLL
        for (int u = 0; u < 4; u++) {
            __m256i key = _mm256_loadu_si256((const __m256i *)(keys + order[s] + u / 2 * tile_bytes + u % 2 * 32));
            LHK_UNROLL
            for (int r = 0; r < LHK_SALE_STRIP; r++) {
                __m256i pairs = _mm256_maddubs_epi16(key, _mm256_set1_epi32((int)codes[r]));
                sum[r][u] = _mm256_add_epi32(sum[r][u], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
            }
        }
    }
    memcpy(acc, sum, sizeof sum);
}

LHK_ALWAYS_INLINE bool LHK_NAME(some_clear)(const lhk_sale_ints *x) {
    __m256i half[2];
    memcpy(half, x, sizeof *x);
    return _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_and_si256(half[0], half[1]))) != 0xff;
}

#include "lhk_sale_body.h"
LHK_TARGET_END
#endif
