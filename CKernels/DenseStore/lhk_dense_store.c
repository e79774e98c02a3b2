// SPDX-License-Identifier: Apache-2.0
/// Operations of dense stores: append into panels, decode, and the tile operations on single tokens.
///
/// Attention reads the panels itself; `score` and `accumulate` serve methods without a fused path, so they are plain.
#include "lhk_dense_store.h"

#include <lhk/hadamard.h>

#include "lhk_dense_keys8.h"

/// One append, cut into tasks of (block, head).
typedef struct append_job {
    lhk_instance *store;
    const lhk_tensor *k, *v;
    lhk_panels panels;
    int64_t first, count, first_block;
    uint32_t heads;
} append_job;

static void append_task(void *context, int64_t task, uint32_t worker) {
    (void)worker;
    append_job *job = context;
    lhk_dense_state *state = (lhk_dense_state *)job->store;
    const lhk_panels *p = &job->panels;
    int64_t b = job->first_block + task / job->heads, head = task % job->heads;
    int64_t begin = lhk_max(job->first, b * p->block_tokens);
    int64_t end = lhk_min(job->first + job->count, (b + 1) * p->block_tokens);
    uint8_t *block = lhk_dense_block(p, b, (uint32_t)head);
    const lhk_tensor *k = job->k, *v = job->v;
    int64_t row = begin - job->first, t = begin - b * p->block_tokens, n = end - begin;
    (p->dtype == LHK_DTYPE_I8 ? lhk_dense_pack_keys8 : lhk_panel_pack_keys)(
        p, block, t, n, lhk_row(k, row, head), k->stride[0] * (int64_t)lhk_dtype_size(k->dtype), k->dtype, state->dim_k);
    if (lhk_panel_pack_values(p, block, t, n, lhk_row(v, row, head), v->stride[0] * (int64_t)lhk_dtype_size(v->dtype),
                              v->dtype, state->dim_v))
        atomic_store_explicit(&state->values_nonfinite, 1, memory_order_relaxed);
}

static lhk_status append(lhk_instance *store, const lhk_host *host, const lhk_tensor *k, const lhk_tensor *v,
                         lhk_error *error) {
    lhk_dense_state *state = (lhk_dense_state *)store;
    lhk_status status = lhk_store_check_append(k, v, state->kv_heads, state->dim_k, state->dim_v, state->length,
                                               state->capacity, error);
    int64_t n = k->shape[0];
    if (status || n == 0) return status;
    append_job job = {.store = store, .k = k, .v = v, .first = state->length, .count = n, .heads = state->kv_heads};
    lhk_dense_panels(store, &job.panels);
    job.first_block = job.first / job.panels.block_tokens;
    int64_t blocks = (job.first + n - 1) / job.panels.block_tokens - job.first_block + 1;
    lhk_parallel_for(host, blocks * state->kv_heads, append_task, &job);
    state->length += n;
    return LHK_OK;
}

static int64_t length(const lhk_instance *store) { return lhk_dense(store)->length; }

static void bytes(const lhk_instance *store, lhk_store_bytes *out) {
    const lhk_dense_state *state = lhk_dense(store);
    lhk_panels p;
    lhk_dense_panels(store, &p);
    uint64_t token = lhk_panel_block_bytes(&p) / p.block_tokens * state->kv_heads;
    out->in_use = (uint64_t)lhk_round_up(state->length, LHK_PANEL_TOKENS) * token;
    out->capacity = (uint64_t)lhk_round_up(state->capacity, p.block_tokens) * token;
    out->bits_per_token = (double)token * 8;
}

static lhk_status read_rows(const lhk_instance *store, uint32_t head, int64_t begin, int64_t count, float *k, float *v,
                            lhk_error *error) {
    const lhk_dense_state *state = lhk_dense(store);
    lhk_status status = lhk_store_check_range(head, state->kv_heads, begin, count, state->length, error);
    if (status) return status;
    lhk_panels p;
    lhk_dense_panels(store, &p);
    for (int64_t i = 0; i < count; i++) {
        int64_t token = begin + i, t = token % p.block_tokens;
        const uint8_t *block = lhk_dense_block(&p, token / p.block_tokens, head);
        if (k && p.dtype == LHK_DTYPE_I8)
            lhk_dense_read_key8(&p, block, t, k + i * state->dim_k, state->dim_k);
        else
            for (int64_t c = 0; k && c < state->dim_k; c++)
                k[i * state->dim_k + c] = lhk_load_element(block, p.dtype, lhk_panel_key_index(&p, t, c));
        for (int64_t c = 0; v && c < state->dim_v; c++)
            v[i * state->dim_v + c] =
                lhk_load_element(block + p.value_offset, p.value_dtype, lhk_panel_value_index(&p, t, c));
    }
    return LHK_OK;
}

static int64_t key_at(const lhk_keys *keys, int64_t j) { return keys->tokens ? keys->tokens[j] : keys->begin + j; }

static void score_keys8(const lhk_panels *p, uint32_t head, const float *q, int64_t ldq, int32_t rows,
                        const lhk_keys *keys, float *scores, int64_t lds, int64_t dim) {
    float rotated[LHK_HADAMARD_MAX_DIM];
    for (int32_t r = 0; r < rows; r++) {
        lhk_dense_rotate_query(p, q + r * ldq, rotated, dim);
        for (int64_t j = 0; j < keys->count; j++) {
            int64_t token = key_at(keys, j);
            const uint8_t *block = lhk_dense_block(p, token / p->block_tokens, head);
            scores[r * lds + j] = lhk_dense_dot_key8(p, block, token % p->block_tokens, rotated, dim);
        }
    }
}

static void score(const lhk_instance *store, uint32_t head, const float *q, int64_t ldq, int32_t rows,
                  const lhk_keys *keys, float *scores, int64_t lds) {
    lhk_panels p;
    lhk_dense_panels(store, &p);
    uint32_t dim = lhk_dense(store)->dim_k;
    if (p.dtype == LHK_DTYPE_I8) {
        score_keys8(&p, head, q, ldq, rows, keys, scores, lds, dim);
        return;
    }
    for (int64_t j = 0; j < keys->count; j++) {
        int64_t token = key_at(keys, j), t = token % p.block_tokens;
        const uint8_t *block = lhk_dense_block(&p, token / p.block_tokens, head);
        for (int32_t r = 0; r < rows; r++) scores[r * lds + j] = 0;
        for (uint32_t c = 0; c < dim; c++) {
            float key = lhk_load_element(block, p.dtype, lhk_panel_key_index(&p, t, c));
            for (int32_t r = 0; r < rows; r++) scores[r * lds + j] += q[r * ldq + c] * key;
        }
    }
}

static void accumulate(const lhk_instance *store, uint32_t head, const float *probabilities, int64_t ldp, int32_t rows,
                       const lhk_keys *keys, float *out, int64_t ldo) {
    lhk_panels p;
    lhk_dense_panels(store, &p);
    uint32_t dim = lhk_dense(store)->dim_v;
    for (int64_t j = 0; j < keys->count; j++) {
        int64_t token = key_at(keys, j), t = token % p.block_tokens;
        const uint8_t *values = lhk_dense_block(&p, token / p.block_tokens, head) + p.value_offset;
        for (int32_t r = 0; r < rows; r++) {
            float weight = probabilities[r * ldp + j];
            if (weight == 0) continue;
            for (uint32_t c = 0; c < dim; c++)
                out[r * ldo + c] += weight * lhk_load_element(values, p.value_dtype, lhk_panel_value_index(&p, t, c));
        }
    }
}

const lhk_store_ops lhk_dense_store_ops = {
    .struct_size = sizeof(lhk_store_ops), .append = append, .length = length, .bytes = bytes, .read_rows = read_rows,
    .panels = lhk_dense_show_panels, .score = score, .accumulate = accumulate};
