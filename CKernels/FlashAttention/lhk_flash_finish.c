// SPDX-License-Identifier: Apache-2.0
/// What happens once per row: splits and remainders merge by their sums, sinks join, rows are normalised and written.
#include "lhk_flash_plan.h"

static const float log2_e = 1.44269504088896341f;
static const float ln_2 = 0.693147180559945309f;

/// (o, m, l) += (other_o, other_m, other_l): unnormalised partial rows over disjoint keys, m in log2 units.
static void merge_row(float *o, float *m, float *l, const float *other_o, float other_m, float other_l, int64_t dim) {
    if (other_m == -INFINITY && other_l == 0) return;
    float both = other_m > *m ? other_m : *m;
    float mine = *m == -INFINITY ? 0 : exp2f(*m - both), theirs = exp2f(other_m - both);
    if (*m == -INFINITY && *l == 0)
        for (int64_t c = 0; c < dim; c++) o[c] = theirs * other_o[c];
    else
        for (int64_t c = 0; c < dim; c++) o[c] = mine * o[c] + theirs * other_o[c];
    *l = mine * *l + theirs * other_l;
    *m = both;
}

static void write_row(const lhk_flash_plan *plan, int64_t row, int64_t head, const float *o, float m, float l) {
    const lhk_flash_args *a = &plan->call->args;
    void *out = lhk_row(&a->out, row, head);
    const float *sinks = plan->call->params.sink_logits;
    float lse = l == 0 ? -INFINITY : ln_2 * (m + log2f(l));
    if (sinks && l == 0) {
        lse = sinks[head];
    } else if (sinks) {
        float sink = sinks[head] * log2_e, both = sink > m ? sink : m, mine = exp2f(m - both);
        float sum = mine * l + exp2f(sink - both);
        lse = ln_2 * (both + log2f(sum));
        l = sum / mine;
    }
    bool empty = l == 0;
    for (int64_t c = 0; c < plan->call->dim_v; c++) lhk_store_element(out, a->out.dtype, c, empty ? 0 : o[c] / l);
    if (a->lse.data) ((float *)a->lse.data)[row * a->lse.stride[0] + head * a->lse.stride[1]] = lse;
}

void lhk_flash_finish(const lhk_flash_plan *plan, const lhk_flash_task *task, float *o, float *m, float *l) {
    int64_t padded_v = plan->source.panels.padded_dim_v, dim = plan->call->dim_v, heads = plan->call->query_heads;
    for (int64_t r = 0; r < LHK_FLASH_ROWS_AHEAD; r++) lhk_flash_fetch_row(plan, task, &plan->call->args.out, plan->call->dim_v, r, true);
    for (int64_t r = 0; r < task->rows; r++) {
        lhk_flash_fetch_row(plan, task, &plan->call->args.out, plan->call->dim_v, r + LHK_FLASH_ROWS_AHEAD, true);
        int64_t row = lhk_flash_query_row(plan, task, r), head = lhk_flash_query_head(plan, task, r);
        for (const lhk_selection *s = plan->call->args.selection; s;) {
            lhk_selection one = lhk_flash_get_selection(s);
            if (one.rest_lse) {
                int64_t at = row * heads + head;
                float mass = one.rest_lse[at];
                if (mass != -INFINITY)
                    merge_row(o + r * padded_v, &m[r], &l[r], one.rest_mean + at * dim, mass * log2_e, 1, dim);
            }
            s = one.next;
        }
        write_row(plan, task->sequence.first_row + row, head, o + r * padded_v, m[r], l[r]);
    }
}

static void merge_head(const lhk_flash_plan *plan, const lhk_flash_task *task, int64_t head) {
    int64_t padded_v = plan->source.panels.padded_dim_v;
    float *o = lhk_flash_partial(plan, task->number, head), *m = o + plan->tile_rows * padded_v, *l = m + plan->tile_rows;
    for (int64_t split = 1; split < task->splits; split++) {
        const float *other = lhk_flash_partial(plan, task->number + split, head);
        const float *other_m = other + plan->tile_rows * padded_v, *other_l = other_m + plan->tile_rows;
        for (int64_t r = 0; r < task->rows; r++)
            merge_row(o + r * padded_v, &m[r], &l[r], other + r * padded_v, other_m[r], other_l[r], padded_v);
    }
    lhk_flash_task one = *task;
    one.head += head;
    lhk_flash_finish(plan, &one, o, m, l);
}

void lhk_flash_merge_splits(const lhk_flash_plan *plan, const lhk_flash_task *task) {
    for (int64_t head = 0; head < task->heads; head++) merge_head(plan, task, head);
}
