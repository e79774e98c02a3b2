// SPDX-License-Identifier: Apache-2.0
/// AVX-512 (F, BW, VL, DQ).
#if defined(__x86_64__)
#include <immintrin.h>

#include "lhk_adamas_kernel.h"

#define LHK_HADAMARD_LANES 16

LHK_TARGET_BEGIN(LHK_FEATURES_AVX512)
#define LHK_NAME(x) lhk_adamas_avx512_##x
#define LHK_ADAMAS_WORD "avx512"
#define LHK_ADAMAS_ISA LHK_ISA_AVX512
#define LHK_ADAMAS_SPEED 0.8
#define LHK_ADAMAS_POPCNT 0
#define LHK_HADAMARD(x) lhk_adamas_avx512_hadamard_##x
#include <lhk/hadamard_body.inc>
#include "lhk_adamas_avx512.h"
LHK_TARGET_END
#endif
