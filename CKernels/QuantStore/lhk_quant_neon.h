// SPDX-License-Identifier: Apache-2.0
/// The words that the files for NEON share.
#ifndef LHK_QUANT_NEON_H
#define LHK_QUANT_NEON_H

LHK_ALWAYS_INLINE void LHK_NAME(halves)(const uint16_t *from, lhk_quant_floats *to) {
    for (int i = 0; i < 4; i++)
        vst1q_f32((float *)to + 4 * i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from + 4 * i))));
}

/// Codes of the four columns from x on, at their place in a step.
LHK_ALWAYS_INLINE uint8x16_t LHK_NAME(columns)(const int bits, const uint8_t *at, const int x) {
    uint8x16_t codes = vld1q_u8(at);
    if (bits == 8) return codes;
    return x < 16 ? vandq_u8(codes, vdupq_n_u8(15)) : vshrq_n_u8(codes, 4);
}

#endif
