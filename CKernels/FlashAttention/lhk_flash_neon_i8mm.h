// SPDX-License-Identifier: Apache-2.0
/// The product of 8-bit codes for the I8MM extension: eight channels of two keys and two query rows in one instruction,
/// with unsigned keys. The panel keeps four channels of a key together, so two steps are interleaved by keys on load. One
/// row alone goes as with DotProd.
#ifndef LHK_FLASH_NEON_I8MM_H
#define LHK_FLASH_NEON_I8MM_H

#include "lhk_flash_neon_dotprod.h"

/// Sums of two to six rows and 16 keys. An odd last row goes with the first.
LHK_ALWAYS_INLINE void pairs8(const int rows, const lhk_flash_query8 *const *head, const uint8_t *keys, int64_t channels,
                              sum8 (*sum)[4]) {
    const int8_t *q[6];
    sum8 pair[3][8];  // keys 2 j and 2 j + 1, each with rows 2 p and 2 p + 1
    LHK_UNROLL
    for (int r = 0; r < rows + rows % 2; r++) q[r] = (const int8_t *)(head[r < rows ? r : 0] + 1);
    LHK_UNROLL
    for (int p = 0; 2 * p < rows; p++) {
        LHK_UNROLL
        for (int j = 0; j < 8; j++) pair[p][j] = vdupq_n_s32(0);
    }
    int64_t c = 0;
    for (; c + 8 <= channels; c += 8, keys += 128) {
        int8x16_t eight[3];
        LHK_UNROLL
        for (int p = 0; 2 * p < rows; p++) eight[p] = vcombine_s8(vld1_s8(q[2 * p] + c), vld1_s8(q[2 * p + 1] + c));
        LHK_UNROLL
        for (int j = 0; j < 4; j++) {
            const uint32x4_t first = vload_bits(keys + 16 * j), second = vload_bits(keys + 64 + 16 * j);
            const uint8x16_t low = vreinterpretq_u8_u32(vzip1q_u32(first, second));
            const uint8x16_t high = vreinterpretq_u8_u32(vzip2q_u32(first, second));
            LHK_UNROLL
            for (int p = 0; 2 * p < rows; p++) {
                pair[p][2 * j] = vusmmlaq_s32(pair[p][2 * j], low, eight[p]);
                pair[p][2 * j + 1] = vusmmlaq_s32(pair[p][2 * j + 1], high, eight[p]);
            }
        }
    }
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
        LHK_UNROLL
        for (int j = 0; j < 4; j++) {
            const sum8 low = pair[r / 2][2 * j], high = pair[r / 2][2 * j + 1];
            sum[r][j] = vsubq_s32(r % 2 ? vuzp2q_s32(low, high) : vuzp1q_s32(low, high), vdupq_n_s32(head[r]->bias));
        }
    }
    if (c == channels) return;
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {  // the last four channels
        uint32_t four;
        memcpy(&four, q[r] + c, 4);
        LHK_UNROLL
        for (int j = 0; j < 4; j++)
            sum[r][j] = vusdotq_s32(sum[r][j], vld1q_u8(keys + 16 * j), vreinterpretq_s8_u32(vdupq_n_u32(four)));
    }
}

#define LHK_I8_PAIRS pairs8
#endif
