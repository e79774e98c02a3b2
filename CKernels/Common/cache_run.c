// SPDX-License-Identifier: Apache-2.0
// What runs per token: append, attend, truncate, counters. Nothing here allocates.
#define _GNU_SOURCE
#include <lhk/support.h>
#include <time.h>

#include "cache_internal.h"

static uint64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int64_t layer_length(const lhk_bound_layer *layer) {
    return lhk_store_of(layer)->length(lhk_instance_of(&layer->bound[slot_store]));
}

static lhk_status check_layer_index(const lhk_cache *cache, uint32_t layer, lhk_error *error) {
    if (layer < cache->layer_count) return LHK_OK;
    return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "layer %u: the cache has %u layers", layer, cache->layer_count);
}

// ---- positions ----

typedef struct widening {
    const lhk_tensor *from, *to;
} widening;

static void widen_row(void *context, int64_t row, uint32_t worker) {
    (void)worker;
    const widening *job = context;
    for (int64_t head = 0; head < job->to->shape[1]; head++) {
        const void *from = lhk_row(job->from, row, head);
        float *to = lhk_row(job->to, row, head);
        for (int64_t c = 0; c < job->to->shape[2]; c++) to[c] = lhk_load_element(from, job->from->dtype, c);
    }
}

/// Gives `x`, whose rows sit at positions `first` and on, as F32 with positions applied: in the cache's rows, or x
/// itself when there is nothing to do.
static lhk_status apply_position(lhk_cache *cache, uint32_t index, const lhk_tensor *x, int64_t first, lhk_tensor *out,
                                 lhk_error *error) {
    const lhk_bound *bound = &cache->layers[index].bound[slot_position];
    if (!bound->variant && x->dtype == LHK_DTYPE_F32) {
        *out = *x;
        return LHK_OK;
    }
    *out = (lhk_tensor){.data = cache->rows.data, .dtype = LHK_DTYPE_F32, .rank = 3};
    memcpy(out->shape, x->shape, sizeof out->shape);
    out->stride[0] = x->shape[1] * x->shape[2];
    out->stride[1] = x->shape[2];
    out->stride[2] = 1;
    if (!bound->variant) {
        widening job = {x, out};
        lhk_parallel_for(cache->host, x->shape[0], widen_row, &job);
        return LHK_OK;
    }
    const lhk_position_ops *ops = bound->variant->ops;
    lhk_error inner = {.struct_size = sizeof inner};
    lhk_status status = ops->apply(lhk_instance_of(bound), cache->host, x, first, out, &inner);
    return status ? lhk_cache_fail(cache, index, slot_position, status, &inner, error) : LHK_OK;
}

// ---- append ----

/// Takes the layer's store and selectors back to `tokens`, in slots before `end`.
static void roll_back(lhk_cache *cache, uint32_t index, int end, int64_t tokens) {
    for (int slot = slot_store; slot < end; slot++) {
        const lhk_bound *bound = &cache->layers[index].bound[slot];
        if (bound->variant && bound->variant->life->truncate)
            bound->variant->life->truncate(lhk_instance_of(bound), tokens, NULL);
    }
}

/// Appends rows to the store and to the indices of both selectors; all of them or none.
static lhk_status append_rows(lhk_cache *cache, uint32_t index, const lhk_tensor *k, const lhk_tensor *v, int64_t length,
                              lhk_error *error) {
    lhk_bound_layer *layer = &cache->layers[index];
    lhk_error inner = {.struct_size = sizeof inner};
    lhk_status status = lhk_store_of(layer)->append(lhk_instance_of(&layer->bound[slot_store]), cache->host, k, v, &inner);
    if (status) return lhk_cache_fail(cache, index, slot_store, status, &inner, error);
    for (int slot = slot_prefill; slot <= slot_decode; slot++) {
        const lhk_bound *bound = &layer->bound[slot];
        if (!bound->variant || !lhk_selector_of(bound)->append) continue;
        status = lhk_selector_of(bound)->append(lhk_instance_of(bound), cache->host, k, v, &inner);
        if (!status) continue;
        roll_back(cache, index, slot, length);
        return lhk_cache_fail(cache, index, slot, status, &inner, error);
    }
    return LHK_OK;
}

lhk_status lhk_cache_append(lhk_cache *cache, uint32_t index, const lhk_tensor *k, const lhk_tensor *v, lhk_error *error) {
    lhk_status status = check_layer_index(cache, index, error);
    if (status) return status;
    const lhk_bound_layer *layer = &cache->layers[index];
    status = lhk_check_rows(k, layer->shape.kv_heads, layer->shape.head_dim_k, "k", 2, error);
    if (!status) status = lhk_check_rows(v, layer->shape.kv_heads, layer->shape.head_dim_v, "v", 3, error);
    if (status) return status;
    const int64_t rows = k->shape[0], length = layer_length(layer);
    if (rows != v->shape[0])
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 3, "layer %u: %lld rows of keys but %lld of values", index,
                        (long long)rows, (long long)v->shape[0]);
    if (rows == 0) return LHK_OK;
    if (rows > cache->capacity - length)
        return lhk_fail(error, LHK_ERROR_CAPACITY, 2, "layer %u: %lld more tokens do not fit; it holds %lld of %lld",
                        index, (long long)rows, (long long)length, (long long)cache->capacity);
    if (rows > cache->max_rows)
        return lhk_fail(error, LHK_ERROR_CAPACITY, 2, "layer %u: %lld rows in one call; the cache takes at most %lld",
                        index, (long long)rows, (long long)cache->max_rows);
    const uint64_t start = now_ns();
    lhk_tensor placed;
    status = apply_position(cache, index, k, length, &placed, error);
    if (!status) status = append_rows(cache, index, &placed, v, length, error);
    cache->stats.append_nanoseconds += now_ns() - start;
    return status;
}

// ---- attend ----

static lhk_status check_attend(const lhk_cache *cache, uint32_t index, const lhk_tensor *q, const lhk_tensor *out,
                               const lhk_tensor *lse, lhk_error *error) {
    const lhk_cache_layer *shape = &cache->layers[index].shape;
    lhk_status status = lhk_check_rows(q, shape->query_heads, shape->head_dim_k, "q", 2, error);
    if (!status) status = lhk_check_rows(out, shape->query_heads, shape->head_dim_v, "out", 3, error);
    if (status) return status;
    const int64_t rows = q->shape[0], length = layer_length(&cache->layers[index]);
    if (out->shape[0] != rows)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 3, "out: %lld rows for %lld query rows", (long long)out->shape[0],
                        (long long)rows);
    if (out->dtype != LHK_DTYPE_F32)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 3, "out: element type %s is not f32", lhk_dtype_name(out->dtype));
    if (lse && (lse->dtype != LHK_DTYPE_F32 || lse->rank != 2 || lse->shape[0] != rows ||
                lse->shape[1] != shape->query_heads || lse->stride[0] < 0 || lse->stride[1] < 0))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 4, "lse: not an f32 tensor of shape [%lld][%u]", (long long)rows,
                        shape->query_heads);
    if (rows > cache->max_rows)
        return lhk_fail(error, LHK_ERROR_CAPACITY, 2, "layer %u: %lld rows in one call; the cache takes at most %lld",
                        index, (long long)rows, (long long)cache->max_rows);
    if (rows > length)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 2, "layer %u: %lld query rows, but it holds %lld tokens", index,
                        (long long)rows, (long long)length);
    return LHK_OK;
}

static lhk_status select_keys(lhk_cache *cache, uint32_t index, int slot, const lhk_tensor *q, lhk_store_ref store,
                              lhk_selection *out, lhk_error *error) {
    const lhk_bound *bound = &cache->layers[index].bound[slot];
    const lhk_workspace workspace = {cache->selector_workspace.data, cache->selector_workspace_bytes};
    lhk_error inner = {.struct_size = sizeof inner};
    lhk_status status = lhk_selector_of(bound)->select(lhk_instance_of(bound), cache->host, q, store,
                                                       &cache->layers[index].shape.params, &workspace, out, &inner);
    return status ? lhk_cache_fail(cache, index, slot, status, &inner, error) : LHK_OK;
}

static lhk_status attend_selected(lhk_cache *cache, uint32_t index, lhk_attend_args *args, lhk_error *error) {
    const lhk_bound *bound = &cache->layers[index].bound[slot_attention];
    const lhk_attention_ops *ops = bound->variant->ops;
    const lhk_workspace workspace = {cache->attention_workspace.data, cache->attention_workspace_bytes};
    lhk_error inner = {.struct_size = sizeof inner};
    lhk_status status = ops->attend(lhk_instance_of(bound), cache->host, args, &workspace, &inner);
    return status ? lhk_cache_fail(cache, index, slot_attention, status, &inner, error) : LHK_OK;
}

lhk_status lhk_cache_attend(lhk_cache *cache, uint32_t index, const lhk_tensor *q, const lhk_tensor *out,
                            const lhk_tensor *lse, lhk_error *error) {
    lhk_status status = check_layer_index(cache, index, error);
    if (!status) status = check_attend(cache, index, q, out, lse, error);
    if (status) return status;
    const lhk_bound_layer *layer = &cache->layers[index];
    const int64_t rows = q->shape[0];
    if (rows == 0) return LHK_OK;

    const uint64_t start = now_ns();
    const bool decoding = rows == 1;
    // The mask needs no offset: without one it aligns the last query row with the last key.
    lhk_attend_args args = {.struct_size = sizeof args,
                            .out = *out,
                            .store = {lhk_store_of(layer), lhk_instance_of(&layer->bound[slot_store])},
                            .params = &layer->shape.params,
                            .stats = decoding ? &cache->stats.decode : &cache->stats.prefill};
    if (lse) args.lse = *lse;
    status = apply_position(cache, index, q, layer_length(layer) - rows, &args.q, error);
    const uint64_t placed = now_ns();
    lhk_selection selection = {.struct_size = sizeof selection};
    const int slot = decoding && !cache->shared_selector ? slot_decode : slot_prefill;
    if (!status) status = select_keys(cache, index, slot, &args.q, args.store, &selection, error);
    const uint64_t selected = now_ns();
    if (selection.kind != LHK_SELECTION_ALL || selection.next) args.selection = &selection;
    if (!status) status = attend_selected(cache, index, &args, error);
    cache->stats.select_nanoseconds += selected - placed;
    cache->stats.attend_nanoseconds += placed - start + now_ns() - selected;
    return status;
}

// ---- truncate, reports ----

lhk_status lhk_cache_truncate(lhk_cache *cache, int64_t tokens, lhk_error *error) {
    if (tokens < 0)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "cannot truncate to %lld tokens", (long long)tokens);
    for (uint32_t i = 0; i < cache->layer_count; i++) {
        if (layer_length(&cache->layers[i]) <= tokens) continue;
        for (int slot = slot_store; slot <= slot_decode; slot++) {
            const lhk_bound *bound = &cache->layers[i].bound[slot];
            if (!bound->variant || !bound->variant->life->truncate) continue;
            lhk_error inner = {.struct_size = sizeof inner};
            lhk_status status = bound->variant->life->truncate(lhk_instance_of(bound), tokens, &inner);
            if (status) return lhk_cache_fail(cache, i, slot, status, &inner, error);
        }
    }
    return LHK_OK;
}

int64_t lhk_cache_length(const lhk_cache *cache, uint32_t layer) {
    return layer < cache->layer_count ? layer_length(&cache->layers[layer]) : 0;
}

int64_t lhk_cache_capacity(const lhk_cache *cache) { return cache->capacity; }

uint64_t lhk_cache_workspace_bytes(const lhk_cache *cache) {
    return cache->rows.bytes + cache->selector_workspace.bytes + cache->attention_workspace.bytes;
}

void lhk_cache_get_stats(const lhk_cache *cache, lhk_cache_stats *out) {
    *out = cache->stats;
    for (uint32_t i = 0; i < cache->layer_count; i++) {
        const lhk_bound_layer *layer = &cache->layers[i];
        lhk_store_bytes bytes = {.struct_size = sizeof bytes};
        lhk_store_of(layer)->bytes(lhk_instance_of(&layer->bound[slot_store]), &bytes);
        out->bytes_in_use += bytes.in_use;
        out->bytes_capacity += bytes.capacity;
        out->bits_per_token += bytes.bits_per_token;
    }
}

void lhk_cache_reset_stats(lhk_cache *cache) {
    cache->stats = (lhk_cache_stats){.struct_size = sizeof cache->stats};
    cache->stats.prefill.struct_size = cache->stats.decode.struct_size = sizeof(lhk_attention_stats);
}

typedef struct huge_count {
    const lhk_cache *cache;
    uint64_t bytes;
} huge_count;

static void count_huge(void *context, uintptr_t begin, uintptr_t end, uint64_t huge_bytes) {
    huge_count *count = context;
    uint64_t inside = 0;
    for (uint32_t i = 0; huge_bytes && i < count->cache->layer_count; i++) {
        const lhk_pages *state = &count->cache->layers[i].bound[slot_store].state;
        uintptr_t first = (uintptr_t)state->data, last = first + state->bytes;
        if (first < end && begin < last) inside += (last < end ? last : end) - (first > begin ? first : begin);
    }
    count->bytes += inside < huge_bytes ? inside : huge_bytes;
}

lhk_status lhk_cache_huge_page_bytes(const lhk_cache *cache, uint64_t *out, lhk_error *error) {
    huge_count count = {.cache = cache};
    lhk_status status = lhk_pages_visit_huge(count_huge, &count, error);
    if (!status) *out = count.bytes;
    return status;
}
