// SPDX-License-Identifier: Apache-2.0
/// The oracle: attention and the merge of partial results by their formulas, in double precision, one row at a time.
#include <lhk/support.h>

#include "lhk_flash_args.h"
#include "lhk_flash_attend.h"

#pragma STDC FP_CONTRACT OFF

/// A key that takes part, its log weight, then its score.
typedef struct entry {
    int64_t key;
    double score;
} entry;

/// The softmax of a row so far: the sum is l * exp(m), the weighted values a[] * exp(m). Empty: m = -inf, l = 0.
typedef struct softmax_state {
    double m, l;
    double a[LHK_FLASH_MAX_HEAD_DIM];
} softmax_state;

static bool is_visible(const lhk_flash_span *span, int64_t key) {
    return key < span->sink_end || (key >= span->begin && key < span->end);
}

static int64_t gather_range(const lhk_flash_span *span, int64_t begin, int64_t end, entry *entries, int64_t count) {
    for (int64_t j = begin; j < lhk_min(end, span->sink_end); j++) entries[count++] = (entry){j, 0};
    for (int64_t j = lhk_max(begin, span->begin); j < lhk_min(end, span->end); j++) entries[count++] = (entry){j, 0};
    return count;
}

/// Lists the keys that `s` admits to row `row` of query head `head`, with their log weights as scores.
static int64_t gather(const lhk_flash_call *call, const lhk_flash_sequence *sequence, const lhk_selection *s,
                      int64_t row, int64_t head, entry *entries) {
    lhk_flash_span span = lhk_flash_visible(call, sequence, row);
    if (s->kind == LHK_SELECTION_ALL) return gather_range(&span, 0, sequence->keys, entries, 0);
    int64_t list = s->list_count == call->query_heads ? head : head / call->group, count = 0;
    if (s->kind == LHK_SELECTION_BLOCKS) {
        int64_t tiles = (sequence->rows - 1) / s->tile_rows + 1;
        list = head * tiles + row / s->tile_rows;
    }
    for (int64_t e = s->list_offsets[list]; e < s->list_offsets[list + 1]; e++) {
        if (s->kind == LHK_SELECTION_BLOCKS)
            count = gather_range(&span, s->runs[e].begin, s->runs[e].end, entries, count);
        else if (is_visible(&span, s->tokens[e]))
            entries[count++] = (entry){s->tokens[e], s->log_weights ? s->log_weights[e] : 0};
    }
    return count;
}

/// Scores of the entries, modifiers and log weights included.
static void score_entries(const lhk_flash_call *call, const lhk_flash_sequence *sequence, int64_t row, int64_t head,
                          entry *entries, int64_t count) {
    const lhk_tensor *q = &call->args.q, *k = &call->args.k;
    const void *query = lhk_row(q, sequence->first_row + row, head);
    double cap = call->softcap, slope = call->params.alibi_slopes ? call->params.alibi_slopes[head] : 0;
    for (int64_t e = 0; e < count; e++) {
        const void *key = lhk_row(k, sequence->first_key + entries[e].key, head / call->group);
        double s = 0;
        for (int64_t c = 0; c < call->dim_k; c++)
            s += (double)lhk_load_element(query, q->dtype, c) * (double)lhk_load_element(key, k->dtype, c);
        s *= call->scale;
        if (cap > 0) s = cap * tanh(s / cap);
        s -= slope * fabs((double)(row + sequence->offset - entries[e].key));
        entries[e].score += s;
    }
}

/// Moves the state to a maximum of at least `m`. Comparisons skip a NaN, which then reaches the sum through exp.
static void raise_maximum(softmax_state *state, double m, int64_t dim) {
    if (!(m > state->m)) return;
    double factor = state->m == -INFINITY ? 0 : exp(state->m - m);
    state->m = m;
    if (state->l == 0) return;
    state->l *= factor;
    for (int64_t c = 0; c < dim; c++) state->a[c] *= factor;
}

/// exp(score - maximum), where the maximum may still be -inf.
static double weight(const softmax_state *state, double score) {
    return exp(score - (state->m == -INFINITY ? 0 : state->m));
}

static void add_entries(const lhk_flash_call *call, const lhk_flash_sequence *sequence, int64_t head,
                        const entry *entries, int64_t count, softmax_state *state) {
    const lhk_tensor *v = &call->args.v;
    double m = -INFINITY;
    for (int64_t e = 0; e < count; e++)
        if (entries[e].score > m) m = entries[e].score;
    raise_maximum(state, m, call->dim_v);
    for (int64_t e = 0; e < count; e++) {
        double p = weight(state, entries[e].score);
        const void *value = lhk_row(v, sequence->first_key + entries[e].key, head / call->group);
        state->l += p;
        for (int64_t c = 0; c < call->dim_v; c++) state->a[c] += p * (double)lhk_load_element(value, v->dtype, c);
    }
}

/// The remainder of a selection joins like the partial result of the keys that were not chosen.
static void add_rest(const lhk_flash_call *call, const lhk_selection *s, int64_t row, int64_t head,
                     softmax_state *state) {
    if (!s->rest_lse) return;
    int64_t index = row * call->query_heads + head;
    double lse = s->rest_lse[index];
    if (lse == -INFINITY) return;
    raise_maximum(state, lse, call->dim_v);
    double p = weight(state, lse);
    state->l += p;
    for (int64_t c = 0; c < call->dim_v; c++) state->a[c] += p * (double)s->rest_mean[index * call->dim_v + c];
}

/// Adds the sink logit and writes one row of out and lse. A sum of zero (no admitted key, or scores of -inf only) gives
/// out = 0 and lse = -inf.
static void finish_row(const lhk_flash_call *call, int64_t head, softmax_state *state, double *out, double *lse) {
    if (call->params.sink_logits) {
        raise_maximum(state, call->params.sink_logits[head], call->dim_v);
        state->l += weight(state, call->params.sink_logits[head]);
    }
    for (int64_t c = 0; c < call->dim_v; c++) out[c] = state->l == 0 ? 0 : state->a[c] / state->l;
    *lse = state->l == 0 ? -INFINITY : (state->m == -INFINITY ? 0 : state->m) + log(state->l);
}

/// One row of one head. Returns the number of entries.
static int64_t attend_row(const lhk_flash_call *call, const lhk_flash_sequence *sequence, int64_t row, int64_t head,
                          entry *entries, double *out, double *lse) {
    static const lhk_selection all = {.struct_size = sizeof(lhk_selection)};
    softmax_state state = {.m = -INFINITY};
    int64_t attended = 0;
    for (const lhk_selection *node = call->args.selection ? call->args.selection : &all; node;) {
        lhk_selection s = lhk_flash_get_selection(node);
        int64_t count = gather(call, sequence, &s, row, head, entries);
        score_entries(call, sequence, row, head, entries, count);
        add_entries(call, sequence, head, entries, count, &state);
        add_rest(call, &s, row, head, &state);
        attended += count;
        node = s.next;
    }
    finish_row(call, head, &state, out, lse);
    return attended;
}

/// Where rows of results go: contiguous doubles, or the tensors of the call.
typedef struct results {
    double *LHK_NULLABLE out, *LHK_NULLABLE lse;
} results;

static void put_row(const lhk_flash_call *call, const results *to, int64_t row, int64_t head, const double *out,
                    double lse) {
    int64_t index = row * call->query_heads + head;
    if (to->out) memcpy(to->out + index * call->dim_v, out, (size_t)call->dim_v * sizeof *out);
    if (to->lse) to->lse[index] = lse;
    if (to->out) return;
    const lhk_tensor *tensor = &call->args.out, *lses = &call->args.lse;
    for (int64_t c = 0; c < call->dim_v; c++) lhk_store_element(lhk_row(tensor, row, head), tensor->dtype, c, (float)out[c]);
    if (lses->data) ((float *)lses->data)[row * lses->stride[0] + head * lses->stride[1]] = (float)lse;
}

static lhk_status run(const lhk_flash_args *args, const results *to, lhk_error *error) {
    lhk_flash_call call;
    lhk_flash_normalise(args, &call);
    int64_t longest = 0;
    for (int64_t b = 0; b < call.sequences; b++) longest = lhk_max(longest, lhk_flash_get_sequence(&call, b).keys);
    entry *entries = malloc((size_t)(longest + 1) * sizeof *entries);
    if (!entries) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for a row of %lld scores", (long long)longest);
    uint64_t attended = 0, visible = 0;
    double out[LHK_FLASH_MAX_HEAD_DIM], lse;
    for (int64_t b = 0; b < call.sequences; b++) {
        lhk_flash_sequence sequence = lhk_flash_get_sequence(&call, b);
        for (int64_t row = 0; row < sequence.rows; row++) {
            lhk_flash_span span = lhk_flash_visible(&call, &sequence, row);
            visible += (uint64_t)((span.sink_end + span.end - span.begin) * call.query_heads);
            for (int64_t head = 0; head < call.query_heads; head++) {
                attended += (uint64_t)attend_row(&call, &sequence, row, head, entries, out, &lse);
                put_row(&call, to, sequence.first_row + row, head, out, lse);
            }
        }
    }
    free(entries);
    lhk_flash_count(call.args.stats, attended, visible, "reference");
    return LHK_OK;
}

lhk_status lhk_flash_attention_reference(const lhk_flash_args *args, lhk_error *error) {
    lhk_status status = lhk_flash_validate(args, error);
    return status ? status : run(args, &(results){NULL, NULL}, error);
}

/// The formula that the method's reference offers.
static lhk_status formula(const lhk_problem *problem, const lhk_tensor *q, const lhk_tensor *k, const lhk_tensor *v,
                          const lhk_selection *selection, const lhk_attention_params *params, double *out, double *lse,
                          lhk_error *error) {
    (void)problem;
    int64_t heads = q->shape[1], dim = v->shape[2];
    lhk_flash_args args = {.struct_size = sizeof args, .q = *q, .k = *k, .v = *v, .selection = selection, .params = params};
    args.out = (lhk_tensor){.dtype = LHK_DTYPE_F32, .rank = 3, .shape = {q->shape[0], heads, dim}, .stride = {heads * dim, dim, 1}};
    lhk_status status = lhk_flash_validate_sizes(&args, error);
    return status ? status : run(&args, &(results){out, lse}, error);
}

const lhk_attention_reference lhk_flash_formula = {.struct_size = sizeof lhk_flash_formula, .attend = formula};

// ---- merge ----

static bool meets(const float *a, int64_t count_a, const float *b, int64_t count_b) {
    uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;
    return count_a && count_b && x < y + (uint64_t)count_b * sizeof(float) && y < x + (uint64_t)count_a * sizeof(float);
}

static lhk_status check_merge(int64_t rows, int64_t dim, int32_t parts, const float *const *outs,
                              const float *const *lses, const float *out, const float *lse, lhk_error *error) {
    int64_t elements;
    if (rows < 0 || dim < 0 || parts < 1)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, rows < 0 ? 0 : dim < 0 ? 1 : 2, "rows, dim or parts is out of range");
    if (__builtin_mul_overflow(rows, dim, &elements) || elements > INT64_MAX / 8 || rows > INT64_MAX / 8)
        return lhk_fail(error, LHK_ERROR_OVERFLOW, 0, "rows times dim overflows");
    if (!outs || !lses || (!out && elements))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, !outs ? 3 : !lses ? 4 : 5, "outs, lses or out is null");
    if ((uintptr_t)out % sizeof(float) || (uintptr_t)lse % sizeof(float))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 5, "out or lse is not aligned to its elements");
    if (lse && meets(out, elements, lse, rows)) return lhk_fail(error, LHK_ERROR_ARGUMENT, 6, "lse overlaps out");
    for (int32_t p = 0; p < parts; p++) {
        if ((!outs[p] && elements) || (!lses[p] && rows))
            return lhk_fail(error, LHK_ERROR_ARGUMENT, outs[p] ? 4 : 3, "part %d is null", p);
        if ((uintptr_t)outs[p] % sizeof(float) || (uintptr_t)lses[p] % sizeof(float))
            return lhk_fail(error, LHK_ERROR_ARGUMENT, 3, "part %d is not aligned to its elements", p);
        bool in_place = p == 0 && out == outs[0], lse_in_place = p == 0 && lse == lses[0];
        if ((!in_place && meets(out, elements, outs[p], elements)) || meets(out, elements, lses[p], rows))
            return lhk_fail(error, LHK_ERROR_ARGUMENT, 5, "out overlaps part %d", p);
        if (lse && ((!lse_in_place && meets(lse, rows, lses[p], rows)) || meets(lse, rows, outs[p], elements)))
            return lhk_fail(error, LHK_ERROR_ARGUMENT, 6, "lse overlaps part %d", p);
    }
    return LHK_OK;
}

/// Channels are merged in groups, so that the sums of a row need no allocation.
#define MERGE_CHANNELS 256

static void merge_channels(int64_t offset, int64_t count, int32_t parts, const float *const *outs,
                           const float *const *lses, int64_t row, double m, double total, float *out) {
    double sums[MERGE_CHANNELS] = {0};
    for (int32_t p = 0; p < parts; p++) {
        double lse = lses[p][row];
        if (lse == -INFINITY) continue;
        double share = exp(lse - m) / total;
        for (int64_t c = 0; c < count; c++) sums[c] += share * (double)outs[p][offset + c];
    }
    for (int64_t c = 0; c < count; c++) out[offset + c] = (float)sums[c];
}

lhk_status lhk_flash_merge(int64_t rows, int64_t dim, int32_t parts, const float *const *outs, const float *const *lses,
                           float *out, float *lse, lhk_error *error) {
    lhk_status status = check_merge(rows, dim, parts, outs, lses, out, lse, error);
    if (status) return status;
    for (int64_t row = 0; row < rows; row++) {
        double m = -INFINITY, total = 0;
        for (int32_t p = 0; p < parts; p++)
            if (lses[p][row] > m) m = lses[p][row];
        double base = m == -INFINITY ? 0 : m;
        for (int32_t p = 0; p < parts; p++)
            if (lses[p][row] != -INFINITY) total += exp((double)lses[p][row] - base);
        for (int64_t c = 0; c < dim; c += MERGE_CHANNELS)
            merge_channels(row * dim + c, lhk_min(MERGE_CHANNELS, dim - c), parts, outs, lses, row, base, total, out);
        if (lse) lse[row] = total == 0 ? -INFINITY : (float)(base + log(total));
    }
    return LHK_OK;
}
