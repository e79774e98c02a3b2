// SPDX-License-Identifier: Apache-2.0
/// AVX2: 32 tokens look their codes up at once; bits become masks of words.
#if defined(__x86_64__)
#include <immintrin.h>

#include "lhk_commvq_product.h"
#include "lhk_commvq_train_plan.h"
#include "lhk_commvq_vector.h"

LHK_TARGET_BEGIN(LHK_FEATURES_AVX2)
#define LHK_NAME(x) lhk_commvq_avx2_##x

LHK_ALWAYS_INLINE void LHK_NAME(halves)(const uint16_t *from, lhk_commvq_floats *to) {
    for (int i = 0; i < 2; i++)
        _mm256_storeu_ps((float *)to + 8 * i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from + i)));
}

LHK_ALWAYS_INLINE void LHK_NAME(add)(lhk_commvq_floats *sum, const lhk_commvq_floats *x, float factor) {
    for (int i = 0; i < 16; i += 8) {
        float *to = (float *)sum + i;
        const __m256 row = _mm256_loadu_ps((const float *)x + i);
        _mm256_storeu_ps(to, _mm256_fmadd_ps(row, _mm256_set1_ps(factor), _mm256_loadu_ps(to)));
    }
}

/// Adds 32 bytes, shifted, to two times 16 words: as the high bytes of words they are shifted by 8, in the order of tokens.
LHK_ALWAYS_INLINE void LHK_NAME(widen)(__m256i bytes, int32_t exponent, bool first, int16_t *to) {
    const __m128i back = _mm_cvtsi32_si128(8 - exponent);
    for (int i = 0; i < 2; i++) {
        const __m256i zero = _mm256_setzero_si256();
        __m256i words = i ? _mm256_unpackhi_epi8(zero, bytes) : _mm256_unpacklo_epi8(zero, bytes);
        words = _mm256_sra_epi16(words, back);
        if (!first) words = _mm256_add_epi16(words, _mm256_loadu_si256((const __m256i *)(to + 32 * i)));
        _mm256_storeu_si256((__m256i *)(to + 32 * i), words);
    }
}

/// Sums of bytes may wrap on the way; where they end, they fit.
LHK_ALWAYS_INLINE void LHK_NAME(sums)(const int8_t *table, int64_t pairs, const uint8_t *codes, int32_t exponent, bool first,
                                      int16_t (*sums)[2][LHK_COMMVQ_BLOCK]) {
    const __m256i nibble = _mm256_set1_epi8(15);
    for (int64_t j = 0; j < pairs; j++, table += LHK_COMMVQ_STAGE * 32)
        for (int t = 0; t < LHK_COMMVQ_BLOCK; t += 32) {
            __m256i x = _mm256_setzero_si256(), y = x;
            for (int r = 0; r < LHK_COMMVQ_STAGE; r++) {
                const __m256i both = _mm256_loadu_si256((const __m256i *)(codes + r * LHK_COMMVQ_BLOCK + t));
                const __m256i a = _mm256_and_si256(both, nibble), b = _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble);
                const __m128i *level = (const __m128i *)(table + r * 32);
                const __m256i tx = _mm256_broadcastsi128_si256(_mm_loadu_si128(level));
                const __m256i ty = _mm256_broadcastsi128_si256(_mm_loadu_si128(level + 1));
                x = _mm256_add_epi8(x, _mm256_shuffle_epi8(tx, a));
                y = _mm256_add_epi8(y, _mm256_shuffle_epi8(ty, a));
                x = _mm256_sub_epi8(x, _mm256_shuffle_epi8(ty, b));
                y = _mm256_add_epi8(y, _mm256_shuffle_epi8(tx, b));
            }
            LHK_NAME(widen)(x, exponent, first, sums[j][0] + t / 2);
            LHK_NAME(widen)(y, exponent, first, sums[j][1] + t / 2);
        }
}

LHK_ALWAYS_INLINE void LHK_NAME(dots)(const int rows, int64_t pairs, const int16_t (*sums)[2][LHK_COMMVQ_BLOCK],
                                      const int16_t *turns, const int16_t *q, int32_t (*acc)[LHK_COMMVQ_BLOCK]) {
    for (int t = 0; t < LHK_COMMVQ_BLOCK; t += 16) {
        __m256i sum[LHK_COMMVQ_ROWS][2];
        for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
        for (int64_t j = 0; j < pairs; j++) {
            const int16_t *turn = turns + j * 2 * LHK_COMMVQ_BLOCK + t;
            const __m256i x = _mm256_loadu_si256((const __m256i *)(sums[j][0] + t));
            const __m256i y = _mm256_loadu_si256((const __m256i *)(sums[j][1] + t));
            const __m256i c = _mm256_loadu_si256((const __m256i *)turn);
            const __m256i s = _mm256_loadu_si256((const __m256i *)(turn + LHK_COMMVQ_BLOCK));
            const __m256i kx = _mm256_sub_epi16(_mm256_mulhrs_epi16(x, c), _mm256_mulhrs_epi16(y, s));
            const __m256i ky = _mm256_add_epi16(_mm256_mulhrs_epi16(y, c), _mm256_mulhrs_epi16(x, s));
            const __m256i low = _mm256_unpacklo_epi16(kx, ky), high = _mm256_unpackhi_epi16(kx, ky);
            for (int r = 0; r < rows; r++) {
                int32_t word;
                memcpy(&word, q + (r * pairs + j) * 2, 4);
                sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(low, _mm256_set1_epi32(word)));
                sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(high, _mm256_set1_epi32(word)));
            }
        }
        for (int r = 0; r < rows; r++) {
            _mm256_storeu_si256((__m256i *)(acc[r] + t), _mm256_permute2x128_si256(sum[r][0], sum[r][1], 0x20));
            _mm256_storeu_si256((__m256i *)(acc[r] + t + 8), _mm256_permute2x128_si256(sum[r][0], sum[r][1], 0x31));
        }
    }
}

/// Four bytes of bits are eight channels of four tokens; a channel's nibble becomes a mask of four words, which leaves the
/// weights of the tokens whose bit is set.
LHK_ALWAYS_INLINE void LHK_NAME(bit_dots)(const int rows, const uint8_t *bits, int64_t n, const int16_t *w,
                                          int32_t (*acc)[LHK_COMMVQ_MAX_BITS]) {
    const __m256i place = _mm256_setr_epi16(0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x100, 0x200, 0x400, 0x800,
                                            0x1000, 0x2000, 0x4000, (int16_t)0x8000);
    for (int64_t k = 0; k < n; k += 8) {
        __m256i sum[LHK_COMMVQ_ROWS][2];  // two lanes of 32 bits per channel
        for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
        for (int quad = 0; quad < 16; quad++) {
            uint16_t half[2];
            memcpy(half, bits + quad * (n / 2) + k / 2, 4);
            for (int i = 0; i < 2; i++) {
                const __m256i mask = _mm256_cmpeq_epi16(_mm256_and_si256(_mm256_set1_epi16((int16_t)half[i]), place), place);
                for (int r = 0; r < rows; r++) {
                    int64_t four;
                    memcpy(&four, w + r * LHK_COMMVQ_BLOCK + 4 * quad, 8);
                    const __m256i some = _mm256_and_si256(mask, _mm256_set1_epi64x(four));
                    sum[r][i] = _mm256_add_epi32(sum[r][i], _mm256_madd_epi16(some, _mm256_set1_epi16(1)));
                }
            }
        }
        for (int r = 0; r < rows; r++)
            _mm256_storeu_si256((__m256i *)(acc[r] + k),
                                _mm256_permute4x64_epi64(_mm256_hadd_epi32(sum[r][0], sum[r][1]), 0xd8));
    }
}

/// Codes of 32 tokens of a level.
LHK_ALWAYS_INLINE __m256i LHK_NAME(nibbles)(const uint8_t *codes, int64_t level) {
    const __m256i both = _mm256_loadu_si256((const __m256i *)(codes + level / 2 * LHK_COMMVQ_BLOCK));
    return _mm256_and_si256(_mm256_srl_epi16(both, _mm_cvtsi32_si128((int32_t)(level % 2 * 4))), _mm256_set1_epi8(15));
}

LHK_ALWAYS_INLINE __m256i LHK_NAME(look_up)(const uint8_t *table, __m256i codes) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table)), codes);
}

LHK_ALWAYS_INLINE void LHK_NAME(product_sums)(const lhk_commvq_side_tables *s, int64_t pairs, const uint8_t *codes,
                                              int16_t (*sums)[2][LHK_COMMVQ_BLOCK]) {
    for (int64_t j = 0; j < pairs; j++)
        for (int t = 0; t < LHK_COMMVQ_BLOCK; t += 32) {
            __m256i x = _mm256_set1_epi8(-LHK_COMMVQ_KEY_BIAS), y = x;
            for (int64_t e = s->first[j]; e < s->first[j + 1]; e++) {
                const __m256i nibbles = LHK_NAME(nibbles)(codes + t, s->level[e]);
                x = _mm256_add_epi8(x, LHK_NAME(look_up)(s->table + e * 32, nibbles));
                y = _mm256_add_epi8(y, LHK_NAME(look_up)(s->table + e * 32 + 16, nibbles));
            }
            LHK_NAME(widen)(x, 8, true, sums[j][0] + t / 2);
            LHK_NAME(widen)(y, 8, true, sums[j][1] + t / 2);
        }
}

#define LHK_COMMVQ_TURN_BYTES 0

LHK_ALWAYS_INLINE void LHK_NAME(product_dots)(const int rows, const lhk_commvq_side_tables *s, int64_t dim, int64_t blocks,
                                              const uint8_t *const *codes, int16_t (*w)[LHK_COMMVQ_CHUNK * LHK_COMMVQ_BLOCK],
                                              uint32_t (*acc)[LHK_COMMVQ_ROWS]) {
    const __m256i zero = _mm256_setzero_si256();
    for (int64_t c = 0; c < dim; c++) {
        __m256i sum[LHK_COMMVQ_ROWS];
        for (int r = 0; r < rows; r++) sum[r] = zero;
        for (int64_t b = 0; b < blocks; b++)
            for (int t = 0; t < LHK_COMMVQ_BLOCK; t += 32) {
                __m256i steps = zero;
                for (int64_t e = s->first[c]; e < s->first[c + 1]; e++)
                    steps = _mm256_add_epi8(steps, LHK_NAME(look_up)(s->table + e * 16, LHK_NAME(nibbles)(codes[b] + t, s->level[e])));
                const __m256i low = _mm256_unpacklo_epi8(steps, zero), high = _mm256_unpackhi_epi8(steps, zero);
                for (int r = 0; r < rows; r++) {
                    const __m256i *weights = (const __m256i *)(w[r] + b * LHK_COMMVQ_BLOCK + t / 2);
                    sum[r] = _mm256_add_epi32(sum[r], _mm256_madd_epi16(low, _mm256_loadu_si256(weights)));
                    sum[r] = _mm256_add_epi32(sum[r], _mm256_madd_epi16(high, _mm256_loadu_si256(weights + 2)));
                }
            }
        for (int r = 0; r < rows; r++) {
            const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sum[r]), _mm256_extracti128_si256(sum[r], 1));
            const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
            acc[c][r] = (uint32_t)_mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
        }
    }
}

#include "lhk_commvq_encode.h"
#include "lhk_commvq_encode_values.h"
#include "lhk_commvq_product_encode.h"
#include "lhk_commvq_product_read.h"
#include "lhk_commvq_read.h"
#include "lhk_commvq_unpack.h"
#include "lhk_commvq_score.h"
#include "lhk_commvq_accumulate.h"
#include "lhk_commvq_product_accumulate.h"
#include "lhk_commvq_train.h"
LHK_TARGET_END
#endif
