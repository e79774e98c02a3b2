// SPDX-License-Identifier: Apache-2.0
/// NEON: codes widened to 16 bits, four multiply-adds of four products at a time.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "lhk_quant_vector.h"

#define LHK_NAME(x) lhk_quant_neon_##x
#define LHK_HADAMARD(x) lhk_quant_neon_hadamard_##x
#define LHK_HADAMARD_LANES 4
#include <lhk/hadamard_body.inc>

#define LHK_QUANT_PLANES 0
#define LHK_QUANT_PLAIN_WEIGHTS
#define LHK_QUANT_BIAS(bits) ((bits) == 8 ? LHK_QUANT_ZERO : 0)
#include "lhk_quant_neon.h"

/// Four columns at a time: each has a vector, whose lanes are summed at the end.
LHK_ALWAYS_INLINE void LHK_NAME(dot)(const int bits, const int planes, const int rows, const uint8_t *codes, int64_t steps,
                                     const uint8_t *w, int64_t ldw, int64_t plane, lhk_quant_ints (*acc)[2]) {
    (void)planes;
    (void)plane;
    for (int x = 0; x < 32; x += 4) {
        const uint8_t *at = codes + (bits == 8 ? x : x % 16) * 4;
        int32x4_t sum[4][4];
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < 4; i++) sum[r][i] = vdupq_n_s32(0);
        for (int64_t s = 0; s < steps; s++, at += 16 * bits) {
            uint8x16_t column = LHK_NAME(columns)(bits, at, x);
            int16x8_t low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(column)));
            int16x8_t high = vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(column)));
            for (int r = 0; r < rows; r++) {
                int16x4_t four = vld1_s16((const int16_t *)(w + r * ldw + 8 * s));
                sum[r][0] = vmlal_s16(sum[r][0], vget_low_s16(low), four);
                sum[r][1] = vmlal_s16(sum[r][1], vget_high_s16(low), four);
                sum[r][2] = vmlal_s16(sum[r][2], vget_low_s16(high), four);
                sum[r][3] = vmlal_s16(sum[r][3], vget_high_s16(high), four);
            }
        }
        for (int r = 0; r < rows; r++) {
            int32x4_t columns = vpaddq_s32(vpaddq_s32(sum[r][0], sum[r][1]), vpaddq_s32(sum[r][2], sum[r][3]));
            int32_t *to = (int32_t *)&acc[r][x / 16] + x % 16;
            vst1q_s32(to, vaddq_s32(vld1q_s32(to), columns));
        }
    }
}

#include "lhk_quant_body.h"
#define LHK_QUANT_PLAIN_PAIRS
#include "lhk_quant_unpack.h"
#endif
