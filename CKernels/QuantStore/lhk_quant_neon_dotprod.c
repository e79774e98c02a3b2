// SPDX-License-Identifier: Apache-2.0
/// NEON with the dot product of bytes, both signed: the offset of q8 codes goes with their highest bit.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "lhk_quant_vector.h"

LHK_TARGET_BEGIN(LHK_FEATURES_NEON_DOTPROD)
#define LHK_NAME(x) lhk_quant_neon_dotprod_##x
#define LHK_HADAMARD(x) lhk_quant_neon_dotprod_hadamard_##x
#define LHK_HADAMARD_LANES 4
#include <lhk/hadamard_body.inc>

#define LHK_QUANT_PLANES 1
#define LHK_QUANT_PLAIN_WEIGHTS
#define LHK_QUANT_BIAS(bits) ((void)(bits), 0)
#include "lhk_quant_neon.h"

LHK_ALWAYS_INLINE int32x4_t LHK_NAME(product)(const int bits, int32x4_t sum, uint8x16_t codes, int8x16_t four) {
    return vdotq_s32(sum, vreinterpretq_s8_u8(bits == 8 ? veorq_u8(codes, vdupq_n_u8(LHK_QUANT_ZERO)) : codes), four);
}

#include "lhk_quant_neon_dot.h"

LHK_ALWAYS_INLINE void LHK_NAME(dot)(const int bits, const int planes, const int rows, const uint8_t *codes, int64_t steps,
                                     const uint8_t *w, int64_t ldw, int64_t plane, lhk_quant_ints (*acc)[2]) {
    LHK_NAME(dot_steps)(bits, planes, rows, codes, steps, w, ldw, plane, acc);
}

#include "lhk_quant_body.h"
#define LHK_QUANT_PLAIN_PAIRS
#include "lhk_quant_unpack.h"
LHK_TARGET_END
#endif
