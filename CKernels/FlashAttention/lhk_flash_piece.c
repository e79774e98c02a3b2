// SPDX-License-Identifier: Apache-2.0
#include "lhk_flash_piece.h"

/// Zeros a block whose panels have padding channels, which packing leaves alone.
static void clear_padding(const lhk_flash_plan *plan, uint8_t *block) {
    const lhk_panels *p = &plan->source.panels;
    if (plan->call->dim_k != p->padded_dim_k || plan->call->dim_v != p->padded_dim_v)
        memset(block, 0, lhk_panel_block_bytes(p));
}

/// The scratch block for the next packed piece; in the direct path all pieces of a task stay packed.
static uint8_t *next_block(lhk_flash_walk *walk) {
    const lhk_flash_plan *plan = walk->plan;
    uint8_t *block = walk->scratch->blocks + (uint64_t)walk->scratch_block * lhk_panel_block_bytes(&plan->source.panels);
    if (plan->direct) walk->scratch_block++;
    clear_padding(plan, block);
    return block;
}

/// Packs row-major keys [begin, begin + count) of the task's sequence, or those listed in `index`, as columns [0, count)
/// of `block`. Returns whether a value is infinite or NaN.
static bool pack_rows(const lhk_flash_plan *plan, const lhk_flash_sequence *sequence, int64_t head, const int32_t *index,
                      int64_t begin, int64_t count, uint8_t *block) {
    const lhk_panels *p = &plan->source.panels;
    const lhk_tensor *k = &plan->call->args.k, *v = &plan->call->args.v;
    int64_t size = (int64_t)lhk_dtype_size(k->dtype), dim_k = plan->call->dim_k, dim_v = plan->call->dim_v;
    bool nonfinite = false;
    for (int64_t x = 0; x < count; x += index ? 1 : count) {
        int64_t row = sequence->first_key + (index ? index[x] : begin), n = index ? 1 : count;
        lhk_panel_pack_keys(p, block, x, n, lhk_row(k, row, head), k->stride[0] * size, k->dtype, dim_k);
        nonfinite |= lhk_panel_pack_values(p, block, x, n, lhk_row(v, row, head), v->stride[0] * size, v->dtype, dim_v);
    }
    return nonfinite;
}

/// Packs a piece of row-major keys into scratch.
static void pack_piece(lhk_flash_walk *walk, lhk_flash_piece *piece, int64_t begin, int64_t count) {
    const lhk_flash_plan *plan = walk->plan;
    uint8_t *block = next_block(walk);
    piece->may_hold_nonfinite = pack_rows(plan, &walk->task->sequence, lhk_flash_kv_head(plan, walk->task), piece->index,
                                          begin, count, block);
    piece->keys = block;
    piece->values = block + plan->source.panels.value_offset;
}

bool lhk_flash_pack_block(const lhk_flash_plan *plan, const lhk_flash_sequence *sequence, int64_t number, int64_t head,
                          uint8_t *block) {
    int64_t begin = number * LHK_BLOCK_TOKENS, count = lhk_min(LHK_BLOCK_TOKENS, sequence->keys - begin);
    clear_padding(plan, block);
    return pack_rows(plan, sequence, head, NULL, begin, count, block);
}

/// Start of the store's block that holds key `key`.
static const uint8_t *panel_block(const lhk_flash_walk *walk, int64_t key) {
    const lhk_panels *p = &walk->plan->source.panels;
    uint64_t head = (uint64_t)lhk_flash_kv_head(walk->plan, walk->task);
    uint64_t block = (uint64_t)(walk->task->first_block + key / p->block_tokens);
    return p->base + block * p->block_stride + head * p->head_stride;
}

/// Copies the columns of gathered tokens out of the store's panels into a scratch block.
static void gather_panels(lhk_flash_walk *walk, lhk_flash_piece *piece, int64_t count) {
    const lhk_panels *p = &walk->plan->source.panels;
    int64_t g = p->group, size = (int64_t)lhk_dtype_size(p->dtype), unit = g * size;
    int64_t value_g = p->value_group, value_size = (int64_t)lhk_dtype_size(p->value_dtype);
    uint8_t *block = next_block(walk), *values = block + p->value_offset;
    float *scales = (float *)(block + p->key_scale_offset);
    for (int64_t x = 0; x < count; x++) {
        int64_t t = piece->index[x] % p->block_tokens;
        const uint8_t *from = panel_block(walk, piece->index[x]);
        const uint8_t *key = from + lhk_panel_key_index(p, t, 0) * size;
        uint8_t *out = block + lhk_panel_key_index(p, x, 0) * size;
        for (int64_t c = 0; c < p->padded_dim_k; c += g) memcpy(out + c * 16 * size, key + c * 16 * size, (size_t)unit);
        if (p->key_scale_offset) scales[x] = ((const float *)(from + p->key_scale_offset))[t];
        const uint8_t *value = from + p->value_offset + lhk_panel_value_index(p, t, 0) * value_size;
        out = values + lhk_panel_value_index(p, x, 0) * value_size;
        for (int64_t c = 0; c < p->padded_dim_v; c++)
            memcpy(out + c * value_g * value_size, value + c * value_g * value_size, (size_t)value_size);
    }
    for (int64_t x = count; x % value_g; x++)
        for (int64_t c = 0; c < p->padded_dim_v; c++)
            memset(values + lhk_panel_value_index(p, x, c) * value_size, 0, (size_t)value_size);
    piece->keys = block;
    piece->key_scales = scales;
    piece->values = values;
    piece->may_hold_nonfinite = p->values_nonfinite != 0;
}

/// Unpacks `count` keys of the store, from `begin` on or as listed in `index`, as columns [0, count).
static void unpack_piece(lhk_flash_walk *walk, lhk_flash_piece *piece, int64_t begin, int64_t count) {
    const lhk_flash_source *source = &walk->plan->source;
    lhk_keys keys = {begin, count, piece->index};
    uint8_t *block = walk->scratch->blocks;
    piece->may_hold_nonfinite =
        lhk_store_get_unpack(source->store.ops)(source->store.instance, (uint32_t)lhk_flash_kv_head(walk->plan, walk->task),
                                                &keys, &source->panels, block) != 0;
    piece->keys = block;
    piece->values = block + source->panels.value_offset;
}

/// Visits keys [begin, end) piece by piece. Pieces end at multiples of the most keys of a piece and at a dense store's own blocks.
static void visit_keys(lhk_flash_walk *walk, int64_t begin, int64_t end) {
    const lhk_flash_plan *plan = walk->plan;
    const lhk_panels *p = &plan->source.panels;
    const int64_t most = plan->piece_keys, block_tokens = plan->source.kind == LHK_FLASH_TILES ? most : p->block_tokens;
    while (begin < end) {
        int64_t block = begin / block_tokens * block_tokens;
        int64_t base = block + (begin - block) / most * most;
        int64_t stop = lhk_min(end, lhk_min(block + block_tokens, base + most));
        lhk_flash_piece piece = {.base = base, .begin = (int32_t)(begin - base), .end = (int32_t)(stop - base)};
        if (plan->source.kind == LHK_FLASH_PANELS) {
            const uint8_t *at = panel_block(walk, base);
            piece.keys = at + lhk_panel_key_index(p, base - block, 0) * (int64_t)lhk_dtype_size(p->dtype);
            piece.key_scales = (const float *)(at + p->key_scale_offset) + (base - block);
            piece.values =
                at + p->value_offset + lhk_panel_value_index(p, base - block, 0) * (int64_t)lhk_dtype_size(p->value_dtype);
            piece.may_hold_nonfinite = p->values_nonfinite != 0;
        } else if (plan->source.kind == LHK_FLASH_ROWS) {
            piece.base = begin;
            piece.begin = 0;
            piece.end = (int32_t)(stop - begin);
            pack_piece(walk, &piece, begin, stop - begin);
        } else if (plan->source.kind == LHK_FLASH_UNPACKED) {
            piece.base = begin / LHK_PANEL_TOKENS * LHK_PANEL_TOKENS;
            piece.begin = (int32_t)(begin - piece.base);
            piece.end = (int32_t)(stop - piece.base);
            unpack_piece(walk, &piece, piece.base, piece.end);
        }
        walk->visit(walk->context, &piece);
        begin = stop;
    }
}

/// Visits what is visible of a selected run.
static void visit_run(lhk_flash_walk *walk, int64_t begin, int64_t end) {
    if (walk->task->split == 0) visit_keys(walk, begin, lhk_min(end, walk->sink_end));
    visit_keys(walk, lhk_max(begin, walk->split_low), lhk_min(end, walk->split_high));
}

/// Whether listed tokens are read where they lie. Values that are not finite are not: their neighbours' would meet them.
static bool reads_in_place(const lhk_flash_plan *plan) {
    return plan->source.kind == LHK_FLASH_PANELS && plan->kernel->token_scores && !plan->source.panels.values_nonfinite;
}

/// Visits the visible ones of the listed tokens, gathered 256 at a time.
static void visit_tokens(lhk_flash_walk *walk, const lhk_selection *s, int64_t first, int64_t last) {
    int32_t *index = walk->scratch->index;
    float *weights = walk->scratch->weights;
    while (first < last) {
        int64_t count = 0;
        for (; first < last && count < LHK_BLOCK_TOKENS; first++) {
            int64_t token = s->tokens[first];
            if (token >= walk->high || (token < walk->low && token >= walk->sink_end)) continue;
            index[count] = (int32_t)token;
            weights[count++] = s->log_weights ? s->log_weights[first] : 0;
        }
        if (count == 0) return;
        lhk_flash_piece piece = {.end = (int32_t)count, .index = index, .log_weights = s->log_weights ? weights : NULL};
        if (reads_in_place(walk->plan)) piece.head_base = panel_block(walk, 0);
        else if (walk->plan->source.kind == LHK_FLASH_PANELS) gather_panels(walk, &piece, count);
        if (walk->plan->source.kind == LHK_FLASH_ROWS) pack_piece(walk, &piece, 0, count);
        if (walk->plan->source.kind == LHK_FLASH_UNPACKED) unpack_piece(walk, &piece, 0, count);
        walk->visit(walk->context, &piece);
    }
}

/// Meets the gathered runs.
static void flush_runs(lhk_flash_walk *walk) {
    const lhk_panels *p = &walk->plan->source.panels;
    uint8_t *block = walk->scratch->blocks;
    lhk_flash_piece piece = {.end = walk->gathered, .keys = block, .values = block + p->value_offset, .whole = true,
                             .key_scales = (const float *)(block + p->key_scale_offset),
                             .may_hold_nonfinite = p->values_nonfinite != 0};
    if (walk->gathered) walk->visit(walk->context, &piece);
    walk->gathered = 0;
}

/// Copies the keys [begin, end) of one block, both multiples of 16 and at most as many as there is room for, behind the
/// columns gathered before. Tiles of 16 tokens are contiguous in keys and in values.
static void gather_run(lhk_flash_walk *walk, int64_t begin, int64_t end) {
    const lhk_panels *p = &walk->plan->source.panels;
    const uint8_t *from = panel_block(walk, begin);
    uint8_t *to = walk->scratch->blocks;
    int64_t t = begin % p->block_tokens, x = walk->gathered, count = end - begin;
    int64_t key = p->padded_dim_k * (int64_t)lhk_dtype_size(p->dtype);
    int64_t value = p->padded_dim_v * (int64_t)lhk_dtype_size(p->value_dtype);
    memcpy(to + x * key, from + t * key, (size_t)(count * key));
    memcpy(to + p->value_offset + x * value, from + p->value_offset + t * value, (size_t)(count * value));
    if (p->key_scale_offset)
        memcpy((float *)(to + p->key_scale_offset) + x, (const float *)(from + p->key_scale_offset) + t, (size_t)count * 4);
    walk->gathered += (int32_t)count;
}

/// Visits a selected run of panels. Short parts that every row sees are gathered first, up to 256 keys, which then cost as much
/// as a block of neighbours: copying them is little beside 64 rows of products.
static void visit_block_run(lhk_flash_walk *walk, int64_t begin, int64_t end) {
    const lhk_panels *p = &walk->plan->source.panels;
    const int64_t room = lhk_min(LHK_BLOCK_TOKENS, p->block_tokens);  // of the scratch block
    int64_t low = lhk_round_up(lhk_max(begin, walk->whole_low), LHK_PANEL_TOKENS);
    int64_t high = lhk_min(end, walk->whole_high) / LHK_PANEL_TOKENS * LHK_PANEL_TOKENS;
    if (low >= high) {
        visit_run(walk, begin, end);
        return;
    }
    visit_run(walk, begin, low);
    while (low < high) {
        int64_t block = low / p->block_tokens * p->block_tokens;
        int64_t base = block + (low - block) / LHK_BLOCK_TOKENS * LHK_BLOCK_TOKENS;
        int64_t stop = lhk_min(high, lhk_min(block + p->block_tokens, base + LHK_BLOCK_TOKENS));
        if (stop - low > LHK_BLOCK_TOKENS / 2) {
            visit_keys(walk, low, stop);
        } else {
            stop = lhk_min(stop, low + room - walk->gathered);
            gather_run(walk, low, stop);
            if (walk->gathered == room) flush_runs(walk);
        }
        low = stop;
    }
    visit_run(walk, high, end);
}

static void visit_selection(lhk_flash_walk *walk, const lhk_selection *s) {
    const lhk_flash_task *t = walk->task;
    const lhk_flash_plan *plan = walk->plan;
    if (s->kind == LHK_SELECTION_ALL) {
        visit_run(walk, 0, walk->high);
    } else if (s->kind == LHK_SELECTION_BLOCKS) {
        int64_t tiles = (t->sequence.rows + s->tile_rows - 1) / s->tile_rows;
        int64_t list = t->head * tiles + t->first / s->tile_rows;
        bool gathers = plan->source.kind == LHK_FLASH_PANELS && !plan->call->params.alibi_slopes;
        for (int64_t e = s->list_offsets[list]; e < s->list_offsets[list + 1]; e++)
            (gathers ? visit_block_run : visit_run)(walk, s->runs[e].begin, s->runs[e].end);
        flush_runs(walk);
    } else {
        bool per_kv_head = s->list_count == plan->call->kv_heads;
        int64_t list = per_kv_head ? lhk_flash_kv_head(plan, t) : t->head;
        visit_tokens(walk, s, s->list_offsets[list], s->list_offsets[list + 1]);
    }
}

/// The same for all heads of a task, block after block.
static void visit_heads(lhk_flash_walk *walk, int64_t begin, int64_t end) {
    int64_t heads = walk->task->heads;
    const int64_t most = walk->plan->piece_keys;
    while (begin < end) {
        int64_t stop = lhk_min(end, (begin / most + 1) * most);
        for (int64_t head = 0; head < heads; head++) {
            walk->turn(walk->context, head);
            visit_keys(walk, begin, stop);
        }
        begin = stop;
    }
}

void lhk_flash_walk_pieces(lhk_flash_walk *walk) {
    const lhk_flash_task *t = walk->task;
    walk->split_low = walk->low;
    walk->split_high = walk->high;
    if (t->splits > 1) {  // whole blocks, so that no block is visited twice
        int64_t first = walk->low / LHK_BLOCK_TOKENS, blocks = (walk->high + LHK_BLOCK_TOKENS - 1) / LHK_BLOCK_TOKENS - first;
        int64_t share = (lhk_max(blocks, 0) + t->splits - 1) / t->splits;
        walk->split_low = lhk_max(walk->low, (first + t->split * share) * LHK_BLOCK_TOKENS);
        walk->split_high = lhk_min(walk->high, (first + (t->split + 1) * share) * LHK_BLOCK_TOKENS);
    }
    if (t->heads > 1) {
        if (t->split == 0) visit_heads(walk, 0, lhk_min(walk->high, walk->sink_end));
        visit_heads(walk, walk->split_low, lhk_min(walk->high, walk->split_high));
        return;
    }
    const lhk_selection *s = walk->plan->call->args.selection;
    if (!s) visit_run(walk, 0, walk->high);
    while (s) {
        lhk_selection one = lhk_flash_get_selection(s);
        visit_selection(walk, &one);
        s = one.next;
    }
}
