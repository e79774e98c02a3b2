// SPDX-License-Identifier: Apache-2.0
/// Dense stores: keys and values kept whole in f32, bf16 or f16, or keys in 8 bits (rotated by a Hadamard matrix) and values
/// in bf16, packed at append into the panels of `lhk_panels`.
#ifndef LONGHAND_DENSE_STORE_H
#define LONGHAND_DENSE_STORE_H

#include <longhand/roles.h>

LHK_BEGIN_DECLS

/// The family's plugin object (stores `f32`, `bf16`, `f16`, `k8v16`), for `lhk_registry_register`. Static storage.
LHK_API const lhk_plugin *lhk_dense_store_plugin(void);

LHK_END_DECLS
#endif
