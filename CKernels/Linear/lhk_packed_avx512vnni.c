// SPDX-License-Identifier: Apache-2.0
#if defined(__x86_64__)
#include <immintrin.h>

#include "lhk_packed_format.h"

LHK_TARGET_BEGIN(LHK_FEATURES_AVX512VNNI)

typedef __m512i codes;
typedef __m512i ints;
typedef __m512 floats;

#define LHK_PACKED_TABLE lhk_packed_avx512vnni
#define LHK_TILE_ROWS 6
#define LHK_FINE_TILE_ROWS 4
#define LHK_TILE_PANELS 2
#define LHK_UNSIGNED_CODES 1

LHK_ALWAYS_INLINE void vsteps4(const uint8_t *p, codes *low, codes *high) {
    const __m512i v = _mm512_loadu_si512(p), mask = _mm512_set1_epi8(15);
    *low = _mm512_and_si512(v, mask);
    *high = _mm512_and_si512(_mm512_srli_epi16(v, 4), mask);
}
LHK_ALWAYS_INLINE codes vfifth(codes v, const uint8_t *bits) {
    uint64_t mask;
    memcpy(&mask, bits, 8);
    return _mm512_mask_add_epi8(v, mask, v, _mm512_set1_epi8(16));
}
LHK_ALWAYS_INLINE codes vstep8(const uint8_t *p) { return _mm512_loadu_si512(p); }
LHK_ALWAYS_INLINE codes vflip(codes v) { return _mm512_xor_si512(v, _mm512_set1_epi8(-128)); }
LHK_ALWAYS_INLINE ints vdot(ints sum, codes w, bool is_signed, const uint8_t *x) {
    (void)is_signed;
    int32_t four;
    memcpy(&four, x, 4);
    return _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(four));
}
LHK_ALWAYS_INLINE ints vints(int32_t x) { return _mm512_set1_epi32(x); }
LHK_ALWAYS_INLINE ints vshift_add(ints a, ints b, int shift) {
    return _mm512_add_epi32(a, _mm512_slli_epi32(b, (unsigned)shift));
}
LHK_ALWAYS_INLINE floats vfloat(ints v) { return _mm512_cvtepi32_ps(v); }
LHK_ALWAYS_INLINE floats vset(float x) { return _mm512_set1_ps(x); }
LHK_ALWAYS_INLINE floats vmul(floats a, floats b) { return _mm512_mul_ps(a, b); }
LHK_ALWAYS_INLINE floats vfma(floats a, floats b, floats c) { return _mm512_fmadd_ps(a, b, c); }
LHK_ALWAYS_INLINE floats vhalf(const uint8_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
LHK_ALWAYS_INLINE floats vbytes(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
LHK_ALWAYS_INLINE floats vsigned_bytes(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
LHK_ALWAYS_INLINE void vstore(float *p, floats v, size_t count) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), v);
}

#include "lhk_packed_body.h"

LHK_TARGET_END
#endif
