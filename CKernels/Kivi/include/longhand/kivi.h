// SPDX-License-Identifier: Apache-2.0
/// KIVI: scalar codes of 2 or 1 bits, keys in groups of tokens per channel, values in groups of channels per token, the last
/// tokens in 16 bit. Source: arXiv 2402.02750, sections 3.3 and 3.4.
#ifndef LONGHAND_KIVI_H
#define LONGHAND_KIVI_H

#include <longhand/roles.h>

LHK_BEGIN_DECLS

/// The family's plugin object (stores `q2`, `q1`), for `lhk_registry_register`. Static storage, thread-safe.
LHK_API const lhk_plugin *lhk_kivi_plugin(void);

LHK_END_DECLS
#endif
