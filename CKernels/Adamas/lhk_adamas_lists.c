// SPDX-License-Identifier: Apache-2.0
/// From scores to the lists of a step.
#include "lhk_adamas_pick.h"
#include "lhk_adamas_select.h"

/// Rows that lists are picked from: after the query heads' own, where lists go by sums.
static int64_t list_row(const select_job *job, int64_t list) {
    return job->c->lists == LHK_ADAMAS_LISTS_KV ? job->c->query_heads + list : list;
}

/// Writes a list: the first tokens, the picked ones, the last tokens.
static int64_t write_list(const select_job *job, const int32_t *picked, int64_t count, int32_t *list) {
    int64_t n = 0;
    for (int64_t t = 0; t < job->c->sinks; t++) list[n++] = (int32_t)t;
    memcpy(list + n, picked, (size_t)count * sizeof *list);
    n += count;
    for (int64_t t = job->index->length - job->c->recent; t < job->index->length; t++) list[n++] = (int32_t)t;
    return n;
}

static void pick_row(const select_job *job, int64_t row, int64_t wanted, int32_t *tokens, float *kept) {
    const select_room *r = &job->room;
    lhk_adamas_scores scores = {r->scores + row * r->stride, r->peaks + row * r->stride / LHK_ADAMAS_PEAK, r->stride};
    lhk_adamas_pick(job->kernel, &scores, wanted, tokens, kept);
}

/// Merges `count` ascending tokens into the ascending list of `size`, without duplicates; returns the new size.
static int64_t merge_list(int32_t *list, int64_t size, const int32_t *tokens, int64_t count) {
    int64_t common = 0;
    for (int64_t i = 0, j = 0; i < size && j < count;) {
        common += list[i] == tokens[j];
        bool less = list[i] < tokens[j], same = list[i] == tokens[j];
        i += less | same;
        j += !less;
    }
    int64_t total = size + count - common, out = total, i = size - 1, j = count - 1;
    while (j >= 0) {
        if (i >= 0 && list[i] > tokens[j]) list[--out] = list[i--];
        else {
            if (i >= 0 && list[i] == tokens[j]) i--;
            list[--out] = tokens[j--];
        }
    }
    return total;
}

/// The tokens that one of the `rows` rows of scores from `row` on has among its best `wanted`, ascending; their number.
static int64_t pick_rows(const select_job *job, int64_t row, int64_t rows, int64_t wanted, uint32_t worker, int32_t *list) {
    int32_t *tokens = job->room.tokens + worker * (job->room.stride + 16);
    float *kept = job->room.kept + worker * (job->room.stride + 16);
    int64_t size = 0;
    for (int64_t i = 0; i < rows; i++) {
        pick_row(job, row + i, wanted, tokens, kept);
        size = merge_list(list, size, tokens, wanted);
    }
    return size;
}

/// The tokens that weigh at least 1/values of all, by the estimate of any of the query heads [head, head + heads), ascending;
/// their number. There are no more than fit, but for the errors of estimated sums: then the last ones are left out.
static int64_t collect_wide(const select_job *job, int64_t head, int64_t heads, uint32_t worker, int32_t *wide) {
    const select_room *r = &job->room;
    float *least = r->least + worker * job->group, *kept = r->kept + worker * (r->stride + 16);
    int64_t n = 0;
    for (int64_t h = 0; h < heads; h++) {
        float most, total = lhk_adamas_total(job, head + h, &most);
        least[h] = most + log2f(total / (float)job->c->values);
    }
    for (int64_t b = 0; b < r->stride / LHK_ADAMAS_PEAK && n + LHK_ADAMAS_PEAK + 16 <= r->wide_room; b++) {
        bool any = false;
        for (int64_t h = 0; h < heads; h++) any |= r->peaks[(head + h) * r->stride / LHK_ADAMAS_PEAK + b] >= least[h];
        if (any)
            n += job->kernel->reaching(r->scores + head * r->stride, r->stride, heads, least, b * LHK_ADAMAS_PEAK,
                                       LHK_ADAMAS_PEAK, wide + n, kept);
    }
    return n;
}

/// Removes from the ascending `tokens` those of the ascending list; returns how many stay.
static int64_t without(int32_t *tokens, int64_t count, const int32_t *list, int64_t size) {
    int64_t n = 0;
    for (int64_t i = 0, j = 0; i < count; i++) {
        while (j < size && list[j] < tokens[i]) j++;
        if (j == size || list[j] != tokens[i]) tokens[n++] = tokens[i];
    }
    return n;
}

/// One list, from `rows` rows of scores that begin with `row`, for the query heads [head, head + heads); returns its size.
static int64_t make_list(const select_job *job, int64_t row, int64_t rows, int64_t head, int64_t heads, const float *mean,
                         uint32_t worker, int32_t *out) {
    const lhk_adamas_config *c = job->c;
    const select_room *r = &job->room;
    int64_t size = pick_rows(job, row, rows, c->budget - c->sinks - c->recent, worker, out);
    if (c->remainder) {
        int32_t *wide = r->wide + worker * r->wide_room;
        int64_t count = c->values ? collect_wide(job, head, heads, worker, wide) : 0;
        count = without(wide, count, out, size);
        select_list list = {out, size, wide, count, r->shares + worker * job->group * r->wide_room,
                            r->gathered + worker * job->group * lhk_round_up(c->dim_v, 16)};
        lhk_adamas_set_rest(job, head, heads, &list, mean);
    }
    int32_t *tokens = r->tokens + worker * (r->stride + 16);
    memcpy(tokens, out, (size_t)size * sizeof *out);
    return write_list(job, tokens, size, out);
}

void lhk_adamas_pick_task(void *context, int64_t kv, uint32_t worker) {
    const select_job *job = context;
    const lhk_adamas_config *c = job->c;
    const select_room *r = &job->room;
    float *mean = r->row + worker * c->dim_v;
    int64_t head = kv * job->group;
    if (c->remainder) {
        int64_t whole = job->index->length / LHK_ADAMAS_BLOCK, at = (whole * c->kv_heads + kv) * c->dim_v;
        for (int64_t i = 0; i < c->dim_v; i++)
            mean[i] = (job->parts.sums[at + i] + job->parts.partial[kv * c->dim_v + i]) / (float)job->index->length;
    }
    if (c->lists == LHK_ADAMAS_LISTS_QUERY) {
        for (int64_t h = head; h < head + job->group; h++)
            r->counts[h] = make_list(job, h, 1, h, 1, mean, worker, r->lists + h * r->list_room);
        return;
    }
    bool sums = c->lists == LHK_ADAMAS_LISTS_KV;
    r->counts[kv] = make_list(job, list_row(job, sums ? kv : head), sums ? 1 : job->group, head, job->group, mean, worker,
                              r->lists + kv * r->list_room);
}

/// Moves the lists together and shows them.
void lhk_adamas_show(const select_job *job, lhk_selection *out) {
    const select_room *r = &job->room;
    r->offsets[0] = 0;
    for (int64_t l = 0; l < r->list_count; l++) {
        memmove(r->lists + r->offsets[l], r->lists + l * r->list_room, (size_t)r->counts[l] * sizeof(int32_t));
        r->offsets[l + 1] = r->offsets[l] + r->counts[l];
    }
    *out = (lhk_selection){.struct_size = sizeof *out, .kind = LHK_SELECTION_TOKENS, .list_count = r->list_count,
                           .list_offsets = r->offsets, .tokens = r->lists};
    if (!job->c->remainder) return;
    out->rest_lse = r->rest_lse;
    out->rest_mean = r->rest_mean;
}
