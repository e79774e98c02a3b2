// SPDX-License-Identifier: Apache-2.0
/// The product of 8-bit codes for the DotProd extension: four channels of four keys in one instruction. Both operands are
/// signed, so the offset of the keys' bytes is taken off when they are loaded.
#ifndef LHK_FLASH_NEON_DOTPROD_H
#define LHK_FLASH_NEON_DOTPROD_H

typedef int8x16_t keys8;
typedef int32x4_t sum8;
LHK_ALWAYS_INLINE keys8 load8(const uint8_t *p) { return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(p), vdupq_n_u8(128))); }
LHK_ALWAYS_INLINE sum8 dot8(sum8 sum, const uint32_t *words, keys8 keys) {
    return vdotq_s32(sum, keys, vreinterpretq_s8_u32(vdupq_n_u32(*words)));
}
LHK_ALWAYS_INLINE sum8 start8(int32_t bias) {
    (void)bias;
    return vdupq_n_s32(0);
}
LHK_ALWAYS_INLINE vec float8(sum8 sum) { return vcvtq_f32_s32(sum); }

#endif
