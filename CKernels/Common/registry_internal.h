// SPDX-License-Identifier: Apache-2.0
/// What registry.c shows to the loader.
#ifndef LHK_REGISTRY_INTERNAL_H
#define LHK_REGISTRY_INTERNAL_H

#include <longhand/registry.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

/// Keeps a rejected candidate; the same path and reason once only. Silently drops it when there is no memory.
void lhk_registry_reject(lhk_registry *registry, const char *path, const char *reason);

/// Notes that discovery ran, so that an empty registry can say why it is empty.
void lhk_registry_mark_discovered(lhk_registry *registry);

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
