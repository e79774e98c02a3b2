// SPDX-License-Identifier: Apache-2.0
/// The words of the packed kernels for AArch64 with the DotProd extension, shared by the files of that level and above.
#ifndef LHK_PACKED_NEON_H
#define LHK_PACKED_NEON_H

typedef struct codes { int8x16_t v[4]; } codes;
typedef struct ints { int32x4_t v[4]; } ints;
typedef struct floats { float32x4_t v[4]; } floats;

#define LHK_EACH for (int p = 0; p < 4; p++)

LHK_ALWAYS_INLINE void vsteps4(const uint8_t *at, codes *low, codes *high) {
    LHK_EACH {
        const uint8x16_t v = vld1q_u8(at + 16 * p);
        low->v[p] = vreinterpretq_s8_u8(vandq_u8(v, vdupq_n_u8(15)));
        high->v[p] = vreinterpretq_s8_u8(vshrq_n_u8(v, 4));
    }
}
/// Each bit to its byte, as a mask of the sixteen.
LHK_ALWAYS_INLINE codes vfifth(codes w, const uint8_t *bits) {
    const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201ull));
    LHK_EACH {
        const uint8x16_t copies = vcombine_u8(vdup_n_u8(bits[2 * p]), vdup_n_u8(bits[2 * p + 1]));
        const uint8x16_t sixteen = vandq_u8(vtstq_u8(copies, bit), vdupq_n_u8(16));
        w.v[p] = vorrq_s8(w.v[p], vreinterpretq_s8_u8(sixteen));
    }
    return w;
}
LHK_ALWAYS_INLINE codes vstep8(const uint8_t *at) {
    codes w;
    LHK_EACH w.v[p] = vreinterpretq_s8_u8(vld1q_u8(at + 16 * p));
    return w;
}
LHK_ALWAYS_INLINE codes vflip(codes w) { return w; }
LHK_ALWAYS_INLINE ints vdot(ints sum, codes w, bool is_signed, const uint8_t *x) {
    (void)is_signed;  // codes without a sign are below 64
    int32_t four;
    memcpy(&four, x, 4);
    const int8x16_t xs = vreinterpretq_s8_s32(vdupq_n_s32(four));
    LHK_EACH sum.v[p] = vdotq_s32(sum.v[p], w.v[p], xs);
    return sum;
}
LHK_ALWAYS_INLINE ints vints(int32_t x) {
    ints v;
    LHK_EACH v.v[p] = vdupq_n_s32(x);
    return v;
}
LHK_ALWAYS_INLINE ints vshift_add(ints a, ints b, int shift) {
    LHK_EACH a.v[p] = vaddq_s32(a.v[p], vshlq_s32(b.v[p], vdupq_n_s32(shift)));
    return a;
}
LHK_ALWAYS_INLINE floats vfloat(ints x) {
    floats v;
    LHK_EACH v.v[p] = vcvtq_f32_s32(x.v[p]);
    return v;
}
LHK_ALWAYS_INLINE floats vset(float x) {
    floats v;
    LHK_EACH v.v[p] = vdupq_n_f32(x);
    return v;
}
LHK_ALWAYS_INLINE floats vmul(floats a, floats b) {
    LHK_EACH a.v[p] = vmulq_f32(a.v[p], b.v[p]);
    return a;
}
LHK_ALWAYS_INLINE floats vfma(floats a, floats b, floats c) {
    LHK_EACH c.v[p] = vfmaq_f32(c.v[p], a.v[p], b.v[p]);
    return c;
}
LHK_ALWAYS_INLINE floats vhalf(const uint8_t *at) {
    floats v;
    LHK_EACH {
        uint16x4_t half;
        memcpy(&half, at + 8 * p, sizeof half);
        v.v[p] = vcvt_f32_f16(vreinterpret_f16_u16(half));
    }
    return v;
}
LHK_ALWAYS_INLINE floats vbytes(const uint8_t *at) {
    floats v;
    const uint8x16_t bytes = vld1q_u8(at);
    LHK_EACH {
        const uint16x8_t wide = vmovl_u8(p < 2 ? vget_low_u8(bytes) : vget_high_u8(bytes));
        v.v[p] = vcvtq_f32_u32(vmovl_u16(p % 2 ? vget_high_u16(wide) : vget_low_u16(wide)));
    }
    return v;
}
LHK_ALWAYS_INLINE floats vsigned_bytes(const uint8_t *at) {
    floats v;
    const int8x16_t bytes = vreinterpretq_s8_u8(vld1q_u8(at));
    LHK_EACH {
        const int16x8_t wide = vmovl_s8(p < 2 ? vget_low_s8(bytes) : vget_high_s8(bytes));
        v.v[p] = vcvtq_f32_s32(vmovl_s16(p % 2 ? vget_high_s16(wide) : vget_low_s16(wide)));
    }
    return v;
}
LHK_ALWAYS_INLINE void vstore(float *to, floats v, size_t count) {
    if (count == LHK_PANEL_ROWS) {
        LHK_EACH vst1q_f32(to + 4 * p, v.v[p]);
    } else {
        memcpy(to, &v, count * sizeof *to);
    }
}

#endif
