// SPDX-License-Identifier: Apache-2.0
/// Append, decode and accounting of quantised stores.
#include "lhk_quant_store.h"

#include <lhk/hadamard.h>

#define LHK_HADAMARD(x) lhk_quant_##x
#define LHK_HADAMARD_LANES 4
#include <lhk/hadamard_body.inc>

/// One append, cut into tasks of (block of tokens, head).
typedef struct append_job {
    lhk_instance *store;
    const lhk_tensor *k, *v;
    lhk_quant_layout layout;
    int64_t first, count, first_block;
} append_job;

/// Reads a row into `x`, padded with zeros to whole blocks of channels.
static void read_row(const lhk_tensor *t, int64_t row, int64_t head, int64_t dim, int64_t padded, float *x) {
    const void *from = lhk_row(t, row, head);
    for (int64_t c = 0; c < dim; c++) x[c] = lhk_load_element(from, t->dtype, c);
    for (int64_t c = dim; c < padded; c++) x[c] = 0;
}

/// Keeps key `x` as token t of a block.
static void put_key(const lhk_quant_layout *l, uint8_t *block, int64_t t, const float *x, int64_t dim) {
    int64_t tile = t / LHK_QUANT_TILE, column = t % LHK_QUANT_TILE;
    uint8_t codes[LHK_QUANT_CHANNELS];
    uint16_t parameters[2];
    for (int64_t b = 0; b < l->k_blocks; b++) {
        lhk_quant_encode(l->bits, x + b * 32, lhk_min(32, dim - b * 32), codes, parameters);
        uint16_t *to = lhk_quant_key_parameters(l, block, tile, b) + column;
        for (uint32_t i = 0; i < l->parameters; i++) to[i * LHK_QUANT_TILE] = parameters[i];
        uint8_t *steps = lhk_quant_key_codes(l, block, tile, b);
        for (int64_t c = 0; c < 32; c++) lhk_quant_set(steps + c / 4 * (int64_t)l->row, l->bits, column, c % 4, codes[c]);
    }
}

/// Keeps value `x` as token t of a block. True when it is finite.
static bool put_value(const lhk_quant_layout *l, uint8_t *block, int64_t t, const float *x, int64_t dim) {
    uint8_t codes[LHK_QUANT_CHANNELS];
    uint16_t parameters[2];
    bool finite = true;
    for (int64_t b = 0; b < l->v_blocks; b++) {
        finite &= lhk_quant_encode(l->bits, x + b * 32, lhk_min(32, dim - b * 32), codes, parameters);
        uint16_t *to = lhk_quant_value_parameters(l, block, b) + t;
        for (uint32_t i = 0; i < l->parameters; i++) to[i * LHK_QUANT_TOKENS] = parameters[i];
        uint8_t *step = lhk_quant_value_codes(l, block, b) + t / 4 * (int64_t)l->row;
        for (int64_t c = 0; c < 32; c++) lhk_quant_set(step, l->bits, c, t % 4, codes[c]);
    }
    return finite;
}

static void append_task(void *context, int64_t task, uint32_t worker) {
    (void)worker;
    append_job *job = context;
    lhk_quant_state *state = (lhk_quant_state *)job->store;
    const lhk_quant_layout *l = &job->layout;
    int64_t b = job->first_block + task / state->kv_heads, head = task % state->kv_heads;
    int64_t begin = lhk_max(job->first, b * LHK_QUANT_TOKENS);
    int64_t end = lhk_min(job->first + job->count, (b + 1) * LHK_QUANT_TOKENS);
    uint8_t *block = lhk_quant_block(job->store, l, begin, (uint32_t)head);
    float x[LHK_QUANT_MAX_DIM];
    bool finite = true;
    for (int64_t token = begin; token < end; token++) {
        int64_t row = token - job->first, t = token % LHK_QUANT_TOKENS;
        int64_t padded = (int64_t)l->k_blocks * LHK_QUANT_CHANNELS;
        read_row(job->k, row, head, state->dim_k, padded, x);
        if (state->rotate) lhk_quant_rotate(x, padded);
        put_key(l, block, t, x, state->rotate ? padded : state->dim_k);
        read_row(job->v, row, head, state->dim_v, state->dim_v, x);
        finite &= put_value(l, block, t, x, state->dim_v);
    }
    if (!finite) atomic_store_explicit(&state->values_nonfinite, 1, memory_order_relaxed);
}

lhk_status lhk_quant_append(lhk_instance *store, const lhk_host *host, const lhk_tensor *k, const lhk_tensor *v,
                            lhk_error *error) {
    lhk_quant_state *state = (lhk_quant_state *)store;
    lhk_status status = lhk_store_check_append(k, v, state->kv_heads, state->dim_k, state->dim_v, state->length,
                                               state->capacity, error);
    int64_t n = k->shape[0];
    if (status || n == 0) return status;
    append_job job = {.store = store, .k = k, .v = v, .layout = lhk_quant_layout_for(store), .first = state->length,
                      .count = n, .first_block = state->length / LHK_QUANT_TOKENS};
    int64_t blocks = (job.first + n - 1) / LHK_QUANT_TOKENS - job.first_block + 1;
    lhk_parallel_for(host, blocks * state->kv_heads, append_task, &job);
    state->length += n;
    return LHK_OK;
}

int64_t lhk_quant_length(const lhk_instance *store) { return lhk_quant(store)->length; }

void lhk_quant_bytes(const lhk_instance *store, lhk_store_bytes *out) {
    const lhk_quant_state *state = lhk_quant(store);
    lhk_quant_layout l = lhk_quant_layout_for(store);
    uint64_t token = l.block_stride / LHK_QUANT_TOKENS;
    out->in_use = (uint64_t)lhk_round_up(state->length, LHK_QUANT_TILE) * token;
    out->capacity = (uint64_t)lhk_round_up(state->capacity, LHK_QUANT_TOKENS) * token;
    out->bits_per_token = (double)token * 8;
}

/// Decodes one key of a block.
static void get_key(const lhk_quant_layout *l, uint8_t *block, int64_t t, float *x) {
    int64_t tile = t / LHK_QUANT_TILE, column = t % LHK_QUANT_TILE;
    for (int64_t b = 0; b < l->k_blocks; b++) {
        const uint16_t *p = lhk_quant_key_parameters(l, block, tile, b) + column;
        const uint8_t *steps = lhk_quant_key_codes(l, block, tile, b);
        float scale = lhk_f16_to_f32(p[0]), minimum = l->parameters > 1 ? lhk_f16_to_f32(p[LHK_QUANT_TILE]) : 0;
        for (int64_t c = 0; c < 32; c++)
            x[b * 32 + c] = lhk_quant_value(l->bits, scale, minimum,
                                            lhk_quant_get(steps + c / 4 * (int64_t)l->row, l->bits, column, c % 4));
    }
}

static void get_value(const lhk_quant_layout *l, uint8_t *block, int64_t t, int64_t dim, float *x) {
    for (int64_t c = 0; c < dim; c++) {
        const uint16_t *p = lhk_quant_value_parameters(l, block, c / 32) + t;
        const uint8_t *step = lhk_quant_value_codes(l, block, c / 32) + t / 4 * (int64_t)l->row;
        float minimum = l->parameters > 1 ? lhk_f16_to_f32(p[LHK_QUANT_TOKENS]) : 0;
        x[c] = lhk_quant_value(l->bits, lhk_f16_to_f32(p[0]), minimum, lhk_quant_get(step, l->bits, c % 32, t % 4));
    }
}

lhk_status lhk_quant_read_rows(const lhk_instance *store, uint32_t head, int64_t begin, int64_t count, float *k, float *v,
                               lhk_error *error) {
    const lhk_quant_state *state = lhk_quant(store);
    lhk_status status = lhk_store_check_range(head, state->kv_heads, begin, count, state->length, error);
    if (status) return status;
    lhk_quant_layout l = lhk_quant_layout_for(store);
    int64_t padded = (int64_t)l.k_blocks * LHK_QUANT_CHANNELS;
    float x[LHK_QUANT_MAX_DIM];
    for (int64_t i = 0; i < count; i++) {
        int64_t t = (begin + i) % LHK_QUANT_TOKENS;
        uint8_t *block = lhk_quant_block(store, &l, begin + i, head);
        if (k) {
            get_key(&l, block, t, x);
            if (state->rotate) lhk_quant_unrotate(x, padded);
            memcpy(k + i * state->dim_k, x, state->dim_k * sizeof *x);
        }
        if (v) get_value(&l, block, t, state->dim_v, v + i * state->dim_v);
    }
    return LHK_OK;
}
