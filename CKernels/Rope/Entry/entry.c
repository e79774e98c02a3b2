// SPDX-License-Identifier: Apache-2.0
#include <longhand/rope.h>

LHK_DEFINE_PLUGIN_ENTRY(lhk_rope_plugin_object);
