// SPDX-License-Identifier: Apache-2.0
/// Attention as a subject of the fuzz harness: keys and values are appended to a store first, then attended. Covers
/// packing, panels, truncation and, with the panels hidden, the path over a store's own tile operations.
#include <lhk/support.h>

#include "verify_attention.h"

/// Room for rows that are appended and truncated again.
#define SPARE_KEYS 4

static int64_t keys_given(const lhk_fuzz_args *a, int64_t b) { return a->sequences ? a->cu_k[b + 1] - a->cu_k[b] : a->k.shape[0]; }

static lhk_problem problem_of(const attention_subject *s, const lhk_fuzz_args *args) {
    lhk_problem p = s->shape;
    p.query_rows = args->q.shape[0] + s->spare;
    p.params = args->params;
    for (int64_t b = 0; b < lhk_max(args->sequences, 1); b++) p.keys = lhk_max(p.keys, keys_given(args, b));
    p.keys += s->spare;
    return p;
}

static lhk_status size_attention(const attention_subject *s, const lhk_problem *problem, const lhk_host *host,
                                 lhk_sizes *sizes, lhk_error *error) {
    lhk_status status = s->variant->life->supports(s->variant, problem, host->isa, error);
    if (status == LHK_ERROR_ARGUMENT) return LHK_ERROR_UNSUPPORTED;  // an option set that is none for this problem
    *sizes = (lhk_sizes){.struct_size = sizeof *sizes};
    return status ? status : s->variant->life->sizes(s->variant, problem, host->workers, sizes, error);
}

static lhk_tensor rows_of(const lhk_tensor *t, int64_t first, int64_t count) {
    lhk_tensor rows = *t;
    if (t->data) rows.data = (uint8_t *)t->data + first * t->stride[0] * (int64_t)lhk_dtype_size(t->dtype);
    rows.shape[0] = count;
    return rows;
}

/// Appends four rows that are no numbers, or large ones, and forgets them.
static lhk_status append_junk(const attention_subject *s, const lhk_variant *variant, lhk_instance *store,
                              const lhk_host *host, int64_t count, lhk_error *error) {
    float junk[SPARE_KEYS * 2048];
    const lhk_problem *p = &s->shape;
    int64_t width = lhk_max(p->head_dim_k, p->head_dim_v);
    if (width > 2048) return LHK_OK;
    for (size_t i = 0; i < sizeof junk / sizeof *junk; i++) junk[i] = count & 1 ? NAN : 3e4f;
    lhk_tensor k = {junk, LHK_DTYPE_F32, 3, {SPARE_KEYS, p->kv_heads, p->head_dim_k, 0}, {width, 0, 1, 0}};
    lhk_tensor v = {junk, LHK_DTYPE_F32, 3, {SPARE_KEYS, p->kv_heads, p->head_dim_v, 0}, {width, 0, 1, 0}};
    lhk_status status = ((const lhk_store_ops *)variant->ops)->append(store, host, &k, &v, error);
    return status ? status : variant->life->truncate(store, count, error);
}

/// Appends the keys of sequence `b` in uneven pieces, those past its valid length included, and truncates them again.
static lhk_status fill(const attention_subject *s, const lhk_variant *variant, lhk_instance *store, const lhk_host *host,
                       const lhk_fuzz_args *args, int64_t b, lhk_error *error) {
    const lhk_store_ops *ops = variant->ops;
    int64_t first = args->sequences ? args->cu_k[b] : 0, count = keys_given(args, b), piece = 1;
    int64_t valid = args->kv_lengths ? args->kv_lengths[b] : count;
    if (!s->store->dtype) count = valid;
    for (int64_t done = 0; done < count; piece = piece * 3 + 1) {
        int64_t n = lhk_min(piece, count - done);
        lhk_tensor k = rows_of(&args->k, first + done, n), v = rows_of(&args->v, first + done, n);
        lhk_status status = ops->append(store, host, &k, &v, error);
        if (status) return status;
        done += n;
    }
    lhk_status status = valid < count ? variant->life->truncate(store, valid, error) : LHK_OK;
    if (status || valid % 3 || !s->store->dtype) return status;
    return append_junk(s, variant, store, host, valid, error);
}

/// A store with the keys of sequence `b`, in guarded memory.
static lhk_status make_store(attention_subject *s, const lhk_problem *problem, const lhk_host *host,
                             const lhk_fuzz_args *args, int64_t b, const lhk_variant **variant, lhk_error *error) {
    lhk_problem p = verify_store_problem(s->store, problem, problem->keys + SPARE_KEYS);
    lhk_sizes sizes = {.struct_size = sizeof sizes};
    lhk_status status = lhk_method_resolve(s->store->method, &p, host, variant, error);
    if (!status) status = (*variant)->life->sizes(*variant, &p, host->workers, &sizes, error);
    if (status) return status;
    if (!fuzz_buffer_prepare(s->store_state, sizes.state_bytes, LHK_ALIGNMENT, false))
        return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for the store");
    fuzz_buffer_set(s->store_state, 0);
    lhk_instance *store = (lhk_instance *)s->store_state->data;
    status = (*variant)->life->create(*variant, &p, store, sizes.state_bytes, error);
    return status ? status : fill(s, *variant, store, host, args, b, error);
}

/// Moves the state of the attention elsewhere, as states may be, and ruins the old place.
static lhk_status move_state(attention_subject *s, uint64_t bytes, lhk_error *error) {
    fuzz_buffer *old = s->attention_state;
    if (!fuzz_buffer_prepare(s->other_state, bytes, LHK_ALIGNMENT, false))
        return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for the state");
    memcpy(s->other_state->data, old->data, bytes);
    fuzz_buffer_set(old, FUZZ_SLACK);
    s->attention_state = s->other_state;
    s->other_state = old;
    return LHK_OK;
}

static lhk_status attend_sequence(attention_subject *s, const lhk_problem *problem, const lhk_sizes *sizes,
                                  const lhk_fuzz_args *args, int64_t b, const lhk_host *host,
                                  const lhk_workspace *workspace, lhk_attention_stats *stats, lhk_error *error) {
    const lhk_variant *store_variant;
    lhk_status status = make_store(s, problem, host, args, b, &store_variant, error);
    if (status) return status;
    if (!fuzz_buffer_prepare(s->attention_state, sizes->state_bytes, LHK_ALIGNMENT, false))
        return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for the state");
    fuzz_buffer_set(s->attention_state, 0);
    lhk_instance *attention = (lhk_instance *)s->attention_state->data;
    status = s->variant->life->create(s->variant, problem, attention, sizes->state_bytes, error);
    if (!status) status = move_state(s, sizes->state_bytes, error);
    if (status) return status;
    attention = (lhk_instance *)s->attention_state->data;
    int64_t first = args->sequences ? args->cu_q[b] : 0;
    int64_t rows = args->sequences ? args->cu_q[b + 1] - first : args->q.shape[0];
    lhk_store_ops ops = verify_store_ops(store_variant);
    if (s->store->hidden) ops.panels = NULL;
    lhk_attend_args attend = {.struct_size = sizeof attend, .q = rows_of(&args->q, first, rows),
                              .out = rows_of(&args->out, first, rows), .lse = rows_of(&args->lse, first, rows),
                              .store = {&ops, (lhk_instance *)s->store_state->data}, .selection = args->selection,
                              .params = args->params, .stats = args->stats ? stats : NULL};
    fuzz_buffer_protect(s->store_state, false);
    fuzz_buffer_protect(s->attention_state, false);
    status = ((const lhk_attention_ops *)s->variant->ops)->attend(attention, host, &attend, workspace, error);
    fuzz_buffer_protect(s->store_state, true);
    fuzz_buffer_protect(s->attention_state, true);
    if (store_variant->life->destroy) store_variant->life->destroy((lhk_instance *)s->store_state->data);
    if (s->variant->life->destroy) s->variant->life->destroy(attention);
    if (!fuzz_buffer_slack_intact(s->store_state) || !fuzz_buffer_slack_intact(s->attention_state))
        return lhk_fail(error, LHK_ERROR_CORRUPT, -1, "wrote past a state");
    return status;
}

lhk_status verify_attention_workspace(void *context, const lhk_fuzz_args *args, const lhk_host *host, uint64_t *bytes,
                                    lhk_error *error) {
    const attention_subject *s = context;
    lhk_problem problem = problem_of(s, args);
    lhk_sizes sizes;
    lhk_status status = size_attention(s, &problem, host, &sizes, error);
    if (!status) *bytes = sizes.workspace_bytes;
    return status;
}

lhk_status verify_attention_attend(void *context, const lhk_fuzz_args *args, const lhk_host *host,
                                 const lhk_workspace *workspace, lhk_error *error) {
    attention_subject *s = context;
    lhk_problem problem = problem_of(s, args);
    lhk_sizes sizes;
    lhk_status status = size_attention(s, &problem, host, &sizes, error);
    lhk_attention_stats stats = {.struct_size = sizeof stats};
    for (int64_t b = 0; b < lhk_max(args->sequences, 1) && !status; b++)
        status = attend_sequence(s, &problem, &sizes, args, b, host, workspace, &stats, error);
    if (!status && args->stats) {
        args->stats->calls += stats.calls == (uint64_t)lhk_max(args->sequences, 1);  // a batch counts as one
        args->stats->pairs_attended += stats.pairs_attended;
        args->stats->pairs_visible += stats.pairs_visible;
        args->stats->path = stats.path;
    }
    return status;
}

lhk_status verify_attention_held(void *context, const lhk_fuzz_args *args, float *k, float *v, lhk_error *error) {
    attention_subject *s = context;
    lhk_problem problem = problem_of(s, args);
    int64_t heads = problem.kv_heads, dk = problem.head_dim_k, dv = problem.head_dim_v;
    fuzz_loop loop;
    lhk_host host = fuzz_make_host(&loop, 1, s->isa);
    float *rows = malloc((size_t)(problem.keys * (dk + dv) + 1) * sizeof *rows), *values = rows + problem.keys * dk;
    lhk_status status = rows ? LHK_OK : lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for a store's rows");
    for (int64_t b = 0; b < lhk_max(args->sequences, 1) && !status; b++) {
        const lhk_variant *variant;
        status = make_store(s, &problem, &host, args, b, &variant, error);
        if (status) break;
        const lhk_store_ops *ops = variant->ops;
        lhk_instance *store = (lhk_instance *)s->store_state->data;
        int64_t first = args->sequences ? args->cu_k[b] : 0, count = ops->length(store);
        for (int64_t h = 0; h < heads && !status; h++) {
            status = ops->read_rows(store, (uint32_t)h, 0, count, rows, values, error);
            for (int64_t i = 0; i < count && !status; i++) {
                memcpy(k + ((first + i) * heads + h) * dk, rows + i * dk, (size_t)dk * sizeof *rows);
                memcpy(v + ((first + i) * heads + h) * dv, values + i * dv, (size_t)dv * sizeof *rows);
            }
        }
    }
    free(rows);
    return status;
}
