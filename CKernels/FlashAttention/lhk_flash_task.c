// SPDX-License-Identifier: Apache-2.0
/// One task: pack the query tile, walk its keys, run the strips over every piece, hand the rows on.
#include "lhk_flash_piece.h"

static const float log2_e = 1.44269504088896341f;

typedef struct lhk_flash_tile {
    const lhk_flash_plan *plan;
    const lhk_flash_task *task;
    const lhk_flash_scratch *scratch;
    lhk_flash_piece pieces[LHK_FLASH_DIRECT_PIECES];  ///< direct path: all pieces of the task
    int32_t piece_count;
} lhk_flash_tile;

/// What dot products are multiplied by: to log2 units, or to what tanh takes.
static float score_scale(const lhk_flash_call *call) {
    return call->softcap > 0 ? call->scale / call->softcap : call->scale * log2_e;
}

/// Packs the queries of a tile: for a store's own tiles in f32 and scaled.
static void pack_queries(const lhk_flash_tile *tile) {
    const lhk_flash_plan *plan = tile->plan;
    const lhk_tensor *q = &plan->call->args.q;
    int64_t dim = plan->call->dim_k, padded = plan->source.panels.padded_dim_k;
    bool tiles = plan->source.kind == LHK_FLASH_TILES, packs = plan->kernel->pack_query && !tiles;
    float row_f32[LHK_FLASH_MAX_HEAD_DIM], scale = score_scale(plan->call);
    for (int64_t r = 0; r < LHK_FLASH_ROWS_AHEAD; r++) lhk_flash_fetch_row(plan, tile->task, q, dim, r, false);
    for (int64_t r = 0; r < tile->task->rows; r++) {
        lhk_flash_fetch_row(plan, tile->task, q, dim, r + LHK_FLASH_ROWS_AHEAD, false);
        int64_t row = lhk_flash_query_row(plan, tile->task, r);
        const void *from = lhk_row(q, tile->task->sequence.first_row + row, lhk_flash_query_head(plan, tile->task, r));
        uint32_t *to = (uint32_t *)tile->scratch->q + r * plan->ldq;
        float *out = packs ? row_f32 : (float *)to;
        if (q->dtype == LHK_DTYPE_F32) memcpy(out, from, (size_t)dim * sizeof *out);
        else for (int64_t c = 0; c < dim; c++) out[c] = lhk_load_element(from, q->dtype, c);
        for (int64_t c = dim; c < padded; c++) out[c] = 0;
        for (int64_t c = 0; c < dim && tiles; c++) out[c] *= scale;
        if (packs) plan->kernel->pack_query(out, dim, padded, plan->source.panels.rotation, to);
    }
}

static int32_t clamp_column(int64_t key, int64_t base, int32_t high) {
    return (int32_t)lhk_min(lhk_max(key - base, 0), high);
}

/// Columns of the strip that row r sees.
static int64_t count_visible(const lhk_flash_strip *strip, int32_t r) {
    int32_t low = strip->low[r], high = strip->high[r], sink = strip->sink;
    if (strip->index) {
        int64_t count = 0;
        for (int32_t x = strip->begin; x < strip->end; x++) {
            int32_t key = strip->index[x];
            count += (key < high) & ((key >= low) | (key < sink));
        }
        return count;
    }
    int64_t end = lhk_min(high, strip->end), sinks = lhk_min(sink, end);
    int64_t beyond = end - lhk_max(lhk_max(low, sinks), strip->begin);
    return lhk_max(sinks - strip->begin, 0) + lhk_max(beyond, 0);
}

/// Sets the columns of `strip` to those of the piece that some row sees; false when there are none.
static bool set_columns(lhk_flash_strip *strip, const lhk_flash_piece *piece, const lhk_flash_span *spans, int64_t sink,
                        uint64_t *attended) {
    if (piece->whole) {
        strip->begin = piece->begin;
        strip->end = piece->end;
        *attended += (uint64_t)(strip->rows * (piece->end - piece->begin));
        return true;
    }
    int64_t base = piece->index ? 0 : piece->base;
    int32_t limit = piece->index ? INT32_MAX : LHK_FLASH_TILE_KEYS, low = INT32_MAX, high = 0;
    strip->sink = clamp_column(sink, base, limit);
    for (int32_t r = 0; r < strip->rows; r++) {
        strip->low[r] = clamp_column(spans[r].begin, base, limit);
        strip->high[r] = clamp_column(spans[r].end, base, limit);
        low = strip->low[r] < low ? strip->low[r] : low;
        high = strip->high[r] > high ? strip->high[r] : high;
    }
    strip->begin = piece->begin;
    strip->end = piece->end;
    if (!piece->index) {
        if (strip->begin >= strip->sink && low > strip->begin) strip->begin = low;
        if (high < strip->end) strip->end = high;
        if (strip->begin >= strip->end) return false;
    }
    int64_t pairs = 0;
    for (int32_t r = 0; r < strip->rows; r++) pairs += count_visible(strip, r);
    strip->masked = strip->begin % 16 || strip->end % 16 || pairs < (int64_t)strip->rows * (strip->end - strip->begin);
    *attended += (uint64_t)pairs;
    return pairs != 0;
}

/// Strip of rows [first, first + rows) of the tile against `piece`; false when no row sees any of it.
static bool make_strip(const lhk_flash_tile *tile, const lhk_flash_piece *piece, int64_t first, int32_t rows,
                       lhk_flash_strip *strip, uint64_t *attended) {
    const lhk_flash_plan *plan = tile->plan;
    const lhk_flash_call *call = plan->call;
    const lhk_flash_scratch *scratch = tile->scratch;
    const lhk_panels *p = &plan->source.panels;
    *strip = (lhk_flash_strip){.rows = rows, .q = (const uint32_t *)scratch->q + first * plan->ldq, .ldq = plan->ldq,
                               .keys = piece->keys, .key_scales = piece->key_scales, .values = piece->values,
                               .padded_k = p->padded_dim_k,
                               .padded_v = p->padded_dim_v, .index = piece->index, .base = piece->base,
                               .scale = score_scale(call), .panels = p, .head_base = piece->head_base,
                               .log_weights = piece->log_weights,
                               .o = scratch->o + first * p->padded_dim_v, .m = scratch->m + first, .l = scratch->l + first};
    if (call->softcap > 0) strip->softcap = call->softcap * log2_e;
    strip->biased = call->params.alibi_slopes || piece->log_weights;
    for (int32_t r = 0; strip->biased && r < rows; r++) {
        strip->position[r] = scratch->positions[first + r];
        if (call->params.alibi_slopes)
            strip->slope[r] = call->params.alibi_slopes[lhk_flash_query_head(plan, tile->task, first + r)] * log2_e;
    }
    return set_columns(strip, piece, scratch->spans + first, call->sink_tokens, attended);
}

/// Scores of a strip by the store itself, brought into the form of the kernels' own.
static void score_tiles(const lhk_flash_tile *tile, const lhk_flash_strip *strip, float *s, int64_t lds) {
    const lhk_flash_plan *plan = tile->plan;
    const lhk_store_ref *store = &plan->source.store;
    int32_t offset = strip->begin - lhk_flash_first(strip), width = lhk_flash_width(strip), count = strip->end - strip->begin;
    lhk_keys keys = {strip->base + strip->begin, count, strip->index ? strip->index + strip->begin : NULL};
    store->ops->score(store->instance, (uint32_t)lhk_flash_kv_head(plan, tile->task), strip->q, strip->ldq, strip->rows,
                      &keys, s + offset, lds);
    for (int32_t r = 0; r < strip->rows; r++) {
        for (int32_t x = 0; x < offset; x++) s[r * lds + x] = 0;  // columns that the store does not know of, masked below
        for (int32_t x = offset + count; x < width; x++) s[r * lds + x] = 0;
    }
    if (strip->softcap != 0 || strip->biased || strip->masked) plan->kernel->modify(strip, s, lds);
}

/// The second product where values may be infinite or NaN and some are masked: only those with weight take part.
static void add_visible_values(const lhk_flash_tile *tile, const lhk_flash_strip *strip, const float *p, int64_t lds) {
    const lhk_panels *panels = &tile->plan->source.panels;
    int32_t first = lhk_flash_first(strip);
    for (int32_t r = 0; r < strip->rows; r++)
        for (int32_t x = strip->begin; x < strip->end; x++) {
            float weight = p[r * lds + x - first];
            if (weight == 0) continue;
            for (int64_t c = 0; c < tile->plan->call->dim_v; c++)
                strip->o[r * strip->padded_v + c] +=
                    weight * lhk_load_element(strip->values, panels->value_dtype, lhk_panel_value_index(panels, x, c));
        }
}

static void add_values(const lhk_flash_tile *tile, const lhk_flash_strip *strip, const float *p, bool only_visible) {
    const lhk_flash_plan *plan = tile->plan;
    if (plan->source.kind == LHK_FLASH_TILES) {
        const lhk_store_ref *store = &plan->source.store;
        lhk_keys keys = {strip->base + strip->begin, strip->end - strip->begin, strip->index ? strip->index + strip->begin : NULL};
        store->ops->accumulate(store->instance, (uint32_t)lhk_flash_kv_head(plan, tile->task),
                               p + strip->begin - lhk_flash_first(strip), plan->lds, strip->rows, &keys, strip->o,
                               strip->padded_v);
    } else if (only_visible) {
        add_visible_values(tile, strip, p, plan->lds);
    } else {
        (strip->head_base ? plan->kernel->token_values : plan->kernel->values)(strip, p, plan->lds);
    }
}

/// Rows per strip of a tile, evened out: 8 rows go as 4 + 4 rather than 6 + 2.
static int32_t strip_rows(const lhk_flash_tile *tile) {
    int64_t most = tile->plan->kernel->strip_rows, strips = (tile->task->rows + most - 1) / most;
    return (int32_t)((tile->task->rows + strips - 1) / strips);
}

/// Blockwise: one piece against all strips of the tile, with the online softmax.
static void attend_piece(void *context, const lhk_flash_piece *piece) {
    const lhk_flash_tile *tile = context;
    const lhk_flash_plan *plan = tile->plan;
    float *s = tile->scratch->s;
    int32_t step = strip_rows(tile);
    for (int64_t first = 0; first < tile->task->rows; first += step) {
        lhk_flash_strip strip;
        int32_t rows = (int32_t)lhk_min(step, tile->task->rows - first);
        if (!make_strip(tile, piece, first, rows, &strip, &tile->scratch->counts[0])) continue;
        strip.streamed = first == 0 && tile->task->rows <= LHK_FLASH_STREAM_STRIPS * step;
        bool tiles = plan->source.kind == LHK_FLASH_TILES, only_visible = strip.masked && piece->may_hold_nonfinite;
        if (tiles) score_tiles(tile, &strip, s, plan->lds);
        else (piece->head_base ? plan->kernel->token_scores : plan->kernel->scores)(&strip, s, plan->lds);
        (tiles || only_visible ? plan->kernel->softmax_f32 : plan->kernel->softmax)(&strip, s, plan->lds,
                                                                                    lhk_flash_width(&strip));
        add_values(tile, &strip, s, only_visible);
    }
}

static void collect_piece(void *context, const lhk_flash_piece *piece) {
    lhk_flash_tile *tile = context;
    tile->pieces[tile->piece_count++] = *piece;
}

/// Direct: all scores of a strip, one softmax, then all values. No rescaling, at most LHK_FLASH_DIRECT_KEYS keys.
static void attend_directly(const lhk_flash_tile *tile) {
    const lhk_flash_plan *plan = tile->plan;
    float *s = tile->scratch->s;
    int32_t step = strip_rows(tile);
    for (int64_t first = 0; first < tile->task->rows; first += step) {
        lhk_flash_strip strips[LHK_FLASH_DIRECT_PIECES];
        int32_t rows = (int32_t)lhk_min(step, tile->task->rows - first), count = 0, width = 0;
        bool only_visible = false;
        for (int32_t i = 0; i < tile->piece_count; i++) {
            lhk_flash_strip *strip = &strips[count];
            if (!make_strip(tile, &tile->pieces[i], first, rows, strip, &tile->scratch->counts[0])) continue;
            plan->kernel->scores(strip, s + width, plan->lds);
            width += lhk_flash_width(strip);
            only_visible |= strip->masked && tile->pieces[i].may_hold_nonfinite;
            count++;
        }
        if (count == 0) continue;
        (only_visible ? plan->kernel->softmax_f32 : plan->kernel->softmax)(&strips[0], s, plan->lds, width);
        bool halves = plan->kernel->weight_dtype == LHK_DTYPE_BF16 && !only_visible;
        const uint8_t *p = (const uint8_t *)s;
        for (int32_t i = 0; i < count; i++) {
            add_values(tile, &strips[i], (const float *)p, only_visible);
            p += lhk_flash_width(&strips[i]) * (halves ? 2 : 4);
        }
    }
}

/// Resolves masks per row and the tile's reach, the same for all heads of a task; counts what the mask shows.
static void set_rows(const lhk_flash_tile *tile, lhk_flash_walk *walk) {
    const lhk_flash_scratch *scratch = tile->scratch;
    walk->low = walk->whole_high = INT64_MAX;
    for (int64_t r = 0; r < tile->task->rows; r++) {
        int64_t row = lhk_flash_query_row(tile->plan, tile->task, r);
        lhk_flash_span span = lhk_flash_visible(tile->plan->call, &tile->task->sequence, row);
        scratch->spans[r] = span;
        scratch->positions[r] = row + tile->task->sequence.offset;
        walk->low = lhk_min(walk->low, span.begin);
        walk->high = lhk_max(walk->high, span.end);
        walk->whole_low = lhk_max(walk->whole_low, span.begin);
        walk->whole_high = lhk_min(walk->whole_high, span.end);
        walk->sink_end = lhk_max(walk->sink_end, span.sink_end);
        uint64_t visible = (uint64_t)(span.end - span.begin + span.sink_end);
        if (tile->task->split == 0) scratch->counts[1] += visible * (uint64_t)tile->task->heads;
    }
    walk->sink_end = lhk_min(walk->sink_end, walk->low);
}

/// A task of several heads: `task` and `scratch` of the tile are those of the head that has its turn.
typedef struct lhk_flash_heads {
    lhk_flash_tile tile;
    const lhk_flash_task *whole;
    const lhk_flash_scratch *scratch;
    lhk_flash_task task;
    lhk_flash_scratch own;
} lhk_flash_heads;

static void take_turn(void *context, int64_t head) {
    lhk_flash_heads *all = context;
    const lhk_flash_plan *plan = all->tile.plan;
    int64_t padded_v = plan->source.panels.padded_dim_v, first = head * plan->tile_rows;
    all->task.head = all->whole->head + head;
    all->own.q = (uint32_t *)all->scratch->q + first * plan->ldq;
    if (all->whole->splits > 1) {
        all->own.o = lhk_flash_partial(plan, all->whole->number, head);
        all->own.m = all->own.o + plan->tile_rows * padded_v;
        all->own.l = all->own.m + plan->tile_rows;
    } else {
        all->own.o = all->scratch->o + first * padded_v;
        all->own.m = all->scratch->m + first;
        all->own.l = all->scratch->l + first;
    }
}

void lhk_flash_run_task(const lhk_flash_plan *plan, const lhk_flash_task *task, const lhk_flash_scratch *scratch) {
    lhk_flash_heads all = {.whole = task, .scratch = scratch, .task = *task, .own = *scratch};
    all.tile = (lhk_flash_tile){.plan = plan, .task = &all.task, .scratch = &all.own};
    // `tile` comes first: the visitors take its address.
    lhk_flash_walk walk = {.plan = plan, .task = &all.task, .scratch = &all.own, .visit = attend_piece, .turn = take_turn,
                           .context = &all};
    set_rows(&all.tile, &walk);
    for (int64_t head = 0; head < task->heads; head++) {
        take_turn(&all, head);
        memset(all.own.o, 0, (size_t)(task->rows * plan->source.panels.padded_dim_v) * sizeof(float));
        for (int64_t r = 0; r < task->rows; r++) {
            all.own.m[r] = -INFINITY;
            all.own.l[r] = 0;
        }
        pack_queries(&all.tile);
    }
    take_turn(&all, 0);
    if (plan->direct) walk.visit = collect_piece;
    lhk_flash_walk_pieces(&walk);
    if (plan->direct) attend_directly(&all.tile);
    for (int64_t head = 0; head < task->heads && task->splits == 1; head++) {
        take_turn(&all, head);
        lhk_flash_finish(plan, &all.task, all.own.o, all.own.m, all.own.l);
    }
}
