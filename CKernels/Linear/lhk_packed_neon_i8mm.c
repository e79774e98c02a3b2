// SPDX-License-Identifier: Apache-2.0
/// SMMLA adds to 2 x 2 sums the products of two outputs' and two rows' eight inputs: twice those of SDOT. All codes fit int8.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "lhk_packed_format.h"

LHK_TARGET_BEGIN(LHK_FEATURES_NEON_I8MM)

#define LHK_PACKED_TABLE lhk_packed_neon_i8mm
#define LHK_TILE_ROWS 4
#define LHK_FINE_TILE_ROWS 2
#define LHK_TILE_PANELS 1
#define LHK_UNSIGNED_CODES 0
#define LHK_PAIRS 1

#include "lhk_packed_neon.h"

/// Steps of four inputs of four outputs each become eight inputs of two outputs each: vector 2 p + s is half s of w[*].v[p].
LHK_ALWAYS_INLINE void vdeepen(codes w[2]) {
    const codes first = w[0], second = w[1];
    LHK_EACH {
        const int32x4_t a = vreinterpretq_s32_s8(first.v[p]), b = vreinterpretq_s32_s8(second.v[p]);
        w[p / 2].v[2 * p % 4] = vreinterpretq_s8_s32(vzip1q_s32(a, b));
        w[p / 2].v[2 * p % 4 + 1] = vreinterpretq_s8_s32(vzip2q_s32(a, b));
    }
}
LHK_ALWAYS_INLINE void vpair(ints *a, ints *b) {
    const ints first = *a, second = *b;
    LHK_EACH {
        ints *to = p < 2 ? a : b;
        to->v[2 * p % 4] = vzip1q_s32(first.v[p], second.v[p]);
        to->v[2 * p % 4 + 1] = vzip2q_s32(first.v[p], second.v[p]);
    }
}
LHK_ALWAYS_INLINE void vunpair(ints *a, ints *b) {
    const ints first = *a, second = *b;
    for (int p = 0; p < 2; p++) {
        a->v[p] = vuzp1q_s32(first.v[2 * p], first.v[2 * p + 1]);
        b->v[p] = vuzp2q_s32(first.v[2 * p], first.v[2 * p + 1]);
        a->v[p + 2] = vuzp1q_s32(second.v[2 * p], second.v[2 * p + 1]);
        b->v[p + 2] = vuzp2q_s32(second.v[2 * p], second.v[2 * p + 1]);
    }
}
LHK_ALWAYS_INLINE void vdot2(ints *a, ints *b, const codes w[2], const uint8_t *xa, const uint8_t *xb) {
    const int8x16_t x = vreinterpretq_s8_u8(vcombine_u8(vld1_u8(xa), vld1_u8(xb)));
    LHK_EACH a->v[p] = vmmlaq_s32(a->v[p], w[0].v[p], x);
    LHK_EACH b->v[p] = vmmlaq_s32(b->v[p], w[1].v[p], x);
}

#include "lhk_packed_body.h"

LHK_TARGET_END
#endif
