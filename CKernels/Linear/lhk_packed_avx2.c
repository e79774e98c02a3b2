// SPDX-License-Identifier: Apache-2.0
#if defined(__x86_64__)
#include <immintrin.h>

#include "lhk_packed_format.h"

LHK_TARGET_BEGIN(LHK_FEATURES_AVX2)

typedef struct codes { __m256i v[2]; } codes;
typedef struct ints { __m256i v[2]; } ints;
typedef struct floats { __m256 v[2]; } floats;

#define LHK_PACKED_TABLE lhk_packed_avx2
#define LHK_TILE_ROWS 2
#define LHK_FINE_TILE_ROWS 2
#define LHK_TILE_PANELS 1
#define LHK_UNSIGNED_CODES 0

#define LHK_EACH for (int p = 0; p < 2; p++)

LHK_ALWAYS_INLINE __m256i vload(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
LHK_ALWAYS_INLINE void vsteps4(const uint8_t *at, codes *low, codes *high) {
    const __m256i mask = _mm256_set1_epi8(15);
    LHK_EACH {
        const __m256i v = vload(at + 32 * p);
        low->v[p] = _mm256_and_si256(v, mask);
        high->v[p] = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
    }
}
/// Each bit to its byte: the byte of bits is copied eight times, and each copy asked for one bit.
LHK_ALWAYS_INLINE codes vfifth(codes w, const uint8_t *bits) {
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3,
                                            3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201ull), sixteen = _mm256_set1_epi8(16);
    LHK_EACH {
        int32_t four;
        memcpy(&four, bits + 4 * p, 4);
        const __m256i copies = _mm256_shuffle_epi8(_mm256_set1_epi32(four), spread);
        const __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(copies, bit), bit);
        w.v[p] = _mm256_or_si256(w.v[p], _mm256_and_si256(is_set, sixteen));
    }
    return w;
}
LHK_ALWAYS_INLINE codes vstep8(const uint8_t *at) { return (codes){{vload(at), vload(at + 32)}}; }
LHK_ALWAYS_INLINE codes vflip(codes w) { return w; }
/// Sums of two products fit 16 bits: codes are below 64, or signed ones whose sign goes to the other factor, which leaves
/// 2 * 128 * 127.
LHK_ALWAYS_INLINE ints vdot(ints sum, codes w, bool is_signed, const uint8_t *x) {
    int32_t four;
    memcpy(&four, x, 4);
    const __m256i xs = _mm256_set1_epi32(four), ones = _mm256_set1_epi16(1);
    LHK_EACH {
        const __m256i pairs = is_signed ? _mm256_maddubs_epi16(_mm256_abs_epi8(w.v[p]), _mm256_sign_epi8(xs, w.v[p]))
                                        : _mm256_maddubs_epi16(w.v[p], xs);
        sum.v[p] = _mm256_add_epi32(sum.v[p], _mm256_madd_epi16(pairs, ones));
    }
    return sum;
}
LHK_ALWAYS_INLINE ints vints(int32_t x) { return (ints){{_mm256_set1_epi32(x), _mm256_set1_epi32(x)}}; }
LHK_ALWAYS_INLINE ints vshift_add(ints a, ints b, int shift) {
    LHK_EACH a.v[p] = _mm256_add_epi32(a.v[p], _mm256_slli_epi32(b.v[p], shift));
    return a;
}
LHK_ALWAYS_INLINE floats vfloat(ints x) { return (floats){{_mm256_cvtepi32_ps(x.v[0]), _mm256_cvtepi32_ps(x.v[1])}}; }
LHK_ALWAYS_INLINE floats vset(float x) { return (floats){{_mm256_set1_ps(x), _mm256_set1_ps(x)}}; }
LHK_ALWAYS_INLINE floats vmul(floats a, floats b) {
    LHK_EACH a.v[p] = _mm256_mul_ps(a.v[p], b.v[p]);
    return a;
}
LHK_ALWAYS_INLINE floats vfma(floats a, floats b, floats c) {
    LHK_EACH c.v[p] = _mm256_fmadd_ps(a.v[p], b.v[p], c.v[p]);
    return c;
}
LHK_ALWAYS_INLINE floats vhalf(const uint8_t *at) {
    floats v;
    LHK_EACH v.v[p] = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(at + 16 * p)));
    return v;
}
LHK_ALWAYS_INLINE floats vbytes(const uint8_t *at) {
    floats v;
    LHK_EACH v.v[p] = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(at + 8 * p))));
    return v;
}
LHK_ALWAYS_INLINE floats vsigned_bytes(const uint8_t *at) {
    floats v;
    LHK_EACH v.v[p] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(at + 8 * p))));
    return v;
}
LHK_ALWAYS_INLINE void vstore(float *to, floats v, size_t count) {
    if (count == LHK_PANEL_ROWS) {
        LHK_EACH _mm256_storeu_ps(to + 8 * p, v.v[p]);
    } else {
        memcpy(to, &v, count * sizeof *to);
    }
}

#include "lhk_packed_body.h"

LHK_TARGET_END
#endif
