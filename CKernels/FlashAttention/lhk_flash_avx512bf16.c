// SPDX-License-Identifier: Apache-2.0
/// AVX-512 BF16 kernels: queries and probabilities rounded to bf16, two products per lane and instruction, f32 sums.
#if defined(__x86_64__)
#include <immintrin.h>

#include "lhk_flash_kernel.h"

LHK_TARGET_BEGIN(LHK_FEATURES_AVX512BF16)
#include "lhk_flash_avx512.h"

LHK_ALWAYS_INLINE vec vdot(vec sum, __m512i a, vec b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

#define LHK_ISA(x) lhk_flash_avx512bf16_##x
#include "lhk_flash_softmax.h"

/// The softmax with probabilities rounded to bf16 at the start of each row's storage. The sum is of the unrounded ones.
static void lhk_flash_avx512bf16_softmax_bf16(const lhk_flash_strip *s, float *scores, int64_t lds, int32_t width) {
    for (int32_t r = 0; r < s->rows; r++) {
        float *row = scores + r * lds;
        uint16_t *rounded = (uint16_t *)row;
        vec m = vset(lhk_flash_avx512bf16_advance(s, r, row, width)), sum = vset(0);
        for (int32_t x = 0; x < width; x += 16) {
            vec p = lhk_flash_avx512bf16_exp2(vsub(vload(row + x), m));
            sum = vadd(sum, p);
            _mm256_storeu_si256((__m256i *)(rounded + x), (__m256i)_mm512_cvtneps_pbh(p));
        }
        s->l[r] += vsum(sum);
    }
}

#define LHK_ROWS 6
#define LHK_UNITS 4
#define LHK_PANEL_F16 0
#define LHK_PANEL_BF16 0
#define LHK_PANEL_BF16_DOT 1
#define LHK_NAME(x) lhk_flash_bf16_avx512bf16_##x
#define vload_panel(p) _mm512_loadu_ps((const float *)(p))
#include "lhk_flash_body.h"

LHK_TARGET_END
#endif
