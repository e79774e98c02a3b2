// SPDX-License-Identifier: Apache-2.0
/// One selection: codes of new keys, a task per query head and tile, lists of runs.
#include <lhk/panel_pack.h>

#include "lhk_sale_call.h"

/// Scratch of one worker.
typedef struct scratch {
    float *channels, *mean, *scores;
    uint32_t *codes;
    float *rows;   ///< [LHK_SALE_COLUMNS][head_dim]: keys read row by row ...
    float *panel;  ///< ... and as tiles [16 keys] of f32
} scratch;

/// The pieces of a workspace. With a null base, their sizes only.
typedef struct plan {
    lhk_sale_call *call;
    int64_t tiles, lists, words;
    int64_t *offsets;  ///< [lists + 1]; counts of runs first
    uint32_t *bits;    ///< [lists][words]: bit b is block 1 + b
    lhk_run *runs;     ///< dense
    uint8_t *index;
    uint8_t *workers;
    uint64_t worker_bytes, bytes;
} plan;

static void carve_scratch(const lhk_sale_call *call, lhk_carver *carver, scratch *s) {
    const uint64_t dim = call->layout.head_dim, padded = call->layout.padded_dim;
    s->channels = lhk_carve(carver, dim * LHK_SALE_TILE_ROWS, sizeof(float));
    s->mean = lhk_carve(carver, dim, sizeof(float));
    s->scores = lhk_carve(carver, 16 * LHK_SALE_COLUMNS, sizeof(float));
    s->codes = lhk_carve(carver, LHK_SALE_PADDED_ROWS * padded / 4, sizeof(uint32_t));
    s->rows = lhk_carve(carver, LHK_SALE_COLUMNS * dim, sizeof(float));
    s->panel = lhk_carve(carver, LHK_SALE_COLUMNS * dim, sizeof(float));
}

static lhk_status make_plan(lhk_sale_call *call, uint32_t workers, bool with_index, uint8_t *base, plan *p, lhk_error *error) {
    lhk_carver carver = {.base = base}, one = {0};
    scratch unused;
    *p = (plan){.call = call};
    const int64_t blocks = (call->keys + LHK_SALE_BLOCK - 1) / LHK_SALE_BLOCK;
    p->tiles = (call->rows + LHK_SALE_TILE_ROWS - 1) / LHK_SALE_TILE_ROWS;
    p->lists = p->tiles * call->query_heads;
    p->words = (blocks + 31) / 32;
    carve_scratch(call, &one, &unused);
    p->worker_bytes = one.used;
    p->offsets = lhk_carve(&carver, (uint64_t)p->lists + 1, sizeof *p->offsets);
    p->bits = lhk_carve(&carver, (uint64_t)p->lists, (uint64_t)p->words * sizeof *p->bits);
    p->runs = lhk_carve(&carver, (uint64_t)p->lists, (uint64_t)(blocks / 2 + 1) * sizeof *p->runs);
    uint64_t segments = with_index ? (uint64_t)lhk_sale_segments(call->keys) : 0;
    p->index = lhk_carve(&carver, segments, call->kv_heads * call->layout.bytes);
    p->workers = lhk_carve(&carver, workers, p->worker_bytes);
    p->bytes = carver.used;
    if (!carver.overflow && !one.overflow) return LHK_OK;
    return lhk_fail(error, LHK_ERROR_OVERFLOW, -1, "sale: a workspace for %lld rows and %lld keys overflows",
                    (long long)call->rows, (long long)call->keys);
}

lhk_status lhk_sale_call_bytes(const lhk_sale_call *call, uint32_t workers, bool with_index, uint64_t *bytes,
                               lhk_error *error) {
    plan p;
    lhk_status status = make_plan((lhk_sale_call *)call, workers, with_index, NULL, &p, error);
    *bytes = p.bytes;
    return status;
}

// ---- keys ----

/// Keys [begin, begin + count) of a KV head as f32 rows. The range is held, so reading cannot fail.
static void read_keys(const lhk_sale_call *call, int64_t head, int64_t begin, int64_t count, float *rows) {
    const int64_t dim = call->layout.head_dim;
    if (call->store.ops) {
        call->store.ops->read_rows(call->store.instance, (uint32_t)head, begin, count, rows, NULL, NULL);
        return;
    }
    for (int64_t t = 0; t < count; t++) {
        const void *from = lhk_row(&call->k, begin + t, head);
        for (int64_t c = 0; c < dim; c++) rows[t * dim + c] = lhk_load_element(from, call->k.dtype, c);
    }
}

/// Points `tile` at panels of the keys [begin, end), both multiples of 16 unless `end` is the last key: a store's own, or f32
/// in scratch from `column` on. Returns their element type.
static lhk_dtype show_keys(const lhk_sale_call *call, const scratch *s, int64_t head, int64_t begin, int64_t end,
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
    read_keys(call, head, begin, count, rows);
    for (int64_t t = 0; t < padded; t++)
        for (int64_t c = 0; c < dim; c++)
            panel[t / 16 * 16 * dim + c * 16 + t % 16] = t < count ? rows[t * dim + c] : 0;
    for (int64_t t = 0; t < padded; t += 16) *tile++ = (const uint8_t *)(panel + t * dim);
    return LHK_DTYPE_F32;
}

static scratch scratch_of(const plan *p, uint32_t worker) {
    lhk_carver carver = {.base = p->workers + worker * p->worker_bytes};
    scratch s;
    carve_scratch(p->call, &carver, &s);
    return s;
}

static uint8_t *segment_of(const lhk_sale_call *call, int64_t segment, int64_t head) {
    return call->index + (uint64_t)(segment * call->kv_heads + head) * call->layout.bytes;
}

static void encode_task(void *context, int64_t number, uint32_t worker) {
    const plan *p = context;
    const lhk_sale_call *call = p->call;
    int64_t segment = call->encoded + number / call->kv_heads, head = number % call->kv_heads;
    scratch s = scratch_of(p, worker);
    read_keys(call, head, LHK_SALE_BLOCK + segment * LHK_SALE_SEGMENT, LHK_SALE_SEGMENT, s.rows);
    lhk_sale_encode_segment(&call->layout, s.rows, call->layout.head_dim, segment_of(call, segment, head));
}

// ---- queries ----

/// The rows of a tile, row by row in a line, and their mean.
static void take_queries(const lhk_sale_call *call, int64_t head, int64_t first, lhk_sale_tile *t) {
    const int64_t dim = call->layout.head_dim;
    for (int64_t c = 0; c < dim; c++) t->mean[c] = 0;
    for (int64_t r = 0; r < LHK_SALE_TILE_ROWS; r++) {
        const void *from = r < t->rows ? lhk_row(&call->q, first + r, head) : NULL;
        for (int64_t c = 0; c < dim; c++) {
            float x = from ? lhk_load_element(from, call->q.dtype, c) : 0;
            t->channels[c * LHK_SALE_TILE_ROWS + r] = x;
            t->mean[c] += x;
        }
    }
    for (int64_t c = 0; c < dim; c++) t->mean[c] /= (float)t->rows;
}

static void find_thresholds(const lhk_sale_call *call, const scratch *s, int64_t head, int64_t first, lhk_sale_reach reach,
                            lhk_sale_tile *t) {
    const int64_t kv_head = head / (call->query_heads / call->kv_heads), local = (1 + reach.middle) * LHK_SALE_BLOCK;
    lhk_sale_kept kept = {.scale = call->scale, .softcap = call->softcap, .log_tau = logf(call->tau[head]),
                          .sink = call->sink_logits ? call->sink_logits[head] : -INFINITY};
    show_keys(call, s, kv_head, 0, LHK_SALE_BLOCK, 0, kept.tile);
    kept.dtype = show_keys(call, s, kv_head, local, reach.end, LHK_SALE_BLOCK, kept.tile + LHK_SALE_BLOCK / 16);
    kept.tiles = (int32_t)((LHK_SALE_BLOCK + reach.end - local + 15) / 16);
    for (int64_t r = 0; r < t->rows; r++) {
        int64_t seen = lhk_min(first + r + call->offset + 1, reach.end) - local;
        kept.visible[r] = (int32_t)(LHK_SALE_BLOCK + lhk_max(0, seen));
    }
    call->kernel->thresholds(t, &kept);
}

static bool is_kept(const uint32_t *bits, lhk_sale_reach reach, int64_t block) {
    return block == 0 || block > reach.middle || (bits[(block - 1) / 32] >> ((block - 1) % 32) & 1);
}

/// Writes the runs of a list unless `runs` is null; returns how many.
static int64_t write_runs(const uint32_t *bits, lhk_sale_reach reach, lhk_run *runs) {
    int64_t count = 0;
    for (int64_t b = 0; b < reach.blocks;) {
        int64_t begin = b;
        while (b < reach.blocks && is_kept(bits, reach, b)) b++;
        if (runs && b > begin)
            runs[count] = (lhk_run){begin * LHK_SALE_BLOCK, lhk_min(b * LHK_SALE_BLOCK, reach.end)};
        count += b > begin;
        while (b < reach.blocks && !is_kept(bits, reach, b)) b++;
    }
    return count;
}

static lhk_sale_reach reach_of_tile(const lhk_sale_call *call, int64_t tile) {
    int64_t last = lhk_min((tile + 1) * LHK_SALE_TILE_ROWS, call->rows) - 1;
    return lhk_sale_reach_of(last + call->offset, call->keys);
}

static void select_task(void *context, int64_t number, uint32_t worker) {
    const plan *p = context;
    const lhk_sale_call *call = p->call;
    const int64_t head = number % call->query_heads, tile = p->tiles - 1 - number / call->query_heads;  // longest first
    const int64_t list = head * p->tiles + tile, first = tile * LHK_SALE_TILE_ROWS;
    const lhk_sale_reach reach = reach_of_tile(call, tile);
    uint32_t *bits = p->bits + list * p->words;
    const bool dense = call->tau[head] < LHK_SALE_TAU_DENSE || reach.middle == 0;
    memset(bits, dense ? 0xff : 0, (size_t)p->words * sizeof *bits);
    if (!dense) {
        const int64_t kv_head = head / (call->query_heads / call->kv_heads);
        scratch s = scratch_of(p, worker);
        lhk_sale_tile t = {.layout = &call->layout, .rows = (int32_t)lhk_min(LHK_SALE_TILE_ROWS, call->rows - first),
                           .channels = s.channels, .mean = s.mean, .codes = s.codes, .scores = s.scores};
        take_queries(call, head, first, &t);
        call->kernel->encode(&t);
        find_thresholds(call, &s, head, first, reach, &t);
        const uint8_t *keys[LHK_SALE_SEGMENT_TILES];
        for (int64_t g = 0; 4 * g < reach.middle; g++) {
            lhk_dtype dtype = LHK_DTYPE_NONE;
            int64_t begin = LHK_SALE_BLOCK + g * LHK_SALE_SEGMENT;
            if (call->layout.bits == 4) dtype = show_keys(call, &s, kv_head, begin, begin + LHK_SALE_SEGMENT, 0, keys);
            bits[g / 8] |= call->kernel->test(&t, segment_of(call, g, kv_head), keys, dtype) << (g % 8 * 4);
        }
    }
    p->offsets[list + 1] = write_runs(bits, reach, NULL);
}

static void write_task(void *context, int64_t list, uint32_t worker) {
    const plan *p = context;
    (void)worker;
    write_runs(p->bits + list * p->words, reach_of_tile(p->call, list % p->tiles), p->runs + p->offsets[list]);
}

lhk_status lhk_sale_run(lhk_sale_call *call, const lhk_host *host, const lhk_workspace *workspace, bool with_index,
                        lhk_selection *out, lhk_error *error) {
    plan p;
    lhk_status status = make_plan(call, host->workers, with_index, workspace->data, &p, error);
    if (status) return status;
    if (workspace->bytes < p.bytes || !workspace->data)
        return lhk_fail(error, LHK_ERROR_CAPACITY, 5, "sale: workspace of %llu bytes, needs %llu",
                        (unsigned long long)workspace->bytes, (unsigned long long)p.bytes);
    if ((uintptr_t)workspace->data % LHK_ALIGNMENT)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 5, "sale: workspace is not aligned to %u bytes", LHK_ALIGNMENT);
    if (with_index) call->index = p.index;
    const int64_t segments = lhk_sale_segments(call->keys);
    lhk_parallel_for(host, lhk_max(0, segments - call->encoded) * call->kv_heads, encode_task, &p);
    call->encoded = lhk_max(call->encoded, segments);
    lhk_parallel_for(host, p.lists, select_task, &p);
    bool whole = true;
    p.offsets[0] = 0;
    for (int64_t l = 0; l < p.lists; l++) {
        whole &= p.offsets[l + 1] <= 1;
        p.offsets[l + 1] += p.offsets[l];
    }
    *out = (lhk_selection){.struct_size = sizeof *out, .kind = LHK_SELECTION_ALL};
    if (whole) return LHK_OK;
    lhk_parallel_for(host, p.lists, write_task, &p);
    *out = (lhk_selection){.struct_size = sizeof *out, .kind = LHK_SELECTION_BLOCKS, .tile_rows = LHK_SALE_TILE_ROWS,
                           .list_count = p.lists, .list_offsets = p.offsets, .runs = p.runs};
    return LHK_OK;
}
