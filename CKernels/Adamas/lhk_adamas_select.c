// SPDX-License-Identifier: Apache-2.0
/// One query against the index: scores of all tokens, lists of the nearest, and what the others weigh.
#include "lhk_adamas_select.h"

static bool carve_room(const lhk_adamas_config *c, int64_t tokens, uint32_t workers, void *base, select_room *r,
                       uint64_t *bytes) {
    lhk_carver carver = {.base = base};
    uint64_t heads = c->query_heads, group = heads / c->kv_heads;
    bool sums = c->lists == LHK_ADAMAS_LISTS_KV, tiles = c->scoring == LHK_ADAMAS_ASYMMETRIC;
    // Long chunks, of which the first tokens are not fetched ahead and few are candidates; but enough for many workers.
    r->chunk = tokens > 65536 ? 8192 : tokens > 16384 ? 4096 : 2048;
    r->chunks = (tokens + r->chunk - 1) / r->chunk;
    r->stride = r->chunks * (r->chunk + LHK_ADAMAS_SPARE) + LHK_ADAMAS_TILE;
    r->rows = (int64_t)heads + (sums ? c->kv_heads : 0);
    r->list_count = c->lists == LHK_ADAMAS_LISTS_QUERY ? heads : c->kv_heads;
    r->list_room = c->budget * (c->lists == LHK_ADAMAS_LISTS_UNION ? (int64_t)group : 1);
    if (r->list_room > tokens) r->list_room = tokens;
    uint64_t stride = (uint64_t)r->stride, wanted = (uint64_t)lhk_min(c->budget - c->sinks - c->recent, tokens);
    r->candidates = lhk_carve(&carver, c->kv_heads * stride, 4);
    r->found = lhk_carve(&carver, c->kv_heads * (uint64_t)r->chunks, 8);
    r->scores = lhk_carve(&carver, (uint64_t)r->rows * stride, sizeof(float));
    r->most = lhk_carve(&carver, heads * (uint64_t)r->chunks, sizeof(float));
    r->mass = lhk_carve(&carver, heads * (uint64_t)r->chunks, sizeof(float));
    r->planes = lhk_carve(&carver, heads * 3 * (uint64_t)lhk_adamas_words(c->dim_k), 8);
    r->weights = lhk_carve(&carver, tiles ? heads : 0, 16 * (uint64_t)lhk_adamas_rows(c->dim_k));
    r->tables = lhk_carve(&carver, tiles ? workers * heads : 0, (uint64_t)lhk_adamas_table_bytes(c->dim_k));
    r->ldq = lhk_round_up(c->dim_k, 16);
    bool plain = c->scoring == LHK_ADAMAS_EXACT || c->center == LHK_ADAMAS_CENTER_MOVING;
    r->queries = lhk_carve(&carver, plain ? heads * (uint64_t)r->ldq : 0, 4);
    r->factor = lhk_carve(&carver, heads, 4);
    r->offset = lhk_carve(&carver, heads, 4);
    r->base = lhk_carve(&carver, heads, 4);
    r->pool_room = lhk_round_up((int64_t)(wanted + wanted / 8), 16) + r->chunk / 4 + 16;
    int64_t own = (int64_t)group + 1;
    r->seen_step = lhk_adamas_apart(r->rows, sizeof *r->seen);
    r->seen = lhk_carve(&carver, workers * (uint64_t)r->seen_step, sizeof *r->seen);
    r->pool = lhk_carve(&carver, workers * (uint64_t)r->rows * (uint64_t)r->pool_room, 4);
    r->lds = r->chunk + LHK_ADAMAS_BLOCK + 16;
    r->scores_step = lhk_adamas_apart(own * r->lds, sizeof(float));
    r->chunk_scores = lhk_carve(&carver, workers * (uint64_t)r->scores_step, sizeof(float));
    r->crests_step = lhk_adamas_apart(own * r->chunk / 4, sizeof(float));
    r->crests = lhk_carve(&carver, workers * (uint64_t)r->crests_step, sizeof(float));
    r->row_step = lhk_adamas_apart(own, sizeof(float));
    r->least = lhk_carve(&carver, workers * (uint64_t)r->row_step, sizeof(float));
    r->peaks = lhk_carve(&carver, workers * (uint64_t)r->row_step, sizeof(float));
    r->marks_step = lhk_adamas_apart(r->chunk / LHK_ADAMAS_TILE, 1);
    r->marks = lhk_carve(&carver, workers, (uint64_t)r->marks_step);
    r->lanes_step = lhk_adamas_apart(own * 32, sizeof(float));
    r->lanes = lhk_carve(&carver, workers * (uint64_t)r->lanes_step, sizeof(float));
    r->lists = lhk_carve(&carver, (uint64_t)(r->list_count * r->list_room), 4);
    r->counts = lhk_carve(&carver, (uint64_t)r->list_count, 8);
    r->offsets = lhk_carve(&carver, (uint64_t)r->list_count + 1, 8);
    r->rest_lse = lhk_carve(&carver, heads, 4);
    r->rest_mean = lhk_carve(&carver, heads * c->dim_v, 4);
    r->tokens = lhk_carve(&carver, workers * stride, 4);
    r->kept = lhk_carve(&carver, workers * stride, 4);
    r->row = lhk_carve(&carver, (uint64_t)workers * c->dim_v, 4);
    r->wide_room = lhk_min(r->stride, (int64_t)group * (c->values + c->values / 2) + LHK_ADAMAS_TILE);
    r->wide_counts = lhk_carve(&carver, c->kv_heads, 8);
    r->wide = lhk_carve(&carver, c->values ? c->kv_heads : 0, (uint64_t)r->wide_room * 4);
    r->shares = lhk_carve(&carver, c->values ? heads : 0, (uint64_t)r->wide_room * sizeof(float));
    r->gathered = lhk_carve(&carver, c->values ? heads : 0, (uint64_t)lhk_round_up(c->dim_v, 16) * sizeof(float));
    *bytes = carver.used;
    return !carver.overflow;
}

bool lhk_adamas_workspace(const lhk_adamas_config *c, uint32_t workers, uint64_t *bytes) {
    select_room room;
    if (!c->passive) return carve_room(c, c->capacity, workers, NULL, &room, bytes);
    *bytes = 0;
    return true;
}

// ---- the call ----

/// Runs tasks of about `nanoseconds` together: on this thread where waking others would take as long.
static void run_tasks(const lhk_host *host, int64_t tasks, double nanoseconds, lhk_task task, select_job *job) {
    if (nanoseconds > 20000) lhk_parallel_for(host, tasks, task, job);
    else for (int64_t i = 0; i < tasks; i++) task(job, i, 0);
}

/// Reads the values that remainders want, in tasks of some channels, so that few KV heads do for many workers.
static void read_values(const lhk_host *host, select_job *job) {
    int64_t slabs = lhk_adamas_slabs(job->c), count = 0;
    for (int64_t kv = 0; kv < job->c->kv_heads; kv++) count += job->room.wide_counts[kv];
    run_tasks(host, job->c->kv_heads * slabs, 20.0 * (double)(count * slabs), lhk_adamas_values_task, job);
    for (int64_t kv = 0; kv < job->c->kv_heads; kv++) lhk_adamas_check_rest(job, kv * job->group, job->group);
}

static lhk_status check_call(const lhk_instance *index, const lhk_tensor *q, lhk_store_ref store,
                             const lhk_attention_params *params, lhk_error *error) {
    const lhk_adamas_config *c = &index->config;
    lhk_status status = lhk_check_rows(q, c->query_heads, c->dim_k, "adamas: q", 2, error);
    if (status) return status;
    if (q->shape[0] > c->query_rows)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 2, "adamas: %lld query rows, made for %lld", (long long)q->shape[0],
                        (long long)c->query_rows);
    if (store.ops->length(store.instance) != index->length)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 3, "adamas: the store holds %lld tokens, the index %lld",
                        (long long)store.ops->length(store.instance), (long long)index->length);
    if (params && params->alibi_slopes)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, 4, "adamas: ALiBi biases are not part of its scores");
    return LHK_OK;
}

/// Whether a call selects from all keys: one row that sees them all, and more keys than are picked.
static bool selects(const lhk_instance *index, const lhk_tensor *q, const lhk_attention_params *params) {
    const lhk_adamas_config *c = &index->config;
    int64_t n = index->length;
    if (c->passive || q->shape[0] != 1 || n <= c->budget || n < c->sample) return false;
    if (!params) return true;
    bool elsewhere = params->flags & LHK_ATTENTION_OFFSET && params->offset != n - 1;
    return params->window_left < 0 && !elsewhere;
}

lhk_status lhk_adamas_select(lhk_instance *index, const lhk_host *host, const lhk_tensor *q, lhk_store_ref store,
                             const lhk_attention_params *params, const lhk_workspace *workspace, lhk_selection *out,
                             lhk_error *error) {
    const lhk_adamas_config *c = &index->config;
    lhk_status status = check_call(index, q, store, params, error);
    if (status) return status;
    uint64_t needed, bytes;
    if (!lhk_adamas_workspace(c, host->workers, &needed) || workspace->bytes < needed)
        return lhk_fail(error, LHK_ERROR_CAPACITY, 5, "adamas: workspace of %llu bytes given, %llu needed",
                        (unsigned long long)workspace->bytes, (unsigned long long)needed);
    if (!selects(index, q, params)) {
        *out = (lhk_selection){.struct_size = sizeof *out, .kind = LHK_SELECTION_ALL};
        return LHK_OK;
    }
    select_job job = {.index = index, .c = c, .kernel = lhk_adamas_kernel_of(index), .parts = lhk_adamas_parts_of(index),
                      .q = q, .store = store, .group = c->query_heads / c->kv_heads, .workers = host->workers,
                      .wanted = c->budget - c->sinks - c->recent,
                      .scale = params && params->scale > 0 ? params->scale : 1 / sqrtf((float)c->dim_k)};
    if (c->remainder && params && params->softcap > 0)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, 4, "adamas: remainder=1 does not know softcaps");
    carve_room(c, index->length, host->workers, workspace->data, &job.room, &bytes);
    if (c->remainder) status = lhk_adamas_sum_values(index, host, store, job.room.row, error);
    if (status) return status;
    lhk_adamas_scan_begin(&job);
    double scores = (double)index->length * c->query_heads * c->dim_k / 128;
    run_tasks(host, c->query_heads, 300.0 * c->query_heads, lhk_adamas_query_task, &job);
    double picking = 1500.0 * c->query_heads + 10000.0 * c->kv_heads * (c->values > 0);
    // One worker for a whole KV head saves a meeting of all and traffic between them; the lists are the same either way.
    job.whole = c->kv_heads % host->workers == 0 || c->kv_heads >= 8 * host->workers;
    if (store.ops->panels) job.panels = lhk_panel_of(store.ops, store.instance);
    job.words = lhk_adamas_words_in_panels(&job.panels);
    job.apart = !job.whole && job.words && c->values && c->lists != LHK_ADAMAS_LISTS_QUERY;
    if (job.whole) {
        run_tasks(host, c->kv_heads, scores / job.kernel->speed + picking, lhk_adamas_head_task, &job);
    } else {
        run_tasks(host, c->kv_heads * job.room.chunks, scores / job.kernel->speed, lhk_adamas_scan_task, &job);
        run_tasks(host, c->kv_heads, picking, lhk_adamas_pick_task, &job);
        if (job.apart) read_values(host, &job);
    }
    lhk_adamas_show(&job, out);
    return LHK_OK;
}

const lhk_selector_ops lhk_adamas_selector_ops = {
    .struct_size = sizeof(lhk_selector_ops), .append = lhk_adamas_append, .select = lhk_adamas_select};
