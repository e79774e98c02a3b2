// SPDX-License-Identifier: Apache-2.0
/// From scores to the lists of a step.
#include "lhk_adamas_pick.h"
#include "lhk_adamas_select.h"

/// Candidates of a KV head.
typedef struct found {
    int32_t *tokens;
    float *scores;  ///< [query heads of a KV head, and their sum where lists go by it][stride]
    int64_t count, padded;  ///< padded: to a multiple of 64, with scores of -inf
} found;

/// Moves the candidates of all chunks of a KV head together.
static found gather_found(const select_job *job, int64_t kv, uint32_t worker) {
    const select_room *r = &job->room;
    int64_t slot = lhk_adamas_slot(job, kv, worker), rows = lhk_adamas_slot_rows(job);
    found f = {.tokens = r->candidates + slot * r->stride, .scores = r->scores + slot * rows * r->stride};
    for (int64_t i = 0; i < r->chunks; i++) {
        int64_t from = i * (r->chunk + LHK_ADAMAS_SPARE), more = r->found[kv * r->chunks + i];
        memmove(f.tokens + f.count, f.tokens + from, (size_t)more * sizeof *f.tokens);
        for (int64_t row = 0; row < rows; row++) {
            float *scores = f.scores + row * r->stride;
            memmove(scores + f.count, scores + from, (size_t)more * sizeof *scores);
        }
        f.count += more;
    }
    f.padded = lhk_round_up(f.count, LHK_ADAMAS_TILE);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = f.count; i < f.padded; i++) f.scores[row * r->stride + i] = -INFINITY;
    return f;
}

/// Writes a list: the first tokens, the picked candidates, the last tokens.
static int64_t write_list(const select_job *job, const found *f, const int32_t *picked, int64_t count, int32_t *list) {
    int64_t n = 0;
    for (int64_t t = 0; t < job->c->sinks; t++) list[n++] = (int32_t)t;
    for (int64_t i = 0; i < count; i++) list[n++] = f->tokens[picked[i]];
    for (int64_t t = job->index->length - job->c->recent; t < job->index->length; t++) list[n++] = (int32_t)t;
    return n;
}

/// Picks from row `own` of the candidates, which is `row` of all.
static void pick_row(const select_job *job, int64_t row, int64_t own, const found *f, int32_t *which, float *kept) {
    const select_room *r = &job->room;
    float bound = r->seen[row].bound;
    for (int64_t worker = 1; worker < job->workers; worker++) bound = fmaxf(bound, r->seen[worker * r->seen_step + row].bound);
    lhk_adamas_pick(job->kernel, f->scores + own * r->stride, f->padded, bound, job->wanted, which, kept);
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

/// The candidates that one of the `rows` rows of scores from `own` on, which is `row` of all, has among its best, ascending;
/// their number.
static int64_t pick_rows(const select_job *job, int64_t row, int64_t own, int64_t rows, const found *f, uint32_t worker,
                         int32_t *list) {
    int32_t *which = job->room.tokens + worker * job->room.stride;
    float *kept = job->room.kept + worker * job->room.stride;
    int64_t size = 0;
    for (int64_t i = 0; i < rows; i++) {
        pick_row(job, row + i, own + i, f, which, kept);
        size = merge_list(list, size, which, job->wanted);
    }
    return size;
}

/// The candidates that weigh at least 1/values of all, by the estimate of any of the query heads [head, head + heads),
/// ascending; their number. There are no more than fit, but for the errors of estimated sums: then the last ones are left
/// out.
static int64_t collect_wide(const select_job *job, int64_t head, int64_t heads, const found *f, uint32_t worker,
                            int32_t *wide) {
    const select_room *r = &job->room;
    float *least = r->least + worker * r->row_step;
    for (int64_t h = 0; h < heads; h++) {
        float most, total = lhk_adamas_total(job, head + h, &most);
        least[h] = most + log2f(total / (float)job->c->values);
    }
    const float *scores = f->scores + head % job->group * r->stride;
    int64_t n = 0;
    for (int64_t i = 0; i < f->padded; i += LHK_ADAMAS_TILE) {
        uint64_t bits = 0;
        for (int64_t h = 0; h < heads; h++) bits |= job->kernel->reaching(scores + h * r->stride + i, least[h]);
        for (; bits && n < r->wide_room; bits &= bits - 1) wide[n++] = (int32_t)i + __builtin_ctzll(bits);
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

/// A list of a KV head, or of one of its query heads, with the room of its slot.
static select_list wide_list(const select_job *job, int64_t head, int64_t slot, const found *f, const int32_t *tokens,
                             int64_t size) {
    const select_room *r = &job->room;
    return (select_list){.candidates = f->tokens, .scores = f->scores + head % job->group * r->stride, .tokens = tokens,
                         .count = size, .wide = r->wide + slot * r->wide_room, .wide_count = r->wide_counts[slot],
                         .shares = r->shares + slot * job->group * r->wide_room,
                         .gathered = r->gathered + slot * job->group * lhk_round_up(job->c->dim_v, 16)};
}

/// One list, from `rows` rows of scores from `own` on, which is `row` of all, for the query heads [head, head + heads);
/// returns its size.
static int64_t make_list(const select_job *job, int64_t row, int64_t own, int64_t rows, int64_t head, int64_t heads,
                         const found *f, const float *mean, uint32_t worker, int32_t *out) {
    const lhk_adamas_config *c = job->c;
    const select_room *r = &job->room;
    int64_t size = pick_rows(job, row, own, rows, f, worker, out);
    if (c->remainder) {
        int64_t slot = lhk_adamas_slot(job, head / job->group, worker);
        select_list list = wide_list(job, head, slot, f, out, size);
        int64_t count = c->values ? collect_wide(job, head, heads, f, worker, list.wide) : 0;
        r->wide_counts[slot] = list.wide_count = without(list.wide, count, out, size);
        lhk_adamas_set_rest(job, head, heads, &list, mean);
        if (!job->apart) {
            lhk_adamas_read_rest(job, head, heads, &list, 0, c->dim_v);
            lhk_adamas_check_rest(job, head, heads);
        }
    }
    int32_t *picked = r->tokens + worker * r->stride;
    memcpy(picked, out, (size_t)size * sizeof *out);
    return write_list(job, f, picked, size, out);
}

void lhk_adamas_pick_task(void *context, int64_t kv, uint32_t worker) {
    const select_job *job = context;
    const lhk_adamas_config *c = job->c;
    const select_room *r = &job->room;
    float *mean = r->row + worker * c->dim_v;
    int64_t head = kv * job->group;
    found f = gather_found(job, kv, worker);
    if (c->remainder) {
        int64_t whole = job->index->length / LHK_ADAMAS_BLOCK, at = (whole * c->kv_heads + kv) * c->dim_v;
        for (int64_t i = 0; i < c->dim_v; i++)
            mean[i] = (job->parts.sums[at + i] + job->parts.partial[kv * c->dim_v + i]) / (float)job->index->length;
    }
    if (c->lists == LHK_ADAMAS_LISTS_QUERY) {
        for (int64_t h = head; h < head + job->group; h++)
            r->counts[h] = make_list(job, h, h - head, 1, h, 1, &f, mean, worker, r->lists + h * r->list_room);
        return;
    }
    bool sums = c->lists == LHK_ADAMAS_LISTS_KV;
    int64_t row = sums ? c->query_heads + kv : head, own = sums ? job->group : 0, rows = sums ? 1 : job->group;
    r->counts[kv] = make_list(job, row, own, rows, head, job->group, &f, mean, worker, r->lists + kv * r->list_room);
}

void lhk_adamas_values_task(void *context, int64_t task, uint32_t worker) {
    (void)worker;
    const select_job *job = context;
    int64_t slabs = lhk_adamas_slabs(job->c), kv = task / slabs;
    int64_t begin = task % slabs * LHK_ADAMAS_SLAB;
    const found none = {0};
    select_list list = wide_list(job, kv * job->group, kv, &none, NULL, 0);
    lhk_adamas_read_rest(job, kv * job->group, job->group, &list, begin, lhk_min(begin + LHK_ADAMAS_SLAB, job->c->dim_v));
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
