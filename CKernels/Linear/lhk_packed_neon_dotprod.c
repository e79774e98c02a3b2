// SPDX-License-Identifier: Apache-2.0
#if defined(__aarch64__)
#include <arm_neon.h>

#include "lhk_packed_format.h"

LHK_TARGET_BEGIN(LHK_FEATURES_NEON_DOTPROD)

#define LHK_PACKED_TABLE lhk_packed_neon_dotprod
#define LHK_TILE_ROWS 2
#define LHK_FINE_TILE_ROWS 2
#define LHK_TILE_PANELS 1
#define LHK_UNSIGNED_CODES 0

#include "lhk_packed_neon.h"
#include "lhk_packed_body.h"

LHK_TARGET_END
#endif
