// SPDX-License-Identifier: Apache-2.0
/// The words of the tile operations for AVX-512 with VNNI, shared by the files of that level and above.
#ifndef LHK_QUANT_AVX512_H
#define LHK_QUANT_AVX512_H

#define LHK_QUANT_PLANES 1
/// Codes are asked for this many bytes ahead, into the second level: beside this much arithmetic the processor does not run
/// far enough ahead by itself. What follows in memory is the next head's or block's, which is read next.
#define LHK_QUANT_AHEAD 32768
#define LHK_QUANT_BIAS(bits) ((bits) == 8 ? LHK_QUANT_ZERO : 0)

LHK_ALWAYS_INLINE void LHK_NAME(halves)(const uint16_t *from, lhk_quant_floats *to) {
    *to = (lhk_quant_floats)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
}

LHK_ALWAYS_INLINE void LHK_NAME(fma)(const lhk_quant_floats *a, float b, lhk_quant_floats *sum) {
    *sum = (lhk_quant_floats)_mm512_fmadd_ps((__m512)*a, _mm512_set1_ps(b), (__m512)*sum);
}

/// sum + codes times the four weights at w, with the broadcast inside the instruction, which compilers leave outside.
LHK_ALWAYS_INLINE __m512i LHK_NAME(four)(__m512i sum, __m512i codes, const uint8_t *w) {
    typedef struct word { uint8_t weights[4]; } word;
    __asm__("vpdpbusd %1%{1to16%}, %2, %0" : "+v"(sum) : "m"(*(const word *)w), "v"(codes));
    return sum;
}

LHK_ALWAYS_INLINE uint32_t LHK_NAME(spread)(const float *p, const float *scales, float *x, int64_t n) {
    __m512i largest = _mm512_setzero_si512();
    for (int64_t i = 0; i < n; i += 16) {
        __m512 weight = _mm512_loadu_ps(p + i);
        __mmask16 some = _mm512_cmp_ps_mask(weight, _mm512_setzero_ps(), _CMP_NEQ_UQ);
        weight = _mm512_maskz_mul_ps(some, weight, _mm512_loadu_ps(scales + i));
        _mm512_storeu_ps(x + i, weight);
        largest = _mm512_max_epu32(largest, _mm512_and_si512(_mm512_castps_si512(weight), _mm512_set1_epi32(0x7fffffff)));
    }
    return _mm512_reduce_max_epu32(largest);
}

LHK_ALWAYS_INLINE bool LHK_NAME(all_finite)(const float *scales) {
    __m512 none = _mm512_setzero_ps();
    for (int i = 0; i < LHK_QUANT_TOKENS; i += 16)
        none = _mm512_fmadd_ps(_mm512_loadu_ps(scales + i), _mm512_setzero_ps(), none);
    return _mm512_cmp_ps_mask(none, none, _CMP_UNORD_Q) == 0;
}

/// All products stay in registers. 64 weights at a time: words from two pairs of vectors, packed to bytes, whose lanes of
/// eight are then put in order.
LHK_ALWAYS_INLINE float LHK_NAME(weigh_256)(const float *p, const float *scales, uint8_t *w, int64_t plane, int32_t *sum) {
    const __m512i low_words = _mm512_set_epi16(62, 60, 58, 56, 54, 52, 50, 48, 46, 44, 42, 40, 38, 36, 34, 32, 30, 28, 26, 24,
                                               22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i in_order = _mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0), seven = _mm512_set1_epi16(127);
    __m512 x[16];
    __m512i largest = _mm512_setzero_si512(), sums = _mm512_setzero_si512();
    LHK_UNROLL
    for (int i = 0; i < 16; i++) {
        x[i] = _mm512_mul_ps(_mm512_loadu_ps(p + 16 * i), _mm512_loadu_ps(scales + 16 * i));
        largest = _mm512_max_epu32(largest, _mm512_and_si512(_mm512_castps_si512(x[i]), _mm512_set1_epi32(0x7fffffff)));
    }
    float inverse, factor = lhk_quant_factor(_mm512_reduce_max_epu32(largest), 2, &inverse);
    const __m512 by = _mm512_set1_ps(inverse), shift = _mm512_set1_ps(0x1.8p23f);
    LHK_UNROLL
    for (int i = 0; i < 4; i++) {
        __m512i word[2];
        LHK_UNROLL
        for (int j = 0; j < 2; j++) {
            __m512i a = _mm512_castps_si512(_mm512_fmadd_ps(x[4 * i + 2 * j], by, shift));
            __m512i b = _mm512_castps_si512(_mm512_fmadd_ps(x[4 * i + 2 * j + 1], by, shift));
            word[j] = _mm512_permutex2var_epi16(a, low_words, b);
            sums = _mm512_dpwssd_epi32(sums, word[j], _mm512_set1_epi16(1));
        }
        __m512i high = _mm512_packs_epi16(_mm512_srai_epi16(word[0], 7), _mm512_srai_epi16(word[1], 7));
        __m512i low = _mm512_packs_epi16(_mm512_and_si512(word[0], seven), _mm512_and_si512(word[1], seven));
        _mm512_storeu_si512(w + 64 * i, _mm512_permutexvar_epi64(in_order, high));
        _mm512_storeu_si512(w + plane + 64 * i, _mm512_permutexvar_epi64(in_order, low));
    }
    *sum = _mm512_reduce_add_epi32(sums);
    return factor;
}

/// The integer lies in the low 16 bits of the sum with 1.5 * 2^23, rounded to nearest even.
LHK_ALWAYS_INLINE int32_t LHK_NAME(round)(const float *x, int64_t n, float inverse, const int planes, uint8_t *w,
                                          int64_t plane) {
    const __m512i low_words = _mm512_set_epi16(62, 60, 58, 56, 54, 52, 50, 48, 46, 44, 42, 40, 38, 36, 34, 32, 30, 28, 26, 24,
                                               22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512 factor = _mm512_set1_ps(inverse), shift = _mm512_set1_ps(0x1.8p23f);
    __m512i sum = _mm512_setzero_si512();
    for (int64_t i = 0; i < n; i += 32) {
        __m512i a = _mm512_castps_si512(_mm512_fmadd_ps(_mm512_loadu_ps(x + i), factor, shift));
        __m512i b = _mm512_castps_si512(_mm512_fmadd_ps(_mm512_loadu_ps(x + i + 16), factor, shift));
        __m512i weights = _mm512_permutex2var_epi16(a, low_words, b);
        sum = _mm512_dpwssd_epi32(sum, weights, _mm512_set1_epi16(1));
        __m512i high = planes == 2 ? _mm512_srai_epi16(weights, 7) : weights;
        _mm256_storeu_si256((__m256i *)(w + i), _mm512_cvtepi16_epi8(high));
        if (planes == 2)
            _mm256_storeu_si256((__m256i *)(w + plane + i),
                                _mm512_cvtepi16_epi8(_mm512_and_si512(weights, _mm512_set1_epi16(127))));
    }
    return _mm512_reduce_add_epi32(sum);
}

/// The high bytes of weights are summed apart and shifted in at the end: 16 accumulators for 4 rows.
LHK_ALWAYS_INLINE void LHK_NAME(dot)(const int bits, const int planes, const int rows, const uint8_t *codes, int64_t steps,
                                     const uint8_t *w, int64_t ldw, int64_t plane, lhk_quant_ints (*acc)[2]) {
    __m512i high[4][2], low[4][2];
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
        LHK_UNROLL
        for (int u = 0; u < 2; u++) {
            high[r][u] = planes == 2 ? _mm512_setzero_si512() : (__m512i)acc[r][u];
            low[r][u] = (__m512i)acc[r][u];
        }
    }
    for (int64_t s = 0; s < steps; s++, codes += 16 * bits, w += 4) {
        __m512i first = _mm512_loadu_si512(codes), second;
        __builtin_prefetch(codes + LHK_QUANT_AHEAD, 0, 2);
        if (bits == 8) __builtin_prefetch(codes + LHK_QUANT_AHEAD + 64, 0, 2);
        if (bits == 8) {
            second = _mm512_loadu_si512(codes + 64);
        } else {
            const __m512i nibble = _mm512_set1_epi8(15);
            second = _mm512_and_si512(_mm512_srli_epi16(first, 4), nibble);
            first = _mm512_and_si512(first, nibble);
        }
        LHK_UNROLL
        for (int r = 0; r < rows; r++) {
            high[r][0] = LHK_NAME(four)(high[r][0], first, w + r * ldw);
            high[r][1] = LHK_NAME(four)(high[r][1], second, w + r * ldw);
            if (planes == 1) continue;
            low[r][0] = LHK_NAME(four)(low[r][0], first, w + r * ldw + plane);
            low[r][1] = LHK_NAME(four)(low[r][1], second, w + r * ldw + plane);
        }
    }
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
        LHK_UNROLL
        for (int u = 0; u < 2; u++)
            acc[r][u] = (lhk_quant_ints)(planes == 2 ? _mm512_add_epi32(low[r][u], _mm512_slli_epi32(high[r][u], 7))
                                                     : high[r][u]);
    }
}

#endif
