// SPDX-License-Identifier: Apache-2.0
/// NEON with the dot product of signed bytes; the codes of keys, at most 127 with their offset, are signed bytes too.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "lhk_sale_vector.h"

LHK_TARGET_BEGIN(LHK_FEATURES_NEON_DOTPROD)
#define LHK_NAME(x) lhk_sale_neon_dotprod_##x
#include "lhk_sale_neon.h"

LHK_ALWAYS_INLINE int32x4_t LHK_NAME(four)(int32x4_t sum, int8x16_t key, int8x16_t q) { return vdotq_s32(sum, key, q); }
#include "lhk_sale_neon_dot.h"
#include "lhk_sale_body.h"
LHK_TARGET_END
#endif
