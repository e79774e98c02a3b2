// SPDX-License-Identifier: Apache-2.0
#include <longhand/adamas.h>

LHK_DEFINE_PLUGIN_ENTRY(lhk_adamas_plugin_object);
