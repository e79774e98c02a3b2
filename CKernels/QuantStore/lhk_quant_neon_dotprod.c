// SPDX-License-Identifier: Apache-2.0
/// NEON with the dot product of bytes, both signed: the offset of q8 codes goes with their highest bit.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "lhk_quant_vector.h"

LHK_TARGET_BEGIN(LHK_FEATURES_NEON_DOTPROD)
#define LHK_NAME(x) lhk_quant_neon_dotprod_##x
#define LHK_HADAMARD(x) lhk_quant_neon_dotprod_hadamard_##x
#define LHK_HADAMARD_LANES 4
#include <lhk/hadamard_body.inc>

#define LHK_QUANT_PLANES 1
#define LHK_QUANT_PLAIN_WEIGHTS
#define LHK_QUANT_BIAS(bits) ((void)(bits), 0)
#include "lhk_quant_neon.h"

LHK_ALWAYS_INLINE int8x16_t LHK_NAME(four)(const uint8_t *w) {
    int32_t word;
    memcpy(&word, w, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(word));
}

/// Eight columns at a time: 16 accumulators for 4 rows.
LHK_ALWAYS_INLINE void LHK_NAME(dot)(const int bits, const int planes, const int rows, const uint8_t *codes, int64_t steps,
                                     const uint8_t *w, int64_t ldw, int64_t plane, lhk_quant_ints (*acc)[2]) {
    for (int x = 0; x < 32; x += 8) {
        const uint8_t *at = codes + (bits == 8 ? x : x % 16) * 4;
        int32x4_t high[4][2], low[4][2];
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < 2; i++) high[r][i] = low[r][i] = vdupq_n_s32(0);
        for (int64_t s = 0; s < steps; s++, at += 16 * bits) {
            int8x16_t column[2];
            for (int i = 0; i < 2; i++) {
                uint8x16_t raw = LHK_NAME(columns)(bits, at + 16 * i, x);
                column[i] = vreinterpretq_s8_u8(bits == 8 ? veorq_u8(raw, vdupq_n_u8(LHK_QUANT_ZERO)) : raw);
            }
            for (int r = 0; r < rows; r++) {
                int8x16_t hi = LHK_NAME(four)(w + r * ldw + 4 * s);
                for (int i = 0; i < 2; i++) high[r][i] = vdotq_s32(high[r][i], column[i], hi);
                if (planes == 1) continue;
                int8x16_t lo = LHK_NAME(four)(w + r * ldw + plane + 4 * s);
                for (int i = 0; i < 2; i++) low[r][i] = vdotq_s32(low[r][i], column[i], lo);
            }
        }
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < 2; i++) {
                int32_t *to = (int32_t *)&acc[r][x / 16] + x % 16 + 4 * i;
                int32x4_t sum = planes == 2 ? vaddq_s32(vshlq_n_s32(high[r][i], 7), low[r][i]) : high[r][i];
                vst1q_s32(to, vaddq_s32(vld1q_s32(to), sum));
            }
    }
}

#include "lhk_quant_body.h"
#define LHK_QUANT_PLAIN_PAIRS
#include "lhk_quant_unpack.h"
LHK_TARGET_END
#endif
