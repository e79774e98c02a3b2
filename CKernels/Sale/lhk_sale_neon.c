// SPDX-License-Identifier: Apache-2.0
/// NEON without the dot product: byte products widened and summed by pairs.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "lhk_sale_vector.h"

#define LHK_NAME(x) lhk_sale_neon_##x
#include "lhk_sale_neon.h"

LHK_ALWAYS_INLINE int32x4_t LHK_NAME(four)(int32x4_t sum, int8x16_t key, int8x16_t q) {
    int16x8_t low = vmull_s8(vget_low_s8(key), vget_low_s8(q)), high = vmull_high_s8(key, q);
    return vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
}
#include "lhk_sale_neon_dot.h"
#include "lhk_sale_body.h"
#endif
