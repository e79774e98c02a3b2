// SPDX-License-Identifier: Apache-2.0
/// NEON: byte counts, byte products widened to 16 bits.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "lhk_adamas_kernel.h"

#define LHK_NAME(x) lhk_adamas_neon_##x
#define LHK_ADAMAS_WORD "neon"
#define LHK_ADAMAS_ISA LHK_ISA_NEON
#define LHK_ADAMAS_SPEED 0.15
#define LHK_HADAMARD(x) lhk_adamas_neon_hadamard_##x
#define LHK_HADAMARD_LANES 4
#include <lhk/hadamard_body.inc>
typedef int32_t LHK_NAME(sums) __attribute__((vector_size(16)));
LHK_ALWAYS_INLINE LHK_NAME(sums) LHK_NAME(dot)(LHK_NAME(sums) sum, LHK_NAME(sums) steps, int32_t weights) {
    int8x16_t q = vreinterpretq_s8_s32(vdupq_n_s32(weights)), a = (int8x16_t)steps;  // steps are at most 127
    int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(q)), high = vmull_high_s8(a, q);
    return sum + (LHK_NAME(sums))vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
}
#include "lhk_adamas_neon.h"
#endif
