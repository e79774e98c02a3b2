// SPDX-License-Identifier: Apache-2.0
/// One selection: descriptions of new pages, a task per query head and tile of rows, lists of runs.
#include "lhk_baselines_internal.h"

/// Workspace of a call; with a null base, its size only.
typedef struct select_room {
    int64_t tiles, lists, pages;
    uint8_t *marks;              ///< [lists][pages]
    int64_t *offsets;            ///< [lists + 1]
    lhk_run *runs;
    float *query, *rows;         ///< per worker [dim], [page][dim]
    float *scores, *weights;     ///< per worker [pages]
    uint64_t bytes;
} select_room;

typedef struct select_job {
    lhk_instance *state;
    const lhk_baselines_kind *kind;
    const lhk_baselines_config *c;
    select_room room;
    const lhk_tensor *q;
    lhk_store_ref store;
    int64_t keys, origin, first_page;
    float scale;
    lhk_status failed;
} select_job;

static bool carve(const lhk_baselines_kind *kind, const lhk_baselines_config *c, int64_t rows, int64_t keys, uint32_t workers,
                  void *base, select_room *r) {
    lhk_carver carver = {.base = base};
    r->tiles = kind->prefill ? (rows + LHK_BASELINES_TILE_ROWS - 1) / LHK_BASELINES_TILE_ROWS : 1;
    r->lists = r->tiles * c->query_heads;  // below 2^47
    r->pages = (keys + c->page - 1) / c->page;
    // Runs have gaps between them.
    int64_t runs = kind->prefill ? r->pages / 2 + 1 : lhk_min(c->budget, r->pages / 2 + 1);
    uint64_t per_worker = kind->vectors ? (uint64_t)c->page * c->dim : 0;
    r->marks = lhk_carve(&carver, (uint64_t)r->lists, (uint64_t)r->pages);
    r->offsets = lhk_carve(&carver, (uint64_t)r->lists + 1, sizeof *r->offsets);
    r->runs = lhk_carve(&carver, (uint64_t)r->lists, (uint64_t)runs * sizeof *r->runs);
    r->query = lhk_carve(&carver, workers, (uint64_t)c->dim * sizeof *r->query);
    r->rows = lhk_carve(&carver, workers, per_worker * sizeof *r->rows);
    r->scores = lhk_carve(&carver, workers, (uint64_t)r->pages * sizeof *r->scores);
    r->weights = lhk_carve(&carver, workers, (uint64_t)r->pages * sizeof *r->weights);
    r->bytes = carver.used;
    return !carver.overflow;
}

bool lhk_baselines_workspace(const lhk_baselines_kind *kind, const lhk_baselines_config *c, uint32_t workers, uint64_t *bytes) {
    select_room room;
    bool fits = carve(kind, c, c->rows, c->keys, workers, NULL, &room);
    *bytes = room.bytes;
    return fits;
}

// ---- the index ----

static void describe_task(void *context, int64_t task, uint32_t worker) {
    select_job *job = context;
    const lhk_baselines_config *c = job->c;
    const int64_t page = job->first_page + task / c->kv_heads, head = task % c->kv_heads;
    float *rows = job->room.rows + (int64_t)worker * c->page * c->dim;
    const lhk_store_ref *s = &job->store;
    if (s->ops->read_rows(s->instance, (uint32_t)head, page * c->page, c->page, rows, NULL, NULL))
        __atomic_store_n(&job->failed, LHK_ERROR_ARGUMENT, __ATOMIC_RELAXED);
    else job->kind->describe(rows, c->page, c->dim, lhk_baselines_page(job->state, page, head));
}

// ---- the greatest scores ----

/// A number that orders as the score does; NaN comes first, for what it hides must be seen.
static uint32_t ordered(float score) {
    uint32_t bits;
    score = score != score ? INFINITY : score + 0.0f;  // one zero
    memcpy(&bits, &score, sizeof bits);
    return bits >> 31 ? ~bits : bits | UINT32_C(0x80000000);
}

static double weight_from(const uint32_t *order, const float *weights, int64_t count, uint32_t cut) {
    double sum = 0;
    if (weights) for (int64_t i = 0; i < count; i++) sum += order[i] >= cut ? (double)weights[i] : 0;
    else {
        int64_t many = 0;
        for (int64_t i = 0; i < count; i++) many += order[i] >= cut;
        sum = (double)many;
    }
    return sum;
}

/// Marks the pages of greatest score whose weights (null: 1 each) reach `wanted`; of equals the first.
static void take_greatest(float *scores, const float *weights, int64_t count, double wanted, uint8_t *marks) {
    uint32_t *order = (uint32_t *)scores, cut = 0;
    for (int64_t i = 0; i < count; i++) {
        uint32_t key = ordered(scores[i]);
        memcpy(&order[i], &key, sizeof key);
    }
    for (uint32_t bit = UINT32_C(1) << 31; bit; bit >>= 1)
        if (weight_from(order, weights, count, cut | bit) >= wanted) cut |= bit;
    double sum = cut < UINT32_MAX ? weight_from(order, weights, count, cut + 1) : 0;
    for (int64_t i = 0; i < count; i++) {
        bool equal = order[i] == cut && sum < wanted;
        marks[i] = order[i] > cut || equal;
        if (equal) sum += weights ? (double)weights[i] : 1;
    }
}

/// Weights from scores: their softmax.
static void find_weights(const float *scores, int64_t count, float *weights) {
    float most = -INFINITY;
    double sum = 0;
    for (int64_t i = 0; i < count; i++) most = scores[i] > most ? scores[i] : most;
    for (int64_t i = 0; i < count; i++) sum += (double)(weights[i] = scores[i] == most ? 1 : expf(scores[i] - most));
    for (int64_t i = 0; i < count; i++) weights[i] = (float)((double)weights[i] / sum);
}

static void select_task(void *context, int64_t list, uint32_t worker) {
    const select_job *job = context;
    const lhk_baselines_config *c = job->c;
    const select_room *r = &job->room;
    const int64_t head = list / r->tiles, first = list % r->tiles * LHK_BASELINES_TILE_ROWS;
    const int64_t rows = lhk_min(LHK_BASELINES_TILE_ROWS, job->q->shape[0] - first), last = first + rows - 1 + job->origin;
    const lhk_baselines_reach reach = lhk_baselines_reach_of(job->kind, c, last, job->keys);
    const int64_t kv_head = head / (c->query_heads / c->kv_heads), count = reach.to - reach.from;
    float *query = r->query + (int64_t)worker * c->dim, *scores = r->scores + worker * r->pages;
    float *weights = job->kind->prefill && c->share == 0 ? r->weights + worker * r->pages : NULL;
    uint8_t *marks = r->marks + list * r->pages;
    for (int64_t i = 0; i < c->dim; i++) {
        float sum = 0;
        for (int64_t row = first; row < first + rows; row++) sum += lhk_load_element(lhk_row(job->q, row, head), job->q->dtype, i);
        query[i] = sum / (float)rows;
    }
    for (int64_t i = 0; i < count; i++)
        scores[i] = job->kind->score
                        ? job->kind->score(query, lhk_baselines_page(job->state, reach.from + i, kv_head), c->dim, job->scale)
                        : lhk_baselines_draw(c, head, last, reach.from + i);
    memset(marks, 0, (size_t)r->pages);
    memset(marks, 1, (size_t)reach.end);
    if (weights) find_weights(scores, count, weights);
    take_greatest(scores, weights, count, weights ? (double)c->mass : (double)reach.wanted, marks + reach.from);
}

/// Joins marked pages to runs.
static void show(const select_job *job, lhk_selection *out) {
    const select_room *r = &job->room;
    int64_t count = 0;
    for (int64_t l = 0; l < r->lists; l++) {
        const uint8_t *marks = r->marks + l * r->pages;
        r->offsets[l] = count;
        for (int64_t p = 0; p < r->pages;) {
            int64_t begin = p;
            while (p < r->pages && marks[p]) p++;
            if (p > begin) r->runs[count++] = (lhk_run){begin * job->c->page, lhk_min(p * job->c->page, job->keys)};
            else p++;
        }
    }
    r->offsets[r->lists] = count;
    *out = (lhk_selection){.struct_size = sizeof *out, .kind = LHK_SELECTION_BLOCKS,
                           .tile_rows = job->kind->prefill ? LHK_BASELINES_TILE_ROWS : 1, .list_count = r->lists,
                           .list_offsets = r->offsets, .runs = r->runs};
}

// ---- the calls ----

static lhk_status append(lhk_instance *state, const lhk_host *host, const lhk_tensor *k, const lhk_tensor *v, lhk_error *error) {
    const lhk_baselines_config *c = &state->config;
    (void)host, (void)v;
    lhk_status status = lhk_check_rows(k, c->kv_heads, c->dim, "selector k", 2, error);
    if (status) return status;
    if (k->shape[0] > c->keys - state->length)
        return lhk_fail(error, LHK_ERROR_CAPACITY, 2, "%s: %lld keys do not fit: %lld of %lld in use",
                        lhk_baselines_kind_of(state->variant)->name, (long long)k->shape[0], (long long)state->length,
                        (long long)c->keys);
    state->length += k->shape[0];
    return LHK_OK;
}

static lhk_status check_call(const select_job *job, const lhk_attention_params *params, lhk_error *error) {
    const lhk_baselines_config *c = job->c;
    lhk_status status = lhk_check_rows(job->q, c->query_heads, c->dim, "selector q", 2, error);
    if (status) return status;
    const char *name = job->kind->name;
    if (job->q->shape[0] > c->rows || job->keys > c->keys)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 2, "%s: %lld query rows and %lld keys, made for %lld and %lld", name,
                        (long long)job->q->shape[0], (long long)job->keys, (long long)c->rows, (long long)c->keys);
    if (!job->kind->vectors) return LHK_OK;
    if (job->keys != job->state->length)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 3, "%s: the index holds %lld keys, the store %lld", name,
                        (long long)job->state->length, (long long)job->keys);
    if (params && params->alibi_slopes)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, 4, "%s: ALiBi biases are not part of its scores", name);
    return LHK_OK;
}

static lhk_status select_keys(lhk_instance *state, const lhk_host *host, const lhk_tensor *q, lhk_store_ref store,
                              const lhk_attention_params *params, const lhk_workspace *workspace, lhk_selection *out,
                              lhk_error *error) {
    const lhk_baselines_kind *kind = lhk_baselines_kind_of(state->variant);
    select_job job = {.state = state, .kind = kind, .c = &state->config, .q = q, .store = store,
                      .keys = store.ops->length(store.instance),
                      .scale = params && params->scale > 0 ? params->scale : 1 / sqrtf((float)state->config.dim)};
    lhk_status status = check_call(&job, params, error);
    if (status) return status;
    *out = (lhk_selection){.struct_size = sizeof *out, .kind = LHK_SELECTION_ALL};
    if (!lhk_baselines_selects(kind, job.c, q->shape[0], job.keys, params)) return LHK_OK;
    job.origin = lhk_baselines_origin(q->shape[0], job.keys, params);
    if (!carve(kind, job.c, q->shape[0], job.keys, host->workers, workspace->data, &job.room) ||
        workspace->bytes < job.room.bytes || !workspace->data || (uintptr_t)workspace->data % LHK_ALIGNMENT)
        return lhk_fail(error, LHK_ERROR_CAPACITY, 5, "%s: workspace of %llu bytes, needs %llu aligned to %u", kind->name,
                        (unsigned long long)workspace->bytes, (unsigned long long)job.room.bytes, LHK_ALIGNMENT);
    const int64_t complete = kind->vectors ? job.keys / job.c->page : 0;
    if (complete > state->built) {
        job.first_page = state->built;
        lhk_parallel_for(host, (complete - state->built) * job.c->kv_heads, describe_task, &job);
        if (job.failed) return lhk_fail(error, job.failed, 3, "%s: the store does not hold the keys of the index", kind->name);
        state->built = complete;
    }
    lhk_parallel_for(host, job.room.lists, select_task, &job);
    show(&job, out);
    return LHK_OK;
}

const lhk_selector_ops lhk_baselines_selector_ops = {
    .struct_size = sizeof(lhk_selector_ops), .append = append, .select = select_keys};
const lhk_selector_ops lhk_baselines_stateless_selector_ops = {
    .struct_size = sizeof(lhk_selector_ops), .select = select_keys};
