// SPDX-License-Identifier: Apache-2.0
/// Append and accounting. A block is encoded as soon as `recent` tokens follow it, from rows in 16 bit, so that codes do not
/// depend on how rows came together.
#include "lhk_kivi_store.h"

#define CHANNELS 32  ///< of keys, encoded at a time

/// One append, cut into tasks of (block, head).
typedef struct append_job {
    lhk_instance *store;
    const lhk_tensor *k, *v;
    lhk_kivi_layout layout;
    int64_t first;        ///< token of the first row
    int64_t first_block;  ///< to be encoded
} append_job;

/// Channels [c, c + count) of a key or value that is new or an exact row, as an exact row holds it.
static void load_row(const append_job *job, int64_t token, uint32_t head, bool value, int64_t c, int64_t count, float *out) {
    const lhk_kivi_layout *l = &job->layout;
    if (token < job->first) {
        const uint16_t *row = lhk_kivi_exact(job->store, l, token, head) + (value ? l->dim_k : 0) + c;
        for (int64_t i = 0; i < count; i++) out[i] = lhk_bf16_to_f32(row[i]);
        return;
    }
    const lhk_tensor *rows = value ? job->v : job->k;
    const void *row = lhk_row(rows, token - job->first, head);
    for (int64_t i = 0; i < count; i++)
        out[i] = lhk_bf16_to_f32(lhk_f32_to_bf16(lhk_load_element(row, rows->dtype, c + i)));
}

/// Encodes the keys of tokens [begin, end) of a block. Those before `encoded`, which a truncation left of a block, are codes
/// already: they are taken as they decode.
static void encode_keys(const append_job *job, uint8_t *block, int64_t begin, int64_t end, uint32_t head) {
    const lhk_kivi_state *s = lhk_kivi(job->store);
    const lhk_kivi_layout *l = &job->layout;
    const int64_t start = begin / l->group * l->group;
    uint16_t *scales = lhk_kivi_key_parameters(block);
    for (int64_t c = 0; c < l->dim_k; c += CHANNELS) {
        const int64_t count = lhk_min(CHANNELS, l->dim_k - c);
        float row[CHANNELS], run[CHANNELS][LHK_KIVI_RUN], columns[CHANNELS][LHK_KIVI_MAX_GROUP];
        for (int64_t token = start; token < s->encoded; token += LHK_KIVI_RUN) {
            lhk_kivi_key_columns(job->store, l, head, token, c, count, run);
            for (int64_t i = 0; i < count; i++) memcpy(columns[i] + (token - start), run[i], sizeof run[i]);
        }
        for (int64_t token = lhk_max(begin, s->encoded); token < end; token++) {
            load_row(job, token, head, false, c, count, row);
            for (int64_t i = 0; i < count; i++) columns[i][token - start] = row[i];
        }
        for (int64_t i = 0; i < count; i++) {
            uint8_t codes[LHK_KIVI_MAX_GROUP] = {0};
            uint16_t parameters[2];
            lhk_kivi_encode(l->bits, s->fit, columns[i] + (begin - start), end - begin, codes + (begin - start), parameters);
            scales[c + i] = parameters[0];
            scales[l->dim_k + c + i] = parameters[1];
            for (int64_t r = 0; r < l->key_runs; r++)
                lhk_kivi_pack_run(l->bits, codes + r * LHK_KIVI_RUN, lhk_kivi_key_run(l, block, c + i, r));
        }
    }
}

/// Encodes the value of a token. False when it is not finite.
static bool encode_value(const append_job *job, uint8_t *block, int64_t token, uint32_t head) {
    const lhk_kivi_state *s = lhk_kivi(job->store);
    const lhk_kivi_layout *l = &job->layout;
    const int64_t t = token % l->group;
    uint16_t *parameters = lhk_kivi_value_parameters(l, block, t);
    bool finite = true;
    for (int64_t g = 0; g < l->value_groups; g++) {
        const int64_t first = g * l->group, count = lhk_min(l->group, l->dim_v - first);
        float x[LHK_KIVI_MAX_GROUP];
        uint8_t codes[LHK_KIVI_MAX_GROUP] = {0};
        load_row(job, token, head, true, first, count, x);
        finite &= lhk_kivi_encode(l->bits, s->fit, x, count, codes, parameters + 2 * g);
        for (int64_t c = 0; c < count; c += LHK_KIVI_RUN)
            lhk_kivi_pack_run(l->bits, codes + c, lhk_kivi_value_run(l, block, t, (first + c) / LHK_KIVI_RUN));
    }
    return finite;
}

static void encode_task(void *context, int64_t task, uint32_t worker) {
    (void)worker;
    const append_job *job = context;
    const lhk_kivi_layout *l = &job->layout;
    lhk_kivi_state *s = (lhk_kivi_state *)job->store;
    const int64_t start = (job->first_block + task / l->kv_heads) * l->group, end = start + l->group;
    const uint32_t head = (uint32_t)(task % l->kv_heads);
    const int64_t begin = lhk_max(start, s->sinks);
    if (begin >= end) return;
    uint8_t *block = lhk_kivi_block(job->store, l, start, head);
    encode_keys(job, block, begin, end, head);
    bool finite = true;
    for (int64_t token = lhk_max(begin, s->encoded); token < end; token++) finite &= encode_value(job, block, token, head);
    if (!finite) atomic_store_explicit(&s->values_nonfinite, 1, memory_order_relaxed);
}

/// Keeps a row of the append as exact rows of all heads.
static void keep_exact(const append_job *job, int64_t token) {
    const lhk_kivi_layout *l = &job->layout;
    for (uint32_t head = 0; head < l->kv_heads; head++) {
        uint16_t *to = lhk_kivi_exact(job->store, l, token, head);
        const void *k = lhk_row(job->k, token - job->first, head), *v = lhk_row(job->v, token - job->first, head);
        for (int64_t c = 0; c < l->dim_k; c++) to[c] = lhk_f32_to_bf16(lhk_load_element(k, job->k->dtype, c));
        for (int64_t c = 0; c < l->dim_v; c++) to[l->dim_k + c] = lhk_f32_to_bf16(lhk_load_element(v, job->v->dtype, c));
        if (lhk_row_nonfinite(to + l->dim_k, LHK_DTYPE_BF16, l->dim_v))
            atomic_store_explicit(&((lhk_kivi_state *)job->store)->values_nonfinite, 1, memory_order_relaxed);
    }
}

lhk_status lhk_kivi_append(lhk_instance *store, const lhk_host *host, const lhk_tensor *k, const lhk_tensor *v,
                           lhk_error *error) {
    lhk_kivi_state *s = (lhk_kivi_state *)store;
    lhk_status status = lhk_store_check_append(k, v, s->kv_heads, s->dim_k, s->dim_v, s->length, s->capacity, error);
    const int64_t n = k->shape[0];
    if (status || n == 0) return status;
    append_job job = {.store = store, .k = k, .v = v, .layout = lhk_kivi_layout_of(s), .first = s->length};
    const int64_t length = s->length + n;
    const int64_t whole = (length - s->recent) / s->group;  // blocks with enough tokens after them
    job.first_block = s->encoded / s->group;
    if (whole > job.first_block) {
        lhk_parallel_for(host, (whole - job.first_block) * s->kv_heads, encode_task, &job);
        s->encoded = whole * s->group;
    }
    for (int64_t token = job.first; token < lhk_min(length, s->sinks); token++) keep_exact(&job, token);
    for (int64_t token = lhk_max(job.first, lhk_max(s->encoded, s->sinks)); token < length; token++) keep_exact(&job, token);
    s->length = length;
    return LHK_OK;
}

int64_t lhk_kivi_length(const lhk_instance *store) { return lhk_kivi(store)->length; }

void lhk_kivi_bytes(const lhk_instance *store, lhk_store_bytes *out) {
    const lhk_kivi_state *s = lhk_kivi(store);
    const lhk_kivi_layout l = lhk_kivi_layout_of(s);
    const uint64_t exact = (uint64_t)lhk_store_exact_rows(s->sinks, s->length, s->encoded);
    out->in_use = lhk_store_used(s->encoded, l.group, l.block_stride) + exact * l.exact_row;
    out->capacity = lhk_store_used(s->capacity, l.group, l.block_stride) + (s->sinks + l.slots) * l.exact_row;
    out->bits_per_token = (double)l.block_stride / l.group * 8;
}
