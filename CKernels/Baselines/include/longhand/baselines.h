// SPDX-License-Identifier: Apache-2.0
/// Plain selectors that others are held against under the same budget: `quest`, `pooled` and `random`.
///
/// They are there for comparisons, so there are no direct calls: only the plugin. `README.md` beside the sources has the
/// formulas and where they are from.
#ifndef LONGHAND_BASELINES_H
#define LONGHAND_BASELINES_H

#include <longhand/roles.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

/// The plugin `longhand.baselines` for `lhk_registry_register`. Static storage.
LHK_API const lhk_plugin *lhk_baselines_plugin(void);
/// The object behind it, for the entry of the shared library.
extern const lhk_plugin lhk_baselines_plugin_object;

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
