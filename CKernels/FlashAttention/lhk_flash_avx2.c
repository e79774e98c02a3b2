// SPDX-License-Identifier: Apache-2.0
/// AVX2 + FMA + F16C kernels: 6 rows x 16 columns in 12 of 16 registers.
#if defined(__x86_64__)
#include <immintrin.h>

#include <lhk/hadamard.h>

#include "lhk_flash_kernel.h"

LHK_TARGET_BEGIN(LHK_FEATURES_AVX2)

typedef __m256 vec;
#define LHK_LANES 8

LHK_ALWAYS_INLINE vec vload(const float *p) { return _mm256_loadu_ps(p); }
LHK_ALWAYS_INLINE void vstore(float *p, vec x) { _mm256_storeu_ps(p, x); }
LHK_ALWAYS_INLINE vec vset(float x) { return _mm256_set1_ps(x); }
LHK_ALWAYS_INLINE vec vadd(vec a, vec b) { return _mm256_add_ps(a, b); }
LHK_ALWAYS_INLINE vec vsub(vec a, vec b) { return _mm256_sub_ps(a, b); }
LHK_ALWAYS_INLINE vec vmul(vec a, vec b) { return _mm256_mul_ps(a, b); }
LHK_ALWAYS_INLINE vec vfma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
LHK_ALWAYS_INLINE vec vmax(vec a, vec b) { return _mm256_max_ps(a, b); }
LHK_ALWAYS_INLINE vec vround(vec x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
LHK_ALWAYS_INLINE vec vpow2(vec x, vec n) {
    // 2^n is built from the exponent bits; a NaN n gives some finite factor, and x is NaN then.
    __m256i bits = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    vec y = _mm256_mul_ps(x, _mm256_castsi256_ps(bits));
    return _mm256_andnot_ps(_mm256_cmp_ps(n, vset(-126), _CMP_LT_OQ), y);
}
LHK_ALWAYS_INLINE float vsum(vec x) {
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
}
LHK_ALWAYS_INLINE float vgreatest(vec x) {
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
}

#define LHK_ISA(x) lhk_flash_avx2_##x
#include "lhk_flash_softmax.h"

#define LHK_ROWS 6
#define LHK_UNITS 1
#define LHK_PANEL_F16 0
#define LHK_PANEL_BF16 0
#define LHK_PANEL_BF16_DOT 0
#define LHK_NAME(x) lhk_flash_f32_avx2_##x
#define vload_panel(p) _mm256_loadu_ps((const float *)(p))
#include "lhk_flash_body.h"

#undef LHK_PANEL_F16
#undef LHK_NAME
#undef vload_panel
#define LHK_PANEL_F16 1
#define LHK_NAME(x) lhk_flash_f16_avx2_##x
#define vload_panel(p) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p)))
#include "lhk_flash_body.h"

#undef LHK_PANEL_F16
#undef LHK_PANEL_BF16
#undef LHK_NAME
#define LHK_PANEL_F16 0
#define LHK_PANEL_BF16 1
#define LHK_NAME(x) lhk_flash_bf16_avx2_##x
#define vload_bf16_even(p) _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256((const __m256i *)(p)), 16))
#define vload_bf16_odd(p) \
    _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256((const __m256i *)(p)), _mm256_set1_epi32(-65536)))
#include "lhk_flash_body.h"

#define LHK_HADAMARD(x) lhk_flash_avx2_hadamard_##x
#define LHK_HADAMARD_LANES 8
#include <lhk/hadamard_body.inc>

// Even and odd channels of four as 16-bit lanes, so that `vpmaddwd` is exact: `vpmaddubsw` on the bytes would saturate.
#undef LHK_NAME
#define LHK_NAME(x) lhk_flash_i8_avx2_##x
#define LHK_I8_ROWS 3
#define LHK_I8_UNITS 1
#define LHK_I8_WORDS 2
#define LHK_I8_VALUES lhk_flash_bf16_avx2_values
#define LHK_I8_SOFTMAX lhk_flash_avx2_softmax
#define LHK_I8_WEIGHTS LHK_DTYPE_F32
typedef struct keys8 { __m256i even, odd; } keys8;
typedef int32_t sum8 __attribute__((vector_size(32)));  // not of 64-bit numbers, see lhk_flash_avx512.h
LHK_ALWAYS_INLINE keys8 load8(const uint8_t *p) {
    __m256i x = _mm256_loadu_si256((const __m256i *)p);
    return (keys8){_mm256_and_si256(x, _mm256_set1_epi16(255)), _mm256_srli_epi16(x, 8)};
}
LHK_ALWAYS_INLINE sum8 dot8(sum8 sum, const uint32_t *words, keys8 keys) {
    sum += (sum8)_mm256_madd_epi16(keys.even, _mm256_set1_epi32((int32_t)words[0]));
    return sum + (sum8)_mm256_madd_epi16(keys.odd, _mm256_set1_epi32((int32_t)words[1]));
}
LHK_ALWAYS_INLINE sum8 start8(int32_t bias) { return (sum8)_mm256_set1_epi32(-bias); }
LHK_ALWAYS_INLINE vec float8(sum8 sum) { return _mm256_cvtepi32_ps((__m256i)sum); }
#include "lhk_flash_i8_body.h"

LHK_TARGET_END
#endif
