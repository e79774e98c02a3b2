// SPDX-License-Identifier: Apache-2.0
#include <longhand/longhand.h>

extern const lhk_plugin lhk_kivi_plugin_object;
LHK_DEFINE_PLUGIN_ENTRY(lhk_kivi_plugin_object);
