// SPDX-License-Identifier: Apache-2.0
/// What the ISA files share before their regions: 16 lanes whatever the registers are, and full unrolling.
#ifndef LHK_COMMVQ_VECTOR_H
#define LHK_COMMVQ_VECTOR_H

#include "lhk_commvq_store.h"

typedef float lhk_commvq_floats __attribute__((vector_size(64)));
typedef int32_t lhk_commvq_ints __attribute__((vector_size(64), may_alias));
typedef uint16_t lhk_commvq_halves __attribute__((vector_size(32), may_alias));

#if defined(__clang__)
#define LHK_UNROLL _Pragma("clang loop unroll(full)")
#else
#define LHK_UNROLL _Pragma("GCC unroll 16")
#endif

#define LHK_COMMVQ_ROWS 4  ///< query rows that meet a block together
#define LHK_COMMVQ_EACH(CALL) CALL(1) CALL(2) CALL(3) CALL(4)

#endif
