// SPDX-License-Identifier: Apache-2.0
/// Validation of what a plugin offers, before any of its functions is called.
#ifndef LHK_PLUGIN_CHECK_H
#define LHK_PLUGIN_CHECK_H

#include <longhand/reference.h>
#include <stdbool.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

/// Checks struct sizes, pointers, strings, counts, roles, instruction sets and required functions of `plugin`, and that
/// its own methods and variant ids differ. LHK_ERROR_ABI names the first fault.
lhk_status lhk_plugin_check(const lhk_plugin *LHK_NULLABLE plugin, lhk_error *LHK_NULLABLE error);

/// "store" for LHK_ROLE_STORE and so on; null for an unknown role.
const char *LHK_NULLABLE lhk_role_word(const char *role);

/// True for 1 to 64 characters of `a-z 0-9 _ - .` that begin with a letter or digit: names of methods and option keys.
bool lhk_name_valid(const char *name);

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
