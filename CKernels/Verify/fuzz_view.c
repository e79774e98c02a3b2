// SPDX-License-Identifier: Apache-2.0
#include "fuzz_view.h"

#include <lhk/support.h>

fuzz_sequence fuzz_get_sequence(const lhk_fuzz_args *a, int64_t b) {
    fuzz_sequence s = {0, a->q.shape[0], 0, a->k.shape[0], 0};
    if (a->sequences)
        s = (fuzz_sequence){a->cu_q[b], a->cu_q[b + 1] - a->cu_q[b], a->cu_k[b], a->cu_k[b + 1] - a->cu_k[b], 0};
    if (a->kv_lengths) s.keys = a->kv_lengths[b];
    bool given = a->params && a->params->flags & LHK_ATTENTION_OFFSET;
    s.offset = given ? a->params->offset : s.keys - s.rows;
    return s;
}

bool fuzz_visible(const lhk_fuzz_args *a, const fuzz_sequence *s, int64_t row, int64_t key) {
    if (key < 0 || key >= s->keys) return false;
    const lhk_attention_params *p = a->params;
    if (!p) return true;
    int64_t ahead = key - (row + s->offset);
    if (p->flags & LHK_ATTENTION_CAUSAL && ahead > 0) return false;
    if (p->window_right >= 0 && ahead > p->window_right) return false;
    return p->window_left < 0 || -ahead <= p->window_left || key < p->sink_tokens;
}

/// Calls for the visible keys only would need no test; the bounds here merely spare a long loop.
static int64_t gather_range(const lhk_fuzz_args *a, const fuzz_sequence *s, int64_t row, int64_t begin, int64_t end,
                            fuzz_entry *entries, int64_t count) {
    const lhk_attention_params *p = a->params;
    int64_t position = row + s->offset, first = begin, sinks = 0;
    end = lhk_min(end, s->keys);
    if (p && p->window_left >= 0 && p->window_left < position) {
        first = lhk_max(begin, position - p->window_left);
        sinks = lhk_min(lhk_min(p->sink_tokens, first), end);
    }
    if (p && p->flags & LHK_ATTENTION_CAUSAL) end = lhk_min(end, position + 1);
    for (int64_t j = begin; j < sinks; j++)
        if (fuzz_visible(a, s, row, j)) entries[count++] = (fuzz_entry){j, 0, NULL};
    for (int64_t j = first; j < end; j++)
        if (fuzz_visible(a, s, row, j)) entries[count++] = (fuzz_entry){j, 0, NULL};
    return count;
}

int64_t fuzz_count_visible(const lhk_fuzz_args *a, const fuzz_sequence *s, int64_t row) {
    int64_t count = 0;
    for (int64_t j = 0; j < s->keys; j++) count += fuzz_visible(a, s, row, j);
    return count;
}

static int64_t gather_node(const lhk_fuzz_args *a, const fuzz_sequence *s, const lhk_selection *node, int64_t row,
                           int64_t head, fuzz_entry *entries, int64_t count) {
    int64_t heads = a->q.shape[1], group = heads / a->k.shape[1], list = head;
    if (node->kind == LHK_SELECTION_ALL) return gather_range(a, s, row, 0, s->keys, entries, count);
    if (node->kind == LHK_SELECTION_TOKENS && node->list_count != heads) list = head / group;
    if (node->kind == LHK_SELECTION_BLOCKS)
        list = head * ((s->rows + node->tile_rows - 1) / node->tile_rows) + row / node->tile_rows;
    for (int64_t e = node->list_offsets[list]; e < node->list_offsets[list + 1]; e++) {
        if (node->kind == LHK_SELECTION_BLOCKS)
            count = gather_range(a, s, row, node->runs[e].begin, node->runs[e].end, entries, count);
        else if (fuzz_visible(a, s, row, node->tokens[e]))
            entries[count++] = (fuzz_entry){node->tokens[e], node->log_weights ? node->log_weights[e] : 0, NULL};
    }
    return count;
}

int64_t fuzz_gather(const lhk_fuzz_args *a, const fuzz_sequence *s, int64_t row, int64_t head, fuzz_entry *entries) {
    if (!a->selection) return gather_range(a, s, row, 0, s->keys, entries, 0);
    int64_t count = 0, heads = a->q.shape[1];
    for (const lhk_selection *node = a->selection; node; node = node->next) {
        count = gather_node(a, s, node, row, head, entries, count);
        if (!node->rest_lse) continue;
        int64_t index = row * heads + head;
        if (node->rest_lse[index] > -INFINITY)
            entries[count++] = (fuzz_entry){-1, node->rest_lse[index], node->rest_mean + index * a->v.shape[2]};
    }
    return count;
}
