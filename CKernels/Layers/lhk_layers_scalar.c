// SPDX-License-Identifier: Apache-2.0
// Baseline of the architecture (SSE2 on x86-64, NEON on arm64) through four-lane vectors of the compiler.
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "lhk_layers_table.h"

#define LHK_LANES 4
#define LHK_VFMA(a, b, c) ((a) * (b) + (c))
#define LHK_VSUM(v) (((v)[0] + (v)[2]) + ((v)[1] + (v)[3]))
#define LHK_TABLE lhk_layers_scalar
#define LHK_LINEAR_TILE_COLUMNS 2

#include "lhk_layers_body.h"
