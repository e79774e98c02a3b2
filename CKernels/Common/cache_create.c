// SPDX-License-Identifier: Apache-2.0
// Binding of methods to layers, and the life of the cache object.
#include <lhk/support.h>

#include "cache_internal.h"
#include "parameters.h"
#include "plugin_check.h"

/// Beyond these no model goes; they keep products of dimensions within 64 bits.
enum { max_layers = 65536, max_heads = 65536, max_dim = 65536 };

static const char *const slot_words[slot_count] = {"store", "prefill selector", "decode selector", "attention", "position"};
static const char *const slot_roles[slot_count] = {LHK_ROLE_STORE, LHK_ROLE_SELECTOR, LHK_ROLE_SELECTOR,
                                                   LHK_ROLE_ATTENTION, LHK_ROLE_POSITION};

lhk_status lhk_cache_fail(const lhk_cache *cache, uint32_t index, int slot, lhk_status status, lhk_error *inner,
                          lhk_error *error) {
    inner->text[sizeof inner->text - 1] = 0;
    return lhk_fail(error, status, -1, "layer %u: %s '%s': %s", index, slot_words[slot], lhk_cache_spec(cache, index, slot)->name,
                    inner->text[0] ? inner->text : "failed without a reason");
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

// ---- configuration ----

static lhk_status layer_fault(uint32_t index, const char *text, lhk_error *error) {
    return lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "layer %u: %s", index, text);
}

static lhk_status check_params(uint32_t index, const lhk_attention_params *params, lhk_error *error) {
    if (params->struct_size < LHK_SIZE_THROUGH(lhk_attention_params, sink_logits))
        return layer_fault(index, "the struct_size of its attention parameters is too small", error);
    if (params->flags & LHK_ATTENTION_OFFSET)
        return layer_fault(index, "an attention offset is given, but it follows from the sequence", error);
    if (params->flags & ~LHK_ATTENTION_CAUSAL) return layer_fault(index, "unknown attention flags", error);
    if (!(params->scale >= 0) || isinf(params->scale)) return layer_fault(index, "scale is negative or not finite", error);
    if (!(params->softcap >= 0) || isinf(params->softcap))
        return layer_fault(index, "softcap is negative or not finite", error);
    if (params->window_left < -1 || params->window_right < -1 || params->sink_tokens < 0)
        return layer_fault(index, "a window is below -1 or sink_tokens below 0", error);
    return LHK_OK;
}

static lhk_status check_layer(uint32_t index, const lhk_cache_layer *layer, bool positions, lhk_error *error) {
    if (!layer->query_heads || !layer->kv_heads || layer->query_heads % layer->kv_heads || layer->query_heads > max_heads)
        return layer_fault(index, "query_heads is not a multiple of kv_heads, or above 65536", error);
    if (!layer->head_dim_k || !layer->head_dim_v || layer->head_dim_k > max_dim || layer->head_dim_v > max_dim)
        return layer_fault(index, "a head dimension is not in 1 to 65536", error);
    lhk_status status = check_params(index, &layer->params, error);
    if (status || !positions) return status;
    if (layer->position.struct_size < LHK_SIZE_THROUGH(lhk_position_params, factors))
        return layer_fault(index, "the struct_size of its position parameters is too small", error);
    if (layer->position.factor_count > layer->head_dim_k / 2 || (layer->position.factor_count && !layer->position.factors))
        return layer_fault(index, "factor_count is above head_dim_k / 2, or factors is null", error);
    return LHK_OK;
}

static lhk_status check_config(const lhk_cache_config *config, lhk_error *error) {
    if (config->struct_size < LHK_SIZE_THROUGH(lhk_cache_config, position))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "the cache configuration's struct_size is too small");
    if (!config->layer_count || config->layer_count > max_layers || !config->layers)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "the number of layers is not in 1 to %d", max_layers);
    // Selections hold token indices as int32_t.
    if (config->capacity < 1 || config->capacity > INT32_MAX)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "a capacity of %lld tokens is not in 1 to %d",
                        (long long)config->capacity, INT32_MAX);
    if (config->max_rows < 1)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "max_rows %lld is below 1", (long long)config->max_rows);
    if (!config->store || !config->prefill || !config->decode || !config->attention || !config->position)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "the specification of a method is null");
    return LHK_OK;
}

/// Copies `count` floats; a null source stays null.
static bool copy_floats(const float *source, size_t count, const float **out) {
    *out = NULL;
    if (!source || !count) return true;
    float *copy = malloc(count * sizeof *copy);
    if (!copy) return false;
    memcpy(copy, source, count * sizeof *copy);
    *out = copy;
    return true;
}

/// Parses `text`, the specification of a method, and finds that method.
static lhk_status find_method(const lhk_cache *cache, int slot, const char *text, lhk_spec *spec, lhk_registration *method,
                              lhk_error *error) {
    lhk_status status = lhk_spec_parse(text, spec, error);
    if (status || (slot == slot_position && !strcmp(spec->text, "none"))) return status;
    return lhk_registry_find(cache->registry, slot_roles[slot], spec->name, method, error);
}

/// Sets the store of layer `index` to `text`, unless it is the configuration's.
static lhk_status choose_store(lhk_cache *cache, uint32_t index, const char *text, lhk_error *error) {
    lhk_bound_layer *layer = &cache->layers[index];
    layer->shape.store = NULL;
    if (!text || !strcmp(text, cache->specs[slot_store].text)) return LHK_OK;
    lhk_own_store **at = &cache->own_stores;
    while (*at && strcmp((*at)->spec.text, text)) at = &(*at)->next;
    if (!*at) {
        lhk_own_store *own = calloc(1, sizeof *own);
        if (!own) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for the store of layer %u", index);
        *at = own;
        lhk_error inner = {.struct_size = sizeof inner};
        lhk_status status = find_method(cache, slot_store, text, &own->spec, &own->method, &inner);
        if (status) return lhk_fail(error, status, 0, "layer %u: store '%.60s': %s", index, text, inner.text);
    }
    layer->own_store = *at;
    layer->shape.store = (*at)->spec.text;
    return LHK_OK;
}

static lhk_status copy_layers(lhk_cache *cache, const lhk_cache_config *config, lhk_error *error) {
    bool positions = cache->methods[slot_position].method != NULL;
    // The caller's array has the stride of the caller's headers.
    const uint32_t stride = config->layers[0].struct_size;
    if (stride < LHK_SIZE_THROUGH(lhk_cache_layer, position) || stride % _Alignof(lhk_cache_layer))
        return layer_fault(0, "struct_size is too small", error);
    cache->layers = calloc(config->layer_count, sizeof *cache->layers);
    if (!cache->layers) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for %u layers", config->layer_count);
    for (uint32_t i = 0; i < config->layer_count; i++) {
        const lhk_cache_layer *from = (const void *)((const uint8_t *)config->layers + (size_t)i * stride);
        if (from->struct_size != stride) return layer_fault(i, "struct_size differs from that of layer 0", error);
        lhk_status status = check_layer(i, from, positions, error);
        if (status) return status;
        lhk_cache_layer *to = &cache->layers[i].shape;
        memcpy(to, from, lhk_min(stride, sizeof *to));
        to->struct_size = sizeof *to;
        const lhk_parameter *parameters = to->parameters;
        to->position.factors = to->params.alibi_slopes = to->params.sink_logits = NULL;
        to->parameters = NULL;
        cache->layer_count = i + 1;
        if (!positions) to->position.factor_count = 0;
        if (!copy_floats(from->params.alibi_slopes, from->query_heads, &to->params.alibi_slopes) ||
            !copy_floats(from->params.sink_logits, from->query_heads, &to->params.sink_logits) ||
            !copy_floats(positions ? from->position.factors : NULL, to->position.factor_count, &to->position.factors))
            return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for the parameters of layer %u", i);
        lhk_error inner = {.struct_size = sizeof inner};
        status = lhk_parameters_copy(parameters, to->parameter_count, &to->parameters, &inner);
        if (status) return lhk_fail(error, status, 0, "layer %u: %s", i, inner.text);
        status = choose_store(cache, i, to->store, error);
        if (status) return status;
    }
    return LHK_OK;
}

static lhk_status find_methods(lhk_cache *cache, const lhk_cache_config *config, lhk_error *error) {
    const char *const texts[slot_count] = {config->store, config->prefill, config->decode, config->attention,
                                           config->position};
    for (int slot = 0; slot < slot_count; slot++) {
        lhk_error inner = {.struct_size = sizeof inner};
        lhk_status status = find_method(cache, slot, texts[slot], &cache->specs[slot], &cache->methods[slot], &inner);
        if (status) return lhk_fail(error, status, 0, "%s '%.60s': %s", slot_words[slot], texts[slot], inner.text);
    }
    cache->shared_selector = !strcmp(cache->specs[slot_prefill].text, cache->specs[slot_decode].text);
    return LHK_OK;
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
    lhk_status status = find_methods(cache, config, error);
    if (!status) status = copy_layers(cache, config, error);
    for (uint32_t i = 0; !status && i < cache->layer_count; i++) status = bind_layer(cache, i, error);
    if (!status) status = map_workspaces(cache, error);
    lhk_cache_reset_stats(cache);
    return status;
}

lhk_status lhk_cache_create(const lhk_cache_config *config, const lhk_registry *registry, const lhk_host *host,
                            lhk_cache **out, lhk_error *error) {
    lhk_status status = check_config(config, error);
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
