// SPDX-License-Identifier: Apache-2.0
/// AVX2: population counts and weights of codes by nibble tables.
#if defined(__x86_64__)
#include <immintrin.h>

#include "lhk_adamas_kernel.h"

LHK_TARGET_BEGIN(LHK_FEATURES_AVX2)
#define LHK_NAME(x) lhk_adamas_avx2_##x
#define LHK_ADAMAS_WORD "avx2"
#define LHK_ADAMAS_ISA LHK_ISA_AVX2
#define LHK_ADAMAS_SPEED 0.25
#define LHK_HADAMARD(x) lhk_adamas_avx2_hadamard_##x
#define LHK_HADAMARD_LANES 8
#include <lhk/hadamard_body.inc>

#define LHK_WORDS 4
typedef uint64_t LHK_NAME(vwords) __attribute__((vector_size(32)));
LHK_ALWAYS_INLINE LHK_NAME(vwords) LHK_NAME(vcount)(LHK_NAME(vwords) x) {
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2,
                                           3, 3, 4);
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i low = _mm256_shuffle_epi8(table, _mm256_and_si256((__m256i)x, nibble));
    __m256i high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16((__m256i)x, 4), nibble));
    return (LHK_NAME(vwords))_mm256_sad_epu8(_mm256_add_epi8(low, high), _mm256_setzero_si256());
}
LHK_ALWAYS_INLINE void LHK_NAME(vminus)(LHK_NAME(vwords) sum, float *out) {
    __m256i low = _mm256_permutevar8x32_epi32((__m256i)(0 - sum), _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
    _mm_storeu_ps(out, _mm_cvtepi32_ps(_mm256_castsi256_si128(low)));
}

#define LHK_BYTES 32
typedef uint8_t LHK_NAME(vbytes) __attribute__((vector_size(32)));
LHK_ALWAYS_INLINE LHK_NAME(vbytes) LHK_NAME(look)(const uint8_t *table, LHK_NAME(vbytes) x) {
    __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table));
    return (LHK_NAME(vbytes))_mm256_shuffle_epi8(both, (__m256i)x);
}
LHK_ALWAYS_INLINE void LHK_NAME(halves)(const uint16_t *from, lhk_adamas_floats *to) {
    for (int i = 0; i < 2; i++)
        _mm256_storeu_ps((float *)to + 8 * i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from + i)));
}
LHK_ALWAYS_INLINE void LHK_NAME(fuse)(lhk_adamas_floats *x, const lhk_adamas_floats *y, const lhk_adamas_floats *z) {
    __m256 a[2], b[2], c[2];
    memcpy(a, x, sizeof a);
    memcpy(b, y, sizeof b);
    memcpy(c, z, sizeof c);
    for (int i = 0; i < 2; i++) a[i] = _mm256_fmadd_ps(a[i], b[i], c[i]);
    memcpy(x, a, sizeof a);
}
LHK_ALWAYS_INLINE uint32_t LHK_NAME(greater)(const float *y, float t) {
    __m256 limit = _mm256_set1_ps(t);
    int low = _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(y), limit, _CMP_GT_OQ));
    return (uint32_t)(low | _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(y + 8), limit, _CMP_GT_OQ)) << 8);
}
LHK_ALWAYS_INLINE uint32_t LHK_NAME(at_least)(const float *x, float least) {
    __m256 limit = _mm256_set1_ps(least);
    int low = _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(x), limit, _CMP_GE_OQ));
    return (uint32_t)(low | _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(x + 8), limit, _CMP_GE_OQ)) << 8);
}

#define LHK_ADAMAS_PLAIN_KEEP
#include "lhk_adamas_plain.h"
#include "lhk_adamas_body.h"
LHK_TARGET_END
#endif
