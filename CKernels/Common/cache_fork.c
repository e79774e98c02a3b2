// SPDX-License-Identifier: Apache-2.0
// A second cache of the same configuration and content, and the report of what was bound.
#include <lhk/support.h>

#include "cache_internal.h"

static lhk_status fork_layer(const lhk_cache *source, lhk_cache *copy, uint32_t index, lhk_error *error) {
    for (int slot = slot_store; slot <= slot_decode; slot++) {
        const lhk_bound *from = &source->layers[index].bound[slot];
        lhk_bound *to = &copy->layers[index].bound[slot];
        if (!from->variant) continue;
        lhk_error inner = {.struct_size = sizeof inner};
        lhk_status status = LHK_OK;
        if (from->variant != to->variant)
            status = lhk_fail(&inner, LHK_ERROR_UNSUPPORTED, -1, "another variant was chosen for the copy");
        else if (from->variant->life->fork)
            status = from->variant->life->fork(lhk_instance_of(from), lhk_instance_of(to), &inner);
        if (status) return lhk_cache_fail(copy, index, slot, status, &inner, error);
    }
    return LHK_OK;
}

lhk_status lhk_cache_fork(const lhk_cache *cache, lhk_cache **out, lhk_error *error) {
    lhk_cache_layer *layers = calloc(cache->layer_count, sizeof *layers);
    if (!layers) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for a copy of the cache");
    for (uint32_t i = 0; i < cache->layer_count; i++) layers[i] = cache->layers[i].shape;
    lhk_cache_config config = {.struct_size = sizeof config,
                               .layer_count = cache->layer_count,
                               .layers = layers,
                               .capacity = cache->capacity,
                               .max_rows = cache->max_rows,
                               .store = cache->specs[slot_store].text,
                               .prefill = cache->specs[slot_prefill].text,
                               .decode = cache->specs[slot_decode].text,
                               .attention = cache->specs[slot_attention].text,
                               .position = cache->specs[slot_position].text};
    lhk_cache *copy = NULL;
    lhk_status status = lhk_cache_create(&config, cache->registry, cache->host, &copy, error);
    free(layers);
    for (uint32_t i = 0; !status && i < cache->layer_count; i++) status = fork_layer(cache, copy, i, error);
    if (status) {
        lhk_cache_destroy(copy);
        return status;
    }
    *out = copy;
    return LHK_OK;
}

static lhk_cache_binding binding_of(const char *slot, const lhk_spec *spec, const lhk_registration *method,
                                    const lhk_variant *variant) {
    return (lhk_cache_binding){.struct_size = sizeof(lhk_cache_binding),
                               .slot = slot,
                               .spec = spec->text,
                               .variant = variant ? variant->id : "none",
                               .origin = method->method ? method->origin : "built-in"};
}

/// The variant of the first layer with the store `own`; null where none has it.
static const lhk_variant *store_variant(const lhk_cache *cache, const lhk_own_store *own) {
    for (uint32_t i = 0; i < cache->layer_count; i++)
        if (cache->layers[i].own_store == own) return cache->layers[i].bound[slot_store].variant;
    return NULL;
}

lhk_status lhk_cache_get_binding(const lhk_cache *cache, uint32_t index, lhk_cache_binding *out) {
    static const char *const slot_names[slot_count] = {"store", "prefill", "decode", "attention", "position"};
    if (index >= slot_count) {
        const lhk_own_store *own = cache->own_stores;
        for (uint32_t i = slot_count; own && i < index; i++) own = own->next;
        if (!own) return LHK_ERROR_NOT_FOUND;
        *out = binding_of(slot_names[slot_store], &own->spec, &own->method, store_variant(cache, own));
        return LHK_OK;
    }
    int from = index == slot_decode && cache->shared_selector ? slot_prefill : (int)index;
    const lhk_variant *variant =
        from == slot_store ? store_variant(cache, NULL) : cache->layers[0].bound[from].variant;
    *out = binding_of(slot_names[index], &cache->specs[index], &cache->methods[index], variant);
    return LHK_OK;
}
