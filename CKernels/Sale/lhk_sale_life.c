// SPDX-License-Identifier: Apache-2.0
/// The selector `sale`: its index of codes follows the store by length alone. Codes are made when a selection first needs
/// them, from the keys that the store holds, so truncation into the middle of a segment costs nothing but its codes, and a
/// saved index is its length.
#include "lhk_sale_call.h"

#include "lhk_sale_variants.h"

typedef struct sale_state {
    const lhk_variant *variant;
    lhk_sale_layout layout;
    uint32_t query_heads, kv_heads, head_dim_v;
    float screen;
    int64_t rows, keys;  ///< at most
    int64_t length;
    int64_t encoded;     ///< segments
    uint64_t index_offset, values_offset;
    int64_t block;
    bool remainder;
    float tau[];         ///< [query_heads]
} sale_state;

static uint64_t index_offset(uint32_t query_heads) {
    return (uint64_t)lhk_round_up((int64_t)(sizeof(sale_state) + query_heads * sizeof(float)), LHK_ALIGNMENT);
}

static uint64_t segment_bytes(const sale_state *s) { return s->kv_heads * s->layout.bytes; }

lhk_status lhk_sale_read_options(const lhk_problem *problem, lhk_sale_options *out, lhk_error *error) {
    static const char *const names[] = {"tau", "bits", "screen", "block", "remainder", "calibration"};
    const bool softcap = problem->params && problem->params->softcap > 0;
    *out = (lhk_sale_options){.bits = 8, .block = 16, .remainder = !softcap, .screen = LHK_SALE_SCREEN, .tau = LHK_SALE_TAU};
    lhk_status status = lhk_options_known(problem, "sale", names, sizeof names / sizeof *names, error);
    if (!status) status = lhk_option_float(problem, "sale", "tau", 0, 1e6, &out->tau, error);
    if (!status) status = lhk_option_int(problem, "sale", "bits", 4, 8, &out->bits, error);
    if (!status) status = lhk_option_float(problem, "sale", "screen", 0, 64, &out->screen, error);
    if (!status) status = lhk_option_int(problem, "sale", "block", 16, 32, &out->block, error);
    if (!status) status = lhk_option_int(problem, "sale", "remainder", 0, 1, &out->remainder, error);
    if (status) return status;
    if (out->block != 16 && out->block != 32)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "sale: option block=%lld is not 16 or 32", (long long)out->block);
    if (out->remainder && softcap)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, 1, "sale: remainder=1 does not know softcaps");
    if (out->bits != 4 && out->bits != 8)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "sale: option bits=%lld is not 4 or 8", (long long)out->bits);
    if (out->bits == 4) {
        if (lhk_option_value(problem, "screen"))
            return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "sale: option screen is for bits=8");
        out->screen = 0;
    }
    if (!lhk_option_value(problem, "calibration")) return LHK_OK;
    if (lhk_option_value(problem, "tau"))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "sale: options tau and calibration exclude each other");
    const int64_t heads = problem->query_heads;
    status = lhk_problem_parameter(problem, "sale.tau", 1, &heads, &out->calibrated, error);
    if (status) return status;
    // A layer with a window is dense whatever its thresholds, so it need not have any.
    const bool windowed = problem->params && problem->params->window_left >= 0;
    if (!out->calibrated && !windowed)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1,
                        "sale: option calibration is given, but layer %u has no parameter 'sale.tau'",
                        lhk_problem_layer(problem));
    for (int64_t h = 0; out->calibrated && h < heads; h++)
        if (!(out->calibrated[h] >= 0) || isinf(out->calibrated[h]))
            return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "sale: 'sale.tau' of layer %u head %lld is negative or not finite",
                            lhk_problem_layer(problem), (long long)h);
    return LHK_OK;
}

/// The call of the problem's full size.
static lhk_status full_call(const lhk_problem *problem, lhk_sale_call *call, lhk_sale_options *options, lhk_error *error) {
    if (problem->kv_heads == 0 || problem->query_heads == 0 || problem->query_heads % problem->kv_heads ||
        problem->query_heads > 65536)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "sale: %u query heads are not a multiple of %u KV heads, or too many",
                        problem->query_heads, problem->kv_heads);
    if (problem->query_rows < 0 || problem->query_rows > LHK_SALE_MAX_KEYS || problem->keys < 0 ||
        problem->keys > LHK_SALE_MAX_KEYS)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "sale: query rows or keys are not 0 to 2^31-1");
    *call = (lhk_sale_call){.query_heads = problem->query_heads, .kv_heads = problem->kv_heads, .rows = problem->query_rows,
                            .keys = problem->keys};
    lhk_status status = lhk_sale_read_options(problem, options, error);
    if (!status) status = lhk_sale_get_layout(problem->head_dim_k, (uint32_t)options->bits, &call->layout, error);
    bool dense = false;
    call->block = options->block;
    call->remainder = options->remainder;
    call->dim_v = problem->head_dim_v;
    return status ? status : lhk_sale_read_params(call, problem->params, &dense, error);
}

/// Bytes of the codes, and of codes and mean values.
static bool index_bytes(const lhk_sale_call *call, uint64_t *codes, uint64_t *all) {
    const uint64_t segments = (uint64_t)lhk_sale_segments(call->keys), heads = segments * call->kv_heads;
    uint64_t values;
    if (!lhk_multiply(segments, call->kv_heads * call->layout.bytes, codes)) return false;
    if (!lhk_multiply(call->remainder ? heads : 0, (uint64_t)call->dim_v * sizeof(float), &values)) return false;
    *all = *codes + values;
    return *codes <= INT64_MAX / 4 && values <= INT64_MAX / 4;
}

static lhk_status sizes(const lhk_variant *self, const lhk_problem *problem, uint32_t workers, lhk_sizes *out,
                        lhk_error *error) {
    (void)self;
    lhk_sale_call call;
    lhk_sale_options options;
    uint64_t codes, index;
    lhk_status status = full_call(problem, &call, &options, error);
    if (status) return status;
    if (!index_bytes(&call, &codes, &index))
        return lhk_fail(error, LHK_ERROR_OVERFLOW, -1, "sale: an index of %lld keys overflows", (long long)call.keys);
    out->state_bytes = index_offset(call.query_heads) + index;
    out->workspace_bytes = 0;
    return call.rows < 2 ? LHK_OK : lhk_sale_call_bytes(&call, workers, false, &out->workspace_bytes, error);
}

static lhk_status supports(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa, lhk_error *error) {
    lhk_sizes out = {.struct_size = sizeof out};
    (void)isa;
    return sizes(self, problem, 1, &out, error);
}

static lhk_status cost(const lhk_variant *self, const lhk_problem *problem, lhk_cost *out) {
    const lhk_sale_variant *v = self->data;
    double keys = (double)problem->keys, bytes = keys * problem->kv_heads * problem->head_dim_k;
    out->time = (double)problem->query_rows * problem->query_heads * keys * problem->head_dim_k / v->speed;
    out->bytes = bytes;
    return LHK_OK;
}

static lhk_status create(const lhk_variant *self, const lhk_problem *problem, lhk_instance *state, uint64_t bytes,
                         lhk_error *error) {
    lhk_sale_call call;
    lhk_sale_options options;
    lhk_sizes need = {.struct_size = sizeof need};
    lhk_status status = sizes(self, problem, 1, &need, error);
    if (!status) status = full_call(problem, &call, &options, error);
    if (status) return status;
    if (bytes < need.state_bytes)
        return lhk_fail(error, LHK_ERROR_CAPACITY, 3, "sale: state of %llu bytes, needs %llu", (unsigned long long)bytes,
                        (unsigned long long)need.state_bytes);
    sale_state *s = (sale_state *)state;
    s->variant = self;
    s->layout = call.layout;
    s->query_heads = call.query_heads;
    s->kv_heads = call.kv_heads;
    s->head_dim_v = problem->head_dim_v;
    s->screen = options.screen;
    s->rows = call.rows;
    s->keys = call.keys;
    s->index_offset = index_offset(call.query_heads);
    uint64_t codes = 0, all;
    index_bytes(&call, &codes, &all);
    s->values_offset = s->index_offset + codes;
    s->block = call.block;
    s->remainder = call.remainder;
    for (uint32_t h = 0; h < call.query_heads; h++) s->tau[h] = options.calibrated ? options.calibrated[h] : options.tau;
    return LHK_OK;
}

static lhk_status append(lhk_instance *selector, const lhk_host *host, const lhk_tensor *k, const lhk_tensor *v,
                         lhk_error *error) {
    sale_state *s = (sale_state *)selector;
    (void)host;
    lhk_status status = lhk_check_rows(k, s->kv_heads, s->layout.head_dim, "sale: k", 2, error);
    if (!status) status = lhk_check_rows(v, s->kv_heads, s->head_dim_v, "sale: v", 3, error);
    if (status) return status;
    if (k->shape[0] > s->keys - s->length)
        return lhk_fail(error, LHK_ERROR_CAPACITY, 2, "sale: %lld keys do not fit: %lld of %lld in use", (long long)k->shape[0],
                        (long long)s->length, (long long)s->keys);
    s->length += k->shape[0];
    return LHK_OK;
}

static lhk_status truncate_keys(lhk_instance *selector, int64_t tokens, lhk_error *error) {
    sale_state *s = (sale_state *)selector;
    if (tokens < 0 || tokens > s->length)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "sale: cannot truncate %lld keys to %lld", (long long)s->length,
                        (long long)tokens);
    s->length = tokens;
    s->encoded = lhk_min(s->encoded, lhk_sale_segments(tokens));
    return LHK_OK;
}

static lhk_status fork_state(const lhk_instance *source, lhk_instance *destination, lhk_error *error) {
    const sale_state *from = (const sale_state *)source;
    sale_state *to = (sale_state *)destination;
    if (memcmp(&from->layout, &to->layout, sizeof to->layout) || from->kv_heads != to->kv_heads ||
        from->head_dim_v != to->head_dim_v || from->remainder != to->remainder || from->length > to->keys)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "sale: fork between selectors of different shapes");
    to->length = from->length;
    to->encoded = from->encoded;
    memcpy((uint8_t *)to + to->index_offset, (const uint8_t *)from + from->index_offset,
           (size_t)from->encoded * segment_bytes(from));
    if (from->remainder)
        memcpy((uint8_t *)to + to->values_offset, (const uint8_t *)from + from->values_offset,
               (size_t)from->encoded * from->kv_heads * from->head_dim_v * sizeof(float));
    return LHK_OK;
}

/// Saved form: the length and the shape. `check` is the complement of all other bits, so that no damage goes unseen.
typedef struct saved {
    uint32_t version, bits, kv_heads, head_dim;
    int64_t length, check;
} saved;

static saved saved_of(const sale_state *s) {
    return (saved){1, s->layout.bits, s->kv_heads, s->layout.head_dim, s->length, ~s->length};
}

static uint64_t save_size(const lhk_instance *selector) { return (void)selector, sizeof(saved); }

static void save(const lhk_instance *selector, uint8_t *out) {
    saved header = saved_of((const sale_state *)selector);
    memcpy(out, &header, sizeof header);
}

static lhk_status load(lhk_instance *selector, const uint8_t *bytes, uint64_t count, lhk_error *error) {
    sale_state *s = (sale_state *)selector;
    saved header, own = saved_of(s);
    if (count != sizeof header)
        return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "sale: a saved index of %llu bytes, %zu expected", (unsigned long long)count,
                        sizeof header);
    memcpy(&header, bytes, sizeof header);
    if (memcmp(&header, &own, offsetof(saved, length)))
        return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "sale: a saved index of another version, shape or width of codes");
    if (header.length < 0 || header.check != ~header.length)
        return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "sale: the length of a saved index is damaged");
    if (header.length > s->keys)
        return lhk_fail(error, LHK_ERROR_CAPACITY, 1, "sale: a saved index of %lld keys, capacity is %lld",
                        (long long)header.length, (long long)s->keys);
    s->length = header.length;
    s->encoded = 0;
    return LHK_OK;
}

/// The store's panels, if their keys can be read as they are.
static lhk_panels usable_panels(const lhk_store_ref *store, uint32_t head_dim) {
    lhk_panels none = {.struct_size = sizeof none};
    if (!store->ops->panels) return none;
    lhk_panels p = lhk_panel_of(store->ops, store->instance);
    bool plain = (p.dtype == LHK_DTYPE_F32 || p.dtype == LHK_DTYPE_BF16 || p.dtype == LHK_DTYPE_F16) && !p.rotation &&
                 p.group == lhk_panel_group(p.dtype) && p.block_tokens && p.block_tokens % LHK_PANEL_TOKENS == 0 &&
                 p.padded_dim_k == lhk_round_up(head_dim, p.group);
    return plain ? p : none;
}

static lhk_status select_keys(lhk_instance *selector, const lhk_host *host, const lhk_tensor *q, lhk_store_ref store,
                              const lhk_attention_params *params, const lhk_workspace *workspace, lhk_selection *out,
                              lhk_error *error) {
    sale_state *s = (sale_state *)selector;
    bool dense = false;
    lhk_status status = lhk_check_rows(q, s->query_heads, s->layout.head_dim, "sale: q", 2, error);
    if (status) return status;
    if (q->shape[0] > s->rows)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 2, "sale: %lld query rows, made for %lld", (long long)q->shape[0],
                        (long long)s->rows);
    if (store.ops->length(store.instance) != s->length)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 3, "sale: the index holds %lld keys, the store %lld", (long long)s->length,
                        (long long)store.ops->length(store.instance));
    lhk_sale_call call = {.layout = s->layout, .query_heads = s->query_heads, .kv_heads = s->kv_heads, .rows = q->shape[0],
                          .keys = s->length, .kernel = ((const lhk_sale_variant *)s->variant->data)->kernel, .q = *q,
                          .store = store, .tau = s->tau, .screen = s->screen, .index = (uint8_t *)s + s->index_offset,
                          .encoded = s->encoded, .block = s->block, .remainder = s->remainder,
                          .dim_v = s->head_dim_v, .values = (float *)((uint8_t *)s + s->values_offset)};
    status = lhk_sale_read_params(&call, params, &dense, error);
    if (status) return status;
    *out = (lhk_selection){.struct_size = sizeof *out, .kind = LHK_SELECTION_ALL};
    if (dense) return LHK_OK;
    call.panels = usable_panels(&store, s->layout.head_dim);
    status = lhk_sale_run(&call, host, workspace, false, out, error);
    if (!status) s->encoded = call.encoded;
    return status;
}

const lhk_life_ops lhk_sale_life_ops = {
    .struct_size = sizeof(lhk_life_ops), .supports = supports, .cost = cost, .sizes = sizes, .create = create,
    .truncate = truncate_keys, .fork = fork_state, .save_size = save_size, .save = save, .load = load};
const lhk_selector_ops lhk_sale_selector_ops = {
    .struct_size = sizeof(lhk_selector_ops), .append = append, .select = select_keys};
