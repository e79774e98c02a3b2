// SPDX-License-Identifier: Apache-2.0
/// The words of NEON.
#define LHK_WORDS 2
typedef uint64_t LHK_NAME(vwords) __attribute__((vector_size(16)));
LHK_ALWAYS_INLINE LHK_NAME(vwords) LHK_NAME(vcount)(LHK_NAME(vwords) x) {
    return (LHK_NAME(vwords))vpaddlq_u32(vpaddlq_u16(vpaddlq_u8(vcntq_u8((uint8x16_t)x))));
}
LHK_ALWAYS_INLINE void LHK_NAME(vminus)(LHK_NAME(vwords) sum, float *out) {
    vst1_f32(out, vcvt_f32_s32(vmovn_s64((int64x2_t)(0 - sum))));
}

#define LHK_BYTES 16
typedef uint8_t LHK_NAME(vbytes) __attribute__((vector_size(16)));
LHK_ALWAYS_INLINE LHK_NAME(vbytes) LHK_NAME(look)(const uint8_t *table, LHK_NAME(vbytes) x) {
    return (LHK_NAME(vbytes))vqtbl1q_u8(vld1q_u8(table), (uint8x16_t)x);
}
LHK_ALWAYS_INLINE void LHK_NAME(halves)(const uint16_t *from, lhk_adamas_floats *to) {
    for (int i = 0; i < 4; i++) vst1q_f32((float *)to + 4 * i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from + 4 * i))));
}
LHK_ALWAYS_INLINE void LHK_NAME(fuse)(lhk_adamas_floats *x, const lhk_adamas_floats *y, const lhk_adamas_floats *z) {
    float32x4_t a[4], b[4], c[4];
    memcpy(a, x, sizeof a);
    memcpy(b, y, sizeof b);
    memcpy(c, z, sizeof c);
    for (int i = 0; i < 4; i++) a[i] = vfmaq_f32(c[i], a[i], b[i]);
    memcpy(x, a, sizeof a);
}
LHK_ALWAYS_INLINE uint32_t LHK_NAME(bits)(const uint32x4_t *masks) {
    static const uint32_t places[16] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
    uint32x4_t sum = vdupq_n_u32(0);
    for (int i = 0; i < 4; i++) sum = vaddq_u32(sum, vandq_u32(masks[i], vld1q_u32(places + 4 * i)));
    return vaddvq_u32(sum);
}
LHK_ALWAYS_INLINE uint32_t LHK_NAME(greater)(const float *y, float t) {
    uint32x4_t masks[4];
    for (int i = 0; i < 4; i++) masks[i] = vcgtq_f32(vld1q_f32(y + 4 * i), vdupq_n_f32(t));
    return LHK_NAME(bits)(masks);
}
LHK_ALWAYS_INLINE uint32_t LHK_NAME(at_least)(const float *x, float least) {
    uint32x4_t masks[4];
    for (int i = 0; i < 4; i++) masks[i] = vcgeq_f32(vld1q_f32(x + 4 * i), vdupq_n_f32(least));
    return LHK_NAME(bits)(masks);
}

#define LHK_ADAMAS_PLAIN_KEEP
#include "lhk_adamas_plain.h"
#include "lhk_adamas_body.h"
