// SPDX-License-Identifier: Apache-2.0
/// Life cycle of dense stores: sizes, creation, truncation, forks, saved bytes.
#include "lhk_dense_store.h"

static void layout(const lhk_problem *problem, lhk_dtype dtype, lhk_panels *panels) {
    memset(panels, 0, sizeof *panels);
    lhk_panel_layout(panels, dtype, problem->head_dim_k, problem->head_dim_v, LHK_BLOCK_TOKENS);
    panels->head_stride = lhk_panel_block_bytes(panels);
    panels->block_stride = panels->head_stride * problem->kv_heads;
}

static lhk_dtype variant_dtype(const lhk_variant *self) { return *(const lhk_dtype *)self->data; }

/// Options: `rotate` of keys of 8 bits; other types have none.
static lhk_status read_rotation(const lhk_variant *self, const lhk_problem *problem, uint32_t *rotation, lhk_error *error) {
    static const char *const names[] = {"rotate"};
    bool has = variant_dtype(self) == LHK_DTYPE_I8;
    int64_t rotate = has;
    lhk_status status = lhk_options_known(problem, "dense store", names, has, error);
    if (!status) status = lhk_option_int(problem, "dense store", "rotate", 0, 1, &rotate, error);
    *rotation = rotate ? LHK_ROTATION_HADAMARD : LHK_ROTATION_NONE;
    return status;
}

static lhk_status supports(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa, lhk_error *error) {
    (void)isa;
    lhk_status status = lhk_store_check_problem(self, problem, error);
    return status ? status : read_rotation(self, problem, &(uint32_t){0}, error);
}

static lhk_status cost(const lhk_variant *self, const lhk_problem *problem, lhk_cost *out) {
    lhk_panels panels;
    layout(problem, variant_dtype(self), &panels);
    out->bytes = (double)problem->keys * (double)panels.block_stride / panels.block_tokens;
    out->time = out->bytes / 10;
    return LHK_OK;
}

static lhk_status sizes(const lhk_variant *self, const lhk_problem *problem, uint32_t workers, lhk_sizes *out,
                        lhk_error *error) {
    (void)workers;
    lhk_panels panels;
    layout(problem, variant_dtype(self), &panels);
    return lhk_store_size_blocks(problem, LHK_DENSE_HEADER, LHK_BLOCK_TOKENS, panels.block_stride, out, error);
}

static lhk_status create(const lhk_variant *self, const lhk_problem *problem, lhk_instance *store, uint64_t bytes,
                         lhk_error *error) {
    lhk_sizes need = {.struct_size = sizeof need};
    lhk_status status = sizes(self, problem, 1, &need, error);
    if (!status) status = lhk_store_check_state(bytes, need.state_bytes, error);
    if (status) return status;
    lhk_dense_state *state = (lhk_dense_state *)store;
    state->variant = self;
    state->kv_heads = problem->kv_heads;
    state->dim_k = problem->head_dim_k;
    state->dim_v = problem->head_dim_v;
    state->capacity = problem->keys;
    return read_rotation(self, problem, &state->rotation, error);
}

void lhk_dense_panels(const lhk_instance *store, lhk_panels *out) {
    const lhk_dense_state *state = lhk_dense(store);
    lhk_problem problem = {.kv_heads = state->kv_heads, .head_dim_k = state->dim_k, .head_dim_v = state->dim_v};
    layout(&problem, variant_dtype(state->variant), out);
    out->base = (const uint8_t *)state + LHK_DENSE_HEADER;
    out->values_nonfinite = atomic_load_explicit(&state->values_nonfinite, memory_order_relaxed);
    out->rotation = state->rotation;
}

void lhk_dense_show_panels(const lhk_instance *store, lhk_panels *out) {
    lhk_panels panels;
    lhk_dense_panels(store, &panels);
    panels.struct_size = out->struct_size;
    memcpy(out, &panels, panels.struct_size < sizeof panels ? panels.struct_size : sizeof panels);
}

/// Clears what follows `length` in its group of value tokens (see lhk_panels).
static void clear_group(lhk_instance *store, int64_t length) {
    lhk_panels p;
    lhk_dense_panels(store, &p);
    if (length % p.value_group == 0) return;
    for (uint32_t h = 0; h < lhk_dense(store)->kv_heads; h++)
        lhk_panel_pack_values(&p, lhk_dense_block(&p, length / p.block_tokens, h), length % p.block_tokens, 0, NULL, 0,
                              p.value_dtype, 0);
}

static lhk_status truncate_tokens(lhk_instance *store, int64_t tokens, lhk_error *error) {
    lhk_dense_state *state = (lhk_dense_state *)store;
    lhk_status status = lhk_store_check_truncate(tokens, state->length, error);
    if (status) return status;
    state->length = tokens;
    clear_group(store, tokens);
    if (tokens == 0) atomic_store(&state->values_nonfinite, 0);
    return LHK_OK;
}

/// Bytes of the blocks that hold `length` tokens.
static uint64_t used_bytes(const lhk_instance *store) {
    lhk_panels p;
    lhk_dense_panels(store, &p);
    return lhk_store_used(lhk_dense(store)->length, p.block_tokens, p.block_stride);
}

static lhk_status fork_state(const lhk_instance *source, lhk_instance *destination, lhk_error *error) {
    const lhk_dense_state *from = lhk_dense(source);
    lhk_dense_state *to = (lhk_dense_state *)destination;
    if (to->variant != from->variant || to->kv_heads != from->kv_heads || to->dim_k != from->dim_k ||
        to->dim_v != from->dim_v || to->rotation != from->rotation || to->capacity < from->length)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "store: fork between stores of different shapes");
    memcpy((uint8_t *)to + LHK_DENSE_HEADER, (const uint8_t *)from + LHK_DENSE_HEADER, used_bytes(source));
    to->length = from->length;
    atomic_store(&to->values_nonfinite, atomic_load(&from->values_nonfinite));
    return LHK_OK;
}

/// Saved form: this header, then the blocks in use as they are in memory.
typedef struct saved_header {
    uint32_t version, dtype, kv_heads, dim_k, dim_v, block_tokens, values_nonfinite, rotation;
    int64_t length;
} saved_header;

static uint64_t save_size(const lhk_instance *store) { return sizeof(saved_header) + used_bytes(store); }

static void save(const lhk_instance *store, uint8_t *out) {
    const lhk_dense_state *s = lhk_dense(store);
    saved_header header = {.version = 1, .dtype = variant_dtype(s->variant), .kv_heads = s->kv_heads, .dim_k = s->dim_k,
                           .dim_v = s->dim_v, .block_tokens = LHK_BLOCK_TOKENS,
                           .values_nonfinite = atomic_load(&s->values_nonfinite), .rotation = s->rotation,
                           .length = s->length};
    memcpy(out, &header, sizeof header);
    memcpy(out + sizeof header, (const uint8_t *)s + LHK_DENSE_HEADER, used_bytes(store));
}

static lhk_status load(lhk_instance *store, const uint8_t *bytes, uint64_t count, lhk_error *error) {
    lhk_dense_state *s = (lhk_dense_state *)store;
    saved_header h;
    if (count < sizeof h) return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "store: saved state is cut off");
    memcpy(&h, bytes, sizeof h);
    if (h.version != 1) return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "store: saved state has version %u, not 1", h.version);
    if (h.dtype != variant_dtype(s->variant) || h.kv_heads != s->kv_heads || h.dim_k != s->dim_k || h.dim_v != s->dim_v ||
        h.block_tokens != LHK_BLOCK_TOKENS || h.rotation != s->rotation)
        return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "store: saved state is of another shape, element type or rotation");
    lhk_panels p;
    lhk_dense_panels(store, &p);
    uint64_t used = 0;
    lhk_status status = lhk_store_check_saved(h.length, s->capacity, count, sizeof h, p.block_tokens, p.block_stride, &used,
                                              error);
    if (status) return status;
    memcpy((uint8_t *)s + LHK_DENSE_HEADER, bytes + sizeof h, used);
    s->length = h.length;
    atomic_store(&s->values_nonfinite, h.values_nonfinite != 0);
    return LHK_OK;
}

const lhk_life_ops lhk_dense_life_ops = {
    .struct_size = sizeof(lhk_life_ops), .supports = supports, .cost = cost, .sizes = sizes, .create = create,
    .truncate = truncate_tokens, .fork = fork_state, .save_size = save_size, .save = save, .load = load};
