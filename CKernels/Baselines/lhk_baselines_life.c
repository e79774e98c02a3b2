// SPDX-License-Identifier: Apache-2.0
/// Life cycle. As for `sale`, an index follows the store by length alone: pages are described when a selection first needs them,
/// from the keys that the store holds, and only once they are complete. So a cut into a page costs the description of that page.
#include "lhk_baselines_internal.h"

static uint64_t index_offset(void) { return (uint64_t)lhk_round_up(sizeof(lhk_instance), LHK_ALIGNMENT); }

float *lhk_baselines_page(const lhk_instance *state, int64_t page, int64_t kv_head) {
    const lhk_baselines_config *c = &state->config;
    float *index = (float *)((uint8_t *)(uintptr_t)state + index_offset());
    return index + (page * c->kv_heads + kv_head) * lhk_baselines_kind_of(state->variant)->vectors * c->dim;
}

lhk_status lhk_baselines_configure(const lhk_baselines_kind *kind, const lhk_problem *problem, lhk_baselines_config *out,
                                   lhk_error *error) {
    const lhk_problem *p = problem;
    *out = (lhk_baselines_config){.query_heads = p->query_heads, .kv_heads = p->kv_heads, .dim = p->head_dim_k, .rows = p->query_rows,
                                  .keys = p->keys, .layer = lhk_problem_layer(p)};
    if (!p->kv_heads || !p->query_heads || p->query_heads % p->kv_heads || p->query_heads > 65536)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "%s: %u query heads are not a multiple of %u KV heads, or too many", kind->name,
                        p->query_heads, p->kv_heads);
    if (!p->head_dim_k || p->head_dim_k > 65536)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, -1, "%s: head dimension %u is not 1 to 65536", kind->name, p->head_dim_k);
    if (p->keys < 0 || p->keys > INT32_MAX || p->query_rows < 0 || p->query_rows > INT32_MAX)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "%s: query rows or keys are not 0 to 2^31-1", kind->name);
    if (kind->vectors && p->params && p->params->alibi_slopes)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, -1, "%s: ALiBi biases are not part of its scores", kind->name);
    return kind->read_options(p, out, error);
}

static lhk_status sizes(const lhk_variant *self, const lhk_problem *problem, uint32_t workers, lhk_sizes *out,
                        lhk_error *error) {
    const lhk_baselines_kind *kind = lhk_baselines_kind_of(self);
    lhk_baselines_config c;
    uint64_t floats = 0, bytes = 0;
    lhk_status status = lhk_baselines_configure(kind, problem, &c, error);
    if (status) return status;
    bool fits = lhk_multiply((uint64_t)(c.keys / c.page), (uint64_t)c.kv_heads * kind->vectors * c.dim, &floats) &&
                lhk_multiply(floats, sizeof(float), &bytes) && bytes < INT64_MAX / 2 &&
                lhk_baselines_workspace(kind, &c, workers, &out->workspace_bytes);
    if (!fits) return lhk_fail(error, LHK_ERROR_OVERFLOW, -1, "%s: sizes for %lld keys overflow", kind->name, (long long)c.keys);
    out->state_bytes = index_offset() + bytes;
    return LHK_OK;
}

static lhk_status supports(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa, lhk_error *error) {
    lhk_sizes out = {.struct_size = sizeof out};
    (void)isa;
    return sizes(self, problem, 1, &out, error);
}

static lhk_status cost(const lhk_variant *self, const lhk_problem *problem, lhk_cost *out) {
    lhk_sizes need = {.struct_size = sizeof need};
    lhk_status status = sizes(self, problem, 1, &need, NULL);
    out->time = out->bytes = (double)need.state_bytes;
    return status;
}

static lhk_status create(const lhk_variant *self, const lhk_problem *problem, lhk_instance *state, uint64_t bytes,
                         lhk_error *error) {
    const lhk_baselines_kind *kind = lhk_baselines_kind_of(self);
    lhk_sizes need = {.struct_size = sizeof need};
    lhk_status status = sizes(self, problem, 1, &need, error);
    if (status) return status;
    if (bytes < need.state_bytes)
        return lhk_fail(error, LHK_ERROR_CAPACITY, 3, "%s: state of %llu bytes, needs %llu", kind->name, (unsigned long long)bytes,
                        (unsigned long long)need.state_bytes);
    state->variant = self;
    return lhk_baselines_configure(kind, problem, &state->config, error);
}

static const char *name_of(const lhk_instance *state) { return lhk_baselines_kind_of(state->variant)->name; }

static lhk_status truncate_keys(lhk_instance *state, int64_t tokens, lhk_error *error) {
    if (tokens < 0 || tokens > state->length)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "%s: cannot truncate %lld keys to %lld", name_of(state),
                        (long long)state->length, (long long)tokens);
    state->length = tokens;
    state->built = lhk_min(state->built, tokens / state->config.page);
    return LHK_OK;
}

static lhk_status fork_state(const lhk_instance *source, lhk_instance *destination, lhk_error *error) {
    const lhk_baselines_config *c = &source->config;
    if (source->variant != destination->variant || memcmp(c, &destination->config, sizeof *c))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "%s: fork between selectors of different shapes or options", name_of(source));
    destination->length = source->length;
    destination->built = source->built;
    const float *first = lhk_baselines_page(source, 0, 0), *end = lhk_baselines_page(source, source->built, 0);
    memcpy(lhk_baselines_page(destination, 0, 0), first, (size_t)(end - first) * sizeof *first);
    return LHK_OK;
}

/// Saved form: the length and the shape. `check` is the complement of the length, so that no damage to it goes unseen.
typedef struct saved {
    uint32_t version, vectors, kv_heads, dim;
    int64_t page, length, check;
} saved;

static saved saved_of(const lhk_instance *s) {
    const lhk_baselines_config *c = &s->config;
    return (saved){1, lhk_baselines_kind_of(s->variant)->vectors, c->kv_heads, c->dim, c->page, s->length, ~s->length};
}

static uint64_t save_size(const lhk_instance *state) { return (void)state, sizeof(saved); }

static void save(const lhk_instance *state, uint8_t *out) {
    saved header = saved_of(state);
    memcpy(out, &header, sizeof header);
}

static lhk_status load(lhk_instance *state, const uint8_t *bytes, uint64_t count, lhk_error *error) {
    saved header, own = saved_of(state);
    if (count != sizeof header)
        return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "%s: a saved index of %llu bytes, %zu expected", name_of(state),
                        (unsigned long long)count, sizeof header);
    memcpy(&header, bytes, sizeof header);
    if (memcmp(&header, &own, offsetof(saved, length)))
        return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "%s: a saved index of another version, shape or page", name_of(state));
    if (header.length < 0 || header.check != ~header.length)
        return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "%s: the length of a saved index is damaged", name_of(state));
    if (header.length > state->config.keys)
        return lhk_fail(error, LHK_ERROR_CAPACITY, 1, "%s: a saved index of %lld keys, capacity is %lld", name_of(state),
                        (long long)header.length, (long long)state->config.keys);
    state->length = header.length;
    state->built = 0;
    return LHK_OK;
}

const lhk_life_ops lhk_baselines_life_ops = {
    .struct_size = sizeof(lhk_life_ops), .supports = supports, .cost = cost, .sizes = sizes, .create = create,
    .truncate = truncate_keys, .fork = fork_state, .save_size = save_size, .save = save, .load = load};
const lhk_life_ops lhk_baselines_stateless_life_ops = {
    .struct_size = sizeof(lhk_life_ops), .supports = supports, .cost = cost, .sizes = sizes, .create = create};
