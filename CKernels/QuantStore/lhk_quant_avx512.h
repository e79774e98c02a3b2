// SPDX-License-Identifier: Apache-2.0
/// The words of the tile operations for AVX-512 with VNNI, shared by the files of that level and above.
#ifndef LHK_QUANT_AVX512_H
#define LHK_QUANT_AVX512_H

#define LHK_QUANT_PLANES 1
#define LHK_QUANT_BIAS(bits) ((bits) == 8 ? LHK_QUANT_ZERO : 0)

LHK_ALWAYS_INLINE void LHK_NAME(halves)(const uint16_t *from, lhk_quant_floats *to) {
    *to = (lhk_quant_floats)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
}

LHK_ALWAYS_INLINE __m512i LHK_NAME(four)(const uint8_t *w) {
    int32_t word;
    memcpy(&word, w, 4);
    return _mm512_set1_epi32(word);
}

/// The high bytes of weights are summed apart and shifted in at the end: 16 accumulators for 4 rows.
LHK_ALWAYS_INLINE void LHK_NAME(dot)(const int bits, const int rows, const uint8_t *codes, int64_t steps, const uint8_t *w,
                                     int64_t ldw, int64_t plane, lhk_quant_ints (*acc)[2]) {
    __m512i high[4][2], low[4][2];
    for (int r = 0; r < rows; r++)
        for (int u = 0; u < 2; u++) {
            high[r][u] = _mm512_setzero_si512();
            low[r][u] = (__m512i)acc[r][u];
        }
    for (int64_t s = 0; s < steps; s++, codes += 16 * bits, w += 4) {
        __m512i first = _mm512_loadu_si512(codes), second;
        if (bits == 8) {
            second = _mm512_loadu_si512(codes + 64);
        } else {
            const __m512i nibble = _mm512_set1_epi8(15);
            second = _mm512_and_si512(_mm512_srli_epi16(first, 4), nibble);
            first = _mm512_and_si512(first, nibble);
        }
        for (int r = 0; r < rows; r++) {
            __m512i hi = LHK_NAME(four)(w + r * ldw), lo = LHK_NAME(four)(w + r * ldw + plane);
            high[r][0] = _mm512_dpbusd_epi32(high[r][0], first, hi);
            high[r][1] = _mm512_dpbusd_epi32(high[r][1], second, hi);
            low[r][0] = _mm512_dpbusd_epi32(low[r][0], first, lo);
            low[r][1] = _mm512_dpbusd_epi32(low[r][1], second, lo);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int u = 0; u < 2; u++)
            acc[r][u] = (lhk_quant_ints)_mm512_add_epi32(low[r][u], _mm512_slli_epi32(high[r][u], 7));
}

#endif
