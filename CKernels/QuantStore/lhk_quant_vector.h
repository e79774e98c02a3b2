// SPDX-License-Identifier: Apache-2.0
/// What the ISA files share before their regions: 16 lanes whatever the registers are, and full unrolling.
#ifndef LHK_QUANT_VECTOR_H
#define LHK_QUANT_VECTOR_H

#include <lhk/hadamard.h>

#include "lhk_quant_store.h"

typedef float lhk_quant_floats __attribute__((vector_size(64)));
typedef int32_t lhk_quant_ints __attribute__((vector_size(64), may_alias));

#if defined(__clang__)
#define LHK_UNROLL _Pragma("clang loop unroll(full)")
#else
#define LHK_UNROLL _Pragma("GCC unroll 16")
#endif

/// What turns sums of products back, for numbers whose largest magnitude has these `bits`: NaN when they are not finite, 0 when
/// all are 0, to which magnitudes below 2^-113 count. `inverse` is what they are multiplied by.
LHK_ALWAYS_INLINE float lhk_quant_factor(uint32_t bits, const int planes, float *inverse) {
    const float levels = planes == 2 ? 16383 : 127;
    float largest;
    memcpy(&largest, &bits, 4);
    bool usable = largest > 0x1p-113f && largest < INFINITY;
    *inverse = usable ? levels / largest : 0;
    return usable ? largest / levels : largest <= 0x1p-113f ? 0 : NAN;
}

#endif
