// SPDX-License-Identifier: Apache-2.0
/// Caches over the linked families, for the targets `cache` and `cache-file`.
#ifndef FUZZ_CACHES_H
#define FUZZ_CACHES_H

#include <longhand/cache.h>
#include <longhand/dense_store.h>
#include <longhand/flash_attention.h>
#include <longhand/rope.h>
#include <longhand/window.h>
#include <unistd.h>

#include "input.h"

/// All families registered; made once.
static inline const lhk_registry *linked_registry(void) {
    static lhk_registry *registry;
    if (registry) return registry;
    const lhk_plugin *const plugins[] = {lhk_dense_store_plugin(), lhk_flash_attention_plugin(), lhk_rope_plugin(),
                                         lhk_window_plugin()};
    lhk_error error = {.struct_size = sizeof error};
    lhk_status status = lhk_registry_create(&registry, &error);
    for (size_t i = 0; i < sizeof plugins / sizeof *plugins && !status; i++)
        status = lhk_registry_register(registry, plugins[i], "built-in", &error);
    if (status) FUZZ_FOUND("a family was not registered: %s", error.text);
    return registry;
}

/// A file of this process in memory.
static inline const char *scratch_path(void) {
    static char path[64];
    if (!*path) snprintf(path, sizeof path, "/dev/shm/longhand-fuzz-%ld.kv", (long)getpid());
    return path;
}

/// Contiguous f32 rows [rows][heads][dim] in memory of exactly their size, or of 2-byte elements.
static inline lhk_tensor make_rows(int64_t rows, int64_t heads, int64_t dim, lhk_dtype dtype, uint64_t *state) {
    int64_t count = rows * heads * dim;
    lhk_tensor t = {exact((size_t)count * lhk_dtype_size(dtype), 16), dtype, 3, {rows, heads, dim}, {heads * dim, dim, 1}};
    for (int64_t i = 0; i < count; i++) lhk_store_element(t.data, dtype, i, next_uniform(state));
    return t;
}

#endif
