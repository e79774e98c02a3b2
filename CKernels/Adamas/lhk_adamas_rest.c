// SPDX-License-Identifier: Apache-2.0
/// What a list leaves out: how much it weighs, by the estimates, and its mean value.
#include "lhk_adamas_select.h"

bool lhk_adamas_words_in_panels(const lhk_panels *p) {
    return (p->value_dtype == LHK_DTYPE_BF16 && p->value_group == 2) || (p->value_dtype == LHK_DTYPE_F32 && p->value_group == 1);
}

/// Sums of the values of `list->wide`, weighted by `list->shares`: from panels the channels [begin, end), else by the store
/// itself all of them.
static void gather(const select_job *job, int64_t kv, int64_t rows, const select_list *list, int64_t begin, int64_t end) {
    int64_t padded = lhk_round_up(job->c->dim_v, 16);
    const lhk_panels *p = &job->panels;
    if (job->words) {
        lhk_adamas_gather call = {.values = p->base + (uint64_t)kv * p->head_stride + p->value_offset, .tokens = list->wide,
                                  .count = list->wide_count, .rows = rows, .width = padded, .begin = begin,
                                  .end = lhk_round_up(end, 16), .weights = list->shares, .block_tokens = p->block_tokens,
                                  .block_stride = p->block_stride, .pairs = p->value_group == 2, .out = list->gathered};
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
    if (list->wide_count) memset(list->gathered, 0, (size_t)(rows * padded) * sizeof *list->gathered);
}

void lhk_adamas_read_rest(const select_job *job, int64_t head, int64_t rows, const select_list *list, int64_t begin,
                          int64_t end) {
    int64_t dim = job->c->dim_v, padded = lhk_round_up(dim, 16);
    if (!list->wide_count) return;
    gather(job, head / job->group, rows, list, begin, end);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t c = begin; c < end; c++)
            job->room.rest_mean[(head + row) * dim + c] += list->gathered[row * padded + c];
}

void lhk_adamas_check_rest(const select_job *job, int64_t head, int64_t rows) {
    const select_room *r = &job->room;
    for (int64_t row = head; row < head + rows; row++) {
        bool finite = true;
        for (int64_t c = 0; c < job->c->dim_v; c++) finite &= isfinite(r->rest_mean[row * job->c->dim_v + c]) != 0;
        if (!finite) r->rest_lse[row] = -INFINITY;
    }
}
