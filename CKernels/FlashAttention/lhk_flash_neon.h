// SPDX-License-Identifier: Apache-2.0
/// The vector words of the strip kernels for AArch64 NEON, shared by the files of that level and above.
#ifndef LHK_FLASH_NEON_H
#define LHK_FLASH_NEON_H

typedef float32x4_t vec;
#define LHK_LANES 4

LHK_ALWAYS_INLINE vec vload(const float *p) { return vld1q_f32(p); }
LHK_ALWAYS_INLINE void vstore(float *p, vec x) { vst1q_f32(p, x); }
LHK_ALWAYS_INLINE vec vset(float x) { return vdupq_n_f32(x); }
LHK_ALWAYS_INLINE vec vadd(vec a, vec b) { return vaddq_f32(a, b); }
LHK_ALWAYS_INLINE vec vsub(vec a, vec b) { return vsubq_f32(a, b); }
LHK_ALWAYS_INLINE vec vmul(vec a, vec b) { return vmulq_f32(a, b); }
LHK_ALWAYS_INLINE vec vfma(vec a, vec b, vec c) { return vfmaq_f32(c, a, b); }
// FMAX gives NaN when either is NaN and FMAXNM the other one; the softmax wants the second operand.
LHK_ALWAYS_INLINE vec vmax(vec a, vec b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
LHK_ALWAYS_INLINE vec vround(vec x) { return vrndnq_f32(x); }
LHK_ALWAYS_INLINE vec vpow2(vec x, vec n) {
    // 2^n is built from the exponent bits; a NaN n gives some finite factor, and x is NaN then.
    int32x4_t bits = vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23);
    uint32x4_t y = vreinterpretq_u32_f32(vmulq_f32(x, vreinterpretq_f32_s32(bits)));
    return vreinterpretq_f32_u32(vbicq_u32(y, vcltq_f32(n, vdupq_n_f32(-126))));
}
LHK_ALWAYS_INLINE float vsum(vec x) { return vaddvq_f32(x); }
LHK_ALWAYS_INLINE float vgreatest(vec x) { return vmaxvq_f32(x); }

/// 16 bytes of a panel, at any alignment.
LHK_ALWAYS_INLINE uint32x4_t vload_bits(const uint8_t *p) { return vreinterpretq_u32_u8(vld1q_u8(p)); }

#define LHK_HADAMARD_LANES 4

#endif
