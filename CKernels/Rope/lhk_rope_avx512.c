// SPDX-License-Identifier: Apache-2.0
/// Rotary positions for AVX-512.
#include "lhk_rope_internal.h"

#if defined(__x86_64__)
LHK_TARGET_BEGIN(LHK_FEATURES_AVX512)
#define LHK_ROPE_NAME(name) name##_avx512
#include "lhk_rope_body.h"
LHK_TARGET_END
#endif
