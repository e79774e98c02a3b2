// SPDX-License-Identifier: Apache-2.0
/// Kernels of the BF16 extension: queries and probabilities rounded to bf16, two products per lane and instruction, f32
/// sums. BFDOT rounds every intermediate result to odd and takes subnormals as zero. BFMLALB and BFMLALT would round to
/// nearest, at twice the instructions and so at the price of plain f32; BFMMLA wants another panel, four channels deep.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <lhk/hadamard.h>

#include "lhk_flash_kernel.h"

LHK_TARGET_BEGIN(LHK_FEATURES_NEON_BF16)
#include "lhk_flash_neon.h"

LHK_ALWAYS_INLINE vec vset_pair(uint32_t x) { return vreinterpretq_f32_u32(vdupq_n_u32(x)); }
LHK_ALWAYS_INLINE vec vdot(vec sum, vec a, vec b) {
    return vbfdotq_f32(sum, vreinterpretq_bf16_f32(a), vreinterpretq_bf16_f32(b));
}
LHK_ALWAYS_INLINE void vstore_bf16(uint16_t *p, vec x) { vst1_u16(p, vreinterpret_u16_bf16(vcvt_bf16_f32(x))); }

#define LHK_ISA(x) lhk_flash_neon_bf16_##x
#define LHK_SOFTMAX_BF16
#include "lhk_flash_softmax.h"

#define LHK_ROWS 6
#define LHK_UNITS 1
#define LHK_PANEL_F16 0
#define LHK_PANEL_BF16 0
#define LHK_PANEL_BF16_DOT 1
#define LHK_NAME(x) lhk_flash_bf16_neon_bf16_##x
#define vload_panel(p) vreinterpretq_f32_u32(vload_bits(p))
#include "lhk_flash_body.h"

#define LHK_HADAMARD(x) lhk_flash_neon_bf16_hadamard_##x
#include <lhk/hadamard_body.inc>
LHK_TARGET_END

LHK_TARGET_BEGIN(LHK_FEATURES_NEON_I8MM_BF16)
#undef LHK_NAME
#define LHK_NAME(x) lhk_flash_i8_neon_bf16_##x
#define LHK_I8_ROWS 6
#define LHK_I8_UNITS 1
#define LHK_I8_WORDS 1
#define LHK_I8_VALUES lhk_flash_bf16_neon_bf16_values
#define LHK_I8_SOFTMAX lhk_flash_neon_bf16_softmax_bf16
#define LHK_I8_WEIGHTS LHK_DTYPE_BF16
#include "lhk_flash_neon_i8mm.h"
#include "lhk_flash_i8_body.h"
LHK_TARGET_END
#endif
