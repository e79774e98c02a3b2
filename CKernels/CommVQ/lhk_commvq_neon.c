// SPDX-License-Identifier: Apache-2.0
/// NEON: 16 tokens look their codes up at once; bits become masks of words.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "lhk_commvq_product.h"
#include "lhk_commvq_train_plan.h"
#include "lhk_commvq_vector.h"

#define LHK_NAME(x) lhk_commvq_neon_##x

LHK_ALWAYS_INLINE void LHK_NAME(halves)(const uint16_t *from, lhk_commvq_floats *to) {
    for (int i = 0; i < 4; i++) vst1q_f32((float *)to + 4 * i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from + 4 * i))));
}

LHK_ALWAYS_INLINE void LHK_NAME(add)(lhk_commvq_floats *sum, const lhk_commvq_floats *x, float factor) {
    for (int i = 0; i < 16; i += 4) {
        float *to = (float *)sum + i;
        vst1q_f32(to, vfmaq_n_f32(vld1q_f32(to), vld1q_f32((const float *)x + i), factor));
    }
}

LHK_ALWAYS_INLINE void LHK_NAME(widen)(int8x16_t bytes, int32_t exponent, bool first, int16_t *to) {
    const int16x8_t shift = vdupq_n_s16((int16_t)exponent);
    int16x8_t low = vshlq_s16(vmovl_s8(vget_low_s8(bytes)), shift), high = vshlq_s16(vmovl_s8(vget_high_s8(bytes)), shift);
    if (!first) {
        low = vaddq_s16(low, vld1q_s16(to));
        high = vaddq_s16(high, vld1q_s16(to + 32));
    }
    vst1q_s16(to, low);
    vst1q_s16(to + 32, high);
}

/// Sums of bytes may wrap on the way; where they end, they fit.
LHK_ALWAYS_INLINE void LHK_NAME(sums)(const int8_t *table, int64_t pairs, const uint8_t *codes, int32_t exponent, bool first,
                                      int16_t (*sums)[2][LHK_COMMVQ_BLOCK]) {
    for (int64_t j = 0; j < pairs; j++, table += LHK_COMMVQ_STAGE * 32)
        for (int t = 0; t < LHK_COMMVQ_BLOCK; t += 16) {
            int8x16_t x = vdupq_n_s8(0), y = x;
            for (int r = 0; r < LHK_COMMVQ_STAGE; r++) {
                const uint8x16_t both = vld1q_u8(codes + r * LHK_COMMVQ_BLOCK + t);
                const uint8x16_t a = vandq_u8(both, vdupq_n_u8(15)), b = vshrq_n_u8(both, 4);
                const int8x16_t tx = vld1q_s8(table + r * 32), ty = vld1q_s8(table + r * 32 + 16);
                x = vsubq_s8(vaddq_s8(x, vqtbl1q_s8(tx, a)), vqtbl1q_s8(ty, b));
                y = vaddq_s8(vaddq_s8(y, vqtbl1q_s8(ty, a)), vqtbl1q_s8(tx, b));
            }
            LHK_NAME(widen)(x, exponent, first, sums[j][0] + t / 2);
            LHK_NAME(widen)(y, exponent, first, sums[j][1] + t / 2);
        }
}

LHK_ALWAYS_INLINE void LHK_NAME(dots)(const int rows, int64_t pairs, const int16_t (*sums)[2][LHK_COMMVQ_BLOCK],
                                      const int16_t *turns, const int16_t *q, int32_t (*acc)[LHK_COMMVQ_BLOCK]) {
    for (int t = 0; t < LHK_COMMVQ_BLOCK; t += 8) {
        int32x4_t sum[LHK_COMMVQ_ROWS][2];
        for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = vdupq_n_s32(0);
        for (int64_t j = 0; j < pairs; j++) {
            const int16_t *turn = turns + j * 2 * LHK_COMMVQ_BLOCK + t;
            const int16x8_t x = vld1q_s16(sums[j][0] + t), y = vld1q_s16(sums[j][1] + t);
            const int16x8_t c = vld1q_s16(turn), s = vld1q_s16(turn + LHK_COMMVQ_BLOCK);
            // vqrdmulh doubles its product before it takes the high half, rounded: a shift by 15.
            const int16x8_t kx = vsubq_s16(vqrdmulhq_s16(x, c), vqrdmulhq_s16(y, s));
            const int16x8_t ky = vaddq_s16(vqrdmulhq_s16(y, c), vqrdmulhq_s16(x, s));
            for (int r = 0; r < rows; r++) {
                const int16_t qx = q[(r * pairs + j) * 2], qy = q[(r * pairs + j) * 2 + 1];
                sum[r][0] = vmlal_n_s16(vmlal_n_s16(sum[r][0], vget_low_s16(kx), qx), vget_low_s16(ky), qy);
                sum[r][1] = vmlal_n_s16(vmlal_n_s16(sum[r][1], vget_high_s16(kx), qx), vget_high_s16(ky), qy);
            }
        }
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < 2; i++) vst1q_s32(acc[r] + t + 4 * i, sum[r][i]);
    }
}

/// A byte of bits is two channels of four tokens; a channel's nibble becomes a mask of four words.
LHK_ALWAYS_INLINE void LHK_NAME(bit_dots)(const int rows, const uint8_t *bits, int64_t n, const int16_t *w,
                                          int32_t (*acc)[LHK_COMMVQ_MAX_BITS]) {
    static const uint16_t places[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    const uint16x8_t place = vld1q_u16(places);
    for (int64_t k = 0; k < n; k += 2) {
        int32x4_t sum[LHK_COMMVQ_ROWS];  // two lanes per channel
        for (int r = 0; r < rows; r++) sum[r] = vdupq_n_s32(0);
        for (int quad = 0; quad < 16; quad++) {
            const int16x8_t mask = vreinterpretq_s16_u16(vtstq_u16(vdupq_n_u16(bits[quad * (n / 2) + k / 2]), place));
            for (int r = 0; r < rows; r++) {
                const int16x4_t four = vld1_s16(w + r * LHK_COMMVQ_BLOCK + 4 * quad);
                sum[r] = vpadalq_s16(sum[r], vandq_s16(mask, vcombine_s16(four, four)));
            }
        }
        for (int r = 0; r < rows; r++) vst1_s32(acc[r] + k, vget_low_s32(vpaddq_s32(sum[r], sum[r])));
    }
}

/// Codes of 16 tokens of a level.
LHK_ALWAYS_INLINE uint8x16_t LHK_NAME(nibbles)(const uint8_t *codes, int64_t level) {
    const uint8x16_t both = vld1q_u8(codes + level / 2 * LHK_COMMVQ_BLOCK);
    return level % 2 ? vshrq_n_u8(both, 4) : vandq_u8(both, vdupq_n_u8(15));
}

LHK_ALWAYS_INLINE void LHK_NAME(product_sums)(const lhk_commvq_side_tables *s, int64_t pairs, const uint8_t *codes,
                                              int16_t (*sums)[2][LHK_COMMVQ_BLOCK]) {
    for (int64_t j = 0; j < pairs; j++)
        for (int t = 0; t < LHK_COMMVQ_BLOCK; t += 16) {
            uint8x16_t x = vdupq_n_u8((uint8_t)-LHK_COMMVQ_KEY_BIAS), y = x;
            for (int64_t e = s->first[j]; e < s->first[j + 1]; e++) {
                const uint8x16_t nibbles = LHK_NAME(nibbles)(codes + t, s->level[e]);
                x = vaddq_u8(x, vqtbl1q_u8(vld1q_u8(s->table + e * 32), nibbles));
                y = vaddq_u8(y, vqtbl1q_u8(vld1q_u8(s->table + e * 32 + 16), nibbles));
            }
            LHK_NAME(widen)(vreinterpretq_s8_u8(x), 8, true, sums[j][0] + t / 2);
            LHK_NAME(widen)(vreinterpretq_s8_u8(y), 8, true, sums[j][1] + t / 2);
        }
}

#define LHK_COMMVQ_TURN_BYTES 0

LHK_ALWAYS_INLINE void LHK_NAME(product_dots)(const int rows, const lhk_commvq_side_tables *s, int64_t dim, int64_t blocks,
                                              const uint8_t *const *codes, int16_t (*w)[LHK_COMMVQ_CHUNK * LHK_COMMVQ_BLOCK],
                                              uint32_t (*acc)[LHK_COMMVQ_ROWS]) {
    for (int64_t c = 0; c < dim; c++) {
        int32x4_t sum[LHK_COMMVQ_ROWS];
        for (int r = 0; r < rows; r++) sum[r] = vdupq_n_s32(0);
        for (int64_t b = 0; b < blocks; b++)
            for (int t = 0; t < LHK_COMMVQ_BLOCK; t += 16) {
                uint8x16_t steps = vdupq_n_u8(0);
                for (int64_t e = s->first[c]; e < s->first[c + 1]; e++)
                    steps = vaddq_u8(steps, vqtbl1q_u8(vld1q_u8(s->table + e * 16), LHK_NAME(nibbles)(codes[b] + t, s->level[e])));
                const int16x8_t low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(steps)));
                const int16x8_t high = vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(steps)));
                for (int r = 0; r < rows; r++) {
                    const int16_t *weights = w[r] + b * LHK_COMMVQ_BLOCK + t / 2;
                    const int16x8_t first = vld1q_s16(weights), second = vld1q_s16(weights + 32);
                    sum[r] = vmlal_s16(sum[r], vget_low_s16(low), vget_low_s16(first));
                    sum[r] = vmlal_s16(sum[r], vget_high_s16(low), vget_high_s16(first));
                    sum[r] = vmlal_s16(sum[r], vget_low_s16(high), vget_low_s16(second));
                    sum[r] = vmlal_s16(sum[r], vget_high_s16(high), vget_high_s16(second));
                }
            }
        for (int r = 0; r < rows; r++) acc[c][r] = (uint32_t)vaddvq_s32(sum[r]);
    }
}

#include "lhk_commvq_encode.h"
#include "lhk_commvq_encode_values.h"
#include "lhk_commvq_product_encode.h"
#include "lhk_commvq_product_read.h"
#include "lhk_commvq_read.h"
#include "lhk_commvq_unpack.h"
#include "lhk_commvq_score.h"
#include "lhk_commvq_accumulate.h"
#include "lhk_commvq_product_accumulate.h"
#include "lhk_commvq_train.h"
#endif
