// SPDX-License-Identifier: Apache-2.0
/// AVX-512 VNNI: unsigned codes times signed bytes of weights, four products per lane and instruction.
#if defined(__x86_64__)
#include <immintrin.h>

#include "lhk_quant_store.h"

LHK_TARGET_BEGIN(LHK_FEATURES_AVX512VNNI)
#include "lhk_quant_rotate.h"
#define LHK_NAME(x) lhk_quant_avx512vnni_##x
#include "lhk_quant_avx512.h"
#include "lhk_quant_body.h"
LHK_TARGET_END
#endif
