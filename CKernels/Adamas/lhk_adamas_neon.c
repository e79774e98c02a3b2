// SPDX-License-Identifier: Apache-2.0
/// NEON: byte counts, weights of codes by `tbl`.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "lhk_adamas_kernel.h"

#define LHK_NAME(x) lhk_adamas_neon_##x
#define LHK_ADAMAS_WORD "neon"
#define LHK_ADAMAS_ISA LHK_ISA_NEON
#define LHK_ADAMAS_SPEED 0.25
#define LHK_HADAMARD(x) lhk_adamas_neon_hadamard_##x
#define LHK_HADAMARD_LANES 4
#include <lhk/hadamard_body.inc>
#include "lhk_adamas_neon.h"
#endif
