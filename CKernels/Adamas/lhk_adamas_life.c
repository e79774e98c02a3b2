// SPDX-License-Identifier: Apache-2.0
/// Life cycle of the selector: options, sizes, creation, truncation.
#include "lhk_adamas_index.h"

static lhk_status read_word(const lhk_problem *problem, const char *key, const char *const *words, uint32_t *out,
                            lhk_error *error) {
    const char *value = lhk_option_value(problem, key);
    for (uint32_t i = 0; value && words[i]; i++)
        if (!strcmp(value, words[i])) {
            *out = i;
            return LHK_OK;
        }
    if (!value) return LHK_OK;
    return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "adamas: option %s=%s is not %s, %s%s%s", key, value, words[0], words[1],
                    words[2] ? " or " : "", words[2] ? words[2] : "");
}

static lhk_status check_shape(const lhk_problem *p, lhk_error *error) {
    if (!p->kv_heads || !p->query_heads || p->query_heads % p->kv_heads || p->query_heads > 65536 || p->query_rows < 0)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "adamas: %u query heads are not a multiple of %u KV heads",
                        p->query_heads, p->kv_heads);
    if (p->head_dim_k < 16 || p->head_dim_k > LHK_ADAMAS_MOST_DIM || !p->head_dim_v || p->head_dim_v > 65536)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, 1, "adamas: head dimension %u/%u is not 16 to %d", p->head_dim_k,
                        p->head_dim_v, LHK_ADAMAS_MOST_DIM);
    if (p->keys < 0 || p->keys > INT32_MAX - 2 * LHK_ADAMAS_BLOCK)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "adamas: capacity %lld is not within 0 and 2^31 tokens",
                        (long long)p->keys);
    return LHK_OK;
}

/// Tokens that are always taken: as given, or a part of the budget.
static lhk_status read_budget(const lhk_problem *problem, lhk_adamas_config *c, lhk_error *error) {
    lhk_status status = lhk_option_int(problem, "adamas", "budget", 1, 1 << 24, &c->budget, error);
    if (status) return status;
    bool asymmetric = c->scoring == LHK_ADAMAS_ASYMMETRIC;
    c->sinks = asymmetric ? lhk_min(4, c->budget / 16) : 0;
    c->recent = asymmetric ? lhk_max(1, lhk_min(32, c->budget / 4)) : 1;
    status = lhk_option_int(problem, "adamas", "sinks", 0, 1 << 24, &c->sinks, error);
    if (!status) status = lhk_option_int(problem, "adamas", "recent", 1, 1 << 24, &c->recent, error);
    if (!status && c->sinks + c->recent > c->budget)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "adamas: %lld first and %lld last tokens do not fit a budget of %lld",
                        (long long)c->sinks, (long long)c->recent, (long long)c->budget);
    return status;
}

lhk_status lhk_adamas_configure(const lhk_problem *problem, lhk_adamas_config *out, lhk_error *error) {
    static const char *const names[] = {"budget", "dense_layers", "scoring", "remainder", "lists",
                                        "sinks",  "recent",       "sample",  "center",    "balance", "values"};
    static const char *const scorings[] = {"manhattan", "asymmetric", "exact", NULL};
    static const char *const centers[] = {"0", "1", "moving", NULL};
    static const char *const lists[] = {"query", "union", "kv", NULL};
    lhk_adamas_config c = {.query_heads = problem->query_heads, .kv_heads = problem->kv_heads, .dim_k = problem->head_dim_k,
                           .dim_v = problem->head_dim_v, .capacity = problem->keys, .query_rows = problem->query_rows,
                           .budget = 128, .sample = 512, .scoring = LHK_ADAMAS_ASYMMETRIC};
    const lhk_attention_params *params = problem->params;
    int64_t dense_layers = 2, remainder = 0, balance = 0;
    lhk_status status = check_shape(problem, error);
    if (!status) status = lhk_options_known(problem, "adamas", names, sizeof names / sizeof *names, error);
    if (!status) status = read_word(problem, "scoring", scorings, &c.scoring, error);
    bool asymmetric = c.scoring == LHK_ADAMAS_ASYMMETRIC;
    if (asymmetric) c.lists = LHK_ADAMAS_LISTS_UNION;
    if (!status) status = read_word(problem, "lists", lists, &c.lists, error);
    if (!status) status = read_budget(problem, &c, error);
    balance = asymmetric;
    c.center = asymmetric ? LHK_ADAMAS_CENTER_MOVING : LHK_ADAMAS_CENTER_NONE;
    remainder = asymmetric && !(params && params->softcap > 0);
    if (!status) status = lhk_option_int(problem, "adamas", "dense_layers", 0, 1 << 20, &dense_layers, error);
    if (!status) status = lhk_option_int(problem, "adamas", "remainder", 0, 1, &remainder, error);
    c.values = asymmetric && remainder ? 2048 : 0;
    if (!status) status = lhk_option_int(problem, "adamas", "values", 0, 1 << 20, &c.values, error);
    if (!status) status = read_word(problem, "center", centers, &c.center, error);
    if (!status) status = lhk_option_int(problem, "adamas", "balance", 0, 1, &balance, error);
    if (!status) status = lhk_option_int(problem, "adamas", "sample", 16, LHK_ADAMAS_MOST_SAMPLE, &c.sample, error);
    if (status) return status;
    if (remainder && c.scoring == LHK_ADAMAS_MANHATTAN)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1,
                        "adamas: remainder=1 needs scoring=asymmetric or exact; distances do not say what a token weighs");
    if (c.center == LHK_ADAMAS_CENTER_MOVING && !asymmetric)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "adamas: center=moving needs scoring=asymmetric");
    if (c.values && !remainder)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "adamas: values=%lld needs remainder=1", (long long)c.values);
    if (params && params->alibi_slopes)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, 1, "adamas: ALiBi biases are not part of its scores");
    if (remainder && params && params->softcap > 0)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, 1, "adamas: remainder=1 does not know softcaps");
    c.remainder = (uint32_t)remainder;
    c.balance = (uint32_t)balance;
    if (c.scoring == LHK_ADAMAS_EXACT) c.center = 0, c.balance = 0, c.sample = 0;
    c.passive = lhk_problem_layer(problem) < dense_layers || (params && params->window_left >= 0);
    *out = c;
    return LHK_OK;
}

bool lhk_adamas_carve(const lhk_adamas_config *c, const void *state, lhk_adamas_parts *p) {
    lhk_carver carver = {.base = (void *)(uintptr_t)state};
    uint64_t heads = c->kv_heads, blocks = (uint64_t)lhk_adamas_blocks_for(c->capacity), group = 0;
    lhk_carve(&carver, 1, sizeof(lhk_instance));
    memset(p, 0, sizeof *p);
    p->block_bytes = c->scoring == LHK_ADAMAS_ASYMMETRIC
                         ? LHK_ADAMAS_BLOCK / LHK_ADAMAS_TILE * (uint64_t)lhk_adamas_tile_bytes(c->dim_k)
                     : c->scoring == LHK_ADAMAS_EXACT
                         ? 0
                         : LHK_ADAMAS_BLOCK * 16 * (uint64_t)lhk_adamas_words(c->dim_k);
    if (!c->passive) {
        p->levels = lhk_carve(&carver, heads, sizeof *p->levels);
        p->balance = lhk_carve(&carver, heads * c->dim_k, sizeof(float));
        p->raw = lhk_carve(&carver, heads * (uint64_t)c->sample * c->dim_k, sizeof(float));
        carver.overflow |= !lhk_multiply(blocks + 1, heads, &group);
        p->head_blocks = (int64_t)blocks + 1;
        p->mean = lhk_carve(&carver, c->center == LHK_ADAMAS_CENTER_MOVING ? group : heads, c->dim_k * sizeof(float));
        p->blocks = lhk_carve(&carver, group, p->block_bytes);
        p->sums = lhk_carve(&carver, c->remainder ? group : 0, c->dim_v * sizeof(float));
        p->partial = lhk_carve(&carver, c->remainder ? heads : 0, c->dim_v * sizeof(float));
    }
    p->bytes = carver.used;
    return !carver.overflow && carver.used < (UINT64_MAX >> 2);
}

static lhk_status supports(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa, lhk_error *error) {
    lhk_adamas_config config;
    (void)self, (void)isa;
    return lhk_adamas_configure(problem, &config, error);
}

static lhk_status cost(const lhk_variant *self, const lhk_problem *problem, lhk_cost *out) {
    const lhk_adamas_kernel *kernel = self->data;
    out->time = 1000 + (double)problem->keys * problem->query_heads * problem->head_dim_k / 128 / kernel->speed;
    out->bytes = (double)problem->keys * problem->kv_heads * problem->head_dim_k / 4;
    return LHK_OK;
}

static lhk_status sizes(const lhk_variant *self, const lhk_problem *problem, uint32_t workers, lhk_sizes *out,
                        lhk_error *error) {
    lhk_adamas_config config;
    lhk_adamas_parts parts;
    (void)self;
    lhk_status status = lhk_adamas_configure(problem, &config, error);
    if (status) return status;
    if (!lhk_adamas_carve(&config, NULL, &parts) || !lhk_adamas_workspace(&config, workers, &out->workspace_bytes))
        return lhk_fail(error, LHK_ERROR_OVERFLOW, 1, "adamas: capacity of %lld tokens overflows", (long long)problem->keys);
    out->state_bytes = parts.bytes;
    return LHK_OK;
}

static lhk_status create(const lhk_variant *self, const lhk_problem *problem, lhk_instance *index, uint64_t bytes,
                         lhk_error *error) {
    lhk_sizes need = {.struct_size = sizeof need};
    lhk_status status = sizes(self, problem, 1, &need, error);
    if (status) return status;
    if (bytes < need.state_bytes)
        return lhk_fail(error, LHK_ERROR_CAPACITY, 3, "adamas: state of %llu bytes given, %llu needed",
                        (unsigned long long)bytes, (unsigned long long)need.state_bytes);
    index->variant = self;
    return lhk_adamas_configure(problem, &index->config, error);
}

static lhk_status truncate_tokens(lhk_instance *index, int64_t tokens, lhk_error *error) {
    if (tokens < 0 || tokens > index->length)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "adamas: cannot truncate %lld tokens to %lld",
                        (long long)index->length, (long long)tokens);
    index->length = tokens;
    if (index->summed > tokens) index->summed = tokens / LHK_ADAMAS_BLOCK * LHK_ADAMAS_BLOCK;
    return LHK_OK;
}

const lhk_life_ops lhk_adamas_life_ops = {
    .struct_size = sizeof(lhk_life_ops), .supports = supports, .cost = cost, .sizes = sizes, .create = create,
    .truncate = truncate_tokens, .fork = lhk_adamas_fork,
    .save_size = lhk_adamas_save_size, .save = lhk_adamas_save, .load = lhk_adamas_load};
