// SPDX-License-Identifier: Apache-2.0
/// AVX-512 with VNNI: four byte products per lane and instruction, keys as the unsigned side. 13 rows x 2 vectors of sums, so
/// that five strips hold a tile.
#if defined(__x86_64__)
#include <immintrin.h>

#include "lhk_sale_vector.h"

LHK_TARGET_BEGIN(LHK_FEATURES_AVX512VNNI)
#define LHK_NAME(x) lhk_sale_avx512vnni_##x
#define LHK_SALE_STRIP 13
#define LHK_SALE_SCORE_ROWS 16

#define LHK_SALE_FMA(a, b, c) ((lhk_sale_floats)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))

LHK_ALWAYS_INLINE void LHK_NAME(halves)(const uint16_t *from, lhk_sale_floats *to) {
    *to = (lhk_sale_floats)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
}

LHK_ALWAYS_INLINE void LHK_NAME(dot)(const uint8_t *keys, int64_t tile_bytes, const int32_t *order, const uint32_t *codes,
                                     int64_t steps, lhk_sale_ints (*acc)[2]) {
    for (int64_t s = 0; s < steps; s++, codes += LHK_SALE_STRIP) {
        __m512i first = _mm512_loadu_si512(keys + order[s]);
        __m512i second = _mm512_loadu_si512(keys + order[s] + tile_bytes);
        LHK_UNROLL
        for (int r = 0; r < LHK_SALE_STRIP; r++) {
            __m512i q = _mm512_set1_epi32((int)codes[r]);
            acc[r][0] = (lhk_sale_ints)_mm512_dpbusd_epi32((__m512i)acc[r][0], first, q);
            acc[r][1] = (lhk_sale_ints)_mm512_dpbusd_epi32((__m512i)acc[r][1], second, q);
        }
    }
}

LHK_ALWAYS_INLINE bool LHK_NAME(some_clear)(const lhk_sale_ints *x) { return _mm512_movepi32_mask((__m512i)*x) != 0xffff; }

#include "lhk_sale_body.h"
LHK_TARGET_END
#endif
