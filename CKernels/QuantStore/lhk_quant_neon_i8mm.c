// SPDX-License-Identifier: Apache-2.0
/// NEON with the 2 x 8 by 8 x 2 product of bytes: two columns, eight places deep, meet what has two of weights: the planes of
/// a row, or two rows. Codes are unsigned.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "lhk_quant_vector.h"

LHK_TARGET_BEGIN(LHK_FEATURES_NEON_I8MM)
#define LHK_NAME(x) lhk_quant_neon_i8mm_##x
#define LHK_HADAMARD(x) lhk_quant_neon_i8mm_hadamard_##x
#define LHK_HADAMARD_LANES 4
#include <lhk/hadamard_body.inc>

#define LHK_QUANT_PLANES 1
#define LHK_QUANT_PLAIN_WEIGHTS
#define LHK_QUANT_BIAS(bits) ((bits) == 8 ? LHK_QUANT_ZERO : 0)
#include "lhk_quant_neon.h"

LHK_ALWAYS_INLINE int32x4_t LHK_NAME(product)(const int bits, int32x4_t sum, uint8x16_t codes, int8x16_t four) {
    (void)bits;
    return vusdotq_s32(sum, codes, four);
}
#include "lhk_quant_neon_dot.h"

LHK_ALWAYS_INLINE void LHK_NAME(add)(lhk_quant_ints *acc, const int x, int32x4_t sum) {
    int32_t *to = (int32_t *)acc + x;
    vst1q_s32(to, vaddq_s32(vld1q_s32(to), sum));
}

/// Two steps and eight columns at a time: 16 accumulators for 4 rows of two planes. A last step alone, and weights alone in
/// their row and plane, go by dot products.
LHK_ALWAYS_INLINE void LHK_NAME(dot)(const int bits, const int planes, const int rows, const uint8_t *codes, int64_t steps,
                                     const uint8_t *w, int64_t ldw, int64_t plane, lhk_quant_ints (*acc)[2]) {
    const int pairs = planes == 2 ? rows : (rows + 1) / 2;
    const int64_t even = planes * rows == 1 ? 0 : steps & ~(int64_t)1;
    for (int x = 0; x < 32 && even; x += 8) {
        const uint8_t *at = codes + (bits == 8 ? x : x % 16) * 4;
        int32x4_t sum[4][4];
        for (int p = 0; p < pairs; p++)
            for (int i = 0; i < 4; i++) sum[p][i] = vdupq_n_s32(0);
        for (int64_t s = 0; s < even; s += 2, at += 32 * bits) {
            uint8x16_t column[4];
            for (int i = 0; i < 2; i++) {
                const uint32x4_t first = vreinterpretq_u32_u8(LHK_NAME(columns)(bits, at + 16 * i, x));
                const uint32x4_t second = vreinterpretq_u32_u8(LHK_NAME(columns)(bits, at + 16 * bits + 16 * i, x));
                column[2 * i] = vreinterpretq_u8_u32(vzip1q_u32(first, second));
                column[2 * i + 1] = vreinterpretq_u8_u32(vzip2q_u32(first, second));
            }
            for (int p = 0; p < pairs; p++) {
                const uint8_t *one = w + (planes == 2 ? p : 2 * p) * ldw + 4 * s;
                const uint8_t *other = planes == 2 ? one + plane : 2 * p + 1 < rows ? one + ldw : one;
                const int8x16_t eight = vreinterpretq_s8_u8(vcombine_u8(vld1_u8(one), vld1_u8(other)));
                for (int i = 0; i < 4; i++) sum[p][i] = vusmmlaq_s32(sum[p][i], column[i], eight);
            }
        }
        for (int p = 0; p < pairs; p++)
            for (int i = 0; i < 2; i++) {
                const int32x4_t one = vuzp1q_s32(sum[p][2 * i], sum[p][2 * i + 1]);
                const int32x4_t other = vuzp2q_s32(sum[p][2 * i], sum[p][2 * i + 1]);
                const int to = x % 16 + 4 * i;
                if (planes == 2) {
                    LHK_NAME(add)(&acc[p][x / 16], to, vaddq_s32(vshlq_n_s32(one, 7), other));
                    continue;
                }
                LHK_NAME(add)(&acc[2 * p][x / 16], to, one);
                if (2 * p + 1 < rows) LHK_NAME(add)(&acc[2 * p + 1][x / 16], to, other);
            }
    }
    if (even < steps)
        LHK_NAME(dot_steps)(bits, planes, rows, codes + even * 16 * bits, steps - even, w + 4 * even, ldw, plane, acc);
}

#include "lhk_quant_body.h"
#define LHK_QUANT_PLAIN_PAIRS
#include "lhk_quant_unpack.h"
LHK_TARGET_END
#endif
