// SPDX-License-Identifier: Apache-2.0
/// Rotary positions at the baseline of the architecture.
#include "lhk_rope_internal.h"

#define LHK_ROPE_NAME(name) name##_scalar
#include "lhk_rope_body.h"
