// SPDX-License-Identifier: Apache-2.0
/// The dot product of both NEON files, from LHK_NAME(four)(sum, keys, q): four keys against one word of codes.

LHK_ALWAYS_INLINE void LHK_NAME(dot)(const uint8_t *keys, int64_t tile_bytes, const int32_t *order, const uint32_t *codes,
                                     int64_t steps, lhk_sale_ints (*acc)[2]) {
    int32x4_t sum[LHK_SALE_STRIP][8];
    memcpy(sum, acc, sizeof sum);
    for (int64_t s = 0; s < steps; s++, codes += LHK_SALE_STRIP) {
        int8x16_t q[LHK_SALE_STRIP];
        LHK_UNROLL
        for (int r = 0; r < LHK_SALE_STRIP; r++) q[r] = vreinterpretq_s8_u32(vdupq_n_u32(codes[r]));
        LHK_UNROLL
        for (int u = 0; u < 8; u++) {
            int8x16_t key = vreinterpretq_s8_u8(vld1q_u8(keys + order[s] + u / 4 * tile_bytes + u % 4 * 16));
            LHK_UNROLL
            for (int r = 0; r < LHK_SALE_STRIP; r++) sum[r][u] = LHK_NAME(four)(sum[r][u], key, q[r]);
        }
    }
    memcpy(acc, sum, sizeof sum);
}
