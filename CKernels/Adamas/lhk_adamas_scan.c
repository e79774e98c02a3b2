// SPDX-License-Identifier: Apache-2.0
/// Scores of all tokens, chunk by chunk. A chunk's scores stay in the cache for as long as they are looked at, and are then
/// forgotten unless their token is a candidate.
#include <float.h>

#include "lhk_adamas_pick.h"
#include "lhk_adamas_select.h"

/// A chunk under scan: rows of query heads, and one of their sums where lists go by these.
typedef struct chunk_view {
    int64_t kv, number;
    uint32_t worker;
    int64_t tokens;             ///< a multiple of 256, the last ones of which may not exist
    float *scores;              ///< [rows][lds]
    float *crests;              ///< [rows][tokens of a chunk / 4]
    const uint8_t *tables;      ///< of this worker, of the rows that are query heads
    uint8_t *marks;             ///< of tiles
    float *least;               ///< [rows]
    float *peaks;               ///< [rows]: of a block
    float *lanes;               ///< [rows][32]: sums of weights, and as number 16 the exponent of their unit
    int64_t rows;
    int64_t first, own, lists;  ///< rows that lists are picked from: in `seen`, here, and how many
} chunk_view;

static chunk_view view_of(const select_job *job, int64_t kv, int64_t number, uint32_t worker) {
    const select_room *r = &job->room;
    bool sums = job->c->lists == LHK_ADAMAS_LISTS_KV;
    int64_t left = lhk_round_up(job->index->length, LHK_ADAMAS_BLOCK) - number * r->chunk;
    return (chunk_view){kv, number, worker, lhk_min(left, r->chunk), r->chunk_scores + worker * r->scores_step,
                        r->crests + worker * r->crests_step,
                        r->tables + (worker * job->c->query_heads + kv * job->group) * lhk_adamas_table_bytes(job->c->dim_k),
                        r->marks + worker * r->marks_step, r->least + worker * r->row_step,
                        r->peaks + worker * r->row_step, r->lanes + worker * r->lanes_step, job->group + sums,
                        sums ? job->c->query_heads + kv : kv * job->group, sums ? job->group : 0, sums ? 1 : job->group};
}

void lhk_adamas_scan_begin(const select_job *job) {
    for (int64_t worker = 0; worker < job->workers; worker++)
        for (int64_t row = 0; row < job->room.rows; row++)
            job->room.seen[worker * job->room.seen_step + row] =
                (select_seen){.bound = job->wanted ? -FLT_MAX : INFINITY, .most = -INFINITY};
}

static void hide(float *scores, int64_t from, int64_t to) {
    for (int64_t t = from; t < to; t++) scores[t] = -INFINITY;
}

/// The store's own scores of `count` tokens from `begin` on, rows of a chunk. Keys that are not numbers come last.
static void score_exactly(const select_job *job, int64_t kv, int64_t begin, int64_t count, float *scores) {
    int64_t lds = job->room.lds;
    lhk_keys keys = {begin, count, NULL};
    const float *queries = job->room.queries + kv * job->group * job->room.ldq;
    job->store.ops->score(job->store.instance, (uint32_t)kv, queries, job->room.ldq, (int32_t)job->group, &keys, scores, lds);
    for (int64_t row = 0; row < job->group; row++)
        for (float *x = scores + row * lds, *end = x + count; x < end; x++)
            *x = fminf(fmaxf(*x * job->scale * log2_e, -FLT_MAX), FLT_MAX);
}

/// Whether all tokens of a block may be picked: none is taken anyway, and all exist.
static bool open_block(const select_job *job, int64_t b) {
    int64_t begin = b * LHK_ADAMAS_BLOCK;
    return begin >= job->c->sinks && begin + LHK_ADAMAS_BLOCK <= job->index->length - job->c->recent;
}

/// Scores of one block for all query heads of a KV head. Tokens that are taken anyway, and what follows the last, are
/// hidden.
static void score_block(const select_job *job, int64_t b, const chunk_view *v, lhk_adamas_scan *scan) {
    const lhk_adamas_config *c = job->c;
    const select_room *r = &job->room;
    int64_t begin = b * LHK_ADAMAS_BLOCK, n = job->index->length;
    if (c->center == LHK_ADAMAS_CENTER_MOVING) {
        scan->mean = lhk_adamas_mean(c, &job->parts, b, v->kv);
        const float *next = lhk_adamas_mean(c, &job->parts, b + 1, v->kv);  // there is room for one past the last
        for (int64_t i = 0; i < c->dim_k; i += 16) __builtin_prefetch(next + i);
    }
    if (c->scoring == LHK_ADAMAS_EXACT) score_exactly(job, v->kv, begin, lhk_min(LHK_ADAMAS_BLOCK, n - begin), scan->scores);
    else (c->scoring == LHK_ADAMAS_ASYMMETRIC ? job->kernel->estimates : job->kernel->distances)(scan);
    if (open_block(job, b) && v->rows == job->group) return;
    for (int64_t row = 0; row < job->group; row++) {
        hide(scan->scores + row * r->lds, 0, lhk_min(c->sinks - begin, LHK_ADAMAS_BLOCK));
        hide(scan->scores + row * r->lds, lhk_max(n - c->recent - begin, 0), LHK_ADAMAS_BLOCK);
    }
    if (v->rows == job->group) return;
    float *sum = scan->scores + job->group * r->lds;
    memcpy(sum, scan->scores, LHK_ADAMAS_BLOCK * sizeof *sum);
    for (int64_t row = 1; row < job->group; row++)
        for (int64_t t = 0; t < LHK_ADAMAS_BLOCK; t++) sum[t] += scan->scores[row * r->lds + t];
}

/// Adds the weights of a block to the sums of a row, whose unit grows with the greatest score.
static void add_block(const select_job *job, const float *scores, float peak, float *lanes) {
    float *most = lanes + 16;
    if (peak > *most) {
        float higher = ceilf(peak), factor = lhk_adamas_halved(higher - *most);
        for (int i = 0; i < 16; i++) lanes[i] *= factor;
        *most = higher;
    }
    if (peak > -INFINITY) job->kernel->mass(scores, LHK_ADAMAS_BLOCK, *most, lanes);
}

/// Scores of a block, the greatest of them, and the sums of weights, which go on from block to block.
static void scan_block(const select_job *job, int64_t b, const chunk_view *v) {
    const lhk_adamas_config *c = job->c;
    const select_room *r = &job->room;
    int64_t at = b * LHK_ADAMAS_BLOCK - v->number * r->chunk, n = job->index->length, first = v->kv * job->group;
    bool remainder = c->remainder, last = (b + 1) * LHK_ADAMAS_BLOCK >= n;
    bool at_once = c->scoring == LHK_ADAMAS_ASYMMETRIC && open_block(job, b);
    lhk_adamas_scan scan = {.block = lhk_adamas_block(&job->parts, b, v->kv), .dim = c->dim_k, .rows = job->group,
                            .tokens = lhk_min(LHK_ADAMAS_BLOCK, lhk_round_up(n - b * LHK_ADAMAS_BLOCK, 16)),
                            .scores = v->scores + at, .lds = r->lds,
                            .planes = r->planes + first * 3 * lhk_adamas_words(c->dim_k),
                            .tables = v->tables, .factor = r->factor + first,
                            .offset = r->offset + first, .queries = r->queries + first * r->ldq, .ldq = r->ldq,
                            .ahead = last ? NULL : lhk_adamas_block(&job->parts, b + 1, v->kv),
                            .ahead_bytes = (int64_t)job->parts.block_bytes,
                            .crests = v->crests + at / 4, .ldc = r->chunk / 4, .peaks = v->peaks,
                            .lanes = remainder && at_once ? v->lanes : NULL};
    score_block(job, b, v, &scan);
    for (int64_t row = 0; row < v->rows; row++) {
        bool seen = at_once && row < job->group;
        const float *scores = v->scores + row * r->lds + at;
        float *lanes = v->lanes + 32 * row, most = lanes[16];
        if (!seen) v->peaks[row] = job->kernel->crests(scores, v->crests + (row * r->chunk + at) / 4);
        bool weighed = seen && v->peaks[row] <= most;
        if (remainder && row < job->group && !weighed) add_block(job, scores, v->peaks[row], lanes);
    }
}

/// Puts the greatest of each four scores of a chunk into the pool of a row; if then there are more than are wanted, these
/// give a new bound.
static void raise_bound(const select_job *job, select_seen *seen, float *pool, const float *crests, int64_t tiles,
                        int32_t *unused) {
    int64_t wanted = job->wanted, most = wanted + wanted / 8, held = seen->held, n = 0;
    held += job->kernel->above(crests, 16 * tiles, seen->bound, unused, pool + held);
    if (held > most) {
        int64_t padded = lhk_round_up(held, 16);
        for (int64_t i = held; i < padded; i++) pool[i] = -INFINITY;
        seen->bound = lhk_adamas_cut(job->kernel, pool, padded, wanted, most);
        held = job->kernel->above(pool, padded, seen->bound, unused, pool);
        for (int64_t i = 0; held > most && i < held; i++)  // some are equal
            if (pool[i] > seen->bound) pool[n++] = pool[i];
        for (; held > most && n < wanted; n++) pool[n] = seen->bound;
        held = held > most ? wanted : held;
    }
    seen->held = (int32_t)held;
}

/// From which score on a token of each row is a candidate: by the bound, or if it may weigh enough to be read for its value.
static void set_least(const select_job *job, const chunk_view *v) {
    const select_room *r = &job->room;
    uint32_t worker = v->worker;
    for (int64_t row = 0; row < v->rows; row++) v->least[row] = INFINITY;
    for (int64_t i = 0; i < v->lists; i++) {
        int64_t row = v->own + i, at = worker * r->rows + v->first + i;
        select_seen *seen = r->seen + worker * r->seen_step + v->first + i;
        raise_bound(job, seen, r->pool + at * r->pool_room, v->crests + row * r->chunk / 4,
                    v->tokens / LHK_ADAMAS_TILE, r->tokens + worker * r->stride);
        v->least[row] = seen->bound;
    }
    for (int64_t row = 0; job->c->remainder && row < job->group; row++) {
        int64_t head = v->kv * job->group + row, part = head * r->chunks + v->number;
        select_seen *seen = r->seen + worker * r->seen_step + head;
        r->most[part] = v->lanes[32 * row + 16];
        r->mass[part] = job->kernel->sum(v->lanes + 32 * row);
        lhk_adamas_add_mass(&seen->most, &seen->mass, r->most[part], r->mass[part]);
        if (!job->c->values) continue;
        // The bits of a number are no more than its logarithm; the rest is room for what rounding does.
        float share = seen->mass / (float)job->c->values, least;
        int32_t bits;
        memcpy(&bits, &share, sizeof bits);
        least = seen->most + ((float)bits * 0x1p-23f - 127) - 1e-3f - 1e-5f * fabsf(seen->most);
        v->least[row] = least < v->least[row] ? least : v->least[row];
    }
}

/// Keeps the tokens that reach a bound, with their scores.
static void keep_candidates(const select_job *job, const chunk_view *v) {
    const select_room *r = &job->room;
    int64_t at = v->number * (r->chunk + LHK_ADAMAS_SPARE), n = 0;
    int64_t slot = lhk_adamas_slot(job, v->kv, v->worker);
    int32_t *tokens = r->candidates + slot * r->stride + at;
    float *to = r->scores + slot * v->rows * r->stride + at;
    memset(v->marks, 0, (size_t)(v->tokens / LHK_ADAMAS_TILE));
    for (int64_t row = 0; row < v->rows; row++)
        job->kernel->mark(v->crests + row * r->chunk / 4, v->tokens / LHK_ADAMAS_TILE, v->least[row], v->marks);
    for (int64_t t = 0; t < v->tokens; t += LHK_ADAMAS_TILE) {
        const float *scores = v->scores + t;
        uint64_t bits = 0;
        if (!v->marks[t / LHK_ADAMAS_TILE]) continue;
        for (int64_t row = 0; row < v->rows; row++) bits |= job->kernel->reaching(scores + row * r->lds, v->least[row]);
        for (int64_t row = 0; row < v->rows; row++)
            job->kernel->take(scores + row * r->lds, bits, to + row * r->stride + n);
        for (; bits; bits &= bits - 1) tokens[n++] = (int32_t)(v->number * r->chunk + t) + __builtin_ctzll(bits);
    }
    r->found[v->kv * r->chunks + v->number] = n;
}

/// Makes this worker's tables of the query heads of a KV head, once.
static void make_tables(const select_job *job, int64_t kv, uint32_t worker) {
    const select_room *r = &job->room;
    int64_t dim = job->c->dim_k, head = kv * job->group, end = head + job->group;
    if (r->seen[worker * r->seen_step + head].ready || job->c->scoring != LHK_ADAMAS_ASYMMETRIC) return;
    for (; head < end; head++) {
        uint8_t *to = r->tables + (worker * job->c->query_heads + head) * lhk_adamas_table_bytes(dim);
        job->kernel->tables(r->weights + head * 16 * lhk_adamas_rows(dim), dim, to);
        r->seen[worker * r->seen_step + head].ready = true;
    }
}

static void scan_chunk(const select_job *job, int64_t kv, int64_t number, uint32_t worker) {
    const select_room *r = &job->room;
    chunk_view v = view_of(job, kv, number, worker);
    make_tables(job, v.kv, worker);
    memset(v.lanes, 0, (size_t)job->group * 32 * sizeof *v.lanes);
    for (int64_t row = 0; row < job->group; row++) v.lanes[32 * row + 16] = -INFINITY;
    for (int64_t t = 0; t < v.tokens; t += LHK_ADAMAS_BLOCK)
        scan_block(job, (v.number * r->chunk + t) / LHK_ADAMAS_BLOCK, &v);
    set_least(job, &v);
    keep_candidates(job, &v);
}

void lhk_adamas_scan_task(void *context, int64_t task, uint32_t worker) {
    const select_job *job = context;
    scan_chunk(job, task % job->c->kv_heads, task / job->c->kv_heads, worker);
}

void lhk_adamas_head_task(void *context, int64_t kv, uint32_t worker) {
    const select_job *job = context;
    for (int64_t number = 0; number < job->room.chunks; number++) scan_chunk(job, kv, number, worker);
    lhk_adamas_pick_task(context, kv, worker);
}
