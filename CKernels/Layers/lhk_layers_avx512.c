// SPDX-License-Identifier: Apache-2.0
#if defined(__x86_64__)
#include <immintrin.h>
#include <lhk/support.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "lhk_layers_table.h"

#define LHK_LANES 16
#define LHK_VFMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define LHK_VSUM(v) _mm512_reduce_add_ps(v)
#define LHK_TABLE lhk_layers_avx512
#define LHK_LINEAR_TILE_COLUMNS 4

LHK_TARGET_BEGIN(LHK_FEATURES_AVX512)

#include "lhk_layers_body.h"

LHK_TARGET_END
#endif
