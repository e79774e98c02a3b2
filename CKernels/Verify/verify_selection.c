// SPDX-License-Identifier: Apache-2.0
#include "verify_selection.h"

#include <float.h>
#include <inttypes.h>
#include <lhk/support.h>

/// Longest chain that attention takes.
#define LONGEST_CHAIN 64

/// Marks keys [begin, end) of the rows [first, last) of a head.
static void take(verify_check *check, verify_chosen *chosen, const verify_shape *s, int64_t head, int64_t first,
                 int64_t last, int64_t begin, int64_t end, float weight) {
    for (int64_t row = first; row < last; row++)
        for (int64_t key = begin; key < lhk_min(end, s->keys); key++) {
            int64_t index = (row * s->query_heads + head) * s->keys + key;
            if (chosen->taken[index])
                verify_fail(check, "key %" PRId64 " is chosen twice for row %" PRId64 " head %" PRId64, key, row, head);
            chosen->taken[index] = 1;
            chosen->weights[index] = weight;
            chosen->entries++;
        }
}

/// Checks the offsets of the lists.
static void check_offsets(verify_check *check, const lhk_selection *s) {
    if (s->list_count == 0) return;
    if (!s->list_offsets || s->list_offsets[0] < 0) verify_fail(check, "list_offsets is null or begins below 0");
    for (int64_t l = 0; l < s->list_count; l++)
        if (s->list_offsets[l + 1] < s->list_offsets[l]) verify_fail(check, "list_offsets[%" PRId64 "] descends", l + 1);
    if (s->list_offsets[s->list_count] == s->list_offsets[0]) return;
    if (s->kind == LHK_SELECTION_BLOCKS ? !s->runs : !s->tokens) verify_fail(check, "the entries of the lists are null");
}

static void take_blocks(verify_check *check, verify_chosen *chosen, const verify_shape *shape, const lhk_selection *s) {
    if (s->tile_rows < 1) verify_fail(check, "tiles of %" PRId64 " rows", s->tile_rows);
    int64_t tiles = shape->rows / s->tile_rows + (shape->rows % s->tile_rows != 0);
    if (s->list_count != tiles * shape->query_heads)
        verify_fail(check, "%" PRId64 " lists for %" PRId64 " tiles of %" PRId64 " heads", s->list_count, tiles, shape->query_heads);
    if (s->log_weights) verify_fail(check, "runs have log weights");
    check_offsets(check, s);
    for (int64_t l = 0; l < s->list_count; l++) {
        int64_t first = l % tiles * s->tile_rows, last = lhk_min(first + s->tile_rows, shape->rows), reached = 0;
        for (int64_t e = s->list_offsets[l]; e < s->list_offsets[l + 1]; e++) {
            lhk_run run = s->runs[e];
            if (run.begin < reached || run.end < run.begin)
                verify_fail(check, "run [%" PRId64 ", %" PRId64 ") of list %" PRId64 " is reversed or meets the one before", run.begin,
                            run.end, l);
            take(check, chosen, shape, l / tiles, first, last, run.begin, run.end, 0);
            reached = run.end;
        }
    }
}

static void take_tokens(verify_check *check, verify_chosen *chosen, const verify_shape *shape, const lhk_selection *s) {
    if (s->list_count != shape->query_heads && s->list_count != shape->kv_heads)
        verify_fail(check, "%" PRId64 " lists for %" PRId64 " query heads and %" PRId64 " KV heads", s->list_count,
                    shape->query_heads, shape->kv_heads);
    check_offsets(check, s);
    int64_t group = shape->query_heads / s->list_count;
    for (int64_t l = 0; l < s->list_count; l++) {
        int64_t last = -1;
        for (int64_t e = s->list_offsets[l]; e < s->list_offsets[l + 1]; e++) {
            int64_t token = s->tokens[e];
            if (token <= last)
                verify_fail(check, "token %" PRId64 " after %" PRId64 " in list %" PRId64 ": negative, repeated or not ascending",
                            token, last, l);
            last = token;
            float weight = s->log_weights ? s->log_weights[e] : 0;
            if (!(weight <= FLT_MAX)) verify_fail(check, "log weight %g of token %" PRId64, (double)weight, token);
            for (int64_t h = l * group; h < (l + 1) * group; h++)
                take(check, chosen, shape, h, 0, shape->rows, token, token + 1, weight);
        }
    }
}

/// Checks a remainder and keeps a copy of the first.
static void take_rest(verify_check *check, verify_chosen *chosen, const verify_shape *shape, const lhk_selection *s) {
    if (!s->rest_lse != !s->rest_mean) verify_fail(check, "only one of rest_lse and rest_mean is given");
    if (!s->rest_lse) return;
    int64_t count = shape->rows * shape->query_heads;
    for (int64_t i = 0; i < count; i++) {
        if (!(s->rest_lse[i] <= FLT_MAX)) verify_fail(check, "rest_lse is %g", (double)s->rest_lse[i]);
        for (int64_t c = 0; c < shape->dim_v && s->rest_lse[i] > -INFINITY; c++)
            if (!isfinite(s->rest_mean[i * shape->dim_v + c])) verify_fail(check, "rest_mean is not finite");
    }
    if (chosen->rest_lse) return;
    chosen->rest_lse = verify_alloc(check, (uint64_t)count, sizeof(float));
    chosen->rest_mean = verify_alloc(check, (uint64_t)(count * shape->dim_v), sizeof(float));
    memcpy(chosen->rest_lse, s->rest_lse, (size_t)count * sizeof(float));
    for (int64_t i = 0; i < count; i++)
        if (s->rest_lse[i] > -INFINITY)
            memcpy(chosen->rest_mean + i * shape->dim_v, s->rest_mean + i * shape->dim_v, (size_t)shape->dim_v * sizeof(float));
}

verify_chosen verify_spell_out(verify_check *check, const lhk_selection *selection, const verify_shape *shape) {
    uint64_t count = (uint64_t)(shape->rows * shape->query_heads * shape->keys);
    verify_chosen chosen = {.taken = verify_alloc(check, count, 1), .weights = verify_alloc(check, count, sizeof(float))};
    int length = 0;
    for (const lhk_selection *node = selection; node; length++) {
        if (length == LONGEST_CHAIN) verify_fail(check, "a chain of more than %d, or a circle", LONGEST_CHAIN);
        if (node->struct_size < offsetof(lhk_selection, tile_rows)) verify_fail(check, "struct_size %u", node->struct_size);
        lhk_selection s = {0};
        memcpy(&s, node, lhk_min(node->struct_size, sizeof s));
        if (s.kind > LHK_SELECTION_TOKENS) verify_fail(check, "kind %u", s.kind);
        if (s.kind == LHK_SELECTION_ALL && (length || s.next)) verify_fail(check, "all keys, chained with more");
        if (s.kind == LHK_SELECTION_BLOCKS) take_blocks(check, &chosen, shape, &s);
        if (s.kind == LHK_SELECTION_TOKENS) take_tokens(check, &chosen, shape, &s);
        for (int64_t h = 0; h < shape->query_heads && s.kind == LHK_SELECTION_ALL; h++)
            take(check, &chosen, shape, h, 0, shape->rows, 0, shape->keys, 0);
        take_rest(check, &chosen, shape, &s);
        node = s.next;
    }
    return chosen;
}

void verify_same_selection(verify_check *check, const verify_chosen *a, const verify_chosen *b, const verify_shape *s) {
    for (int64_t i = 0; i < s->rows * s->query_heads * s->keys; i++)
        if (a->taken[i] != b->taken[i] || !verify_same_float(a->weights[i], b->weights[i]))
            verify_fail(check, "key %" PRId64 " of row %" PRId64 " head %" PRId64 ": taken %d weight %.9g, before %d weight %.9g",
                        i % s->keys, i / s->keys / s->query_heads, i / s->keys % s->query_heads, a->taken[i],
                        (double)a->weights[i], b->taken[i], (double)b->weights[i]);
    if (!a->rest_lse != !b->rest_lse) verify_fail(check, "a remainder now and then");
    for (int64_t i = 0; a->rest_lse && i < s->rows * s->query_heads; i++)
        if (!verify_same_float(a->rest_lse[i], b->rest_lse[i]) ||
            memcmp(a->rest_mean + i * s->dim_v, b->rest_mean + i * s->dim_v, (size_t)s->dim_v * sizeof(float)))
            verify_fail(check, "the remainder of row %" PRId64 " head %" PRId64 " differs", i / s->query_heads, i % s->query_heads);
}
