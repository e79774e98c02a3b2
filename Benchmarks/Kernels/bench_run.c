// SPDX-License-Identifier: Apache-2.0
// The timed loops.
#include <lhk/support.h>

#include "bench_instance.h"

#define TILE_KEYS 512

static void take_off(uint64_t *time, uint64_t cost) { *time -= *time < cost ? *time : cost; }

/// Adds `calls` calls that ended now to the sample; the clock was read `readings` times from `start` on.
static void add(lhk_bench_sample *sample, uint64_t calls, uint64_t start, uint64_t readings) {
    uint64_t time = lhk_roof_clock() - start;
    take_off(&time, readings * sample->clock_nanoseconds);
    sample->calls += calls;
    sample->nanoseconds += time;
}

/// `count` rows of a rank-3 tensor from `first` on.
static lhk_tensor rows_of(const lhk_tensor *tensor, int64_t first, int64_t count) {
    lhk_tensor part = *tensor;
    part.data = lhk_row(tensor, first, 0);
    part.shape[0] = count;
    return part;
}

// ---- attention ----

static lhk_status attend_once(const lhk_bench_attend *args, uint32_t b, const lhk_host *host, const lhk_tensor *q,
                              lhk_bench_sample *sample, uint64_t *select_time, lhk_error *error) {
    const lhk_bench_instance *store = args->stores[b], *attention = args->attention;
    lhk_attend_args call = {.struct_size = sizeof call, .q = *q, .out = *args->out,
                            .store = {store->variant->ops, bench_state(store)},
                            .params = attention->problem.params, .stats = &sample->stats};
    lhk_selection selection = {.struct_size = sizeof selection};
    if (args->selectors) {
        const lhk_bench_instance *selector = args->selectors[b];
        const lhk_selector_ops *ops = selector->variant->ops;
        const lhk_workspace workspace = {selector->workspace.data, selector->workspace_bytes};
        const uint64_t start = lhk_roof_clock();
        const lhk_status status = ops->select(bench_state(selector), host, q, call.store, selector->problem.params,
                                              &workspace, &selection, error);
        *select_time += lhk_roof_clock() - start;
        if (status) return status;
        if (selection.kind != LHK_SELECTION_ALL || selection.next) call.selection = &selection;
    }
    const lhk_workspace workspace = {attention->workspace.data, attention->workspace_bytes};
    return ((const lhk_attention_ops *)attention->variant->ops)->attend(bench_state(attention), host, &call, &workspace,
                                                                        error);
}

lhk_status lhk_bench_run_attend(const lhk_bench_attend *args, const lhk_host *host, uint64_t calls,
                                lhk_bench_sample *sample, lhk_error *error) {
    const int64_t rows = args->out->shape[0];
    uint64_t select_time = 0, start = lhk_roof_clock();
    for (uint64_t i = 0; i < calls; i++) {
        const lhk_tensor q = rows_of(args->q, (int64_t)(i % (uint64_t)args->query_sets) * rows, rows);
        for (uint32_t b = 0; b < args->batch; b++) {
            const lhk_status status = attend_once(args, b, host, &q, sample, &select_time, error);
            if (status) return status;
        }
    }
    const uint64_t selections = args->selectors ? calls * args->batch : 0;
    add(sample, calls, start, 2 * selections + 1);
    take_off(&select_time, selections * sample->clock_nanoseconds);
    sample->select_nanoseconds += select_time;
    return LHK_OK;
}

// ---- append ----

static lhk_status append(lhk_bench_instance *instance, const lhk_host *host, const lhk_tensor *k, const lhk_tensor *v,
                         lhk_error *error) {
    if (instance->is_selector)
        return ((const lhk_selector_ops *)instance->variant->ops)->append(bench_state(instance), host, k, v, error);
    return ((const lhk_store_ops *)instance->variant->ops)->append(bench_state(instance), host, k, v, error);
}

lhk_status lhk_bench_fill(lhk_bench_instance *instance, const lhk_host *host, const lhk_tensor *k, const lhk_tensor *v,
                          lhk_error *error) {
    if (instance->is_selector && !lhk_bench_has_index(instance)) return LHK_OK;
    for (int64_t i = 0; i < k->shape[0]; i += TILE_KEYS) {
        const int64_t count = lhk_min(TILE_KEYS, k->shape[0] - i);
        const lhk_tensor kp = rows_of(k, i, count), vp = rows_of(v, i, count);
        const lhk_status status = append(instance, host, &kp, &vp, error);
        if (status) return status;
    }
    return LHK_OK;
}

lhk_status lhk_bench_run_append(lhk_bench_instance *instance, const lhk_host *host, const lhk_tensor *k,
                                const lhk_tensor *v, int64_t length, uint64_t calls, lhk_bench_sample *sample,
                                lhk_error *error) {
    for (uint64_t i = 0; i < calls; i++) {
        lhk_status status = instance->variant->life->truncate(bench_state(instance), length - k->shape[0], error);
        if (status) return status;
        const uint64_t start = lhk_roof_clock();
        status = append(instance, host, k, v, error);
        if (status) return status;
        add(sample, 1, start, 1);
    }
    return LHK_OK;
}

// ---- tiles ----

typedef struct tile_job {
    const lhk_store_ops *ops;
    const lhk_bench_instance *store;
    int64_t length, tiles;  ///< tiles of one KV head
    int64_t group;
    const float *in;
    float *out;
} tile_job;

static tile_job tile_job_of(const lhk_bench_instance *store, const float *in, float *out) {
    const lhk_store_ops *ops = store->variant->ops;
    const int64_t length = ops->length(bench_state(store));
    return (tile_job){ops, store, length, (length + TILE_KEYS - 1) / TILE_KEYS,
                      store->problem.query_heads / store->problem.kv_heads, in, out};
}

static lhk_keys tile_keys(const tile_job *job, int64_t task) {
    const int64_t begin = task % job->tiles * TILE_KEYS;
    return (lhk_keys){.begin = begin, .count = lhk_min(TILE_KEYS, job->length - begin)};
}

static void score_task(void *context, int64_t task, uint32_t worker) {
    (void)worker;
    const tile_job *job = context;
    const int64_t head = task / job->tiles, dim = job->store->problem.head_dim_k;
    const lhk_keys keys = tile_keys(job, task);
    job->ops->score(bench_state(job->store), (uint32_t)head, job->in + head * job->group * dim, dim, (int32_t)job->group,
                    &keys, job->out + head * job->group * job->length + keys.begin, job->length);
}

static void accumulate_task(void *context, int64_t task, uint32_t worker) {
    const tile_job *job = context;
    const int64_t head = task / job->tiles, dim = job->store->problem.head_dim_v;
    const lhk_keys keys = tile_keys(job, task);
    float *out = job->out + (int64_t)worker * job->group * dim;
    memset(out, 0, (size_t)(job->group * dim) * sizeof *out);
    job->ops->accumulate(bench_state(job->store), (uint32_t)head, job->in + head * job->group * job->length + keys.begin,
                         job->length, (int32_t)job->group, &keys, out, dim);
}

static lhk_status run_tiles(tile_job job, lhk_task task, const lhk_host *host, uint64_t calls, lhk_bench_sample *sample) {
    const uint64_t start = lhk_roof_clock();
    for (uint64_t i = 0; i < calls; i++)
        lhk_parallel_for(host, job.tiles * job.store->problem.kv_heads, task, &job);
    add(sample, calls, start, 1);
    return LHK_OK;
}

lhk_status lhk_bench_run_score(const lhk_bench_instance *store, const lhk_host *host, const float *q, float *scores,
                               uint64_t calls, lhk_bench_sample *sample, lhk_error *error) {
    (void)error;
    return run_tiles(tile_job_of(store, q, scores), score_task, host, calls, sample);
}

lhk_status lhk_bench_run_accumulate(const lhk_bench_instance *store, const lhk_host *host, const float *p, float *out,
                                    uint64_t calls, lhk_bench_sample *sample, lhk_error *error) {
    (void)error;
    return run_tiles(tile_job_of(store, p, out), accumulate_task, host, calls, sample);
}

// ---- positions ----

lhk_status lhk_bench_run_apply(const lhk_bench_instance *position, const lhk_host *host, const lhk_tensor *x,
                               int64_t first, const lhk_tensor *out, uint64_t calls, lhk_bench_sample *sample,
                               lhk_error *error) {
    const lhk_position_ops *ops = position->variant->ops;
    const uint64_t start = lhk_roof_clock();
    for (uint64_t i = 0; i < calls; i++) {
        const lhk_status status = ops->apply(bench_state(position), host, x, first, out, error);
        if (status) return status;
    }
    add(sample, calls, start, 1);
    return LHK_OK;
}
