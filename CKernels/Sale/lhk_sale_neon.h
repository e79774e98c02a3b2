// SPDX-License-Identifier: Apache-2.0
/// The words of both NEON files but the dot product.
#ifndef LHK_SALE_NEON_H
#define LHK_SALE_NEON_H

#define LHK_SALE_STRIP 3
#define LHK_SALE_SCORE_ROWS 4

typedef union LHK_NAME(parts) {
    lhk_sale_floats whole;
    float32x4_t part[4];
} LHK_NAME(parts);
#define LHK_SALE_FMA(a, b, c)                                                                             \
    ({                                                                                                    \
        LHK_NAME(parts) a_ = {(a)}, b_ = {(b)}, c_ = {(c)};                                               \
        for (int i_ = 0; i_ < 4; i_++) c_.part[i_] = vfmaq_f32(c_.part[i_], a_.part[i_], b_.part[i_]);    \
        c_.whole;                                                                                         \
    })

LHK_ALWAYS_INLINE void LHK_NAME(halves)(const uint16_t *from, lhk_sale_floats *to) {
    float32x4_t x[4];
    for (int i = 0; i < 4; i++) x[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from + 4 * i)));
    memcpy(to, x, sizeof *to);
}

LHK_ALWAYS_INLINE bool LHK_NAME(some_clear)(const lhk_sale_ints *x) {
    int32x4_t part[4];
    memcpy(part, x, sizeof *x);
    return vmaxvq_s32(vandq_s32(vandq_s32(part[0], part[1]), vandq_s32(part[2], part[3]))) >= 0;
}

#endif
