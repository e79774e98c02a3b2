// SPDX-License-Identifier: Apache-2.0
/// CommVQ: a store of 1 or 2 bits per channel. Keys are sums of codebook vectors that commute with rotary positions, values
/// are bits times a real codebook; both are read without decoding the cache. Source: arXiv 2506.18879.
#ifndef LONGHAND_COMMVQ_H
#define LONGHAND_COMMVQ_H

#include <longhand/roles.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

#define LHK_COMMVQ_CODES 16u  ///< complex vectors per level of a key's codebook

/// The family's plugin object (store `commvq`), for `lhk_registry_register`. Static storage.
LHK_API const lhk_plugin *lhk_commvq_plugin(void);
/// The object behind it, for the entry of the shared library.
extern const lhk_plugin lhk_commvq_plugin_object;

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
