// SPDX-License-Identifier: Apache-2.0
/// Quantised stores: keys and values as 8-bit or 4-bit codes with half-precision scales per 32 channels.
#ifndef LONGHAND_QUANT_STORE_H
#define LONGHAND_QUANT_STORE_H

#include <longhand/roles.h>

LHK_BEGIN_DECLS

/// The family's plugin object (stores `q8`, `q4`), for `lhk_registry_register`. Static storage.
LHK_API const lhk_plugin *lhk_quant_store_plugin(void);

LHK_END_DECLS
#endif
