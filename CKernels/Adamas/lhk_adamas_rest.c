// SPDX-License-Identifier: Apache-2.0
/// What a list leaves out: how much it weighs, by the estimates, and its mean value.
#include <lhk/panel.h>

#include "lhk_adamas_select.h"

/// Sums of the values of `list->wide`, weighted by `list->shares`: from panels where values lie as 32-bit words, else by the
/// store itself.
static void gather(const select_job *job, int64_t kv, int64_t rows, const select_list *list) {
    int64_t padded = lhk_round_up(job->c->dim_v, 16);
    memset(list->gathered, 0, (size_t)(rows * padded) * sizeof *list->gathered);
    lhk_panels p = {0};
    if (job->store.ops->panels) p = lhk_panel_of(job->store.ops, job->store.instance);
    bool pairs = p.value_dtype == LHK_DTYPE_BF16 && p.value_group == 2;
    if (pairs || (p.value_dtype == LHK_DTYPE_F32 && p.value_group == 1)) {
        lhk_adamas_gather call = {.values = p.base + (uint64_t)kv * p.head_stride + p.value_offset, .tokens = list->wide,
                                  .count = list->wide_count, .rows = rows, .width = padded, .weights = list->shares,
                                  .block_tokens = p.block_tokens, .block_stride = p.block_stride, .pairs = pairs,
                                  .out = list->gathered};
        job->kernel->gather(&call);
        return;
    }
    lhk_keys keys = {0, list->wide_count, list->wide};
    job->store.ops->accumulate(job->store.instance, (uint32_t)kv, list->shares, list->wide_count, (int32_t)rows, &keys,
                               list->gathered, padded);
}

float lhk_adamas_total(const select_job *job, int64_t head, float *most) {
    const float *mosts = job->room.most + head * job->room.chunks, *masses = job->room.mass + head * job->room.chunks;
    float total = 0;
    *most = -INFINITY;
    for (int64_t i = 0; i < job->room.chunks; i++) lhk_adamas_add_mass(most, &total, mosts[i], masses[i]);
    return total;
}

/// Weight of all tokens but the list's, in units of 2^most: `read` of it is that of tokens whose values are read.
typedef struct rest_mass {
    float most, total, rest, read;
} rest_mass;

static rest_mass weigh(const select_job *job, int64_t head, const select_list *list, const float *scores, float *shares) {
    rest_mass m = {0};
    float chosen = 0;
    m.total = lhk_adamas_total(job, head, &m.most);
    float shift = lhk_adamas_power_shift(m.most);
    for (int64_t i = 0; i < list->count; i++) chosen += lhk_adamas_power(scores[list->tokens[i]], shift);
    for (int64_t i = 0; i < list->wide_count; i++) {
        shares[i] = lhk_adamas_power(scores[list->wide[i]], shift);
        m.read += shares[i];
    }
    m.rest = fmaxf(m.total - chosen, m.read);
    return m;
}

void lhk_adamas_set_rest(const select_job *job, int64_t head, int64_t rows, const select_list *list, const float *mean) {
    const select_room *r = &job->room;
    int64_t dim = job->c->dim_v, padded = lhk_round_up(dim, 16);
    for (int64_t row = 0; row < rows; row++) {
        rest_mass m = weigh(job, head + row, list, list->scores + row * r->stride, list->shares + row * list->wide_count);
        float lse = (m.most + log2f(m.rest) + r->base[head + row]) / log2_e, *out = r->rest_mean + (head + row) * dim;
        r->rest_lse[head + row] = m.rest > m.total * 1e-6f && isfinite(lse) ? lse : -INFINITY;
        float others = m.rest > 0 ? (m.rest - m.read) / m.rest : 1;
        for (int64_t c = 0; c < dim; c++) out[c] = mean[c] * others;
        // The shares of one row, so that what was read adds up to its part of the mean.
        for (int64_t i = 0; i < list->wide_count && m.rest > 0; i++) list->shares[row * list->wide_count + i] /= m.rest;
    }
    for (int64_t i = 0; i < list->wide_count; i++) list->wide[i] = list->candidates[list->wide[i]];
    if (list->wide_count) gather(job, head / job->group, rows, list);
    for (int64_t row = 0; row < rows; row++) {
        float *out = r->rest_mean + (head + row) * dim;
        bool finite = true;
        for (int64_t c = 0; c < dim; c++) {
            if (list->wide_count) out[c] += list->gathered[row * padded + c];
            finite &= isfinite(out[c]) != 0;
        }
        if (!finite) r->rest_lse[head + row] = -INFINITY;
    }
}
