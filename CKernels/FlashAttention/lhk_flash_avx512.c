// SPDX-License-Identifier: Apache-2.0
/// AVX-512 (F, BW, VL, DQ) kernels: 6 rows x 64 columns in 24 of 32 registers.
#if defined(__x86_64__)
#include <immintrin.h>

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

LHK_TARGET_END
#endif
