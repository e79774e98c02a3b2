// SPDX-License-Identifier: Apache-2.0
// Binding of methods to layers, and the life of the cache object.
#include <lhk/support.h>

#include "cache_internal.h"
#include "parameters.h"

const char *lhk_slot_word(int slot) {
    static const char *const words[slot_count] = {"store", "prefill selector", "decode selector", "attention", "position"};
    return words[slot];
}

lhk_status lhk_cache_fail(const lhk_cache *cache, uint32_t index, int slot, lhk_status status, lhk_error *inner,
                          lhk_error *error) {
    inner->text[sizeof inner->text - 1] = 0;
    return lhk_fail(error, status, -1, "layer %u: %s '%s': %s", index, lhk_slot_word(slot),
                    lhk_cache_spec(cache, index, slot)->name, inner->text[0] ? inner->text : "failed without a reason");
}

lhk_problem lhk_cache_problem(const lhk_cache *cache, uint32_t index, int slot) {
    const lhk_bound_layer *layer = &cache->layers[index];
    const lhk_spec *spec = lhk_cache_spec(cache, index, slot);
    // Options of the position method change what its parameters say, which only that method can tell.
    const bool known = cache->methods[slot_position].method &&
                       (slot == slot_position || !cache->specs[slot_position].option_count);
    return (lhk_problem){
        .struct_size = sizeof(lhk_problem),
        .option_count = spec->option_count,
        .query_heads = layer->shape.query_heads,
        .kv_heads = layer->shape.kv_heads,
        .head_dim_k = layer->shape.head_dim_k,
        .head_dim_v = layer->shape.head_dim_v,
        .query_dtype = LHK_DTYPE_F32,
        .kv_dtype = layer->kv_dtype,
        .output_dtype = LHK_DTYPE_F32,
        .query_rows = slot == slot_decode ? 1 : cache->max_rows,
        .keys = cache->capacity,
        .options = spec->option_count ? spec->options : NULL,
        .params = &layer->shape.params,
        .position = known ? &layer->shape.position : NULL,
        .layer = index,
        .parameter_count = layer->shape.parameter_count,
        .parameters = layer->shape.parameters,
    };
}

lhk_status lhk_bound_create(const lhk_cache *cache, uint32_t index, int slot, lhk_bound *bound, lhk_error *error) {
    const lhk_life_ops *life = bound->variant->life;
    lhk_problem problem = lhk_cache_problem(cache, index, slot);
    // A store decides the type of its panels; at its creation nobody knows it yet.
    if (slot == slot_store) problem.kv_dtype = LHK_DTYPE_NONE;
    lhk_error inner = {.struct_size = sizeof inner};
    lhk_sizes sizes = {.struct_size = sizeof sizes};
    lhk_status status = life->sizes(bound->variant, &problem, cache->host->workers, &sizes, &inner);
    if (!status) status = lhk_pages_map(sizes.state_bytes, &bound->state, &inner);
    bound->state_bytes = sizes.state_bytes;
    bound->workspace_bytes = sizes.workspace_bytes;
    if (!status) status = life->create(bound->variant, &problem, lhk_instance_of(bound), sizes.state_bytes, &inner);
    if (status) {
        lhk_pages_unmap(&bound->state);
        return lhk_cache_fail(cache, index, slot, status, &inner, error);
    }
    bound->created = true;
    return LHK_OK;
}

void lhk_bound_destroy(lhk_bound *bound) {
    if (bound->created && bound->variant->life->destroy) bound->variant->life->destroy(lhk_instance_of(bound));
    bound->created = false;
    lhk_pages_unmap(&bound->state);
}

// ---- binding ----

static lhk_status bind(lhk_cache *cache, uint32_t index, int slot, lhk_error *error) {
    lhk_bound *bound = &cache->layers[index].bound[slot];
    const lhk_registration *method = lhk_cache_method(cache, index, slot);
    if (!method->method || (slot == slot_decode && cache->shared_selector)) return LHK_OK;
    lhk_problem problem = lhk_cache_problem(cache, index, slot);
    lhk_error inner = {.struct_size = sizeof inner};
    lhk_status status = lhk_method_resolve(method->method, &problem, cache->host, &bound->variant, &inner);
    if (status) return lhk_cache_fail(cache, index, slot, status, &inner, error);
    return lhk_bound_create(cache, index, slot, bound, error);
}

static lhk_status bind_layer(lhk_cache *cache, uint32_t index, lhk_error *error) {
    lhk_bound_layer *layer = &cache->layers[index];
    lhk_status status = bind(cache, index, slot_store, error);
    if (status) return status;
    lhk_panels panels = {.struct_size = sizeof panels};
    if (lhk_store_of(layer)->panels) lhk_store_of(layer)->panels(lhk_instance_of(&layer->bound[slot_store]), &panels);
    layer->kv_dtype = panels.dtype;
    for (int slot = slot_prefill; !status && slot < slot_count; slot++) status = bind(cache, index, slot, error);
    return status;
}

/// One workspace per kind, as large as the neediest layer's, and the rows of one call.
static lhk_status map_workspaces(lhk_cache *cache, lhk_error *error) {
    uint64_t row_floats = 0, row_bytes = 0;
    for (uint32_t i = 0; i < cache->layer_count; i++) {
        const lhk_bound_layer *layer = &cache->layers[i];
        uint64_t selector = layer->bound[slot_prefill].workspace_bytes, decode = layer->bound[slot_decode].workspace_bytes;
        if (decode > selector) selector = decode;
        uint64_t attention = layer->bound[slot_attention].workspace_bytes;
        uint64_t floats = (uint64_t)layer->shape.query_heads * layer->shape.head_dim_k;
        if (selector > cache->selector_workspace_bytes) cache->selector_workspace_bytes = selector;
        if (attention > cache->attention_workspace_bytes) cache->attention_workspace_bytes = attention;
        if (floats > row_floats) row_floats = floats;
    }
    lhk_error inner = {.struct_size = sizeof inner};
    lhk_status status = lhk_pages_map(cache->selector_workspace_bytes, &cache->selector_workspace, &inner);
    if (!status) status = lhk_pages_map(cache->attention_workspace_bytes, &cache->attention_workspace, &inner);
    if (!status && !lhk_multiply((uint64_t)cache->max_rows * sizeof(float), row_floats, &row_bytes))
        status = lhk_fail(&inner, LHK_ERROR_OVERFLOW, -1, "max_rows times heads times head dimension does not fit");
    if (!status) status = lhk_pages_map(row_bytes, &cache->rows, &inner);
    return status ? lhk_fail(error, status, -1, "workspace: %s", inner.text) : LHK_OK;
}

static lhk_status build(lhk_cache *cache, const lhk_cache_config *config, lhk_error *error) {
    cache->capacity = config->capacity;
    cache->max_rows = lhk_min(config->max_rows, config->capacity);
    lhk_status status = lhk_cache_configure(cache, config, error);
    for (uint32_t i = 0; !status && i < cache->layer_count; i++) status = bind_layer(cache, i, error);
    if (!status) status = map_workspaces(cache, error);
    lhk_cache_reset_stats(cache);
    return status;
}

lhk_status lhk_cache_create(const lhk_cache_config *config, const lhk_registry *registry, const lhk_host *host,
                            lhk_cache **out, lhk_error *error) {
    lhk_status status = lhk_cache_check_config(config, error);
    if (status) return status;
    if (host->struct_size < LHK_SIZE_THROUGH(lhk_host, log_context) || !host->workers)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 2, "the host's struct_size is too small or it has no workers");
    lhk_cache *cache = calloc(1, sizeof *cache);
    if (!cache) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for a cache");
    cache->registry = registry;
    cache->host = host;
    status = build(cache, config, error);
    if (status) {
        lhk_cache_destroy(cache);
        return status;
    }
    *out = cache;
    return LHK_OK;
}

void lhk_cache_destroy(lhk_cache *cache) {
    if (!cache) return;
    for (uint32_t i = 0; i < cache->layer_count; i++) {
        lhk_bound_layer *layer = &cache->layers[i];
        for (int slot = slot_count; slot-- > 0;) lhk_bound_destroy(&layer->bound[slot]);
        free((void *)layer->shape.params.alibi_slopes);
        free((void *)layer->shape.params.sink_logits);
        free((void *)layer->shape.position.factors);
        lhk_parameters_free(layer->shape.parameters);
    }
    free(cache->layers);
    for (lhk_own_store *own = cache->own_stores, *next; own; own = next) {
        next = own->next;
        free(own);
    }
    lhk_pages_unmap(&cache->selector_workspace);
    lhk_pages_unmap(&cache->attention_workspace);
    lhk_pages_unmap(&cache->rows);
    free(cache);
}
