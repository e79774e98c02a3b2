// SPDX-License-Identifier: Apache-2.0
/// NEON with the dot product of bytes.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "lhk_adamas_kernel.h"

LHK_TARGET_BEGIN(LHK_FEATURES_NEON_DOTPROD)
#define LHK_NAME(x) lhk_adamas_neon_dotprod_##x
#define LHK_ADAMAS_WORD "neon_dotprod"
#define LHK_ADAMAS_ISA (LHK_ISA_NEON | LHK_ISA_NEON_DOTPROD)
#define LHK_ADAMAS_SPEED 0.3
#define LHK_HADAMARD(x) lhk_adamas_neon_dotprod_hadamard_##x
#define LHK_HADAMARD_LANES 4
#include <lhk/hadamard_body.inc>
typedef int32_t LHK_NAME(sums) __attribute__((vector_size(16)));
LHK_ALWAYS_INLINE LHK_NAME(sums) LHK_NAME(dot)(LHK_NAME(sums) sum, LHK_NAME(sums) steps, int32_t weights) {
    return (LHK_NAME(sums))vdotq_s32((int32x4_t)sum, (int8x16_t)steps, vreinterpretq_s8_s32(vdupq_n_s32(weights)));
}
#include "lhk_adamas_neon.h"
LHK_TARGET_END
#endif
