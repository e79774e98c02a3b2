// SPDX-License-Identifier: Apache-2.0
/// Draws selections: lists of runs, lists of tokens, both over disjoint keys, with weights and remainders.
#include <float.h>
#include <lhk/support.h>

#include "fuzz_case.h"

static void draw_rest(fuzz_case *c, fuzz_rng *rng, lhk_selection *s) {
    int64_t rows = c->problem.rows[0], heads = c->problem.query_heads, dim = c->problem.dim_v;
    float *lse = fuzz_alloc(c, (size_t)(rows * heads), sizeof *lse);
    float *mean = fuzz_alloc(c, (size_t)(rows * heads * dim), sizeof *mean);
    if (!lse || !mean) return;
    for (int64_t i = 0; i < rows * heads; i++) {
        bool none = fuzz_chance(rng, 15);
        lse[i] = none ? -INFINITY : 3 * fuzz_normal(rng);
        for (int64_t x = 0; x < dim; x++) mean[i * dim + x] = none ? NAN : fuzz_normal(rng);
    }
    s->rest_lse = lse;
    s->rest_mean = mean;
}

/// Appends runs over [begin, end) to `runs`; returns their number. With `runs` null it only counts.
static int64_t draw_runs(fuzz_rng *rng, const fuzz_problem *p, int64_t begin, int64_t end, lhk_run *runs) {
    static const int64_t sizes[] = {1, 2, 5, 16, 16, 31, 32, 64, 128};
    int64_t count = 0, limit = p->past_end ? end + 50 : end;
    if (p->density == 100 && begin < limit) {
        if (runs) runs[0] = (lhk_run){begin, limit};
        return 1;
    }
    for (int64_t j = begin; j < limit && p->density > 0;) {
        int64_t size = fuzz_chance(rng, 5) ? 0 : FUZZ_PICK(rng, sizes);
        bool taken = fuzz_chance(rng, p->density);
        int64_t stop = lhk_min(j + size, limit);
        if (taken && runs) runs[count] = (lhk_run){j, stop};
        count += taken;
        j = lhk_max(stop, j + (size == 0 && !taken));
    }
    return count;
}

static void build_blocks(fuzz_case *c, fuzz_rng *rng, int64_t begin, int64_t end, lhk_selection *s) {
    const fuzz_problem *p = &c->problem;
    int64_t tiles = (p->rows[0] + p->tile_rows - 1) / p->tile_rows, lists = tiles * p->query_heads;
    int64_t *offsets = fuzz_alloc(c, (size_t)lists + 1, sizeof *offsets);
    if (!offsets) return;
    uint64_t stream = fuzz_next(rng);
    for (int64_t l = 0; l < lists; l++) {
        fuzz_rng list_rng = fuzz_seeded(stream, (uint64_t)l);
        offsets[l + 1] = offsets[l] + draw_runs(&list_rng, p, begin, end, NULL);
    }
    lhk_run *runs = fuzz_alloc(c, (size_t)offsets[lists], sizeof *runs);
    for (int64_t l = 0; runs && l < lists; l++) {
        fuzz_rng list_rng = fuzz_seeded(stream, (uint64_t)l);
        draw_runs(&list_rng, p, begin, end, runs + offsets[l]);
    }
    s->kind = LHK_SELECTION_BLOCKS;
    s->tile_rows = p->tile_rows;
    s->list_count = lists;
    s->list_offsets = offsets;
    s->runs = runs;
}

static void build_tokens(fuzz_case *c, fuzz_rng *rng, int64_t begin, int64_t end, lhk_selection *s) {
    const fuzz_problem *p = &c->problem;
    int64_t lists = p->per_kv_head ? p->kv_heads : p->query_heads, limit = p->past_end ? end + 50 : end, count = 0;
    size_t most = (size_t)(lists * lhk_max(limit - begin, 0));
    int64_t *offsets = fuzz_alloc(c, (size_t)lists + 1, sizeof *offsets);
    int32_t *tokens = fuzz_alloc(c, most, sizeof *tokens);
    float *weights = fuzz_alloc(c, most, sizeof *weights);
    if (!offsets || !tokens || !weights) return;
    for (int64_t l = 0; l < lists; l++) {
        for (int64_t j = begin; j < limit; j++) {
            if (!fuzz_chance(rng, p->density)) continue;
            weights[count] = p->lowest_weights ? -FLT_MAX / 4 : 2 * fuzz_normal(rng);
            tokens[count++] = (int32_t)j;
        }
        offsets[l + 1] = count;
    }
    s->kind = LHK_SELECTION_TOKENS;
    s->list_count = lists;
    s->list_offsets = offsets;
    s->tokens = tokens;
    s->log_weights = p->log_weights ? weights : NULL;
}

void fuzz_build_selection(fuzz_case *c, fuzz_rng *rng) {
    const fuzz_problem *p = &c->problem;
    lhk_selection *s = fuzz_alloc(c, 1, sizeof *s), *next = fuzz_alloc(c, 1, sizeof *next);
    if (!s || !next) return;
    s->struct_size = next->struct_size = sizeof *s;
    int64_t keys = p->has_lengths ? p->valid[0] : p->keys[0], cut = fuzz_below(rng, keys + 1);
    if (p->selection == FUZZ_SELECT_BLOCKS) build_blocks(c, rng, 0, keys, s);
    if (p->selection == FUZZ_SELECT_TOKENS) build_tokens(c, rng, 0, keys, s);
    if (p->selection == FUZZ_SELECT_CHAIN) {
        build_tokens(c, rng, cut, keys, next);
        fuzz_problem below = *p;
        c->problem.past_end = false;  // the runs end below the tokens
        build_blocks(c, rng, 0, cut, s);
        c->problem.past_end = below.past_end;
        s->next = next;
    }
    if (p->rest) draw_rest(c, rng, s);
    if (p->rest && s->next && fuzz_chance(rng, 50)) draw_rest(c, rng, next);
    c->args.selection = s;
}
