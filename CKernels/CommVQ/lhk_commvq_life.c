// SPDX-License-Identifier: Apache-2.0
/// Life cycle of the store: options, sizes, creation, truncation, forks, saved bytes.
#include "lhk_commvq_store.h"

/// The header that `problem` asks for.
static lhk_status read_shape(const lhk_problem *problem, lhk_commvq_state *out, lhk_error *error) {
    static const char *const names[] = {"bits", "calibration", "form", "random", "recent", "sinks"};
    const char *form = lhk_option_value(problem, "form");
    const bool product = form && !strcmp(form, "product");
    int64_t bits = 2, recent = 0, sinks = 4;
    lhk_status status = lhk_options_known(problem, "commvq", names, sizeof names / sizeof *names, error);
    if (!status && form && !product && strcmp(form, "additive"))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "commvq: option form=%s; must be additive or product", form);
    const int64_t most_bits = product ? LHK_COMMVQ_PRODUCT_BITS : 2;
    if (!status) status = lhk_option_int(problem, "commvq", "bits", 1, most_bits, &bits, error);
    if (!status) status = lhk_option_int(problem, "commvq", "recent", 0, 4096, &recent, error);
    if (!status) status = lhk_option_int(problem, "commvq", "sinks", 0, 64, &sinks, error);
    if (status) return status;
    if (recent % LHK_COMMVQ_BLOCK)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "commvq: option recent=%lld is not a multiple of %d", (long long)recent,
                        LHK_COMMVQ_BLOCK);
    *out = (lhk_commvq_state){.kv_heads = problem->kv_heads, .dim_k = problem->head_dim_k, .dim_v = problem->head_dim_v,
                              .bits = (uint16_t)bits, .sinks = (uint16_t)sinks, .recent = (uint16_t)recent,
                              .product = product,
                              .capacity = problem->keys};
    return LHK_OK;
}

static lhk_status check_shape(const lhk_variant *self, const lhk_problem *problem, lhk_commvq_state *out, lhk_error *error) {
    lhk_status status = lhk_store_check_problem(self, problem, error);
    if (!status) status = read_shape(problem, out, error);
    if (status) return status;
    if (problem->head_dim_k % 64 || problem->head_dim_v % 64)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, 1, "commvq: head dimensions %u/%u are not multiples of 64",
                        problem->head_dim_k, problem->head_dim_v);
    if (problem->kv_heads > 1024)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, 1, "commvq: %u KV heads are over 1024", problem->kv_heads);
    return LHK_OK;
}

static lhk_status supports(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa, lhk_error *error) {
    (void)isa;
    lhk_commvq_state shape;
    lhk_status status = check_shape(self, problem, &shape, error);
    return status ? status : lhk_commvq_check_tables(problem, &shape, error);
}

static lhk_status cost(const lhk_variant *self, const lhk_problem *problem, lhk_cost *out) {
    lhk_commvq_state shape = {0};
    lhk_status status = read_shape(problem, &shape, NULL);
    if (status) return status;
    double tokens = (double)problem->keys, dims = (double)problem->head_dim_k + problem->head_dim_v;
    out->bytes = tokens * (double)lhk_commvq_layout_of(&shape).block_stride / LHK_COMMVQ_BLOCK;
    const lhk_commvq_variant *own = self->data;
    out->time = tokens * problem->kv_heads * dims / (shape.product ? own->product_speed : own->speed / shape.bits * 2);
    return LHK_OK;
}

static lhk_status sizes(const lhk_variant *self, const lhk_problem *problem, uint32_t workers, lhk_sizes *out,
                        lhk_error *error) {
    (void)workers;
    lhk_commvq_state shape;
    lhk_status status = check_shape(self, problem, &shape, error);
    if (status) return status;
    lhk_commvq_layout l = lhk_commvq_layout_of(&shape);
    return lhk_store_size_blocks(problem, l.blocks, LHK_COMMVQ_BLOCK, l.block_stride, out, error);
}

static lhk_status create(const lhk_variant *self, const lhk_problem *problem, lhk_instance *store, uint64_t bytes,
                         lhk_error *error) {
    lhk_sizes need = {.struct_size = sizeof need};
    lhk_commvq_state shape;
    lhk_status status = sizes(self, problem, 1, &need, error);
    if (!status) status = lhk_store_check_state(bytes, need.state_bytes, error);
    if (!status) status = check_shape(self, problem, &shape, error);
    if (status) return status;
    shape.variant = self;
    memcpy(store, &shape, sizeof shape);
    return lhk_commvq_fill_tables(problem, store, error);
}

static lhk_status truncate_tokens(lhk_instance *store, int64_t tokens, lhk_error *error) {
    lhk_commvq_state *state = (lhk_commvq_state *)store;
    lhk_status status = lhk_store_check_truncate(tokens, state->length, error);
    if (status) return status;
    state->length = tokens;
    state->encoded = lhk_min(state->encoded, tokens);
    if (tokens == 0) atomic_store(&state->values_nonfinite, 0);
    return LHK_OK;
}

// ---- copies ----

/// What decides the meaning of a state's bytes.
typedef struct shape {
    uint32_t bits, sinks, recent, kv_heads, dim_k, dim_v;
    uint64_t codebooks;  ///< tells the form, too
} shape;

static shape shape_of(const lhk_commvq_state *s) {
    return (shape){s->bits, s->sinks, s->recent, s->kv_heads, s->dim_k, s->dim_v, s->codebooks};
}

/// Bytes of the blocks that hold codes.
static uint64_t block_bytes(const lhk_commvq_layout *l, int64_t encoded) {
    return lhk_store_used(encoded, LHK_COMMVQ_BLOCK, l->block_stride);
}

static lhk_status fork_state(const lhk_instance *source, lhk_instance *destination, lhk_error *error) {
    const lhk_commvq_state *from = lhk_commvq(source);
    lhk_commvq_state *to = (lhk_commvq_state *)destination;
    shape a = shape_of(from), b = shape_of(to);
    if (memcmp(&a, &b, sizeof a) || to->capacity < from->length)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "store: fork between stores of different shapes or codebooks");
    lhk_commvq_layout l = lhk_commvq_layout_of(from), m = lhk_commvq_layout_of(to);
    memcpy(lhk_commvq_at(destination, m.blocks), lhk_commvq_at(source, l.blocks), block_bytes(&l, from->encoded));
    memcpy(lhk_commvq_at(destination, m.exact), lhk_commvq_at(source, l.exact), (from->sinks + l.slots) * l.exact_row);
    to->length = from->length;
    to->encoded = from->encoded;
    atomic_store(&to->values_nonfinite, atomic_load(&from->values_nonfinite));
    return LHK_OK;
}

/// Saved form: this header, the blocks in use as they are in memory, the exact rows in order of tokens.
typedef struct saved_header {
    uint32_t version, values_nonfinite;
    shape shape;
    int64_t length, encoded;
} saved_header;

static uint64_t save_size(const lhk_instance *store) {
    const lhk_commvq_state *s = lhk_commvq(store);
    lhk_commvq_layout l = lhk_commvq_layout_of(s);
    const uint64_t rows = (uint64_t)lhk_store_exact_rows(s->sinks, s->length, s->encoded);
    return sizeof(saved_header) + block_bytes(&l, s->encoded) + rows * l.exact_row;
}

static void save(const lhk_instance *store, uint8_t *out) {
    const lhk_commvq_state *s = lhk_commvq(store);
    lhk_commvq_layout l = lhk_commvq_layout_of(s);
    saved_header header = {.version = 1, .shape = shape_of(s), .length = s->length, .encoded = s->encoded,
                           .values_nonfinite = atomic_load(&s->values_nonfinite)};
    memcpy(out, &header, sizeof header);
    out += sizeof header;
    memcpy(out, lhk_commvq_at(store, l.blocks), block_bytes(&l, s->encoded));
    out += block_bytes(&l, s->encoded);
    int64_t rows = lhk_store_exact_rows(s->sinks, s->length, s->encoded);
    for (int64_t i = 0; i < rows; i++, out += l.exact_row)
        memcpy(out, lhk_commvq_exact(store, &l, lhk_store_exact_token(s->sinks, s->length, s->encoded, i)), l.exact_row);
}

static lhk_status load(lhk_instance *store, const uint8_t *bytes, uint64_t count, lhk_error *error) {
    lhk_commvq_state *s = (lhk_commvq_state *)store;
    lhk_commvq_layout l = lhk_commvq_layout_of(s);
    saved_header h;
    if (count < sizeof h) return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "store: saved state is cut off");
    memcpy(&h, bytes, sizeof h);
    if (h.version != 1) return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "store: saved state has version %u, not 1", h.version);
    shape own = shape_of(s);
    if (memcmp(&h.shape, &own, sizeof own))
        return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "store: saved state is of another shape or of other codebooks");
    lhk_status status = lhk_store_check_saved_rows(h.length, h.encoded, s->capacity, (int64_t)l.slots, error);
    if (status) return status;
    uint64_t blocks = block_bytes(&l, h.encoded);
    int64_t rows = lhk_store_exact_rows(s->sinks, h.length, h.encoded);
    if (count != sizeof h + blocks + (uint64_t)rows * l.exact_row)
        return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "store: saved state has %llu bytes, %llu expected",
                        (unsigned long long)count, (unsigned long long)(sizeof h + blocks + (uint64_t)rows * l.exact_row));
    s->length = h.length;
    s->encoded = h.encoded;
    atomic_store(&s->values_nonfinite, h.values_nonfinite != 0);
    memcpy(lhk_commvq_at(store, l.blocks), bytes + sizeof h, blocks);
    bytes += sizeof h + blocks;
    for (int64_t i = 0; i < rows; i++, bytes += l.exact_row)
        memcpy(lhk_commvq_exact(store, &l, lhk_store_exact_token(s->sinks, h.length, h.encoded, i)), bytes, l.exact_row);
    return LHK_OK;
}

const lhk_life_ops lhk_commvq_life_ops = {
    .struct_size = sizeof(lhk_life_ops), .supports = supports, .cost = cost, .sizes = sizes, .create = create,
    .truncate = truncate_tokens, .fork = fork_state, .save_size = save_size, .save = save, .load = load};
