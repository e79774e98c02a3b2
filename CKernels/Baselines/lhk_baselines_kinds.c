// SPDX-License-Identifier: Apache-2.0
/// Options and formulas of the three selectors.
#include "lhk_baselines_internal.h"

#define LANES 16

/// Sums lanes in a fixed order, so that a compiler can keep them in vectors.
static float add_lanes(const float *sum) {
    float total = 0;
    for (int i = 0; i < LANES; i++) total += sum[i];
    return total;
}

static lhk_status read_budget(const lhk_problem *problem, const char *method, lhk_baselines_config *c, lhk_error *error) {
    int64_t dense_layers = 2;
    c->budget = 128;
    lhk_status status = lhk_option_int(problem, method, "budget", 1, 1 << 24, &c->budget, error);
    if (!status) status = lhk_option_int(problem, method, "dense_layers", 0, 1 << 20, &dense_layers, error);
    c->passive = c->layer < dense_layers;
    return status;
}

// ---- quest: page bounds ----

static lhk_status quest_options(const lhk_problem *problem, lhk_baselines_config *c, lhk_error *error) {
    static const char *const names[] = {"budget", "page", "dense_layers"};
    c->page = 16;
    lhk_status status = lhk_options_known(problem, "quest", names, sizeof names / sizeof *names, error);
    if (!status) status = lhk_option_int(problem, "quest", "page", 1, LHK_BASELINES_MOST_PAGE, &c->page, error);
    if (!status) status = read_budget(problem, "quest", c, error);
    c->budget = lhk_max(LHK_BASELINES_LEAST_PAGES, c->budget / c->page);
    return status;
}

/// The least and the greatest value of each channel; NaN when one is NaN.
static void describe_bounds(const float *keys, int64_t count, int64_t dim, float *out) {
    memcpy(out, keys, (size_t)dim * sizeof *out);
    memcpy(out + dim, keys, (size_t)dim * sizeof *out);
    for (int64_t t = 1; t < count; t++)
        for (int64_t c = 0; c < dim; c++) {
            float x = keys[t * dim + c];
            out[c] = x < out[c] || x != x ? x : out[c];
            out[dim + c] = x > out[dim + c] || x != x ? x : out[dim + c];
        }
}

/// No key of the page has a greater product with the query.
static float score_bounds(const float *query, const float *page, int64_t dim, float scale) {
    float sum[LANES] = {0};
    (void)scale;
    for (int64_t c = 0; c < dim; c += LANES)
        for (int64_t i = 0; i < LANES && c + i < dim; i++) {
            float low = query[c + i] * page[c + i], high = query[c + i] * page[dim + c + i];
            sum[i] += low > high ? low : high;
        }
    return add_lanes(sum);
}

const lhk_baselines_kind lhk_baselines_quest = {
    .name = "quest", .vectors = 2, .read_options = quest_options, .describe = describe_bounds, .score = score_bounds};

// ---- pooled: mean queries and mean keys ----

static lhk_status pooled_options(const lhk_problem *problem, lhk_baselines_config *c, lhk_error *error) {
    static const char *const names[] = {"mass", "share", "block"};
    c->page = 32;
    c->mass = 0.95f;
    lhk_status status = lhk_options_known(problem, "pooled", names, sizeof names / sizeof *names, error);
    if (!status) status = lhk_option_int(problem, "pooled", "block", 1, LHK_BASELINES_MOST_PAGE, &c->page, error);
    if (!status) status = lhk_option_float(problem, "pooled", "mass", 0, 1, &c->mass, error);
    if (!status) status = lhk_option_float(problem, "pooled", "share", 1e-6, 1, &c->share, error);
    if (!status && lhk_option_value(problem, "mass") && lhk_option_value(problem, "share"))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "pooled: options mass and share exclude each other");
    return status;
}

static void describe_mean(const float *keys, int64_t count, int64_t dim, float *out) {
    memset(out, 0, (size_t)dim * sizeof *out);
    for (int64_t t = 0; t < count; t++)
        for (int64_t c = 0; c < dim; c++) out[c] += keys[t * dim + c];
    for (int64_t c = 0; c < dim; c++) out[c] /= (float)count;
}

static float score_mean(const float *query, const float *page, int64_t dim, float scale) {
    float sum[LANES] = {0};
    for (int64_t c = 0; c < dim; c += LANES)
        for (int64_t i = 0; i < LANES && c + i < dim; i++) sum[i] += query[c + i] * page[c + i];
    return scale * add_lanes(sum);
}

const lhk_baselines_kind lhk_baselines_pooled = {
    .name = "pooled", .vectors = 1, .prefill = true, .read_options = pooled_options, .describe = describe_mean,
    .score = score_mean};

// ---- random ----

static lhk_status random_options(const lhk_problem *problem, lhk_baselines_config *c, lhk_error *error) {
    static const char *const names[] = {"budget", "seed", "dense_layers"};
    c->page = 1;
    lhk_status status = lhk_options_known(problem, "random", names, sizeof names / sizeof *names, error);
    if (!status) status = lhk_option_int(problem, "random", "seed", 0, INT64_MAX, &c->seed, error);
    return status ? status : read_budget(problem, "random", c, error);
}

/// One round of the generator splitmix64 (Steele, Lea and Flood, 2014).
static uint64_t mix(uint64_t x) {
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

float lhk_baselines_draw(const lhk_baselines_config *c, int64_t head, int64_t position, int64_t token) {
    uint64_t place = mix(mix((uint64_t)c->seed) ^ ((uint64_t)c->layer << 32 | (uint64_t)head));
    return (float)(mix(mix(place ^ (uint64_t)position) ^ (uint64_t)token) >> 40) * 0x1p-24f;
}

const lhk_baselines_kind lhk_baselines_random = {.name = "random", .read_options = random_options};

// ---- which pages ----

int64_t lhk_baselines_origin(int64_t rows, int64_t keys, const lhk_attention_params *params) {
    if (!params || !(params->flags & LHK_ATTENTION_OFFSET)) return keys - rows;
    const int64_t far = INT64_C(1) << 40;  // beyond all keys nothing changes
    return lhk_max(-far, lhk_min(params->offset, far));
}

lhk_baselines_reach lhk_baselines_reach_of(const lhk_baselines_kind *kind, const lhk_baselines_config *c, int64_t last,
                                           int64_t keys) {
    lhk_baselines_reach r = {.end = (lhk_max(0, lhk_min(last + 1, keys)) + c->page - 1) / c->page};
    if (kind->prefill) {
        const int64_t local = (LHK_BASELINES_LOCAL_KEYS + c->page - 1) / c->page + 1;
        r.from = lhk_min(1, r.end);
        r.to = lhk_max(r.from, r.end - local);
        r.wanted = (int64_t)rint((double)c->share * (double)r.end) - (r.end - (r.to - r.from));
    } else {
        r.to = lhk_max(0, r.end - 1);
        r.wanted = c->budget - 1;
    }
    r.wanted = lhk_max(0, lhk_min(r.wanted, r.to - r.from));
    return r;
}

bool lhk_baselines_selects(const lhk_baselines_kind *kind, const lhk_baselines_config *c, int64_t rows, int64_t keys,
                           const lhk_attention_params *params) {
    if (c->passive || rows < 1 || (params && params->window_left >= 0)) return false;
    const int64_t last = rows - 1 + lhk_baselines_origin(rows, keys, params);
    if (kind->prefill) {
        if (rows < 2 || !params || !(params->flags & LHK_ATTENTION_CAUSAL) || params->window_right >= 0) return false;
        lhk_baselines_reach reach = lhk_baselines_reach_of(kind, c, last, keys);
        return reach.to > reach.from;
    }
    return rows == 1 && last == keys - 1 && (keys + c->page - 1) / c->page > c->budget;
}
