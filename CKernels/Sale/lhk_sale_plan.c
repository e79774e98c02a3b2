// SPDX-License-Identifier: Apache-2.0
/// The workspace of a selection, and the exact keys that it reads.
#include "lhk_sale_plan.h"

static void carve_scratch(const lhk_sale_call *call, lhk_carver *carver, lhk_sale_scratch *s) {
    const uint64_t dim = call->layout.head_dim, padded = call->layout.padded_dim;
    const uint64_t dim_v = call->remainder ? (uint64_t)call->dim_v : 0;
    for (int64_t h = 0; h < lhk_sale_together(call); h++) {
        struct lhk_sale_head_scratch *head = &s->heads[h];
        head->channels = lhk_carve(carver, dim * LHK_SALE_TILE_ROWS, sizeof(float));
        head->mean = lhk_carve(carver, dim, sizeof(float));
        head->energy = lhk_carve(carver, padded / 4 * LHK_SALE_TILE_ROWS, sizeof(float));
        head->weight = lhk_carve(carver, padded / 4, sizeof(float));
        head->order = lhk_carve(carver, padded / 4, sizeof(int32_t));
        head->codes = lhk_carve(carver, LHK_SALE_PADDED_ROWS * padded / 4, sizeof(uint32_t));
        head->sum = lhk_carve(carver, dim_v * LHK_SALE_TILE_ROWS, sizeof(float));
    }
    s->scores = lhk_carve(carver, 16 * LHK_SALE_COLUMNS, sizeof(float));
    s->rows = lhk_carve(carver, LHK_SALE_COLUMNS * dim, sizeof(float));
    s->panel = lhk_carve(carver, LHK_SALE_COLUMNS * dim, sizeof(float));
    s->values = lhk_carve(carver, LHK_SALE_SEGMENT * dim_v, sizeof(float));
}

lhk_status lhk_sale_make_plan(lhk_sale_call *call, uint32_t workers, bool with_index, uint8_t *base, lhk_sale_plan *p,
                              lhk_error *error) {
    lhk_carver carver = {.base = base}, one = {0};
    lhk_sale_scratch unused;
    *p = (lhk_sale_plan){.call = call};
    const int64_t sixteens = (call->keys + 15) / 16;
    p->tiles = (call->rows + LHK_SALE_TILE_ROWS - 1) / LHK_SALE_TILE_ROWS;
    p->lists = p->tiles * call->query_heads;
    p->words = (sixteens + 31) / 32;
    carve_scratch(call, &one, &unused);
    p->worker_bytes = one.used;
    p->offsets = lhk_carve(&carver, (uint64_t)p->lists + 1, sizeof *p->offsets);
    p->bits = lhk_carve(&carver, (uint64_t)p->lists, (uint64_t)p->words * sizeof *p->bits);
    p->runs = lhk_carve(&carver, (uint64_t)p->lists, (uint64_t)(sixteens / 2 + 1) * sizeof *p->runs);
    const uint64_t rests = call->remainder ? (uint64_t)(call->rows * call->query_heads) : 0;
    p->rest_lse = lhk_carve(&carver, rests, sizeof(float));
    p->rest_mean = lhk_carve(&carver, rests, (uint64_t)call->dim_v * sizeof(float));
    uint64_t segments = with_index ? (uint64_t)lhk_sale_segments(call->keys) : 0;
    p->index = lhk_carve(&carver, segments, call->kv_heads * call->layout.bytes);
    p->values = lhk_carve(&carver, call->remainder ? segments * call->kv_heads : 0, (uint64_t)call->dim_v * sizeof(float));
    p->workers = lhk_carve(&carver, workers, p->worker_bytes);
    p->bytes = carver.used;
    if (!carver.overflow && !one.overflow) return LHK_OK;
    return lhk_fail(error, LHK_ERROR_OVERFLOW, -1, "sale: a workspace for %lld rows and %lld keys overflows",
                    (long long)call->rows, (long long)call->keys);
}

lhk_status lhk_sale_call_bytes(const lhk_sale_call *call, uint32_t workers, bool with_index, uint64_t *bytes,
                               lhk_error *error) {
    lhk_sale_plan p;
    lhk_status status = lhk_sale_make_plan((lhk_sale_call *)call, workers, with_index, NULL, &p, error);
    *bytes = p.bytes;
    return status;
}

static void load_rows(const lhk_tensor *from, int64_t head, int64_t begin, int64_t count, int64_t dim, float *rows) {
    for (int64_t t = 0; t < count; t++) {
        const void *row = lhk_row(from, begin + t, head);
        for (int64_t c = 0; c < dim; c++) rows[t * dim + c] = lhk_load_element(row, from->dtype, c);
    }
}

void lhk_sale_read_keys(const lhk_sale_call *call, int64_t head, int64_t begin, int64_t count, float *rows) {
    if (!call->store.ops) load_rows(&call->k, head, begin, count, call->layout.head_dim, rows);
    else call->store.ops->read_rows(call->store.instance, (uint32_t)head, begin, count, rows, NULL, NULL);
}

void lhk_sale_read_values(const lhk_sale_call *call, int64_t head, int64_t begin, int64_t count, float *rows) {
    if (!call->store.ops) load_rows(&call->v, head, begin, count, call->dim_v, rows);
    else call->store.ops->read_rows(call->store.instance, (uint32_t)head, begin, count, NULL, rows, NULL);
}

lhk_dtype lhk_sale_show_keys(const lhk_sale_call *call, const lhk_sale_scratch *s, int64_t head, int64_t begin, int64_t end,
                           int64_t column, const uint8_t **tile) {
    const lhk_panels *p = &call->panels;
    const int64_t dim = call->layout.head_dim;
    if (p->dtype) {
        for (int64_t t = begin; t < end; t += 16)
            *tile++ = p->base + (uint64_t)(t / p->block_tokens) * p->block_stride + (uint64_t)head * p->head_stride +
                      lhk_panel_key_index(p, t % p->block_tokens, 0) * (int64_t)lhk_dtype_size(p->dtype);
        return p->dtype;
    }
    float *rows = s->rows + column * dim, *panel = s->panel + column * dim;
    const int64_t count = end - begin, padded = lhk_round_up(count, 16);
    lhk_sale_read_keys(call, head, begin, count, rows);
    for (int64_t t = 0; t < padded; t++)
        for (int64_t c = 0; c < dim; c++)
            panel[t / 16 * 16 * dim + c * 16 + t % 16] = t < count ? rows[t * dim + c] : 0;
    for (int64_t t = 0; t < padded; t += 16) *tile++ = (const uint8_t *)(panel + t * dim);
    return LHK_DTYPE_F32;
}

lhk_sale_scratch lhk_sale_scratch_of(const lhk_sale_plan *p, uint32_t worker) {
    lhk_carver carver = {.base = p->workers + worker * p->worker_bytes};
    lhk_sale_scratch s;
    carve_scratch(p->call, &carver, &s);
    return s;
}
