// SPDX-License-Identifier: Apache-2.0
/// Life cycle of quantised stores: sizes, creation, truncation, forks, saved bytes.
#include "lhk_quant_store.h"

static uint32_t bits_of(const lhk_variant *self) { return ((const lhk_quant_variant *)self->data)->bits; }

static lhk_status read_rotate(const lhk_problem *problem, int64_t *rotate, lhk_error *error) {
    static const char *const names[] = {"rotate"};
    lhk_status status = lhk_options_known(problem, "quantised store", names, 1, error);
    return status ? status : lhk_option_int(problem, "quantised store", "rotate", 0, 1, rotate, error);
}

static lhk_status supports(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa, lhk_error *error) {
    (void)isa;
    int64_t rotate;
    lhk_status status = lhk_store_check_problem(self, problem, error);
    return status ? status : read_rotate(problem, &rotate, error);
}

static lhk_quant_layout layout(const lhk_variant *self, const lhk_problem *p) {
    return lhk_quant_layout_of(bits_of(self), p->kv_heads, p->head_dim_k, p->head_dim_v);
}

static lhk_status cost(const lhk_variant *self, const lhk_problem *problem, lhk_cost *out) {
    double tokens = (double)problem->keys, dims = (double)problem->head_dim_k + problem->head_dim_v;
    out->bytes = tokens * (double)layout(self, problem).block_stride / LHK_QUANT_TOKENS;
    out->time = tokens * problem->kv_heads * dims / ((const lhk_quant_variant *)self->data)->speed;
    return LHK_OK;
}

static lhk_status sizes(const lhk_variant *self, const lhk_problem *problem, uint32_t workers, lhk_sizes *out,
                        lhk_error *error) {
    (void)workers;
    return lhk_store_size_blocks(problem, LHK_QUANT_HEADER, LHK_QUANT_TOKENS, layout(self, problem).block_stride, out, error);
}

static lhk_status create(const lhk_variant *self, const lhk_problem *problem, lhk_instance *store, uint64_t bytes,
                         lhk_error *error) {
    lhk_sizes need = {.struct_size = sizeof need};
    int64_t rotate = 0;
    lhk_status status = sizes(self, problem, 1, &need, error);
    if (!status) status = read_rotate(problem, &rotate, error);
    if (!status) status = lhk_store_check_state(bytes, need.state_bytes, error);
    if (status) return status;
    lhk_quant_state *state = (lhk_quant_state *)store;
    state->variant = self;
    state->bits = (uint16_t)bits_of(self);
    state->rotate = (uint16_t)rotate;
    state->kv_heads = problem->kv_heads;
    state->dim_k = problem->head_dim_k;
    state->dim_v = problem->head_dim_v;
    state->capacity = problem->keys;
    return LHK_OK;
}

static lhk_status truncate_tokens(lhk_instance *store, int64_t tokens, lhk_error *error) {
    lhk_quant_state *state = (lhk_quant_state *)store;
    lhk_status status = lhk_store_check_truncate(tokens, state->length, error);
    if (status) return status;
    state->length = tokens;
    if (tokens == 0) atomic_store(&state->values_nonfinite, 0);
    return LHK_OK;
}

/// What decides the meaning of a state's bytes.
typedef struct shape {
    uint32_t bits, rotate, kv_heads, dim_k, dim_v;
} shape;

static shape shape_of(const lhk_instance *store) {
    const lhk_quant_state *s = lhk_quant(store);
    return (shape){s->bits, s->rotate, s->kv_heads, s->dim_k, s->dim_v};
}

static uint64_t used_bytes(const lhk_instance *store) {
    return lhk_store_used(lhk_quant(store)->length, LHK_QUANT_TOKENS, lhk_quant_layout_for(store).block_stride);
}

static uint8_t *blocks_of(const lhk_instance *store) { return (uint8_t *)store + LHK_QUANT_HEADER; }

static lhk_status fork_state(const lhk_instance *source, lhk_instance *destination, lhk_error *error) {
    const lhk_quant_state *from = lhk_quant(source);
    lhk_quant_state *to = (lhk_quant_state *)destination;
    shape a = shape_of(source), b = shape_of(destination);
    if (memcmp(&a, &b, sizeof a) || to->capacity < from->length)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "store: fork between stores of different shapes");
    memcpy(blocks_of(destination), blocks_of(source), used_bytes(source));
    to->length = from->length;
    atomic_store(&to->values_nonfinite, atomic_load(&from->values_nonfinite));
    return LHK_OK;
}

/// Saved form: this header, then the blocks in use as they are in memory.
typedef struct saved_header {
    uint32_t version, block_tokens, values_nonfinite;
    shape shape;
    int64_t length;
} saved_header;

static uint64_t save_size(const lhk_instance *store) {
    return sizeof(saved_header) + used_bytes(store);
}

static void save(const lhk_instance *store, uint8_t *out) {
    const lhk_quant_state *s = lhk_quant(store);
    saved_header header = {.version = 1, .block_tokens = LHK_QUANT_TOKENS, .shape = shape_of(store), .length = s->length,
                           .values_nonfinite = atomic_load(&s->values_nonfinite)};
    memcpy(out, &header, sizeof header);
    memcpy(out + sizeof header, blocks_of(store), used_bytes(store));
}

static lhk_status load(lhk_instance *store, const uint8_t *bytes, uint64_t count, lhk_error *error) {
    lhk_quant_state *s = (lhk_quant_state *)store;
    saved_header h;
    if (count < sizeof h) return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "store: saved state is cut off");
    memcpy(&h, bytes, sizeof h);
    if (h.version != 1) return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "store: saved state has version %u, not 1", h.version);
    shape own = shape_of(store);
    if (memcmp(&h.shape, &own, sizeof own) || h.block_tokens != LHK_QUANT_TOKENS)
        return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "store: saved state is of another shape, width or rotation");
    uint64_t used = 0;
    lhk_status status = lhk_store_check_saved(h.length, s->capacity, count, sizeof h, LHK_QUANT_TOKENS,
                                              lhk_quant_layout_for(store).block_stride, &used, error);
    if (status) return status;
    memcpy(blocks_of(store), bytes + sizeof h, used);
    s->length = h.length;
    atomic_store(&s->values_nonfinite, h.values_nonfinite != 0);
    return LHK_OK;
}

const lhk_life_ops lhk_quant_life_ops = {
    .struct_size = sizeof(lhk_life_ops), .supports = supports, .cost = cost, .sizes = sizes, .create = create,
    .truncate = truncate_tokens, .fork = fork_state, .save_size = save_size, .save = save, .load = load};
