// SPDX-License-Identifier: Apache-2.0
/// Append and accounting. A block is encoded as soon as `recent` tokens follow it, from rows in 16 bit, so that codes do not
/// depend on how rows came together.
#include "lhk_commvq_store.h"

void lhk_commvq_load_row(const lhk_commvq_append_job *job, int64_t token, uint32_t head, bool value, float *out) {
    const lhk_commvq_layout *l = &job->layout;
    const int64_t dim = value ? l->dim_v : l->dim_k;
    if (token < job->first) {
        const uint16_t *row = lhk_commvq_exact(job->store, l, token) + head * (l->dim_k + l->dim_v) + (value ? l->dim_k : 0);
        for (int64_t c = 0; c < dim; c++) out[c] = lhk_bf16_to_f32(row[c]);
        return;
    }
    const lhk_tensor *rows = value ? job->v : job->k;
    const void *row = lhk_row(rows, token - job->first, head);
    if (rows->dtype == LHK_DTYPE_F32) {
        for (int64_t c = 0; c < dim; c++) out[c] = lhk_bf16_to_f32(lhk_f32_to_bf16(((const float *)row)[c]));
    } else {
        for (int64_t c = 0; c < dim; c++) out[c] = lhk_bf16_to_f32(lhk_f32_to_bf16(lhk_load_element(row, rows->dtype, c)));
    }
}

static void encode_task(void *context, int64_t task, uint32_t worker) {
    (void)worker;
    const lhk_commvq_append_job *job = context;
    const lhk_commvq_state *state = lhk_commvq(job->store);
    int64_t begin = (job->first_block + task) * LHK_COMMVQ_BLOCK, end = begin + LHK_COMMVQ_BLOCK;
    begin = lhk_max(lhk_max(begin, state->encoded), state->sinks);
    if (begin < end) ((const lhk_commvq_variant *)state->variant->data)->encode(job, begin, end);
}

/// Keeps a row of the append as exact rows of all heads.
static void keep_exact(const lhk_commvq_append_job *job, int64_t token) {
    const lhk_commvq_layout *l = &job->layout;
    uint16_t *to = lhk_commvq_exact(job->store, l, token);
    for (uint32_t head = 0; head < l->kv_heads; head++)
        for (int value = 0; value < 2; value++) {
            const lhk_tensor *rows = value ? job->v : job->k;
            const void *row = lhk_row(rows, token - job->first, head);
            const int64_t dim = value ? l->dim_v : l->dim_k;
            for (int64_t c = 0; c < dim; c++) to[c] = lhk_f32_to_bf16(lhk_load_element(row, rows->dtype, c));
            to += dim;
            if (value && lhk_row_nonfinite(to - dim, LHK_DTYPE_BF16, dim))
                atomic_store_explicit(&((lhk_commvq_state *)job->store)->values_nonfinite, 1, memory_order_relaxed);
        }
}

lhk_status lhk_commvq_append(lhk_instance *store, const lhk_host *host, const lhk_tensor *k, const lhk_tensor *v,
                             lhk_error *error) {
    lhk_commvq_state *state = (lhk_commvq_state *)store;
    lhk_status status = lhk_store_check_append(k, v, state->kv_heads, state->dim_k, state->dim_v, state->length,
                                               state->capacity, error);
    const int64_t n = k->shape[0];
    if (status || n == 0) return status;
    lhk_commvq_append_job job = {.store = store, .k = k, .v = v, .layout = lhk_commvq_layout_of(state),
                                 .first = state->length};
    const int64_t length = state->length + n;
    const int64_t whole = (length - state->recent) / LHK_COMMVQ_BLOCK;  // blocks with enough tokens after them
    job.first_block = state->encoded / LHK_COMMVQ_BLOCK;
    if (whole > job.first_block) {
        lhk_parallel_for(host, whole - job.first_block, encode_task, &job);
        state->encoded = whole * LHK_COMMVQ_BLOCK;
    }
    for (int64_t token = job.first; token < lhk_min(length, state->sinks); token++) keep_exact(&job, token);
    for (int64_t token = lhk_max(job.first, lhk_max(state->encoded, state->sinks)); token < length; token++)
        keep_exact(&job, token);
    state->length = length;
    return LHK_OK;
}

int64_t lhk_commvq_length(const lhk_instance *store) { return lhk_commvq(store)->length; }

void lhk_commvq_bytes(const lhk_instance *store, lhk_store_bytes *out) {
    const lhk_commvq_state *s = lhk_commvq(store);
    const lhk_commvq_layout l = lhk_commvq_layout_of(s);
    const uint64_t exact = (uint64_t)lhk_store_exact_rows(s->sinks, s->length, s->encoded);
    out->in_use = lhk_store_used(s->encoded, LHK_COMMVQ_BLOCK, l.block_stride) + exact * l.exact_row;
    out->capacity = lhk_store_used(s->capacity, LHK_COMMVQ_BLOCK, l.block_stride) + (s->sinks + l.slots) * l.exact_row;
    out->bits_per_token = (double)l.block_stride / LHK_COMMVQ_BLOCK * 8;
}
