// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <lhk/support.h>

#include "fuzz_problem.h"

static const char *const value_names[FUZZ_VALUE_CLASSES] = {
    "uniform",       "normal",   "outliers",  "equal",        "huge-logits", "negative-logits",
    "mild-negative", "one-huge", "subnormal", "signed-zeros", "beyond-f16",  "large-values"};
static const char *const selection_names[] = {"none", "all", "blocks", "tokens", "chain"};

typedef struct line {
    char *text;
    size_t size, used;
} line;

__attribute__((format(printf, 2, 3))) static void add(line *l, const char *format, ...) {
    if (l->used >= l->size) return;
    va_list list;
    va_start(list, format);
    int count = vsnprintf(l->text + l->used, l->size - l->used, format, list);
    va_end(list);
    l->used += count > 0 ? (size_t)count : 0;
}

static void add_layout(line *l, const char *name, const fuzz_layout *layout) {
    if (!layout->heads_first && !layout->one_head && !layout->row_pad && !layout->head_pad) return;
    add(l, " %s:%s%s+%" PRId64 "+%" PRId64, name, layout->heads_first ? "heads-first" : "rows-first",
        layout->one_head ? ",one-head" : "", layout->row_pad, layout->head_pad);
}

void fuzz_print(const fuzz_problem *p, char *text, size_t size) {
    line l = {text, size, 0};
    if (size) text[0] = 0;
    if (p->name) add(&l, "%s: ", p->name);
    else add(&l, "seed %" PRIu64 " case %" PRIu64 ": ", p->seed, p->index);
    if (p->sequences) add(&l, "batch of %" PRId64, p->sequences);
    for (int64_t b = 0; b < (p->sequences ? p->sequences : 1); b++) {
        add(&l, "%s%" PRId64 "x%" PRId64, b || p->sequences ? " " : "", p->rows[b], p->keys[b]);
        if (p->has_lengths) add(&l, "(%" PRId64 ")", p->valid[b]);
    }
    add(&l, " heads %" PRId64 "/%" PRId64 " dims %" PRId64 "/%" PRId64 " %s/%s/%s", p->query_heads, p->kv_heads, p->dim_k,
        p->dim_v, lhk_dtype_name(p->query_dtype), lhk_dtype_name(p->kv_dtype), lhk_dtype_name(p->out_dtype));
    if (p->spare_rows || p->spare_keys) add(&l, " spare %" PRId64 "/%" PRId64, p->spare_rows, p->spare_keys);
    if (p->no_params) add(&l, " no-params");
    if (p->flags & LHK_ATTENTION_CAUSAL) add(&l, " causal");
    if (p->flags & LHK_ATTENTION_OFFSET) add(&l, " offset %" PRId64, p->offset);
    if (p->left >= 0) add(&l, " left %" PRId64, p->left);
    if (p->right >= 0) add(&l, " right %" PRId64, p->right);
    if (p->sink_tokens) add(&l, " sink-tokens %" PRId64, p->sink_tokens);
    if (p->scale > 0) add(&l, " scale %g", (double)p->scale);
    if (p->softcap > 0) add(&l, " softcap %g", (double)p->softcap);
    if (p->slopes) add(&l, " alibi %d", p->slopes);
    if (p->sinks) add(&l, " sink-logits %d", p->sinks);
    if (p->selection)
        add(&l, " selection %s tile %" PRId64 " density %d%%%s%s%s%s", selection_names[p->selection], p->tile_rows,
            p->density, p->per_kv_head ? " per-kv-head" : "", p->log_weights ? " weights" : "", p->rest ? " rest" : "",
            p->past_end ? " past-end" : "");
    add(&l, " mode %u values %s", p->mode, value_names[p->values]);
    if (p->poison_hidden) add(&l, " poison");
    if (p->specials) add(&l, " specials %d", p->specials);
    add_layout(&l, "q", &p->q);
    add_layout(&l, "k", &p->k);
    add_layout(&l, "v", &p->v);
    add_layout(&l, "out", &p->out);
    if (p->wants_lse) add_layout(&l, "lse", &p->lse);
    else add(&l, " no-lse");
    if (p->at_start) add(&l, " at-start");
}
