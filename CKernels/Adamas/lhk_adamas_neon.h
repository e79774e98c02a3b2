// SPDX-License-Identifier: Apache-2.0
/// The words of NEON. The including file defines LHK_NAME(dot).
#define LHK_WORDS 2
typedef uint64_t LHK_NAME(vwords) __attribute__((vector_size(16)));
LHK_ALWAYS_INLINE LHK_NAME(vwords) LHK_NAME(vcount)(LHK_NAME(vwords) x) {
    return (LHK_NAME(vwords))vpaddlq_u32(vpaddlq_u16(vpaddlq_u8(vcntq_u8((uint8x16_t)x))));
}
LHK_ALWAYS_INLINE void LHK_NAME(vminus)(LHK_NAME(vwords) sum, float *out) {
    vst1_f32(out, vcvt_f32_s32(vmovn_s64((int64x2_t)(0 - sum))));
}

#define LHK_LANES 4
#define LHK_TILE 4
typedef int32_t LHK_NAME(vlanes) __attribute__((vector_size(16)));
typedef struct LHK_NAME(vtables) {
    uint8x16_t low, high;  ///< by a nibble: step of its low and of its high code
} LHK_NAME(vtables);
LHK_ALWAYS_INLINE LHK_NAME(vtables) LHK_NAME(tables)(const uint8_t *step) {
    uint8_t low[16], high[16];
    lhk_adamas_nibbles(step, low, high);
    return (LHK_NAME(vtables)){vld1q_u8(low), vld1q_u8(high)};
}
LHK_ALWAYS_INLINE void LHK_NAME(unpack)(LHK_NAME(vlanes) w, LHK_NAME(vtables) tables, LHK_NAME(vlanes) *out) {
    uint8x16_t a = vandq_u8((uint8x16_t)w, vdupq_n_u8(15)), b = vshrq_n_u8((uint8x16_t)w, 4);
    out[0] = (LHK_NAME(vlanes))vqtbl1q_u8(tables.low, a);
    out[1] = (LHK_NAME(vlanes))vqtbl1q_u8(tables.high, a);
    out[2] = (LHK_NAME(vlanes))vqtbl1q_u8(tables.low, b);
    out[3] = (LHK_NAME(vlanes))vqtbl1q_u8(tables.high, b);
}
LHK_ALWAYS_INLINE void LHK_NAME(halves)(const uint16_t *from, lhk_adamas_floats *to) {
    for (int i = 0; i < 4; i++) vst1q_f32((float *)to + 4 * i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from + 4 * i))));
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
