// SPDX-License-Identifier: Apache-2.0
/// AVX-512 BF16 kernels: queries and probabilities rounded to bf16, two products per lane and instruction, f32 sums; and,
/// with VNNI, four products of 8-bit codes for the scores.
#if defined(__x86_64__)
#include <immintrin.h>

#include <lhk/hadamard.h>

#include "lhk_flash_kernel.h"

LHK_TARGET_BEGIN(LHK_FEATURES_AVX512BF16)
#include "lhk_flash_avx512.h"

LHK_ALWAYS_INLINE vec vset_pair(uint32_t x) { return _mm512_castsi512_ps(_mm512_set1_epi32((int)x)); }
LHK_ALWAYS_INLINE vec vdot(vec sum, vec a, vec b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }
/// vdot(sum, vset_pair(*a), b) with the broadcast inside the instruction, which compilers leave outside.
LHK_ALWAYS_INLINE vec vdot_at(vec sum, const uint32_t *a, vec b) {
    __asm__("vdpbf16ps %1%{1to16%}, %2, %0" : "+v"(sum) : "m"(*a), "v"(b));
    return sum;
}
LHK_ALWAYS_INLINE void vstore_bf16(uint16_t *p, vec x) {
    _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh(x));
}

#define LHK_ISA(x) lhk_flash_avx512bf16_##x
#define LHK_SOFTMAX_BF16
#include "lhk_flash_softmax.h"

#define LHK_ROWS 6
#define LHK_UNITS 4
#define LHK_PANEL_F16 0
#define LHK_PANEL_BF16 0
#define LHK_PANEL_BF16_DOT 1
#define LHK_NAME(x) lhk_flash_bf16_avx512bf16_##x
#define vload_panel(p) _mm512_loadu_ps((const float *)(p))
#include "lhk_flash_body.h"

#define LHK_HADAMARD(x) lhk_flash_avx512bf16_hadamard_##x
#include <lhk/hadamard_body.inc>
LHK_TARGET_END

LHK_TARGET_BEGIN(LHK_FEATURES_AVX512VNNI_BF16)
#undef LHK_NAME
#define LHK_NAME(x) lhk_flash_i8_avx512bf16_##x
#define LHK_I8_ROWS 6
#define LHK_I8_UNITS 4
#define LHK_I8_WORDS 1
#define LHK_I8_VALUES lhk_flash_bf16_avx512bf16_values
#define LHK_I8_SOFTMAX lhk_flash_avx512bf16_softmax_bf16
#define LHK_I8_WEIGHTS LHK_DTYPE_BF16
#include "lhk_flash_avx512vnni.h"
#include "lhk_flash_i8_body.h"
LHK_TARGET_END
#endif
