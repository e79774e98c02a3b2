// SPDX-License-Identifier: Apache-2.0
#define _POSIX_C_SOURCE 200809L  // posix_memalign
#include "problem.h"

/// Elements that an operand may have at most.
#define MOST_ELEMENTS (1 << 17)

void *problem_memory(decoded_problem *p, size_t bytes, size_t alignment) {
    if (p->count == MOST_BLOCKS) FUZZ_FOUND("more blocks than this target foresees");
    return p->blocks[p->count++] = exact(bytes, alignment);
}

void free_problem(decoded_problem *p) {
    while (p->count) free(p->blocks[--p->count]);
}

int64_t view_extent(const lhk_tensor *t) {
    if (!lhk_dtype_size(t->dtype) || t->dtype == LHK_DTYPE_I8) return -1;
    __int128 extent = 1;
    for (uint32_t i = 0; i < 3; i++) {
        if (t->shape[i] < 0 || t->stride[i] < 0) return -1;
        if (t->shape[i] == 0) return 0;
        extent += (__int128)(t->shape[i] - 1) * t->stride[i];
    }
    return extent > MOST_ELEMENTS ? -1 : (int64_t)extent;
}

/// A copy that is no longer than its struct_size says, so that reading further is found.
static void *shortened(decoded_problem *p, fuzz_input *in, const void *whole, uint32_t size) {
    uint32_t given = take_rarely(in, 8) ? (uint32_t)take_upto(in, size + 16) : size;
    uint8_t *copy = problem_memory(p, given < 4 ? 4 : given, 16);
    memset(copy, 0, given < 4 ? 4 : given);
    memcpy(copy, whole, (given < size ? given : size) / 8 * 8);  // half a pointer would be the caller's fault
    memcpy(copy, &given, sizeof given);
    return copy;
}

static int64_t take_dim(fuzz_input *in) {
    static const int16_t dims[] = {1, 2, 3, 8, 15, 16, 17, 24, 32, 40, 59, 64, 65, 80, 96, 112, 128, 129, 192, 256, 576};
    uint64_t choice = take(in, 1);
    return dims[choice % (choice < 192 ? 10 : sizeof dims / sizeof *dims)];
}

static lhk_dtype take_dtype(fuzz_input *in) { return 1 + (lhk_dtype)take_upto(in, 2); }

/// Lays out [rows][heads][dim] with gaps, heads first or rows first; an input may repeat one head.
static lhk_tensor take_layout(fuzz_input *in, int64_t rows, int64_t heads, int64_t dim, lhk_dtype dtype, bool input) {
    lhk_tensor t = {NULL, dtype, 3, {rows, heads, dim}, {0, 0, 1}};
    uint64_t choice = take(in, 1);
    int64_t gap = choice >> 4 & 3, outer_gap = choice >> 6;
    bool heads_first = choice & 1;
    t.stride[heads_first ? 0 : 1] = dim + gap;
    t.stride[heads_first ? 1 : 0] = (dim + gap) * (heads_first ? rows : heads) + outer_gap;
    if (input && (choice & 14) == 14) t.stride[1] = 0;
    return t;
}

/// Puts extreme numbers, other types and ranks into the description.
static void make_hostile(fuzz_input *in, lhk_flash_args *a) {
    lhk_tensor *const tensors[] = {&a->q, &a->k, &a->v, &a->out, &a->lse};
    for (int64_t edits = take_upto(in, 3); edits >= 0; edits--) {
        lhk_tensor *t = tensors[take_upto(in, 4)];
        int64_t what = take_upto(in, 9), axis = what % 4;
        if (what < 4) t->shape[axis] = take_extreme(in);
        else if (what < 8) t->stride[axis] = take_extreme(in);
        else if (what == 8) t->dtype = (lhk_dtype)take_upto(in, 6);
        else t->rank = (uint32_t)take(in, 1);
    }
    if (take_rarely(in, 4)) a->path = (uint32_t)take(in, 4);
}

/// Fills an operand with numbers of magnitude up to 1, or with any bits.
static void fill(void *data, lhk_dtype dtype, int64_t elements, bool any_bits, uint64_t *state) {
    if (any_bits) {
        for (size_t at = 0, bytes = (size_t)elements * lhk_dtype_size(dtype); at < bytes; at += 8) {
            uint64_t bits = next_random(state);
            memcpy((uint8_t *)data + at, &bits, bytes - at < 8 ? bytes - at : 8);
        }
    } else {
        for (int64_t i = 0; i < elements; i++) lhk_store_element(data, dtype, i, next_uniform(state));
    }
}

/// Operands that begin one element past an aligned address half of the time, and end at their last element.
static void *operand(decoded_problem *p, lhk_tensor *t, int64_t extent, uint64_t *state) {
    size_t size = lhk_dtype_size(t->dtype), lead = next_random(state) & 1;
    uint8_t *memory = problem_memory(p, ((size_t)extent + lead) * size, 64);
    return t->data = memory + lead * size;
}

static void make_operands(decoded_problem *p, lhk_flash_args *a, bool any_bits, bool wants_lse, uint64_t *state) {
    lhk_tensor *const tensors[] = {&a->q, &a->k, &a->v, &a->out, &a->lse};
    int64_t extents[5];
    static uint64_t wild[8];
    p->in_memory = a->q.rank == 3 && a->k.rank == 3 && a->v.rank == 3 && a->out.rank == 3;
    for (int i = 0; i < 5; i++) {
        extents[i] = view_extent(tensors[i]);
        p->in_memory &= extents[i] >= 0 || (i == 4 && !wants_lse);
        tensors[i]->data = i < 4 || wants_lse ? wild : NULL;
    }
    if (!p->in_memory) return;
    for (int i = 0; i < (wants_lse ? 5 : 4); i++) {
        operand(p, tensors[i], extents[i], state);
        if (i < 3) fill(tensors[i]->data, tensors[i]->dtype, extents[i], any_bits, state);
    }
}

// ---- what stands beside the operands ----

/// Ascending from 0 to total, or anything.
static const int64_t *take_offsets(decoded_problem *p, fuzz_input *in, int64_t count, int64_t total) {
    int64_t *offsets = problem_memory(p, (size_t)(count + 1) * sizeof *offsets, 8), reached = 0;
    for (int64_t i = 0; i <= count; i++) {
        offsets[i] = take_rarely(in, 32) ? take_extreme(in) : reached;
        reached = lhk_min(total, reached + take_upto(in, 40));
    }
    return offsets;
}

static void take_sequences(decoded_problem *p, fuzz_input *in, lhk_flash_args *a) {
    uint64_t choice = take(in, 1);
    int64_t count = choice & 1 ? choice >> 1 & 3 : 0, lists = count ? count : 1;
    a->sequences = take_rarely(in, 64) ? -1 : count;
    if (count ? choice & 0xf8 : (choice & 0xf8) == 0xf8) {
        a->cu_q = take_offsets(p, in, lists, a->q.shape[0]);
        a->cu_k = take_offsets(p, in, lists, a->k.shape[0]);
    }
    if (!take_rarely(in, 3)) return;
    int64_t *lengths = problem_memory(p, (size_t)lists * sizeof *lengths, 8);
    for (int64_t i = 0; i < lists; i++) lengths[i] = take_rarely(in, 32) ? take_extreme(in) : take_upto(in, 80);
    a->kv_lengths = lengths;
}

/// `count` numbers up to 8 in magnitude and, with `any_bits`, anything; null when there are too many.
static const float *take_floats(decoded_problem *p, int64_t count, bool any_bits, bool has_lowest, uint64_t *state) {
    if (count < 0 || count > MOST_ELEMENTS) return NULL;
    float *floats = problem_memory(p, (size_t)count * sizeof *floats, 16);
    fill(floats, LHK_DTYPE_F32, count, any_bits, state);
    for (int64_t i = 0; i < count && !any_bits; i++)
        floats[i] = has_lowest && next_random(state) % 16 == 0 ? -INFINITY : floats[i] * 8;
    return floats;
}

static int64_t take_bound(fuzz_input *in) {
    uint64_t choice = take(in, 1);
    return choice < 64 ? -1 : choice > 240 ? take_extreme(in) : (int64_t)(choice - 64);
}

static void take_params(decoded_problem *p, fuzz_input *in, lhk_flash_args *a, bool any_bits, uint64_t *state) {
    uint64_t choice = take(in, 1);
    lhk_attention_params params = {.struct_size = sizeof params, .flags = (uint32_t)choice & 3, .window_left = -1,
                                   .window_right = -1};
    if (take_rarely(in, 64)) params.flags = (uint32_t)take(in, 4);
    if (choice & 4) params.scale = any_bits ? take_float(in) : (float)take_upto(in, 255) / 256;
    if (choice & 8) params.softcap = any_bits ? take_float(in) : (float)take_upto(in, 100);
    if (params.flags & LHK_ATTENTION_OFFSET) params.offset = take_rarely(in, 8) ? take_extreme(in) : take_upto(in, 255) - 60;
    if (choice & 16) params.window_left = take_bound(in);
    if (choice & 32) params.window_right = take_bound(in);
    if (take_rarely(in, 4)) params.sink_tokens = take_rarely(in, 8) ? take_extreme(in) : take_upto(in, 20);
    if (choice & 64) params.alibi_slopes = take_floats(p, a->q.shape[1], any_bits, false, state);
    if (choice & 128) params.sink_logits = take_floats(p, a->q.shape[1], any_bits, true, state);
    p->spread += params.softcap + 8;
    if (params.alibi_slopes) p->spread += 8 * (fabs((double)params.offset) + (double)a->q.shape[0] + (double)a->k.shape[0]);
    a->params = shortened(p, in, &params, sizeof params);
}

/// Entries [0, room) that the lists share, ascending within each.
static void take_entries(decoded_problem *p, fuzz_input *in, lhk_selection *s, int64_t room, bool any_bits, uint64_t *state) {
    bool blocks = s->kind == LHK_SELECTION_BLOCKS;
    lhk_run *runs = blocks ? problem_memory(p, (size_t)room * sizeof *runs, 8) : NULL;
    int32_t *tokens = blocks ? NULL : problem_memory(p, (size_t)room * sizeof *tokens, 4);
    int64_t list = 0, reached = 0;
    for (int64_t e = 0; e < room; e++) {
        while (list < s->list_count && s->list_offsets[list] <= e) list++, reached = 0;
        int64_t begin = reached + take_upto(in, 20), end = begin + take_upto(in, 40);
        if (take_rarely(in, 64)) end = take_extreme(in);
        if (blocks) runs[e] = (lhk_run){begin, end};
        else tokens[e] = (int32_t)(take_rarely(in, 128) ? end : begin);
        reached = (end < begin || end > INT32_MAX ? begin : blocks ? end : begin) + 1;
    }
    s->runs = runs;
    s->tokens = tokens;
    if (room && take_rarely(in, 3)) s->log_weights = take_floats(p, room, any_bits, true, state);
}

static lhk_selection *take_selection(decoded_problem *p, fuzz_input *in, lhk_flash_args *a, int depth, bool any_bits,
                                     uint64_t *state) {
    lhk_selection s = {.struct_size = sizeof s, .kind = (uint32_t)take_upto(in, take_rarely(in, 16) ? 200 : 2)};
    int64_t rows = a->sequences == 1 && a->cu_q ? a->cu_q[1] : a->q.shape[0], heads = a->q.shape[1];
    s.tile_rows = take_rarely(in, 32) ? take_extreme(in) : 1 + take_upto(in, 40);
    bool sane = rows >= 0 && rows < 4096 && heads > 0 && heads < 64 && s.tile_rows > 0;
    s.list_count = s.kind != LHK_SELECTION_BLOCKS ? (take(in, 1) & 1 ? heads : a->k.shape[1])
                   : sane ? heads * (rows / s.tile_rows + (rows % s.tile_rows != 0)) : take_extreme(in);
    if (take_rarely(in, 32)) s.list_count = take_extreme(in);
    if (s.list_count >= 0 && s.list_count < 4096 && s.kind) {
        int64_t *offsets = problem_memory(p, (size_t)(s.list_count + 1) * sizeof *offsets, 8), room = 0;
        for (int64_t l = 0; l <= s.list_count; l++) {
            offsets[l] = take_rarely(in, 128) ? take_upto(in, 60) - 20 : room;
            if (l < s.list_count) room = lhk_min(2048, room + take_upto(in, 6));
        }
        for (int64_t l = 0; l <= s.list_count; l++) room = lhk_max(room, offsets[l]);
        s.list_offsets = offsets;
        take_entries(p, in, &s, room, any_bits, state);
    }
    if (sane && take_rarely(in, 3)) {
        s.rest_lse = take_floats(p, rows * heads, any_bits, true, state);
        if (!take_rarely(in, 32) && a->out.shape[2] > 0 && a->out.shape[2] <= 576)
            s.rest_mean = take_floats(p, rows * heads * a->out.shape[2], any_bits, false, state);
    }
    if (depth < 2 && take_rarely(in, 3)) s.next = take_selection(p, in, a, depth + 1, any_bits, state);
    p->spread += 16;
    return shortened(p, in, &s, sizeof s);
}

void decode_problem(fuzz_input *in, decoded_problem *p) {
    *p = (decoded_problem){0};
    uint64_t choice = take(in, 1), state = take(in, 2);
    bool hostile = choice & 1 && choice & 2, any_bits = (choice & 12) == 12, wants_lse = choice & 16;
    int64_t kv_heads = 1 + take_upto(in, 2), heads = kv_heads * (1 + take_upto(in, 3)), rows = take_upto(in, take_rarely(in, 8) ? 70 : 20);
    int64_t keys = take_upto(in, take_rarely(in, 32) ? 2100 : take_rarely(in, 8) ? 255 : 70), dim_k = take_dim(in), dim_v = take_dim(in);
    lhk_dtype kv_dtype = take_dtype(in);
    lhk_flash_args a = {.struct_size = sizeof a, .path = (uint32_t)take_upto(in, 2)};
    a.q = take_layout(in, rows, heads, dim_k, take_dtype(in), true);
    a.k = take_layout(in, keys, kv_heads, dim_k, kv_dtype, true);
    a.v = take_layout(in, keys, kv_heads, dim_v, kv_dtype, true);
    a.out = take_layout(in, rows, heads, dim_v, take_dtype(in), false);
    a.lse = take_layout(in, rows, heads, 1, LHK_DTYPE_F32, false);
    a.lse.rank = 2;
    if (hostile) make_hostile(in, &a);
    if (a.lse.rank == 2) a.lse.shape[2] = a.lse.stride[2] = 1;  // past its rank: memory is laid out as if it were not there
    make_operands(p, &a, any_bits, wants_lse, &state);
    take_sequences(p, in, &a);
    if (choice & 32) take_params(p, in, &a, any_bits, &state);
    if (choice & 64) a.selection = take_selection(p, in, &a, 0, any_bits, &state);
    p->comparable = p->in_memory && !any_bits;
    p->work = (double)a.q.shape[0] * (double)a.q.shape[1] * (double)a.k.shape[0] * ((double)a.q.shape[2] + (double)a.v.shape[2]);
    p->args = shortened(p, in, &a, sizeof a);
}
