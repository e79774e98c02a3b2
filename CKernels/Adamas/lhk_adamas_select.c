// SPDX-License-Identifier: Apache-2.0
/// One query against the index: scores of all tokens, lists of the nearest, and what the others weigh.
#include <float.h>

#include "lhk_adamas_select.h"

#define LHK_ADAMAS_CHUNK 2048  ///< tokens of one scan task

static bool carve_room(const lhk_adamas_config *c, int64_t tokens, uint32_t workers, void *base, select_room *r,
                       uint64_t *bytes) {
    lhk_carver carver = {.base = base};
    uint64_t heads = c->query_heads, stride = (uint64_t)lhk_round_up(tokens, LHK_ADAMAS_BLOCK);
    uint64_t group = heads / c->kv_heads, rows = heads + (c->lists == LHK_ADAMAS_LISTS_KV ? c->kv_heads : 0);
    r->stride = (int64_t)stride;
    r->chunks = (tokens + LHK_ADAMAS_CHUNK - 1) / LHK_ADAMAS_CHUNK;
    r->list_count = c->lists == LHK_ADAMAS_LISTS_QUERY ? heads : c->kv_heads;
    r->list_room = c->budget * (c->lists == LHK_ADAMAS_LISTS_UNION ? (int64_t)group : 1);
    if (r->list_room > tokens) r->list_room = tokens;
    r->scores = lhk_carve(&carver, rows * stride, sizeof(float));
    r->peaks = lhk_carve(&carver, rows * (stride / LHK_ADAMAS_PEAK), sizeof(float));
    r->most = lhk_carve(&carver, heads * (uint64_t)r->chunks, sizeof(float));
    r->mass = lhk_carve(&carver, heads * (uint64_t)r->chunks, sizeof(float));
    r->planes = lhk_carve(&carver, heads * 3 * (uint64_t)lhk_adamas_words(c->dim_k), 8);
    r->weights = lhk_carve(&carver, heads * 4 * (uint64_t)lhk_adamas_groups(c->dim_k), 4);
    r->ldq = lhk_round_up(c->dim_k, 16);
    bool plain = c->scoring == LHK_ADAMAS_EXACT || c->center == LHK_ADAMAS_CENTER_MOVING;
    r->queries = lhk_carve(&carver, plain ? heads * (uint64_t)r->ldq : 0, 4);
    r->factor = lhk_carve(&carver, heads, 4);
    r->offset = lhk_carve(&carver, heads, 4);
    r->base = lhk_carve(&carver, heads, 4);
    r->lists = lhk_carve(&carver, (uint64_t)(r->list_count * r->list_room), 4);
    r->counts = lhk_carve(&carver, (uint64_t)r->list_count, 8);
    r->offsets = lhk_carve(&carver, (uint64_t)r->list_count + 1, 8);
    r->rest_lse = lhk_carve(&carver, heads, 4);
    r->rest_mean = lhk_carve(&carver, heads * c->dim_v, 4);
    r->tokens = lhk_carve(&carver, workers * (stride + 16), 4);
    r->kept = lhk_carve(&carver, workers * (stride + 16), 4);
    r->row = lhk_carve(&carver, (uint64_t)workers * c->dim_v, 4);
    int64_t wide = lhk_min((int64_t)stride, (int64_t)group * (c->values + c->values / 2));
    r->wide_room = c->values ? wide + LHK_ADAMAS_PEAK + 16 : 0;
    r->wide = lhk_carve(&carver, workers * (uint64_t)r->wide_room, 4);
    r->shares = lhk_carve(&carver, workers * group * (uint64_t)r->wide_room, 4);
    r->least = lhk_carve(&carver, c->values ? workers * group : 0, 4);
    r->gathered = lhk_carve(&carver, c->values ? workers * group : 0, (uint64_t)lhk_round_up(c->dim_v, 16) * sizeof(float));
    *bytes = carver.used;
    return !carver.overflow;
}

bool lhk_adamas_workspace(const lhk_adamas_config *c, uint32_t workers, uint64_t *bytes) {
    select_room room;
    if (!c->passive) return carve_room(c, c->capacity, workers, NULL, &room, bytes);
    *bytes = 0;
    return true;
}

// ---- scores ----

static void hide(float *scores, int64_t from, int64_t to) {
    for (int64_t t = from; t < to; t++) scores[t] = -INFINITY;
}

/// The store's own scores of `count` tokens from `begin` on. Keys that are not numbers come last.
static void score_exactly(const select_job *job, int64_t kv, int64_t begin, int64_t count, float *scores) {
    lhk_keys keys = {begin, count, NULL};
    job->store.ops->score(job->store.instance, (uint32_t)kv, job->room.queries + kv * job->group * job->room.ldq, job->room.ldq,
                          (int32_t)job->group, &keys, scores, job->room.stride);
    for (int64_t row = 0; row < job->group; row++)
        for (float *x = scores + row * job->room.stride, *end = x + count; x < end; x++)
            *x = fminf(fmaxf(*x * job->scale * log2_e, -FLT_MAX), FLT_MAX);
}

/// Scores of one block for all query heads of a KV head. Tokens that are taken anyway, and what follows the last, are hidden.
static void scan_block(const select_job *job, int64_t kv, int64_t b) {
    const lhk_adamas_config *c = job->c;
    const select_room *r = &job->room;
    int64_t begin = b * LHK_ADAMAS_BLOCK, n = job->index->length, first = kv * job->group;
    float *scores = r->scores + first * r->stride + begin, *sum = r->scores + (c->query_heads + kv) * r->stride + begin;
    lhk_adamas_scan scan = {.block = lhk_adamas_block(c, &job->parts, b, kv), .dim = c->dim_k, .rows = job->group,
                            .tokens = lhk_min(LHK_ADAMAS_BLOCK, lhk_round_up(n - begin, 16)), .scores = scores,
                            .planes = r->planes + first * 3 * lhk_adamas_words(c->dim_k),
                            .weights = r->weights + first * 4 * lhk_adamas_groups(c->dim_k), .factor = r->factor + first,
                            .offset = r->offset + first, .step = job->parts.levels[kv].step, .lds = r->stride,
                            .queries = r->queries + first * r->ldq, .ldq = r->ldq,
                            .ahead_bytes = (int64_t)job->parts.block_bytes / 64 * 64};
    if (c->center == LHK_ADAMAS_CENTER_MOVING) {
        scan.mean = lhk_adamas_mean(c, &job->parts, b, kv);
        if (begin + LHK_ADAMAS_BLOCK < n)
            for (int64_t i = 0; i < c->dim_k; i += 16) __builtin_prefetch(lhk_adamas_mean(c, &job->parts, b + 1, kv) + i);
    }
    if (begin + LHK_ADAMAS_BLOCK < n) scan.ahead = lhk_adamas_block(c, &job->parts, b + 1, kv);
    if (c->scoring == LHK_ADAMAS_EXACT) score_exactly(job, kv, begin, lhk_min(LHK_ADAMAS_BLOCK, n - begin), scores);
    else (c->scoring == LHK_ADAMAS_ASYMMETRIC ? job->kernel->estimates : job->kernel->distances)(&scan);
    for (int64_t row = 0; row < job->group; row++) {
        float *own = scores + row * r->stride;
        hide(own, 0, lhk_min(c->sinks - begin, LHK_ADAMAS_BLOCK));
        hide(own, lhk_max(n - c->recent - begin, 0), LHK_ADAMAS_BLOCK);
        job->kernel->peaks(own, LHK_ADAMAS_BLOCK, r->peaks + ((first + row) * r->stride + begin) / LHK_ADAMAS_PEAK);
    }
    if (c->lists != LHK_ADAMAS_LISTS_KV) return;
    for (int64_t t = 0; t < LHK_ADAMAS_BLOCK; t++) {
        sum[t] = scores[t];
        for (int64_t row = 1; row < job->group; row++) sum[t] += scores[row * r->stride + t];
    }
    job->kernel->peaks(sum, LHK_ADAMAS_BLOCK, r->peaks + ((c->query_heads + kv) * r->stride + begin) / LHK_ADAMAS_PEAK);
}

static void scan_task(void *context, int64_t task, uint32_t worker) {
    (void)worker;
    const select_job *job = context;
    const select_room *r = &job->room;
    int64_t kv = task / r->chunks, chunk = task % r->chunks, begin = chunk * LHK_ADAMAS_CHUNK;
    int64_t end = lhk_min(begin + LHK_ADAMAS_CHUNK, r->stride);
    for (int64_t b = begin / LHK_ADAMAS_BLOCK; b < end / LHK_ADAMAS_BLOCK; b++) scan_block(job, kv, b);
    for (int64_t head = kv * job->group; job->c->remainder && head < (kv + 1) * job->group; head++) {
        float most = -INFINITY, *peaks = r->peaks + head * r->stride / LHK_ADAMAS_PEAK;
        for (int64_t p = begin / LHK_ADAMAS_PEAK; p < end / LHK_ADAMAS_PEAK; p++) most = peaks[p] > most ? peaks[p] : most;
        r->most[head * r->chunks + chunk] = most;
        r->mass[head * r->chunks + chunk] =
            most > -INFINITY ? job->kernel->mass(r->scores + head * r->stride + begin, end - begin, most) : 0;
    }
}

// ---- the call ----

/// Runs tasks of about `nanoseconds` together: on this thread where waking others would take as long.
static void run_tasks(const lhk_host *host, int64_t tasks, double nanoseconds, lhk_task task, select_job *job) {
    if (nanoseconds > 20000) lhk_parallel_for(host, tasks, task, job);
    else for (int64_t i = 0; i < tasks; i++) task(job, i, 0);
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
                      .q = q, .store = store, .group = c->query_heads / c->kv_heads,
                      .scale = params && params->scale > 0 ? params->scale : 1 / sqrtf((float)c->dim_k)};
    if (c->remainder && params && params->softcap > 0)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, 4, "adamas: remainder=1 does not know softcaps");
    carve_room(c, index->length, host->workers, workspace->data, &job.room, &bytes);
    if (c->remainder) status = lhk_adamas_sum_values(index, host, store, job.room.row, error);
    if (status) return status;
    double scores = (double)index->length * c->query_heads * c->dim_k / 128;
    run_tasks(host, c->query_heads, 300.0 * c->query_heads, lhk_adamas_query_task, &job);
    run_tasks(host, c->kv_heads * job.room.chunks, scores / job.kernel->speed, scan_task, &job);
    double picking = 500.0 * c->query_heads + scores / 20 + 10000.0 * c->kv_heads * (c->values > 0);
    run_tasks(host, c->kv_heads, picking, lhk_adamas_pick_task, &job);
    lhk_adamas_show(&job, out);
    return LHK_OK;
}

const lhk_selector_ops lhk_adamas_selector_ops = {
    .struct_size = sizeof(lhk_selector_ops), .append = lhk_adamas_append, .select = lhk_adamas_select};
