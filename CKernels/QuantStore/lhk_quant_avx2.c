// SPDX-License-Identifier: Apache-2.0
/// AVX2: codes widened to 16 bits, pairs of products summed by vpmaddwd. (The byte products of AVX2 would saturate.)
#if defined(__x86_64__)
#include <immintrin.h>

#include "lhk_quant_vector.h"

LHK_TARGET_BEGIN(LHK_FEATURES_AVX2)
#define LHK_NAME(x) lhk_quant_avx2_##x
#define LHK_HADAMARD(x) lhk_quant_avx2_hadamard_##x
#define LHK_HADAMARD_LANES 8
#include <lhk/hadamard_body.inc>

#define LHK_QUANT_PLANES 0
#define LHK_QUANT_PLAIN_WEIGHTS
#define LHK_QUANT_BIAS(bits) ((bits) == 8 ? LHK_QUANT_ZERO : 0)

LHK_ALWAYS_INLINE void LHK_NAME(halves)(const uint16_t *from, lhk_quant_floats *to) {
    for (int i = 0; i < 2; i++)
        _mm256_storeu_ps((float *)to + 8 * i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from + i)));
}

/// Four columns at a time: each lane of `sum` holds half of a column's four products.
LHK_ALWAYS_INLINE void LHK_NAME(dot)(const int bits, const int planes, const int rows, const uint8_t *codes, int64_t steps,
                                     const uint8_t *w, int64_t ldw, int64_t plane, lhk_quant_ints (*acc)[2]) {
    (void)planes;
    (void)plane;
    for (int x = 0; x < 32; x += 8) {
        const uint8_t *at = codes + (bits == 8 ? x : x % 16) * 4;
        __m256i sum[4][2];
        for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
        for (int64_t s = 0; s < steps; s++, at += 16 * bits) {
            __m256i column[2];
            for (int i = 0; i < 2; i++) {
                column[i] = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)at + i));
                if (bits == 4 && x >= 16) column[i] = _mm256_srli_epi16(column[i], 4);
                if (bits == 4 && x < 16) column[i] = _mm256_and_si256(column[i], _mm256_set1_epi16(15));
            }
            for (int r = 0; r < rows; r++) {
                int64_t word;
                memcpy(&word, w + r * ldw + 8 * s, 8);
                __m256i four = _mm256_set1_epi64x(word);
                for (int i = 0; i < 2; i++) sum[r][i] = _mm256_add_epi32(sum[r][i], _mm256_madd_epi16(column[i], four));
            }
        }
        for (int r = 0; r < rows; r++) {
            __m256i pairs = _mm256_permute4x64_epi64(_mm256_hadd_epi32(sum[r][0], sum[r][1]), 0xd8);
            int32_t *to = (int32_t *)&acc[r][x / 16] + x % 16;
            _mm256_storeu_si256((__m256i *)to, _mm256_add_epi32(_mm256_loadu_si256((const __m256i *)to), pairs));
        }
    }
}

#include "lhk_quant_body.h"
#define LHK_QUANT_PLAIN_PAIRS
#include "lhk_quant_unpack.h"
LHK_TARGET_END
#endif
