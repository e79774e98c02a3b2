// SPDX-License-Identifier: Apache-2.0
/// Life cycle of the store: options, sizes, creation, truncation, forks, saved bytes.
#include "lhk_kivi_store.h"

/// The header that `problem` asks for.
static lhk_status check_shape(const lhk_variant *self, const lhk_problem *problem, lhk_kivi_state *out, lhk_error *error) {
    static const char *const names[] = {"fit", "group", "recent", "sinks"};
    const uint16_t bits = *(const uint16_t *)self->data;
    const char *name = bits == 2 ? "q2" : "q1";
    int64_t fit = 0, group = 32, recent = 0, sinks = 0;
    lhk_status status = lhk_store_check_problem(self, problem, error);
    if (!status) status = lhk_options_known(problem, name, names, sizeof names / sizeof *names, error);
    if (!status) status = lhk_option_int(problem, name, "fit", 0, 1, &fit, error);
    if (!status) status = lhk_option_int(problem, name, "group", LHK_KIVI_RUN, LHK_KIVI_MAX_GROUP, &group, error);
    if (!status) status = lhk_option_int(problem, name, "recent", 0, 4096, &recent, error);
    if (!status) status = lhk_option_int(problem, name, "sinks", 0, 64, &sinks, error);
    if (status) return status;
    if (group % LHK_KIVI_RUN || recent % LHK_KIVI_RUN)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "%s: options group=%lld and recent=%lld are not multiples of %d", name,
                        (long long)group, (long long)recent, LHK_KIVI_RUN);
    if (problem->kv_heads > 1024)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, 1, "%s: %u KV heads are over 1024", name, problem->kv_heads);
    *out = (lhk_kivi_state){.variant = self, .kv_heads = problem->kv_heads, .dim_k = problem->head_dim_k,
                            .dim_v = problem->head_dim_v, .bits = bits, .group = (uint16_t)group, .sinks = (uint16_t)sinks,
                            .recent = (uint16_t)recent, .fit = (uint32_t)fit, .capacity = problem->keys};
    return LHK_OK;
}

static lhk_status supports(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa, lhk_error *error) {
    (void)isa;
    return check_shape(self, problem, &(lhk_kivi_state){0}, error);
}

static lhk_status cost(const lhk_variant *self, const lhk_problem *problem, lhk_cost *out) {
    lhk_kivi_state shape = {0};
    lhk_status status = check_shape(self, problem, &shape, NULL);
    if (status) return status;
    const double tokens = (double)problem->keys, dims = (double)problem->head_dim_k + problem->head_dim_v;
    out->bytes = tokens * (double)lhk_kivi_layout_of(&shape).block_stride / shape.group;
    out->time = tokens * problem->kv_heads * dims;
    return LHK_OK;
}

static lhk_status sizes(const lhk_variant *self, const lhk_problem *problem, uint32_t workers, lhk_sizes *out,
                        lhk_error *error) {
    (void)workers;
    lhk_kivi_state shape = {0};
    lhk_status status = check_shape(self, problem, &shape, error);
    if (status) return status;
    const lhk_kivi_layout l = lhk_kivi_layout_of(&shape);
    return lhk_store_size_blocks(problem, l.blocks, l.group, l.block_stride, out, error);
}

static lhk_status create(const lhk_variant *self, const lhk_problem *problem, lhk_instance *store, uint64_t bytes,
                         lhk_error *error) {
    lhk_sizes need = {.struct_size = sizeof need};
    lhk_kivi_state shape = {0};
    lhk_status status = sizes(self, problem, 1, &need, error);
    if (!status) status = lhk_store_check_state(bytes, need.state_bytes, error);
    if (!status) status = check_shape(self, problem, &shape, error);
    if (!status) memcpy(store, &shape, sizeof shape);
    return status;
}

static lhk_status truncate_tokens(lhk_instance *store, int64_t tokens, lhk_error *error) {
    lhk_kivi_state *s = (lhk_kivi_state *)store;
    lhk_status status = lhk_store_check_truncate(tokens, s->length, error);
    if (status) return status;
    s->length = tokens;
    s->encoded = lhk_min(s->encoded, tokens);
    if (tokens == 0) atomic_store(&s->values_nonfinite, 0);
    return LHK_OK;
}

// ---- copies ----

/// What decides the meaning of a state's bytes, and of those to come.
typedef struct shape {
    uint32_t bits, group, sinks, recent, fit, kv_heads, dim_k, dim_v;
} shape;

static shape shape_of(const lhk_kivi_state *s) {
    return (shape){s->bits, s->group, s->sinks, s->recent, s->fit, s->kv_heads, s->dim_k, s->dim_v};
}

/// Bytes of the blocks that hold codes.
static uint64_t block_bytes(const lhk_kivi_layout *l, int64_t encoded) {
    return lhk_store_used(encoded, l->group, l->block_stride);
}

static lhk_status fork_state(const lhk_instance *source, lhk_instance *destination, lhk_error *error) {
    const lhk_kivi_state *from = lhk_kivi(source);
    lhk_kivi_state *to = (lhk_kivi_state *)destination;
    const shape a = shape_of(from), b = shape_of(to);
    if (memcmp(&a, &b, sizeof a) || to->capacity < from->length)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "store: fork between stores of different shapes");
    const lhk_kivi_layout l = lhk_kivi_layout_of(from);  // offsets do not depend on the capacity
    memcpy((uint8_t *)to + l.blocks, (const uint8_t *)from + l.blocks, block_bytes(&l, from->encoded));
    memcpy((uint8_t *)to + LHK_KIVI_HEADER, (const uint8_t *)from + LHK_KIVI_HEADER, (from->sinks + l.slots) * l.exact_row);
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
    const lhk_kivi_state *s = lhk_kivi(store);
    const lhk_kivi_layout l = lhk_kivi_layout_of(s);
    const uint64_t rows = (uint64_t)lhk_store_exact_rows(s->sinks, s->length, s->encoded);
    return sizeof(saved_header) + block_bytes(&l, s->encoded) + rows * l.exact_row;
}

static void save(const lhk_instance *store, uint8_t *out) {
    const lhk_kivi_state *s = lhk_kivi(store);
    const lhk_kivi_layout l = lhk_kivi_layout_of(s);
    const saved_header header = {.version = 1, .shape = shape_of(s), .length = s->length, .encoded = s->encoded,
                                 .values_nonfinite = atomic_load(&s->values_nonfinite)};
    memcpy(out, &header, sizeof header);
    out += sizeof header;
    memcpy(out, (const uint8_t *)store + l.blocks, block_bytes(&l, s->encoded));
    out += block_bytes(&l, s->encoded);
    const int64_t rows = lhk_store_exact_rows(s->sinks, s->length, s->encoded);
    for (int64_t i = 0; i < rows; i++, out += l.exact_row)
        memcpy(out, lhk_kivi_exact(store, &l, lhk_store_exact_token(s->sinks, s->length, s->encoded, i), 0), l.exact_row);
}

static lhk_status load(lhk_instance *store, const uint8_t *bytes, uint64_t count, lhk_error *error) {
    lhk_kivi_state *s = (lhk_kivi_state *)store;
    const lhk_kivi_layout l = lhk_kivi_layout_of(s);
    saved_header h;
    if (count < sizeof h) return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "store: saved state is cut off");
    memcpy(&h, bytes, sizeof h);
    if (h.version != 1) return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "store: saved state has version %u, not 1", h.version);
    const shape own = shape_of(s);
    if (memcmp(&h.shape, &own, sizeof own))
        return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "store: saved state is of another shape or of other options");
    lhk_status status = lhk_store_check_saved_rows(h.length, h.encoded, s->capacity, (int64_t)l.slots, error);
    if (status) return status;
    const uint64_t blocks = block_bytes(&l, h.encoded);
    const int64_t rows = lhk_store_exact_rows(s->sinks, h.length, h.encoded);
    if (count != sizeof h + blocks + (uint64_t)rows * l.exact_row)
        return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "store: saved state has %llu bytes, %llu expected",
                        (unsigned long long)count, (unsigned long long)(sizeof h + blocks + (uint64_t)rows * l.exact_row));
    s->length = h.length;
    s->encoded = h.encoded;
    atomic_store(&s->values_nonfinite, h.values_nonfinite != 0);
    memcpy((uint8_t *)store + l.blocks, bytes + sizeof h, blocks);
    bytes += sizeof h + blocks;
    for (int64_t i = 0; i < rows; i++, bytes += l.exact_row)
        memcpy(lhk_kivi_exact(store, &l, lhk_store_exact_token(s->sinks, h.length, h.encoded, i), 0), bytes, l.exact_row);
    return LHK_OK;
}

const lhk_life_ops lhk_kivi_life_ops = {
    .struct_size = sizeof(lhk_life_ops), .supports = supports, .cost = cost, .sizes = sizes, .create = create,
    .truncate = truncate_tokens, .fork = fork_state, .save_size = save_size, .save = save, .load = load};
