// SPDX-License-Identifier: Apache-2.0
/// Lays a problem out in memory.
#include "fuzz_case.h"

#include <float.h>
#include <lhk/support.h>

void *fuzz_alloc(fuzz_case *c, size_t count, size_t size) {
    fuzz_block *block = calloc(1, sizeof *block + count * size);
    if (!block) {
        c->out_of_memory = true;
        return NULL;
    }
    block->next = c->blocks;
    c->blocks = block;
    return block + 1;
}

void fuzz_case_free(fuzz_case *c) {
    for (fuzz_block *block = c->blocks, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    c->blocks = NULL;
}

static int64_t extent(const lhk_tensor *t, int64_t heads) {
    return t->shape[0] ? (t->shape[0] - 1) * t->stride[0] + (heads - 1) * t->stride[1] + t->shape[2] : 0;
}

/// A tensor of `rows` by `layout` in `buffer`, filled with the canary.
static lhk_tensor place(fuzz_case *c, fuzz_buffer *buffer, lhk_dtype dtype, int64_t rows, int64_t heads, int64_t dim,
                        const fuzz_layout *layout) {
    lhk_tensor t = {.dtype = dtype, .rank = 3, .shape = {rows, heads, dim}, .stride = {0, 0, 1}};
    int64_t inner = dim + layout->head_pad, stored_heads = layout->one_head ? 1 : heads;
    if (layout->heads_first) {
        t.stride[0] = inner;
        t.stride[1] = rows * inner + layout->row_pad;
    } else {
        t.stride[1] = inner;
        t.stride[0] = stored_heads * inner + layout->row_pad;
    }
    if (layout->one_head) t.stride[1] = 0;
    size_t bytes = (size_t)extent(&t, stored_heads) * lhk_dtype_size(dtype);
    if (!fuzz_buffer_prepare(buffer, bytes, lhk_dtype_size(dtype), c->problem.at_start)) {
        c->out_of_memory = true;
        return t;
    }
    if (!c->problem.sparse) fuzz_buffer_fill(buffer);
    t.data = rows || c->problem.index & 1 ? buffer->data : NULL;
    return t;
}

static int64_t *prefix(fuzz_case *c, int64_t first, const int64_t *counts, int64_t n) {
    int64_t *sums = fuzz_alloc(c, (size_t)n + 1, sizeof *sums);
    if (!sums) return NULL;
    sums[0] = first;
    for (int64_t b = 0; b < n; b++) sums[b + 1] = sums[b] + counts[b];
    return sums;
}

void fuzz_build_params(fuzz_case *c, fuzz_rng *rng) {
    const fuzz_problem *p = &c->problem;
    if (p->no_params) return;
    c->params = (lhk_attention_params){.struct_size = sizeof c->params, .flags = p->flags, .scale = p->scale,
                                       .softcap = p->softcap, .offset = p->offset, .window_left = p->left,
                                       .window_right = p->right, .sink_tokens = p->sink_tokens};
    size_t heads = (size_t)p->query_heads;
    float *slopes = p->slopes ? fuzz_alloc(c, heads, sizeof *slopes) : NULL;
    float *sinks = p->sinks ? fuzz_alloc(c, heads, sizeof *sinks) : NULL;
    static const float extremes[] = {-INFINITY, -300, -20, 20, 100, 300};
    for (size_t h = 0; h < heads; h++) {
        if (slopes && p->slopes == FUZZ_SLOPES_GEOMETRIC) slopes[h] = exp2f(-8 * (float)(h + 1) / (float)heads);
        if (slopes && p->slopes == FUZZ_SLOPES_MIXED) slopes[h] = fuzz_chance(rng, 20) ? 0 : fuzz_uniform(rng);
        if (sinks) sinks[h] = p->sinks == FUZZ_SINKS_EXTREME ? FUZZ_PICK(rng, extremes) : 2 * fuzz_normal(rng);
    }
    c->params.alibi_slopes = slopes;
    c->params.sink_logits = sinks;
    c->args.params = &c->params;
}

static float *decode(fuzz_case *c, const lhk_tensor *t) {
    int64_t n = 0;
    float *out = fuzz_alloc(c, (size_t)(t->shape[0] * t->shape[1] * t->shape[2]), sizeof *out);
    for (int64_t i = 0; out && i < t->shape[0]; i++)
        for (int64_t h = 0; h < t->shape[1]; h++)
            for (int64_t x = 0; x < t->shape[2]; x++) out[n++] = lhk_load_element(lhk_row(t, i, h), t->dtype, x);
    return out;
}

/// Marks which 2-byte words of an output belong to computed rows.
static uint8_t *mark_owned(fuzz_case *c, const lhk_tensor *t, size_t bytes, int64_t inner) {
    uint8_t *owned = fuzz_alloc(c, bytes / 2, 1);
    int64_t words = (int64_t)lhk_dtype_size(t->dtype) / 2, rows = 0;
    for (int64_t b = 0; b < fuzz_sequences(&c->args); b++) rows += fuzz_get_sequence(&c->args, b).rows;
    for (int64_t i = 0; owned && i < rows; i++)
        for (int64_t h = 0; h < t->shape[1]; h++)
            memset(owned + (i * t->stride[0] + h * t->stride[1]) * words, 1, (size_t)(inner * words));
    return owned;
}

void fuzz_reset_outputs(const fuzz_case *c, fuzz_buffer *out, fuzz_buffer *lse) {
    fuzz_buffer_fill(lse);
    if (!c->problem.sparse) {
        fuzz_buffer_fill(out);
        return;
    }
    lhk_tensor rows = c->args.out;
    rows.data = out->data;
    for (int64_t i = 0; i < rows.shape[0]; i++)
        for (int64_t h = 0; h < rows.shape[1]; h++)
            memset(lhk_row(&rows, i, h), FUZZ_SLACK, (size_t)rows.shape[2] * lhk_dtype_size(rows.dtype));
}

static void place_operands(fuzz_case *c, int64_t total_q, int64_t total_k) {
    const fuzz_problem *p = &c->problem;
    lhk_fuzz_args *a = &c->args;
    a->q = place(c, &c->arena->q, p->query_dtype, total_q, p->query_heads, p->dim_k, &p->q);
    a->k = place(c, &c->arena->k, p->kv_dtype, total_k, p->kv_heads, p->dim_k, &p->k);
    a->v = place(c, &c->arena->v, p->kv_dtype, total_k, p->kv_heads, p->dim_v, &p->v);
    a->out = place(c, &c->arena->out, p->out_dtype, total_q, p->query_heads, p->dim_v, &p->out);
    a->lse = place(c, &c->arena->lse, LHK_DTYPE_F32, p->wants_lse ? total_q : 0, p->query_heads, 1, &p->lse);
    a->lse.rank = 2;
    if (!p->wants_lse) a->lse.data = NULL;
}

bool fuzz_case_build(fuzz_case *c, const fuzz_problem *problem, const lhk_fuzz_subject *subject, fuzz_arena *arena) {
    *c = (fuzz_case){.problem = *problem, .subject = subject, .arena = arena};
    const fuzz_problem *p = &c->problem;
    lhk_fuzz_args *a = &c->args;
    *a = (lhk_fuzz_args){.struct_size = sizeof *a, .mode = fuzz_mode(p, subject->modes), .sequences = p->sequences};
    fuzz_rng rng = fuzz_seeded(p->seed ^ 0x76616c756573u, p->index);
    int64_t total_q = p->spare_rows, total_k = p->spare_keys;
    for (int64_t b = 0; b < (p->sequences ? p->sequences : 1); b++) total_q += p->rows[b], total_k += p->keys[b];
    place_operands(c, total_q, total_k);
    if (p->sequences) {
        a->cu_q = prefix(c, 0, p->rows, p->sequences);
        a->cu_k = prefix(c, p->spare_keys, p->keys, p->sequences);
    }
    if (p->has_lengths) a->kv_lengths = c->problem.valid;
    fuzz_build_params(c, &rng);
    if (c->out_of_memory) return false;
    if (p->selection) fuzz_build_selection(c, &rng);
    if (c->out_of_memory) return false;
    fuzz_fill_values(c, &rng);
    fuzz_poison(c, &rng);
    if (!p->sparse) c->owned = mark_owned(c, &a->out, arena->out.bytes, p->dim_v);
    if (p->wants_lse) c->lse_owned = mark_owned(c, &a->lse, arena->lse.bytes, 1);
    c->q = decode(c, &a->q);
    c->k = decode(c, &a->k);
    c->v = decode(c, &a->v);
    fuzz_buffer_protect(&arena->q, false);
    fuzz_buffer_protect(&arena->k, false);
    fuzz_buffer_protect(&arena->v, false);
    return !c->out_of_memory;
}
