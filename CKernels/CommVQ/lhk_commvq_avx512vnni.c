// SPDX-License-Identifier: Apache-2.0
/// AVX-512 VNNI: 64 tokens look their codes up at once, in tables of 16 bytes; products of bytes and words are summed in 32
/// bits by one instruction.
#if defined(__x86_64__)
#include <immintrin.h>

#include "lhk_commvq_product.h"
#include "lhk_commvq_train_plan.h"
#include "lhk_commvq_vector.h"

LHK_TARGET_BEGIN(LHK_FEATURES_AVX512VNNI)
#define LHK_NAME(x) lhk_commvq_avx512vnni_##x

LHK_ALWAYS_INLINE void LHK_NAME(halves)(const uint16_t *from, lhk_commvq_floats *to) {
    *to = (lhk_commvq_floats)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
}

LHK_ALWAYS_INLINE void LHK_NAME(add)(lhk_commvq_floats *sum, const lhk_commvq_floats *x, float factor) {
    *sum = (lhk_commvq_floats)_mm512_fmadd_ps((__m512)*x, _mm512_set1_ps(factor), (__m512)*sum);
}

/// Adds 64 bytes, shifted, to 64 words: as the high bytes of words they are shifted by 8, in the order of tokens.
LHK_ALWAYS_INLINE void LHK_NAME(widen)(__m512i bytes, int32_t exponent, bool first, int16_t *to) {
    const __m128i back = _mm_cvtsi32_si128(8 - exponent);
    __m512i low = _mm512_unpacklo_epi8(_mm512_setzero_si512(), bytes);
    __m512i high = _mm512_unpackhi_epi8(_mm512_setzero_si512(), bytes);
    if (!__builtin_constant_p(exponent)) {
        low = _mm512_sra_epi16(low, back);
        high = _mm512_sra_epi16(high, back);
    }
    if (!first) {
        low = _mm512_add_epi16(low, _mm512_loadu_si512(to));
        high = _mm512_add_epi16(high, _mm512_loadu_si512(to + 32));
    }
    _mm512_storeu_si512(to, low);
    _mm512_storeu_si512(to + 32, high);
}

/// Sums of bytes may wrap on the way; where they end, they fit.
LHK_ALWAYS_INLINE void LHK_NAME(sums)(const int8_t *table, int64_t pairs, const uint8_t *codes, int32_t exponent, bool first,
                                      int16_t (*sums)[2][LHK_COMMVQ_BLOCK]) {
    const __m512i nibble = _mm512_set1_epi8(15);
    __m512i a[LHK_COMMVQ_STAGE], b[LHK_COMMVQ_STAGE];
    LHK_UNROLL
    for (int r = 0; r < LHK_COMMVQ_STAGE; r++) {
        const __m512i both = _mm512_loadu_si512(codes + r * LHK_COMMVQ_BLOCK);
        a[r] = _mm512_and_si512(both, nibble);
        b[r] = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble);
    }
    for (int64_t j = 0; j < pairs; j++, table += LHK_COMMVQ_STAGE * 32) {
        __m512i x = _mm512_setzero_si512(), y = x;
        LHK_UNROLL
        for (int r = 0; r < LHK_COMMVQ_STAGE; r++) {
            const __m512i tx = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(table + r * 32)));
            const __m512i ty = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(table + r * 32 + 16)));
            x = _mm512_add_epi8(x, _mm512_shuffle_epi8(tx, a[r]));
            y = _mm512_add_epi8(y, _mm512_shuffle_epi8(ty, a[r]));
            x = _mm512_sub_epi8(x, _mm512_shuffle_epi8(ty, b[r]));
            y = _mm512_add_epi8(y, _mm512_shuffle_epi8(tx, b[r]));
        }
        LHK_NAME(widen)(x, exponent, first, sums[j][0]);
        LHK_NAME(widen)(y, exponent, first, sums[j][1]);
    }
}

/// Stores sums in the order of tokens: within 128 bits, four are in the lower and the next four in the upper sum of two.
LHK_ALWAYS_INLINE void LHK_NAME(store_tokens)(const int rows, const __m512i (*sum)[4], int32_t (*acc)[LHK_COMMVQ_BLOCK]) {
    const __m512i first = _mm512_set_epi32(23, 22, 21, 20, 7, 6, 5, 4, 19, 18, 17, 16, 3, 2, 1, 0);
    const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
    LHK_UNROLL
    for (int r = 0; r < rows; r++)
        for (int h = 0; h < 2; h++) {
            _mm512_storeu_si512(acc[r] + 32 * h, _mm512_permutex2var_epi32(sum[r][2 * h], first, sum[r][2 * h + 1]));
            _mm512_storeu_si512(acc[r] + 32 * h + 16, _mm512_permutex2var_epi32(sum[r][2 * h], second, sum[r][2 * h + 1]));
        }
}

LHK_ALWAYS_INLINE void LHK_NAME(dots)(const int rows, int64_t pairs, const int16_t (*sums)[2][LHK_COMMVQ_BLOCK],
                                      const int16_t *turns, const int16_t *q, int32_t (*acc)[LHK_COMMVQ_BLOCK]) {
    __m512i sum[LHK_COMMVQ_ROWS][4];
    LHK_UNROLL
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < 4; i++) sum[r][i] = _mm512_setzero_si512();
    for (int64_t j = 0; j < pairs; j++, turns += 2 * LHK_COMMVQ_BLOCK)
        LHK_UNROLL
        for (int h = 0; h < 2; h++) {
            const __m512i x = _mm512_loadu_si512(sums[j][0] + 32 * h), y = _mm512_loadu_si512(sums[j][1] + 32 * h);
            const __m512i c = _mm512_loadu_si512(turns + 32 * h), s = _mm512_loadu_si512(turns + LHK_COMMVQ_BLOCK + 32 * h);
            const __m512i kx = _mm512_sub_epi16(_mm512_mulhrs_epi16(x, c), _mm512_mulhrs_epi16(y, s));
            const __m512i ky = _mm512_add_epi16(_mm512_mulhrs_epi16(y, c), _mm512_mulhrs_epi16(x, s));
            const __m512i low = _mm512_unpacklo_epi16(kx, ky), high = _mm512_unpackhi_epi16(kx, ky);
            LHK_UNROLL
            for (int r = 0; r < rows; r++) {
                int32_t word;
                memcpy(&word, q + (r * pairs + j) * 2, 4);
                sum[r][2 * h] = _mm512_dpwssd_epi32(sum[r][2 * h], low, _mm512_set1_epi32(word));
                sum[r][2 * h + 1] = _mm512_dpwssd_epi32(sum[r][2 * h + 1], high, _mm512_set1_epi32(word));
            }
        }
    LHK_NAME(store_tokens)(rows, (const __m512i (*)[4])sum, acc);
}

/// A weight is 128 times its high byte, which is signed, and its low seven bits.
LHK_ALWAYS_INLINE void LHK_NAME(bit_dots)(const int rows, const uint8_t *bits, int64_t n, const int16_t *w,
                                          int32_t (*acc)[LHK_COMMVQ_MAX_BITS]) {
    int8_t high[LHK_COMMVQ_ROWS][LHK_COMMVQ_BLOCK], low[LHK_COMMVQ_ROWS][LHK_COMMVQ_BLOCK];
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < LHK_COMMVQ_BLOCK; t += 32) {
            const __m512i x = _mm512_loadu_si512(w + r * LHK_COMMVQ_BLOCK + t);
            _mm256_storeu_si256((__m256i *)(high[r] + t), _mm512_cvtepi16_epi8(_mm512_srai_epi16(x, 7)));
            _mm256_storeu_si256((__m256i *)(low[r] + t), _mm512_cvtepi16_epi8(_mm512_and_si512(x, _mm512_set1_epi16(127))));
        }
    for (int64_t k = 0; k < n; k += 16) {
        __m512i hi[LHK_COMMVQ_ROWS], lo[LHK_COMMVQ_ROWS];
        LHK_UNROLL
        for (int r = 0; r < rows; r++) hi[r] = lo[r] = _mm512_setzero_si512();
        for (int quad = 0; quad < 16; quad++) {
            uint64_t mask;
            memcpy(&mask, bits + quad * (n / 2) + k / 2, 8);
            const __m512i ones = _mm512_maskz_set1_epi8(mask, 1);
            LHK_UNROLL
            for (int r = 0; r < rows; r++) {
                int32_t h, l;
                memcpy(&h, high[r] + 4 * quad, 4);
                memcpy(&l, low[r] + 4 * quad, 4);
                hi[r] = _mm512_dpbusd_epi32(hi[r], ones, _mm512_set1_epi32(h));
                lo[r] = _mm512_dpbusd_epi32(lo[r], ones, _mm512_set1_epi32(l));
            }
        }
        LHK_UNROLL
        for (int r = 0; r < rows; r++)
            _mm512_storeu_si512(acc[r] + k, _mm512_add_epi32(_mm512_slli_epi32(hi[r], 7), lo[r]));
    }
}

/// Codes of 64 tokens of a level; `shifts` are 0 and 4.
LHK_ALWAYS_INLINE __m512i LHK_NAME(nibbles)(const uint8_t *codes, int64_t level, const __m128i *shifts) {
    const __m512i both = _mm512_loadu_si512(codes + level / 2 * LHK_COMMVQ_BLOCK);
    return _mm512_and_si512(_mm512_srl_epi16(both, shifts[level % 2]), _mm512_set1_epi8(15));
}

LHK_ALWAYS_INLINE __m512i LHK_NAME(look_up)(const uint8_t *table, __m512i codes) {
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table)), codes);
}

LHK_ALWAYS_INLINE void LHK_NAME(product_sums)(const lhk_commvq_side_tables *s, int64_t pairs, const uint8_t *codes,
                                              int16_t (*sums)[2][LHK_COMMVQ_BLOCK]) {
    const __m128i shifts[2] = {_mm_setzero_si128(), _mm_cvtsi32_si128(4)};
    for (int64_t j = 0; j < pairs; j++) {
        __m512i x = _mm512_set1_epi8(-LHK_COMMVQ_KEY_BIAS), y = x;
        for (int64_t e = s->first[j]; e < s->first[j + 1]; e++) {
            const __m512i nibbles = LHK_NAME(nibbles)(codes, s->level[e], shifts);
            x = _mm512_add_epi8(x, LHK_NAME(look_up)(s->table + e * 32, nibbles));
            y = _mm512_add_epi8(y, LHK_NAME(look_up)(s->table + e * 32 + 16, nibbles));
        }
        LHK_NAME(widen)(x, 8, true, sums[j][0]);
        LHK_NAME(widen)(y, 8, true, sums[j][1]);
    }
}

/// Turned by bytes in one go: (x, y) of a token side by side meet (cos, -sin) and (sin, cos).
LHK_ALWAYS_INLINE void LHK_NAME(product_scores)(const int rows, const lhk_commvq_side_tables *s, int64_t pairs,
                                                const uint8_t *codes, const lhk_commvq_ahead *ahead, const int16_t *turns,
                                                const lhk_commvq_turn_bytes *bytes, const int16_t *q,
                                                int32_t (*acc)[LHK_COMMVQ_BLOCK]) {
    const __m128i shifts[2] = {_mm_setzero_si128(), _mm_cvtsi32_si128(4)};
    __m512i sum[LHK_COMMVQ_ROWS][4];
    (void)turns;
    LHK_UNROLL
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < 4; i++) sum[r][i] = _mm512_setzero_si512();
    for (int64_t j = 0; j < pairs; j++) {
        int64_t e = s->first[j];
        if (j < ahead->lines) {
            __builtin_prefetch(ahead->keys + 64 * j);
            __builtin_prefetch(ahead->values + 64 * j, 0, 2);
        }
        __m512i nibbles = LHK_NAME(nibbles)(codes, s->level[e], shifts);
        __m512i x = LHK_NAME(look_up)(s->table + e * 32, nibbles), y = LHK_NAME(look_up)(s->table + e * 32 + 16, nibbles);
        while (++e < s->first[j + 1]) {
            nibbles = LHK_NAME(nibbles)(codes, s->level[e], shifts);
            x = _mm512_add_epi8(x, LHK_NAME(look_up)(s->table + e * 32, nibbles));
            y = _mm512_add_epi8(y, LHK_NAME(look_up)(s->table + e * 32 + 16, nibbles));
        }
        __m512i words[LHK_COMMVQ_ROWS];
        LHK_UNROLL
        for (int r = 0; r < rows; r++) {
            int32_t word;
            memcpy(&word, q + (r * pairs + j) * 2, 4);
            words[r] = _mm512_set1_epi32(word);
        }
        LHK_UNROLL
        for (int h = 0; h < 2; h++) {
            const __m512i both = h ? _mm512_unpackhi_epi8(x, y) : _mm512_unpacklo_epi8(x, y);
            const __m512i kx = _mm512_sub_epi16(_mm512_maddubs_epi16(both, _mm512_loadu_si512(bytes[j].x[32 * h])),
                                                _mm512_loadu_si512(bytes[j].x_bias + 32 * h));
            const __m512i ky = _mm512_sub_epi16(_mm512_maddubs_epi16(both, _mm512_loadu_si512(bytes[j].y[32 * h])),
                                                _mm512_loadu_si512(bytes[j].y_bias + 32 * h));
            const __m512i low = _mm512_unpacklo_epi16(kx, ky), high = _mm512_unpackhi_epi16(kx, ky);
            LHK_UNROLL
            for (int r = 0; r < rows; r++) {
                sum[r][2 * h] = _mm512_dpwssd_epi32(sum[r][2 * h], low, words[r]);
                sum[r][2 * h + 1] = _mm512_dpwssd_epi32(sum[r][2 * h + 1], high, words[r]);
            }
        }
    }
    LHK_NAME(store_tokens)(rows, (const __m512i (*)[4])sum, acc);
}
#define LHK_COMMVQ_TURN_BYTES 1

/// Steps and bias of an axis in 64 tokens.
LHK_ALWAYS_INLINE __m512i LHK_NAME(axis_steps)(const lhk_commvq_side_tables *s, int64_t axis, const uint8_t *codes,
                                               const __m128i *shifts) {
    int64_t e = s->first[axis];
    __m512i steps = LHK_NAME(look_up)(s->table + e * 16, LHK_NAME(nibbles)(codes, s->level[e], shifts));
    while (++e < s->first[axis + 1])
        steps = _mm512_add_epi8(steps, LHK_NAME(look_up)(s->table + e * 16, LHK_NAME(nibbles)(codes, s->level[e], shifts)));
    return steps;
}

/// Sums of the lanes of four vectors.
LHK_ALWAYS_INLINE __m128i LHK_NAME(four_totals)(const __m512i *x) {
    const __m512i first = _mm512_add_epi32(_mm512_unpacklo_epi32(x[0], x[1]), _mm512_unpackhi_epi32(x[0], x[1]));
    const __m512i second = _mm512_add_epi32(_mm512_unpacklo_epi32(x[2], x[3]), _mm512_unpackhi_epi32(x[2], x[3]));
    const __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(first, second), _mm512_unpackhi_epi64(first, second));
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

/// A weight is 128 times its high byte, which is signed, and its low seven bits. Two axes share the loads of weights.
LHK_ALWAYS_INLINE void LHK_NAME(product_dots)(const int rows, const lhk_commvq_side_tables *s, int64_t dim, int64_t blocks,
                                              const uint8_t *const *codes, int16_t (*w)[LHK_COMMVQ_CHUNK * LHK_COMMVQ_BLOCK],
                                              uint32_t (*acc)[LHK_COMMVQ_ROWS]) {
    __m512i bytes[LHK_COMMVQ_CHUNK][LHK_COMMVQ_ROWS][2];  // at the places of tokens
    const __m128i shifts[2] = {_mm_setzero_si128(), _mm_cvtsi32_si128(4)};
    const __m512i seven = _mm512_set1_epi16(127);
    for (int64_t b = 0; b < blocks; b++)
        for (int r = 0; r < rows; r++) {
            const __m512i x = _mm512_loadu_si512(w[r] + b * 64), y = _mm512_loadu_si512(w[r] + b * 64 + 32);
            bytes[b][r][0] = _mm512_packs_epi16(_mm512_srai_epi16(x, 7), _mm512_srai_epi16(y, 7));
            bytes[b][r][1] = _mm512_packs_epi16(_mm512_and_si512(x, seven), _mm512_and_si512(y, seven));
        }
    for (int64_t c = 0; c < dim; c += 2) {
        __m512i high[2][LHK_COMMVQ_ROWS], low[2][LHK_COMMVQ_ROWS];
        LHK_UNROLL
        for (int r = 0; r < LHK_COMMVQ_ROWS; r++) high[0][r] = high[1][r] = low[0][r] = low[1][r] = _mm512_setzero_si512();
        for (int64_t b = 0; b < blocks; b++) {
            const __m512i first = LHK_NAME(axis_steps)(s, c, codes[b], shifts);
            const __m512i second = LHK_NAME(axis_steps)(s, c + 1, codes[b], shifts);
            LHK_UNROLL
            for (int r = 0; r < rows; r++) {
                high[0][r] = _mm512_dpbusd_epi32(high[0][r], first, bytes[b][r][0]);
                high[1][r] = _mm512_dpbusd_epi32(high[1][r], second, bytes[b][r][0]);
                low[0][r] = _mm512_dpbusd_epi32(low[0][r], first, bytes[b][r][1]);
                low[1][r] = _mm512_dpbusd_epi32(low[1][r], second, bytes[b][r][1]);
            }
        }
        LHK_UNROLL
        for (int i = 0; i < 2; i++) {
            __m512i sum[LHK_COMMVQ_ROWS];
            LHK_UNROLL
            for (int r = 0; r < LHK_COMMVQ_ROWS; r++) sum[r] = _mm512_add_epi32(_mm512_slli_epi32(high[i][r], 7), low[i][r]);
            _mm_storeu_si128((__m128i *)acc[c + i], LHK_NAME(four_totals)(sum));
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
