// SPDX-License-Identifier: Apache-2.0
/// NEON kernels: 6 rows x 16 columns in 24 of 32 registers. They need no more than the portable kernels do on AArch64,
/// but ask for the fused multiply-add and a tile that fills the registers. Keys of 8 bits take the DotProd extension, or I8MM as
/// well; without them the portable kernel does as well.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <lhk/hadamard.h>

#include "lhk_flash_kernel.h"
#include "lhk_flash_neon.h"

#define LHK_ISA(x) lhk_flash_neon_##x
#include "lhk_flash_softmax.h"

#define LHK_ROWS 6
#define LHK_UNITS 1
#define LHK_PANEL_F16 0
#define LHK_PANEL_BF16 0
#define LHK_PANEL_BF16_DOT 0
#define LHK_NAME(x) lhk_flash_f32_neon_##x
#define vload_panel(p) vreinterpretq_f32_u32(vload_bits(p))
#include "lhk_flash_body.h"

#undef LHK_PANEL_F16
#undef LHK_NAME
#undef vload_panel
#define LHK_PANEL_F16 1
#define LHK_NAME(x) lhk_flash_f16_neon_##x
#define vload_panel(p) vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)))
#include "lhk_flash_body.h"

#undef LHK_PANEL_F16
#undef LHK_PANEL_BF16
#undef LHK_NAME
#define LHK_PANEL_F16 0
#define LHK_PANEL_BF16 1
#define LHK_NAME(x) lhk_flash_bf16_neon_##x
#define vload_bf16_even(p) vreinterpretq_f32_u32(vshlq_n_u32(vload_bits(p), 16))
#define vload_bf16_odd(p) vreinterpretq_f32_u32(vandq_u32(vload_bits(p), vdupq_n_u32(0xffff0000u)))
#include "lhk_flash_body.h"

#define LHK_HADAMARD(x) lhk_flash_neon_hadamard_##x
#include <lhk/hadamard_body.inc>

LHK_TARGET_BEGIN(LHK_FEATURES_NEON_DOTPROD)
#undef LHK_NAME
#define LHK_NAME(x) lhk_flash_i8_neon_dotprod_##x
#define LHK_I8_ROWS 6
#define LHK_I8_UNITS 1
#define LHK_I8_WORDS 1
#define LHK_I8_VALUES lhk_flash_bf16_neon_values
#define LHK_I8_SOFTMAX lhk_flash_neon_softmax
#define LHK_I8_WEIGHTS LHK_DTYPE_F32
#include "lhk_flash_neon_dotprod.h"
#include "lhk_flash_i8_body.h"
LHK_TARGET_END

LHK_TARGET_BEGIN(LHK_FEATURES_NEON_I8MM)
#undef LHK_NAME
#define LHK_NAME(x) lhk_flash_i8_neon_i8mm_##x
#include "lhk_flash_neon_i8mm.h"
#include "lhk_flash_i8_body.h"
LHK_TARGET_END
#endif
