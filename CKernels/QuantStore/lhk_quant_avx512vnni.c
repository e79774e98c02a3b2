// SPDX-License-Identifier: Apache-2.0
/// AVX-512 VNNI: unsigned codes times signed bytes of weights, four products per lane and instruction.
#if defined(__x86_64__)
#include <immintrin.h>

#include "lhk_quant_vector.h"

LHK_TARGET_BEGIN(LHK_FEATURES_AVX512VNNI)
#define LHK_NAME(x) lhk_quant_avx512vnni_##x
#define LHK_HADAMARD(x) lhk_quant_avx512vnni_hadamard_##x
#define LHK_HADAMARD_LANES 16
#include <lhk/hadamard_body.inc>

#include "lhk_quant_avx512.h"
#include "lhk_quant_body.h"
#define LHK_QUANT_PLAIN_PAIRS
#include "lhk_quant_unpack.h"
LHK_TARGET_END
#endif
