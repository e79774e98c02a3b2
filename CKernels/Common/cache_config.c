// SPDX-License-Identifier: Apache-2.0
// What a configuration says: checked, copied, and its methods found.
#include <lhk/support.h>

#include "cache_internal.h"
#include "parameters.h"

/// Beyond these no model goes; they keep products of dimensions within 64 bits.
enum { max_layers = 65536, max_heads = 65536, max_dim = 65536 };

static const char *const slot_roles[slot_count] = {LHK_ROLE_STORE, LHK_ROLE_SELECTOR, LHK_ROLE_SELECTOR,
                                                   LHK_ROLE_ATTENTION, LHK_ROLE_POSITION};

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

lhk_status lhk_cache_check_config(const lhk_cache_config *config, lhk_error *error) {
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
        if (status) return lhk_fail(error, status, 0, "%s '%.60s': %s", lhk_slot_word(slot), texts[slot], inner.text);
    }
    cache->shared_selector = !strcmp(cache->specs[slot_prefill].text, cache->specs[slot_decode].text);
    return LHK_OK;
}

lhk_status lhk_cache_configure(lhk_cache *cache, const lhk_cache_config *config, lhk_error *error) {
    lhk_status status = find_methods(cache, config, error);
    return status ? status : copy_layers(cache, config, error);
}
