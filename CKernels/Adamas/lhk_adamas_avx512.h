// SPDX-License-Identifier: Apache-2.0
/// The words of AVX-512. The including file defines LHK_ADAMAS_POPCNT, 0 or 1: VPOPCNTDQ and VBMI.
#define LHK_WORDS 8
typedef uint64_t LHK_NAME(vwords) __attribute__((vector_size(64)));
#if LHK_ADAMAS_POPCNT
LHK_ALWAYS_INLINE LHK_NAME(vwords) LHK_NAME(vcount)(LHK_NAME(vwords) x) {
    return (LHK_NAME(vwords))_mm512_popcnt_epi64((__m512i)x);
}
#else
LHK_ALWAYS_INLINE LHK_NAME(vwords) LHK_NAME(vcount)(LHK_NAME(vwords) x) {
    const __m512i table = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    const __m512i nibble = _mm512_set1_epi8(15);
    __m512i low = _mm512_shuffle_epi8(table, _mm512_and_si512((__m512i)x, nibble));
    __m512i high = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16((__m512i)x, 4), nibble));
    return (LHK_NAME(vwords))_mm512_sad_epu8(_mm512_add_epi8(low, high), _mm512_setzero_si512());
}
#endif
#define LHK_ADAMAS_TERNARY
LHK_ALWAYS_INLINE LHK_NAME(vwords) LHK_NAME(vleast)(LHK_NAME(vwords) h, LHK_NAME(vwords) l, uint64_t q) {
    return (LHK_NAME(vwords))_mm512_ternarylogic_epi64((__m512i)h, (__m512i)l, _mm512_set1_epi64((int64_t)q), 0x56);
}
LHK_ALWAYS_INLINE LHK_NAME(vwords) LHK_NAME(vmost)(LHK_NAME(vwords) h, LHK_NAME(vwords) l, uint64_t q) {
    return (LHK_NAME(vwords))_mm512_ternarylogic_epi64((__m512i)h, (__m512i)l, _mm512_set1_epi64((int64_t)q), 0x6a);
}
LHK_ALWAYS_INLINE void LHK_NAME(vminus)(LHK_NAME(vwords) sum, float *out) {
    _mm256_storeu_ps(out, _mm512_cvtepi64_ps((__m512i)(0 - sum)));
}

#define LHK_BYTES 64
#if LHK_ADAMAS_POPCNT
#define LHK_ADAMAS_PERMUTE
#else
typedef uint8_t LHK_NAME(vbytes) __attribute__((vector_size(64)));
LHK_ALWAYS_INLINE LHK_NAME(vbytes) LHK_NAME(look)(const uint8_t *table, LHK_NAME(vbytes) x) {
    __m512i all = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table));
    return (LHK_NAME(vbytes))_mm512_shuffle_epi8(all, (__m512i)x);
}
#endif
LHK_ALWAYS_INLINE void LHK_NAME(halves)(const uint16_t *from, lhk_adamas_floats *to) {
    *to = (lhk_adamas_floats)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
}
LHK_ALWAYS_INLINE uint32_t LHK_NAME(greater)(const float *y, float t) {
    return _mm512_cmp_ps_mask(_mm512_loadu_ps(y), _mm512_set1_ps(t), _CMP_GT_OQ);
}
LHK_ALWAYS_INLINE uint32_t LHK_NAME(at_least)(const float *x, float least) {
    return _mm512_cmp_ps_mask(_mm512_loadu_ps(x), _mm512_set1_ps(least), _CMP_GE_OQ);
}
LHK_ALWAYS_INLINE void LHK_NAME(fuse)(lhk_adamas_floats *x, const lhk_adamas_floats *y, const lhk_adamas_floats *z) {
    *x = (lhk_adamas_floats)_mm512_fmadd_ps((__m512)*x, (__m512)*y, (__m512)*z);
}
LHK_ALWAYS_INLINE void LHK_NAME(power)(lhk_adamas_floats *x, float shift) {  // the product is exact, so fusing rounds nothing
    __m512 bits = _mm512_fmadd_ps((__m512)*x, _mm512_set1_ps(0x1p23f), _mm512_set1_ps(shift));
    *x = (lhk_adamas_floats)_mm512_cvttps_epi32(_mm512_max_ps(bits, _mm512_setzero_ps()));
}
LHK_ALWAYS_INLINE float LHK_NAME(greatest)(const lhk_adamas_floats *x) { return _mm512_reduce_max_ps((__m512)*x); }
LHK_ALWAYS_INLINE int64_t LHK_NAME(compress)(const float *x, uint32_t bits, float *out) {
    _mm512_storeu_ps(out, _mm512_maskz_compress_ps((__mmask16)bits, _mm512_loadu_ps(x)));  // whole, as in `keep`
    return __builtin_popcount(bits);
}
LHK_ALWAYS_INLINE int64_t LHK_NAME(keep)(const float *x, float least, int32_t first, int32_t *which, float *kept) {
    const __m512i numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512 v = _mm512_loadu_ps(x);
    __mmask16 bits = _mm512_cmp_ps_mask(v, _mm512_set1_ps(least), _CMP_GE_OQ);
    if (!bits) return 0;
    // Whole stores: compressing to memory is microcode on some processors.
    _mm512_storeu_si512(which, _mm512_maskz_compress_epi32(bits, _mm512_add_epi32(numbers, _mm512_set1_epi32(first))));
    _mm512_storeu_ps(kept, _mm512_maskz_compress_ps(bits, v));
    return __builtin_popcount(bits);
}

#include "lhk_adamas_plain.h"
#include "lhk_adamas_body.h"

#undef LHK_WORDS
#undef LHK_BYTES
#undef LHK_ADAMAS_PERMUTE
#undef LHK_ADAMAS_TERNARY
