// SPDX-License-Identifier: Apache-2.0
/// What the ISA files share before their regions: 16 lanes whatever the registers are, and full unrolling.
#ifndef LHK_SALE_VECTOR_H
#define LHK_SALE_VECTOR_H

#include "lhk_sale_kernel.h"

typedef float lhk_sale_floats __attribute__((vector_size(64)));
typedef int32_t lhk_sale_ints __attribute__((vector_size(64), may_alias));

// Macros, because functions that take or return vectors wider than the registers make gcc remark on how they are passed.
#define LHK_SALE_LOAD(from) ({ lhk_sale_floats loaded_; memcpy(&loaded_, (from), sizeof loaded_); loaded_; })
#define LHK_SALE_STORE(to, x) ({ lhk_sale_floats stored_ = (x); memcpy((to), &stored_, sizeof stored_); })
#define LHK_SALE_SPLAT(x) ((lhk_sale_floats){0} + (x))
/// yes where the lanes of `mask` are -1, no where they are 0.
#define LHK_SALE_PICK(mask, yes, no)                                                                         \
    ({                                                                                                       \
        lhk_sale_ints mask_ = (mask);                                                                        \
        (lhk_sale_floats)((mask_ & (lhk_sale_ints)(yes)) | (~mask_ & (lhk_sale_ints)(no)));                  \
    })

#if defined(__clang__)
#define LHK_UNROLL _Pragma("clang loop unroll(full)")
#else
#define LHK_UNROLL _Pragma("GCC unroll 16")
#endif

#endif
