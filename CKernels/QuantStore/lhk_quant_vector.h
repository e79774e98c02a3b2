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

#endif
