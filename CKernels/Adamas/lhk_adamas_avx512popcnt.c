// SPDX-License-Identifier: Apache-2.0
/// AVX-512 with VPOPCNTDQ, which counts eight words at once, and VBMI, which looks bytes up in tables of 64.
#if defined(__x86_64__)
#include <immintrin.h>

#include "lhk_adamas_kernel.h"

#define LHK_HADAMARD_LANES 16

LHK_TARGET_BEGIN(LHK_FEATURES_AVX512POPCNT)
#define LHK_NAME(x) lhk_adamas_avx512popcnt_##x
#define LHK_ADAMAS_WORD "avx512popcnt"
#define LHK_ADAMAS_ISA (LHK_ISA_AVX512 | LHK_ISA_AVX512POPCNT)
#define LHK_ADAMAS_SPEED 1.6
#define LHK_ADAMAS_POPCNT 1
#define LHK_HADAMARD(x) lhk_adamas_avx512popcnt_hadamard_##x
#include <lhk/hadamard_body.inc>
#include "lhk_adamas_avx512.h"
LHK_TARGET_END
#endif
