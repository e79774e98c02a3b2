// SPDX-License-Identifier: Apache-2.0
/// A plugin file of an ABI that does not exist yet.
#include <longhand/longhand.h>

extern LHK_EXPORT const lhk_entry lhk_plugin_entry;
const lhk_entry lhk_plugin_entry = {LHK_ENTRY_MAGIC, LHK_ABI_MAJOR + 98, 0, sizeof(lhk_entry), NULL};
