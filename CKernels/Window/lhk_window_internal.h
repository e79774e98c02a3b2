// SPDX-License-Identifier: Apache-2.0
/// What the files of this family share.
#ifndef LHK_WINDOW_INTERNAL_H
#define LHK_WINDOW_INTERNAL_H

#include <lhk/support.h>
#include <longhand/reference.h>
#include <longhand/window.h>

extern const lhk_life_ops lhk_window_life_ops, lhk_window_all_life_ops;
extern const lhk_selector_ops lhk_window_selector_ops, lhk_window_all_selector_ops;
extern const lhk_selector_reference lhk_window_formula;

#endif
