// SPDX-License-Identifier: Apache-2.0
#include <longhand/baselines.h>

LHK_DEFINE_PLUGIN_ENTRY(lhk_baselines_plugin_object);
