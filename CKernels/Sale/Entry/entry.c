// SPDX-License-Identifier: Apache-2.0
#include <longhand/sale.h>

LHK_DEFINE_PLUGIN_ENTRY(lhk_sale_plugin_object);
