// SPDX-License-Identifier: Apache-2.0
/// Attention over a store as a subject: the same problems, with keys and values appended to a dense store first. Covers
/// packing, panels, truncation and, with the panels hidden, the path over a store's own tile operations.
#include <lhk/support.h>
#include <longhand/dense_store.h>
#include <longhand/registry.h>

#include "lhk_fuzz.h"

/// What a call is made of: the problem and the two variants chosen for it.
typedef struct store_setup {
    lhk_problem problem;
    lhk_option path;
    const lhk_variant *store, *attention;
    lhk_sizes store_sizes, attention_sizes;
} store_setup;

static int64_t keys_of(const lhk_flash_args *args, int64_t b) {
    if (args->kv_lengths) return args->kv_lengths[b];
    return args->sequences ? args->cu_k[b + 1] - args->cu_k[b] : args->k.shape[0];
}

static lhk_status set_up(bool hide_panels, const lhk_flash_args *args, const lhk_host *host, store_setup *s,
                         lhk_error *error) {
    static const char *const stores[] = {[LHK_DTYPE_F32] = "f32", [LHK_DTYPE_BF16] = "bf16", [LHK_DTYPE_F16] = "f16"};
    uint64_t unused;
    lhk_status status = lhk_flash_attention_workspace(args, host, &unused, error);  // validates
    if (status) return status;
    *s = (store_setup){.problem = {.struct_size = sizeof s->problem}};
    lhk_problem *p = &s->problem;
    p->query_heads = (uint32_t)args->q.shape[1];
    p->kv_heads = (uint32_t)args->k.shape[1];
    p->head_dim_k = (uint32_t)args->q.shape[2];
    p->head_dim_v = (uint32_t)args->v.shape[2];
    p->query_dtype = args->q.dtype;
    p->output_dtype = args->out.dtype;
    p->query_rows = args->q.shape[0];
    p->params = args->params;
    for (int64_t b = 0; b < lhk_max(args->sequences, 1); b++) p->keys = lhk_max(p->keys, keys_of(args, b));
    if (!hide_panels && args->path == LHK_FLASH_PATH_DIRECT) s->path = (lhk_option){"path", "direct"};
    if (args->path == LHK_FLASH_PATH_BLOCKWISE) s->path = (lhk_option){"path", "blockwise"};
    const lhk_plugin *dense = lhk_dense_store_plugin();
    for (uint32_t i = 0; i < dense->method_count && !status; i++)
        if (!strcmp(dense->methods[i]->name, stores[args->k.dtype]))
            status = lhk_method_resolve(dense->methods[i], p, host, &s->store, error);
    if (status) return status;
    p->kv_dtype = hide_panels ? LHK_DTYPE_NONE : args->k.dtype;
    p->options = s->path.key ? &s->path : NULL;
    p->option_count = s->path.key != NULL;
    status = lhk_method_resolve(lhk_flash_attention_plugin()->methods[0], p, host, &s->attention, error);
    s->store_sizes.struct_size = s->attention_sizes.struct_size = sizeof s->store_sizes;
    p->keys += 4;  // room for rows that are appended and truncated again
    if (!status) status = s->store->life->sizes(s->store, p, host->workers, &s->store_sizes, error);
    p->keys -= 4;
    if (!status) status = s->attention->life->sizes(s->attention, p, host->workers, &s->attention_sizes, error);
    return status;
}

static lhk_tensor rows_of(const lhk_tensor *t, int64_t first, int64_t count) {
    lhk_tensor rows = *t;
    if (t->data) rows.data = (uint8_t *)t->data + first * t->stride[0] * (int64_t)lhk_dtype_size(t->dtype);
    rows.shape[0] = count;
    return rows;
}

/// Appends keys [first, first + count) in uneven pieces, then rows of NaN that are truncated again.
static lhk_status fill(const store_setup *s, lhk_instance *store, const lhk_host *host, const lhk_flash_args *args,
                       int64_t first, int64_t count, lhk_error *error) {
    const lhk_store_ops *ops = s->store->ops;
    int64_t piece = 1;
    for (int64_t done = 0; done < count; piece = piece * 3 + 1) {
        int64_t n = lhk_min(piece, count - done);
        lhk_tensor k = rows_of(&args->k, first + done, n), v = rows_of(&args->v, first + done, n);
        lhk_status status = ops->append(store, host, &k, &v, error);
        if (status) return status;
        done += n;
    }
    if (count % 3) return LHK_OK;
    int64_t width = (int64_t)s->problem.kv_heads * lhk_max(s->problem.head_dim_k, s->problem.head_dim_v);
    float *junk = malloc((size_t)(4 * width) * sizeof *junk);
    if (!junk) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory");
    memset(junk, 0xff, (size_t)(4 * width) * sizeof *junk);
    lhk_tensor k = {junk, LHK_DTYPE_F32, 3, {4, s->problem.kv_heads, s->problem.head_dim_k, 0}, {width, s->problem.head_dim_k, 1, 0}};
    lhk_tensor v = {junk, LHK_DTYPE_F32, 3, {4, s->problem.kv_heads, s->problem.head_dim_v, 0}, {width, s->problem.head_dim_v, 1, 0}};
    lhk_status status = ops->append(store, host, &k, &v, error);
    free(junk);
    return status ? status : s->store->life->truncate(store, count, error);
}

static lhk_status attend_sequence(const store_setup *s, bool hide_panels, const lhk_flash_args *args, int64_t b,
                                  const lhk_host *host, const lhk_workspace *workspace, lhk_attention_stats *stats,
                                  lhk_error *error) {
    int64_t first_row = args->sequences ? args->cu_q[b] : 0, first_key = args->sequences ? args->cu_k[b] : 0;
    int64_t rows = args->sequences ? args->cu_q[b + 1] - first_row : args->q.shape[0];
    size_t bytes = (size_t)lhk_round_up((int64_t)s->store_sizes.state_bytes, LHK_ALIGNMENT);
    lhk_instance *store = aligned_alloc(LHK_ALIGNMENT, bytes);
    lhk_instance *attention = calloc(1, s->attention_sizes.state_bytes);
    if (!store || !attention) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory");
    memset(store, 0, bytes);
    lhk_problem problem = s->problem;
    problem.options = NULL;
    problem.option_count = 0;
    problem.keys += 4;
    lhk_status status = s->store->life->create(s->store, &problem, store, bytes, error);
    if (!status) status = fill(s, store, host, args, first_key, keys_of(args, b), error);
    if (!status)
        status = s->attention->life->create(s->attention, &s->problem, attention, s->attention_sizes.state_bytes, error);
    lhk_store_ops ops = *(const lhk_store_ops *)s->store->ops;
    if (hide_panels) ops.panels = NULL;
    lhk_attend_args attend = {.struct_size = sizeof attend, .q = rows_of(&args->q, first_row, rows),
                              .out = rows_of(&args->out, first_row, rows), .lse = rows_of(&args->lse, first_row, rows),
                              .store = {&ops, store}, .selection = args->selection, .params = args->params, .stats = stats};
    if (!status)
        status = ((const lhk_attention_ops *)s->attention->ops)->attend(attention, host, &attend, workspace, error);
    free(store);
    free(attention);
    return status;
}

static lhk_status store_workspace(void *context, const lhk_flash_args *args, const lhk_host *host, uint64_t *bytes,
                                  lhk_error *error) {
    store_setup s;
    lhk_status status = set_up(context != NULL, args, host, &s, error);
    if (!status) *bytes = s.attention_sizes.workspace_bytes;
    return status;
}

static lhk_status store_attend(void *context, const lhk_flash_args *args, const lhk_host *host,
                               const lhk_workspace *workspace, lhk_error *error) {
    store_setup s;
    lhk_status status = set_up(context != NULL, args, host, &s, error);
    if (status) return status;
    // The role's size is a bound over all calls, so less may do for one; the harness wants less to be refused.
    if (workspace->bytes < s.attention_sizes.workspace_bytes)
        return lhk_fail(error, LHK_ERROR_CAPACITY, -1, "workspace is too small");
    lhk_attention_stats stats = {.struct_size = sizeof stats};
    for (int64_t b = 0; b < lhk_max(args->sequences, 1) && !status; b++)
        status = attend_sequence(&s, context != NULL, args, b, host, workspace, &stats, error);
    if (!status && args->stats) {
        args->stats->calls++;
        args->stats->pairs_attended += stats.pairs_attended;
        args->stats->pairs_visible += stats.pairs_visible;
        args->stats->path = stats.path;
    }
    return status;
}

lhk_fuzz_subject lhk_fuzz_store_attention(bool hide_panels) {
    static int hidden;
    return (lhk_fuzz_subject){hide_panels ? "flash over store tiles" : "flash over store panels",
                              hide_panels ? &hidden : NULL, store_attend, store_workspace};
}
