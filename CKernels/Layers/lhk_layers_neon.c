// SPDX-License-Identifier: Apache-2.0
// NEON: the vectors of the baseline with the fused multiply-add, and a tile of 16 accumulators in 32 registers.
#if defined(__aarch64__)
#include <arm_neon.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "lhk_layers_table.h"

#define LHK_LANES 4
#define LHK_VFMA(a, b, c) vfmaq_f32(c, a, b)
#define LHK_VSUM(v) vaddvq_f32(v)
#define LHK_TABLE lhk_layers_neon
#define LHK_LINEAR_TILE_COLUMNS 4

#include "lhk_layers_body.h"
#endif
