// SPDX-License-Identifier: Apache-2.0
/// One selection: codes of new keys, a task per tile and group of query heads, lists of runs.
#include "lhk_sale_plan.h"

static void encode_task(void *context, int64_t number, uint32_t worker) {
    const lhk_sale_plan *p = context;
    const lhk_sale_call *call = p->call;
    int64_t segment = call->encoded + number / call->kv_heads, head = number % call->kv_heads;
    lhk_sale_scratch s = lhk_sale_scratch_of(p, worker);
    lhk_sale_read_keys(call, head, LHK_SALE_BLOCK + segment * LHK_SALE_SEGMENT, LHK_SALE_SEGMENT, s.rows);
    lhk_sale_encode_segment(&call->layout, s.rows, call->layout.head_dim, lhk_sale_segment(call, segment, head));
    if (!call->remainder) return;
    float *mean = lhk_sale_mean_value(call, segment, head);
    bool finite = true;
    lhk_sale_read_values(call, head, LHK_SALE_BLOCK + segment * LHK_SALE_SEGMENT, LHK_SALE_SEGMENT, s.values);
    for (int64_t c = 0; c < call->dim_v; c++) mean[c] = 0;
    for (int64_t i = 0; i < LHK_SALE_SEGMENT * call->dim_v; i++) {
        mean[i % call->dim_v] += s.values[i] * (1.0f / LHK_SALE_SEGMENT);
        finite &= isfinite(s.values[i]);
    }
    if (!finite) mean[0] = NAN;
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

/// Energies of the groups of channels, summed over the segments.
static void sum_energies(const lhk_sale_call *call, int64_t kv_head, int64_t segments, float *out) {
    const int64_t groups = call->layout.padded_dim / 4;
    for (int64_t g = 0; g < groups; g++) out[g] = 0;
    for (int64_t s = 0; s < segments; s++) {
        const float *energy = (const float *)(lhk_sale_segment(call, s, kv_head) + call->layout.energy_offset);
        for (int64_t g = 0; g < groups; g++) out[g] += energy[g];
    }
}

static void find_thresholds(const lhk_sale_call *call, const lhk_sale_scratch *s, int64_t head, int64_t first, lhk_sale_reach reach,
                            lhk_sale_tile *t) {
    const int64_t kv_head = head / lhk_sale_group(call), local = (1 + reach.middle) * LHK_SALE_BLOCK;
    lhk_sale_kept kept = {.scale = call->scale, .softcap = call->softcap, .log_tau = logf(call->tau[head]),
                          .sink = call->sink_logits ? call->sink_logits[head] : -INFINITY};
    lhk_sale_show_keys(call, s, kv_head, 0, LHK_SALE_BLOCK, 0, kept.tile);
    kept.dtype = lhk_sale_show_keys(call, s, kv_head, local, reach.end, LHK_SALE_BLOCK, kept.tile + LHK_SALE_BLOCK / 16);
    kept.tiles = (int32_t)((LHK_SALE_BLOCK + reach.end - local + 15) / 16);
    for (int64_t r = 0; r < t->rows; r++) {
        int64_t seen = lhk_min(first + r + call->offset + 1, reach.end) - local;
        kept.visible[r] = (int32_t)(LHK_SALE_BLOCK + lhk_max(0, seen));
    }
    call->kernel->thresholds(t, &kept);
}

/// Whether keys 16 n to 16 n + 15 are kept.
static bool is_kept(const uint32_t *bits, lhk_sale_reach reach, int64_t n) {
    const int64_t bit = n - LHK_SALE_BLOCK / 16;
    return bit < 0 || bit >= reach.middle * (LHK_SALE_BLOCK / 16) || (bits[bit / 32] >> bit % 32 & 1);
}

/// Writes the runs of a list unless `runs` is null; returns how many.
static int64_t write_runs(const uint32_t *bits, lhk_sale_reach reach, lhk_run *runs) {
    const int64_t sixteens = (reach.end + 15) / 16;
    int64_t count = 0;
    for (int64_t n = 0; n < sixteens;) {
        int64_t begin = n;
        while (n < sixteens && is_kept(bits, reach, n)) n++;
        if (runs && n > begin) runs[count] = (lhk_run){begin * 16, lhk_min(n * 16, reach.end)};
        count += n > begin;
        while (n < sixteens && !is_kept(bits, reach, n)) n++;
    }
    return count;
}

static lhk_sale_reach reach_of_tile(const lhk_sale_call *call, int64_t tile) {
    int64_t last = lhk_min((tile + 1) * LHK_SALE_TILE_ROWS, call->rows) - 1;
    return lhk_sale_reach_of(last + call->offset, call->keys);
}

/// Codes and thresholds of one head's tile; false: the head keeps everything.
static bool prepare(const lhk_sale_plan *p, const lhk_sale_scratch *s, const struct lhk_sale_head_scratch *own, int64_t head,
                    int64_t tile, lhk_sale_tile *t) {
    const lhk_sale_call *call = p->call;
    const int64_t first = tile * LHK_SALE_TILE_ROWS, list = head * p->tiles + tile;
    const lhk_sale_reach reach = reach_of_tile(call, tile);
    const bool dense = call->tau[head] < LHK_SALE_TAU_DENSE || reach.middle == 0;
    memset(p->bits + list * p->words, dense ? 0xff : 0, (size_t)p->words * sizeof *p->bits);
    if (dense) return false;
    t->layout = &call->layout;
    t->rows = (int32_t)lhk_min(LHK_SALE_TILE_ROWS, call->rows - first);
    t->screen = call->screen;
    t->channels = own->channels;
    t->mean = own->mean;
    t->energy = own->energy;
    t->weight = own->weight;
    t->order = own->order;
    t->codes = own->codes;
    t->scores = s->scores;
    t->block = call->block;
    take_queries(call, head, first, t);
    if (call->screen > 0) sum_energies(call, head / lhk_sale_group(call), reach.middle / 4, own->weight);
    call->kernel->encode(t);
    find_thresholds(call, s, head, first, reach, t);
    if (!call->remainder) return true;
    t->remainder.dim_v = call->dim_v;
    t->remainder.log2_scale = call->scale * 1.44269504f;
    t->remainder.waiting = 0;
    t->remainder.sum = own->sum;
    memset(t->remainder.mass, 0, sizeof t->remainder.mass);
    memset(own->sum, 0, (size_t)(call->dim_v * LHK_SALE_TILE_ROWS) * sizeof(float));
    return true;
}

/// The remainder of a head's tile becomes that of its rows; without `t` it is empty.
static void write_rest(const lhk_sale_plan *p, int64_t head, int64_t tile, lhk_sale_tile *t) {
    const lhk_sale_call *call = p->call;
    const int64_t first = tile * LHK_SALE_TILE_ROWS, rows = lhk_min(LHK_SALE_TILE_ROWS, call->rows - first);
    if (t) call->kernel->finish(t);
    for (int64_t r = 0; r < rows; r++) {
        const int64_t to = (first + r) * call->query_heads + head;
        const float mass = t ? t->remainder.mass[r] : 0;
        const bool some = mass > 0 && isfinite(mass);
        p->rest_lse[to] = some ? t->threshold[r] * call->scale + logf(mass) : -INFINITY;
        for (int64_t c = 0; some && c < call->dim_v; c++)
            p->rest_mean[to * call->dim_v + c] = t->remainder.sum[c * LHK_SALE_TILE_ROWS + r];
    }
}

/// The tasks of a tile: for each KV head, its query heads, LHK_SALE_TOGETHER at a time.
static int64_t tasks_per_tile(const lhk_sale_call *call) {
    return (lhk_sale_group(call) + LHK_SALE_TOGETHER - 1) / LHK_SALE_TOGETHER * call->kv_heads;
}

static void select_task(void *context, int64_t number, uint32_t worker) {
    const lhk_sale_plan *p = context;
    const lhk_sale_call *call = p->call;
    const int64_t group = lhk_sale_group(call), shares = (group + LHK_SALE_TOGETHER - 1) / LHK_SALE_TOGETHER;
    const int64_t taken = number % shares * LHK_SALE_TOGETHER, count = lhk_min(LHK_SALE_TOGETHER, group - taken);
    const int64_t kv_head = number / shares % call->kv_heads, first = kv_head * group + taken;
    const int64_t tile = p->tiles - 1 - number / shares / call->kv_heads;  // the longest first
    const lhk_sale_reach reach = reach_of_tile(call, tile);
    lhk_sale_scratch s = lhk_sale_scratch_of(p, worker);
    lhk_sale_tile tiles[LHK_SALE_TOGETHER];
    bool tested[LHK_SALE_TOGETHER], any = false;
    for (int64_t h = 0; h < count; h++) any |= tested[h] = prepare(p, &s, &s.heads[h], first + h, tile, &tiles[h]);
    for (int64_t g = 0; any && 4 * g < reach.middle; g++) {
        const uint8_t *keys[LHK_SALE_SEGMENT_TILES], *segment = lhk_sale_segment(call, g, kv_head);
        const uint8_t *next = 4 * g + 4 < reach.middle ? lhk_sale_segment(call, g + 1, kv_head) : segment;
        lhk_dtype dtype = LHK_DTYPE_NONE;
        int64_t begin = LHK_SALE_BLOCK + g * LHK_SALE_SEGMENT;
        if (call->layout.bits == 4) dtype = lhk_sale_show_keys(call, &s, kv_head, begin, begin + LHK_SALE_SEGMENT, 0, keys);
        for (int64_t h = 0; h < count; h++) {
            if (!tested[h]) continue;
            uint32_t *bits = p->bits + ((first + h) * p->tiles + tile) * p->words;
            const uint32_t kept = call->kernel->test(&tiles[h], segment, next, keys, dtype);
            bits[g / 4] |= kept << (g % 4 * 8);
            if (!call->remainder || kept == 0xff) continue;
            const float *value = lhk_sale_mean_value(call, g, kv_head);
            if (value[0] == value[0])
                call->kernel->rest(&tiles[h], LHK_SALE_SEGMENT - 16 * __builtin_popcount(kept), value);
        }
    }
    for (int64_t h = 0; h < count; h++) {
        const int64_t list = (first + h) * p->tiles + tile;
        p->offsets[list + 1] = write_runs(p->bits + list * p->words, reach, NULL);
        if (call->remainder) write_rest(p, first + h, tile, tested[h] ? &tiles[h] : NULL);
    }
}

static void write_task(void *context, int64_t list, uint32_t worker) {
    const lhk_sale_plan *p = context;
    (void)worker;
    write_runs(p->bits + list * p->words, reach_of_tile(p->call, list % p->tiles), p->runs + p->offsets[list]);
}

lhk_status lhk_sale_run(lhk_sale_call *call, const lhk_host *host, const lhk_workspace *workspace, bool with_index,
                        lhk_selection *out, lhk_error *error) {
    lhk_sale_plan p;
    lhk_status status = lhk_sale_make_plan(call, host->workers, with_index, workspace->data, &p, error);
    if (status) return status;
    if (workspace->bytes < p.bytes || !workspace->data)
        return lhk_fail(error, LHK_ERROR_CAPACITY, 5, "sale: workspace of %llu bytes, needs %llu",
                        (unsigned long long)workspace->bytes, (unsigned long long)p.bytes);
    if ((uintptr_t)workspace->data % LHK_ALIGNMENT)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 5, "sale: workspace is not aligned to %u bytes", LHK_ALIGNMENT);
    if (with_index) call->index = p.index, call->values = p.values;
    const int64_t segments = lhk_sale_segments(call->keys);
    lhk_parallel_for(host, lhk_max(0, segments - call->encoded) * call->kv_heads, encode_task, &p);
    call->encoded = lhk_max(call->encoded, segments);
    lhk_parallel_for(host, p.tiles * tasks_per_tile(call), select_task, &p);
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
    if (call->remainder) out->rest_lse = p.rest_lse, out->rest_mean = p.rest_mean;
    return LHK_OK;
}
