// SPDX-License-Identifier: Apache-2.0
#include <longhand/window.h>

LHK_DEFINE_PLUGIN_ENTRY(lhk_window_plugin_object);
