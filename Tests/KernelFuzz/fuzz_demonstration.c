// SPDX-License-Identifier: Apache-2.0
/// A plain f32 kernel, and what it looks like with one fault: shows that the checker passes the first and finds the
/// others.
#include <lhk/support.h>
#include <lhk_fuzz.h>

#include "fuzz_view.h"

#define BLOCK 32
#define MAX_HEAD_DIM 576

/// One call, and the memory of one worker.
typedef struct demonstration {
    lhk_flash_args args;
    lhk_attention_params params;
    lhk_selection selection;
    uint32_t fault;
    bool bf16, many_workers;
    int64_t heads, group, dim_k, dim_v, room;
    float scale;
    uint8_t *workspace;
    uint64_t slice;
} demonstration;

typedef struct online_state {
    float m, l;
    float *a;
} online_state;

static float rounded(float x, bool bf16) { return bf16 ? lhk_bf16_to_f32(lhk_f32_to_bf16(x)) : x; }

/// Changes the call as the faults of masks would.
static void apply_mask_faults(demonstration *d) {
    lhk_flash_args *a = &d->args;
    if (a->params) {
        d->params = *a->params;
        a->params = &d->params;
    }
    if (d->fault == LHK_FUZZ_FAULT_CAUSAL && d->params.flags & LHK_ATTENTION_CAUSAL) {
        d->params.flags &= ~LHK_ATTENTION_CAUSAL;
        d->params.window_right = 1;
    }
    if (d->fault == LHK_FUZZ_FAULT_WINDOW && a->params && d->params.window_left >= 0 && d->params.window_left < INT64_MAX)
        d->params.window_left++;
    if (d->fault == LHK_FUZZ_FAULT_SOFTCAP) d->params.softcap = 0;
    if (d->fault == LHK_FUZZ_FAULT_LENGTH) a->kv_lengths = NULL;
    if (d->fault == LHK_FUZZ_FAULT_TILE && a->selection && a->selection->kind == LHK_SELECTION_BLOCKS) {
        d->selection = *a->selection;
        d->selection.tile_rows++;
        a->selection = &d->selection;
    }
}

static float score_entry(const demonstration *d, const fuzz_sequence *s, int64_t row, int64_t head, const fuzz_entry *e) {
    if (e->key < 0) return e->weight;
    const lhk_tensor *q = &d->args.q, *k = &d->args.k;
    int64_t kv_head = d->fault == LHK_FUZZ_FAULT_GROUP ? head % k->shape[1] : head / d->group;
    const void *query = lhk_row(q, s->first_row + row, head), *key = lhk_row(k, s->first_key + e->key, kv_head);
    float sum = 0;
    for (int64_t x = 0; x < d->dim_k; x++)
        sum += rounded(lhk_load_element(query, q->dtype, x), d->bf16) * lhk_load_element(key, k->dtype, x);
    sum *= d->scale;
    if (d->params.softcap > 0) sum = d->params.softcap * tanhf(sum / d->params.softcap);
    float distance = (float)(row + s->offset - e->key);
    if (d->fault != LHK_FUZZ_FAULT_ALIBI) distance = fabsf(distance);
    if (d->params.alibi_slopes) sum -= d->params.alibi_slopes[head] * distance;
    return d->fault == LHK_FUZZ_FAULT_WEIGHTS ? sum : sum + e->weight;
}

static void raise_maximum(const demonstration *d, online_state *state, float m) {
    if (!(m > state->m)) return;
    float factor = state->m == -INFINITY ? 0 : expf(state->m - m);
    if (state->l == 0) factor = 1;
    state->m = m;
    state->l *= factor;
    if (d->fault == LHK_FUZZ_FAULT_RESCALE) return;
    for (int64_t x = 0; x < d->dim_v; x++) state->a[x] *= factor;
}

static float weigh(const online_state *state, float score) { return expf(score - (state->m == -INFINITY ? 0 : state->m)); }

static void add_block(const demonstration *d, const fuzz_sequence *s, int64_t row, int64_t head,
                      const fuzz_entry *entries, int64_t count, online_state *state) {
    float scores[BLOCK], m = -INFINITY;
    float sum = 0, sums[MAX_HEAD_DIM] = {0};  // of this block alone: one long sum over all keys would drift
    for (int64_t e = 0; e < count; e++) {
        scores[e] = score_entry(d, s, row, head, &entries[e]);
        if (scores[e] > m) m = scores[e];
    }
    raise_maximum(d, state, m);
    for (int64_t e = 0; e < count; e++) {
        float p = weigh(state, scores[e]);
        sum += p;
        bool rest = entries[e].key < 0;
        p = rounded(p, d->bf16 && !rest);
        const void *v = rest ? NULL : lhk_row(&d->args.v, s->first_key + entries[e].key, head / d->group);
        for (int64_t x = 0; x < d->dim_v; x++)
            sums[x] += p * (rest ? entries[e].mean[x] : lhk_load_element(v, d->args.v.dtype, x));
    }
    state->l += sum;
    for (int64_t x = 0; x < d->dim_v; x++) state->a[x] += sums[x];
}

static void leak(const demonstration *d, const fuzz_sequence *s, int64_t row, int64_t head, online_state *state) {
    for (int64_t j = 0; j < s->keys; j++)
        for (int64_t x = 0; x < d->dim_v && !fuzz_visible(&d->args, s, row, j); x++)
            state->a[x] += 0 * lhk_load_element(lhk_row(&d->args.v, s->first_key + j, head / d->group), d->args.v.dtype, x);
}

static void finish_row(const demonstration *d, int64_t row, int64_t head, online_state *state) {
    const lhk_tensor *out = &d->args.out, *lse = &d->args.lse;
    for (int i = 0; d->params.sink_logits && i < (d->fault == LHK_FUZZ_FAULT_SINK_TWICE ? 2 : 1); i++) {
        raise_maximum(d, state, d->params.sink_logits[head]);
        state->l += weigh(state, d->params.sink_logits[head]);
    }
    void *to = lhk_row(out, row, head);
    for (int64_t x = 0; x < d->dim_v; x++) {
        float value = state->l == 0 ? 0 : state->a[x] / state->l;
        if (d->fault == LHK_FUZZ_FAULT_NAN_TO_ZERO && isnan(value)) value = 0;
        if (d->fault == LHK_FUZZ_FAULT_PRECISION) value *= 1.0001f;
        if (d->fault == LHK_FUZZ_FAULT_WORKERS && d->many_workers) value *= 1 + 0x1p-22f;
        lhk_store_element(to, out->dtype, x, value);
    }
    if (d->fault == LHK_FUZZ_FAULT_GAP) lhk_store_element(to, out->dtype, d->dim_v, 0);
    if (!lse->data) return;
    float base = state->m == -INFINITY || d->fault == LHK_FUZZ_FAULT_LSE ? 0 : state->m;
    ((float *)lse->data)[row * lse->stride[0] + head * lse->stride[1]] =
        state->l == 0 ? -INFINITY : base + logf(state->l);
}

/// Task: one query row of the packed batch, all heads.
static void attend_row(void *context, int64_t task, uint32_t worker) {
    const demonstration *d = context;
    int64_t b = 0;
    while (task >= fuzz_get_sequence(&d->args, b).first_row + fuzz_get_sequence(&d->args, b).rows) b++;
    fuzz_sequence s = fuzz_get_sequence(&d->args, b);
    int64_t row = task - s.first_row;
    uint8_t *slice = d->workspace + worker * d->slice;
    fuzz_entry *entries = (fuzz_entry *)slice;
    for (int64_t head = 0; head < d->heads; head++) {
        online_state state = {-INFINITY, 0, (float *)(slice + (uint64_t)d->room * sizeof *entries)};
        if (d->fault == LHK_FUZZ_FAULT_MAXIMUM) state.m = 0;
        if (d->fault != LHK_FUZZ_FAULT_STALE) memset(state.a, 0, (size_t)d->dim_v * sizeof *state.a);
        int64_t count = fuzz_gather(&d->args, &s, row, head, entries), kept = 0;
        for (int64_t e = 0; e < count; e++)
            if (entries[e].key >= 0 || d->fault != LHK_FUZZ_FAULT_REST) entries[kept++] = entries[e];
        if (d->fault == LHK_FUZZ_FAULT_LAST_KEY && kept > 0) kept--;
        for (int64_t e = 0; e < kept; e += BLOCK)
            add_block(d, &s, row, head, entries + e, lhk_min(BLOCK, kept - e), &state);
        if (d->fault == LHK_FUZZ_FAULT_LEAK) leak(d, &s, row, head, &state);
        finish_row(d, s.first_row + row, head, &state);
    }
}

static void size_slices(demonstration *d) {
    d->room = d->args.k.shape[0] + 64;
    d->slice = (uint64_t)lhk_round_up(d->room * (int64_t)sizeof(fuzz_entry) + d->args.v.shape[2] * (int64_t)sizeof(float),
                                      LHK_ALIGNMENT);
}

static lhk_status demonstration_workspace(void *context, const lhk_flash_args *args, const lhk_host *host,
                                          uint64_t *bytes, lhk_error *error) {
    (void)context, (void)error;
    demonstration d = {.args = *args};
    size_slices(&d);
    *bytes = d.slice * host->workers;
    return LHK_OK;
}

static void count_pairs(const demonstration *d, const lhk_flash_args *args, lhk_attention_stats *stats) {
    fuzz_entry *entries = (fuzz_entry *)d->workspace;
    for (int64_t b = 0; b < fuzz_sequences(args); b++) {
        fuzz_sequence s = fuzz_get_sequence(args, b);
        for (int64_t row = 0; row < s.rows; row++)
            for (int64_t head = 0; head < d->heads; head++) {
                int64_t count = fuzz_gather(args, &s, row, head, entries), keys = 0;
                for (int64_t e = 0; e < count; e++) keys += entries[e].key >= 0;
                stats->pairs_attended += (uint64_t)keys;
                stats->pairs_visible += (uint64_t)(args->selection ? fuzz_count_visible(args, &s, row) : keys);
            }
    }
    stats->pairs_attended -= d->fault == LHK_FUZZ_FAULT_STATS;
    stats->calls++;
    stats->path = "blockwise";
}

/// Faults that touch memory they must not.
static void misbehave(const demonstration *d, uint64_t bytes) {
    const lhk_tensor *q = &d->args.q, *k = &d->args.k;
    if (d->fault == LHK_FUZZ_FAULT_READ_PAST && k->shape[0] > 0) {
        const volatile uint8_t *end = lhk_row(k, k->shape[0] - 1, k->shape[1] - 1);
        (void)end[(size_t)k->shape[2] * lhk_dtype_size(k->dtype) + 63];
    }
    if (d->fault == LHK_FUZZ_FAULT_WORKSPACE) d->workspace[bytes] = 1;
    if (d->fault == LHK_FUZZ_FAULT_WRITES_INPUT && q->shape[0] > 0) lhk_store_element(q->data, q->dtype, 0, 1);
}

static lhk_status demonstration_attend(void *context, const lhk_flash_args *args, const lhk_host *host,
                                       const lhk_workspace *workspace, lhk_error *error) {
    demonstration d = {.args = *args, .fault = (uint32_t)(uintptr_t)context, .many_workers = host->workers > 1};
    size_slices(&d);
    if (workspace->bytes < d.slice * host->workers) return lhk_fail(error, LHK_ERROR_CAPACITY, -1, "workspace is too small");
    d.workspace = workspace->data;
    d.bf16 = args->k.dtype == LHK_DTYPE_BF16 && host->isa & (LHK_ISA_AVX512BF16 | LHK_ISA_NEON_BF16);
    d.heads = args->q.shape[1];
    d.group = d.heads / args->k.shape[1];
    d.dim_k = args->q.shape[2];
    d.dim_v = args->v.shape[2];
    d.scale = args->params && args->params->scale > 0 ? args->params->scale : 1 / sqrtf((float)d.dim_k);
    apply_mask_faults(&d);
    misbehave(&d, workspace->bytes);
    int64_t rows = 0;
    for (int64_t b = 0; b < fuzz_sequences(args); b++) rows += fuzz_get_sequence(args, b).rows;
    lhk_parallel_for(host, rows, attend_row, &d);
    if (args->stats) count_pairs(&d, args, args->stats);
    return LHK_OK;
}

lhk_fuzz_subject lhk_fuzz_demonstration(uint32_t fault) {
    return (lhk_fuzz_subject){fault ? "demonstration with a fault" : "demonstration", (void *)(uintptr_t)fault,
                              demonstration_attend, demonstration_workspace};
}
