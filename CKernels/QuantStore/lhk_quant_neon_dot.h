// SPDX-License-Identifier: Apache-2.0
/// Sums by dot products of bytes, for files whose LHK_NAME(product)(bits, sum, codes, four) adds one: of four columns' codes and
/// four weights.
#ifndef LHK_QUANT_NEON_DOT_H
#define LHK_QUANT_NEON_DOT_H

LHK_ALWAYS_INLINE int8x16_t LHK_NAME(four)(const uint8_t *w) {
    int32_t word;
    memcpy(&word, w, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(word));
}

/// Eight columns at a time: 16 accumulators for 4 rows.
LHK_ALWAYS_INLINE void LHK_NAME(dot_steps)(const int bits, const int planes, const int rows, const uint8_t *codes,
                                           int64_t steps, const uint8_t *w, int64_t ldw, int64_t plane, lhk_quant_ints (*acc)[2]) {
    for (int x = 0; x < 32; x += 8) {
        const uint8_t *at = codes + (bits == 8 ? x : x % 16) * 4;
        int32x4_t high[4][2], low[4][2];
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < 2; i++) high[r][i] = low[r][i] = vdupq_n_s32(0);
        for (int64_t s = 0; s < steps; s++, at += 16 * bits) {
            uint8x16_t column[2];
            for (int i = 0; i < 2; i++) column[i] = LHK_NAME(columns)(bits, at + 16 * i, x);
            for (int r = 0; r < rows; r++) {
                int8x16_t hi = LHK_NAME(four)(w + r * ldw + 4 * s);
                for (int i = 0; i < 2; i++) high[r][i] = LHK_NAME(product)(bits, high[r][i], column[i], hi);
                if (planes == 1) continue;
                int8x16_t lo = LHK_NAME(four)(w + r * ldw + plane + 4 * s);
                for (int i = 0; i < 2; i++) low[r][i] = LHK_NAME(product)(bits, low[r][i], column[i], lo);
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

#endif
