// SPDX-License-Identifier: Apache-2.0
/// AVX-512 (F, BW, VL, DQ) kernels: 6 rows x 64 columns in 24 of 32 registers. The kernel for 8-bit keys comes a second
/// time for processors that have VNNI, but not BF16.
#if defined(__x86_64__)
#include <immintrin.h>

#include <lhk/hadamard.h>

#include "lhk_flash_kernel.h"

LHK_TARGET_BEGIN(LHK_FEATURES_AVX512)
#include "lhk_flash_avx512.h"

#define LHK_ISA(x) lhk_flash_avx512_##x
#include "lhk_flash_softmax.h"

#define LHK_ROWS 6
#define LHK_UNITS 4
#define LHK_PANEL_F16 0
#define LHK_PANEL_BF16 0
#define LHK_PANEL_BF16_DOT 0
#define LHK_NAME(x) lhk_flash_f32_avx512_##x
#define vload_panel(p) _mm512_loadu_ps((const float *)(p))
#include "lhk_flash_body.h"

#undef LHK_PANEL_F16
#undef LHK_NAME
#undef vload_panel
#define LHK_PANEL_F16 1
#define LHK_NAME(x) lhk_flash_f16_avx512_##x
#define vload_panel(p) _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p)))
#include "lhk_flash_body.h"

#undef LHK_PANEL_F16
#undef LHK_PANEL_BF16
#undef LHK_NAME
#define LHK_PANEL_F16 0
#define LHK_PANEL_BF16 1
#define LHK_NAME(x) lhk_flash_bf16_avx512_##x
#define vload_bf16_even(p) _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512((const void *)(p)), 16))
#define vload_bf16_odd(p) \
    _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512((const void *)(p)), _mm512_set1_epi32(-65536)))
#include "lhk_flash_body.h"

#define LHK_HADAMARD(x) lhk_flash_avx512_hadamard_##x
#include <lhk/hadamard_body.inc>

// Even and odd channels of four as 16-bit lanes, see the AVX2 kernel.
#undef LHK_NAME
#define LHK_NAME(x) lhk_flash_i8_avx512_##x
#define LHK_I8_ROWS 6
#define LHK_I8_UNITS 2
#define LHK_I8_WORDS 2
#define LHK_I8_VALUES lhk_flash_bf16_avx512_values
#define LHK_I8_SOFTMAX lhk_flash_avx512_softmax
#define LHK_I8_WEIGHTS LHK_DTYPE_F32
typedef struct pair8 { __m512i even, odd; } pair8;
#define keys8 pair8
#define load8 load_pair8
#define dot8 dot_pair8
LHK_ALWAYS_INLINE keys8 load8(const uint8_t *p) {
    __m512i x = _mm512_loadu_si512((const void *)p);
    return (keys8){_mm512_and_si512(x, _mm512_set1_epi16(255)), _mm512_srli_epi16(x, 8)};
}
LHK_ALWAYS_INLINE sum8 dot8(sum8 sum, const uint32_t *words, keys8 keys) {
    sum += (sum8)_mm512_madd_epi16(keys.even, _mm512_set1_epi32((int32_t)words[0]));
    return sum + (sum8)_mm512_madd_epi16(keys.odd, _mm512_set1_epi32((int32_t)words[1]));
}
#include "lhk_flash_i8_body.h"
LHK_TARGET_END

LHK_TARGET_BEGIN(LHK_FEATURES_AVX512VNNI)
#undef LHK_NAME
#undef LHK_I8_UNITS
#undef LHK_I8_WORDS
#undef keys8
#undef load8
#undef dot8
#define LHK_NAME(x) lhk_flash_i8_avx512vnni_##x
#define LHK_I8_UNITS 4
#define LHK_I8_WORDS 1
#include "lhk_flash_avx512vnni.h"
#include "lhk_flash_i8_body.h"
LHK_TARGET_END
#endif
