// SPDX-License-Identifier: Apache-2.0
/// The product of 8-bit codes for the I8MM extension: eight channels of two keys and two query rows in one instruction.
/// Keys stay unsigned. The panel has four channels of a key together, so that two steps are interleaved by keys. One row
/// alone goes as with DotProd.
#ifndef LHK_FLASH_NEON_I8MM_H
#define LHK_FLASH_NEON_I8MM_H

#include "lhk_flash_neon_dotprod.h"

/// `depth` channels, 8 or 4, of two rows.
LHK_ALWAYS_INLINE int8x16_t rows8(const int depth, const int8_t *first, const int8_t *second) {
    if (depth == 8) return vcombine_s8(vld1_s8(first), vld1_s8(second));
    uint32_t low, high;
    memcpy(&low, first, 4);
    memcpy(&high, second, 4);
    return vcombine_s8(vcreate_s8(low), vcreate_s8(high));
}

/// pair[p][j] holds keys 2 j and 2 j + 1, each with rows 2 p and 2 p + 1.
LHK_ALWAYS_INLINE void step8(const int depth, const int rows, const lhk_flash_query8 *const *head, int64_t channel,
                             const uint8_t *keys, sum8 (*pair)[8]) {
    int8x16_t q[3];
    LHK_UNROLL
    for (int p = 0; 2 * p < rows; p++)
        q[p] = rows8(depth, (const int8_t *)(head[2 * p] + 1) + channel,
                     (const int8_t *)(head[2 * p + 1 < rows ? 2 * p + 1 : 2 * p] + 1) + channel);
    LHK_UNROLL
    for (int j = 0; j < 4; j++) {
        const uint32x4_t first = vload_bits(keys + 16 * j), second = depth == 8 ? vload_bits(keys + 64 + 16 * j) : vdupq_n_u32(0);
        const uint8x16_t low = vreinterpretq_u8_u32(vzip1q_u32(first, second));
        const uint8x16_t high = vreinterpretq_u8_u32(vzip2q_u32(first, second));
        LHK_UNROLL
        for (int p = 0; 2 * p < rows; p++) {
            pair[p][2 * j] = vusmmlaq_s32(pair[p][2 * j], low, q[p]);
            pair[p][2 * j + 1] = vusmmlaq_s32(pair[p][2 * j + 1], high, q[p]);
        }
    }
}

/// Sums of two to six rows and 16 keys. An odd last row goes with itself.
LHK_ALWAYS_INLINE void pairs8(const int rows, const lhk_flash_query8 *const *head, const uint8_t *keys, int64_t channels,
                              sum8 (*sum)[4]) {
    sum8 pair[3][8];
    LHK_UNROLL
    for (int p = 0; 2 * p < rows; p++) {
        const int32_t second = head[2 * p + 1 < rows ? 2 * p + 1 : 2 * p]->bias;
        LHK_UNROLL
        for (int j = 0; j < 8; j++) pair[p][j] = vzip1q_s32(vdupq_n_s32(-head[2 * p]->bias), vdupq_n_s32(-second));
    }
    int64_t c = 0;
    for (; c + 8 <= channels; c += 8, keys += 128) step8(8, rows, head, c, keys, pair);
    if (c < channels) step8(4, rows, head, c, keys, pair);
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
        LHK_UNROLL
        for (int j = 0; j < 4; j++)
            sum[r][j] = r % 2 ? vuzp2q_s32(pair[r / 2][2 * j], pair[r / 2][2 * j + 1])
                              : vuzp1q_s32(pair[r / 2][2 * j], pair[r / 2][2 * j + 1]);
    }
}

#define LHK_I8_PAIRS pairs8
#endif
