// SPDX-License-Identifier: Apache-2.0
/// AVX2: population counts by nibble tables, byte products by vpmaddubsw, which cannot saturate at 127 * 127 * 2.
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

#define LHK_LANES 8
#define LHK_TILE 2
typedef int32_t LHK_NAME(vlanes) __attribute__((vector_size(32)));
typedef struct LHK_NAME(vtables) {
    __m256i low, high;  ///< by a nibble: step of its low and of its high code
} LHK_NAME(vtables);
LHK_ALWAYS_INLINE LHK_NAME(vtables) LHK_NAME(tables)(const uint8_t *step) {
    uint8_t low[16], high[16];
    lhk_adamas_nibbles(step, low, high);
    return (LHK_NAME(vtables)){_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)low)),
                               _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)high))};
}
LHK_ALWAYS_INLINE void LHK_NAME(unpack)(LHK_NAME(vlanes) w, LHK_NAME(vtables) tables, LHK_NAME(vlanes) *out) {
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i a = _mm256_and_si256((__m256i)w, nibble), b = _mm256_and_si256(_mm256_srli_epi16((__m256i)w, 4), nibble);
    out[0] = (LHK_NAME(vlanes))_mm256_shuffle_epi8(tables.low, a);
    out[1] = (LHK_NAME(vlanes))_mm256_shuffle_epi8(tables.high, a);
    out[2] = (LHK_NAME(vlanes))_mm256_shuffle_epi8(tables.low, b);
    out[3] = (LHK_NAME(vlanes))_mm256_shuffle_epi8(tables.high, b);
}
LHK_ALWAYS_INLINE LHK_NAME(vlanes) LHK_NAME(dot)(LHK_NAME(vlanes) sum, LHK_NAME(vlanes) steps, int32_t weights) {
    __m256i pairs = _mm256_maddubs_epi16((__m256i)steps, _mm256_set1_epi32(weights));
    return sum + (LHK_NAME(vlanes))_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}
LHK_ALWAYS_INLINE void LHK_NAME(halves)(const uint16_t *from, lhk_adamas_floats *to) {
    for (int i = 0; i < 2; i++)
        _mm256_storeu_ps((float *)to + 8 * i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from + i)));
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
