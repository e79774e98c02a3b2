// SPDX-License-Identifier: Apache-2.0
/// One plugin file: checks before the dynamic loader sees it, and its entry object after.
#ifndef LHK_PLUGIN_FILE_H
#define LHK_PLUGIN_FILE_H

#include <longhand/plugin.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

/// Opens the file at the absolute `path` and gives the plugin object its entry leads to, which is still to be checked.
/// The file must be a whole shared library and its entry of this ABI. A file once opened stays open, even if refused:
/// its constructors may have handed out addresses.
lhk_status lhk_plugin_file_open(const char *path, const lhk_plugin *LHK_NULLABLE *LHK_NONNULL out,
                                lhk_error *LHK_NULLABLE error);

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
