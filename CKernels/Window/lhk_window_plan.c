// SPDX-License-Identifier: Apache-2.0
/// Life cycle and operation of the selectors `all` and `window`. Neither keeps anything per token.
#include "lhk_window_internal.h"

/// The state of both selectors; `all` looks at the shape only.
struct lhk_instance {
    uint32_t query_heads, head_dim, exact, reserved;
    int64_t query_rows, size, sinks;
};

static lhk_status lhk_window_shape(const lhk_problem *problem, lhk_instance *out, lhk_error *error) {
    if (!problem->query_heads || !problem->head_dim_k || problem->query_rows < 0)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "selector: bad shape: %u query heads, dimension %u, %lld rows",
                        problem->query_heads, problem->head_dim_k, (long long)problem->query_rows);
    *out = (lhk_instance){
        .query_heads = problem->query_heads,
        .head_dim = problem->head_dim_k,
        .query_rows = problem->query_rows,
    };
    return LHK_OK;
}

static lhk_status lhk_window_configure(const lhk_problem *problem, lhk_instance *out, lhk_error *error) {
    static const char *const names[] = {"size", "sinks", "exact"};
    int64_t size = 1024, sinks = 4, exact = 0;
    lhk_status status = lhk_window_shape(problem, out, error);
    if (!status) status = lhk_options_known(problem, "window", names, sizeof names / sizeof *names, error);
    if (!status) status = lhk_option_int(problem, "window", "size", 1, LHK_WINDOW_MAX_TOKENS, &size, error);
    if (!status) status = lhk_option_int(problem, "window", "sinks", 0, LHK_WINDOW_MAX_TOKENS, &sinks, error);
    if (!status) status = lhk_option_int(problem, "window", "exact", 0, 1, &exact, error);
    if (status) return status;
    out->size = size;
    out->sinks = sinks;
    out->exact = (uint32_t)exact;
    return LHK_OK;
}

static lhk_status lhk_window_all_configure(const lhk_problem *problem, lhk_instance *out, lhk_error *error) {
    lhk_status status = lhk_options_known(problem, "all", NULL, 0, error);
    return status ? status : lhk_window_shape(problem, out, error);
}

/// A single row is always exact; several rows share a tile unless exactness was asked for.
static lhk_window_args lhk_window_args_for(const lhk_instance *window, int64_t rows, int64_t keys,
                                           const lhk_attention_params *params) {
    return (lhk_window_args){
        .struct_size = sizeof(lhk_window_args),
        .query_heads = window->query_heads,
        .rows = rows,
        .keys = keys,
        .size = window->size,
        .sinks = window->sinks,
        .tile_rows = window->exact || rows == 1 ? 1 : LHK_WINDOW_TILE_ROWS,
        .params = params,
    };
}

static lhk_status lhk_window_supports(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa,
                                      lhk_error *error) {
    lhk_sizes sizes = {.struct_size = sizeof sizes};
    (void)isa;
    return self->life->sizes(self, problem, 1, &sizes, error);
}

static lhk_status lhk_window_cost(const lhk_variant *self, const lhk_problem *problem, lhk_cost *out) {
    lhk_sizes sizes = {.struct_size = sizeof sizes};
    lhk_status status = self->life->sizes(self, problem, 1, &sizes, NULL);
    out->time = 20 + 0.1 * (double)sizes.workspace_bytes;
    out->bytes = (double)sizes.workspace_bytes;
    return status;
}

static lhk_status lhk_window_sizes(const lhk_variant *self, const lhk_problem *problem, uint32_t workers,
                                   lhk_sizes *out, lhk_error *error) {
    lhk_instance window;
    (void)self, (void)workers;
    lhk_status status = lhk_window_configure(problem, &window, error);
    if (status) return status;
    lhk_window_args args = lhk_window_args_for(&window, window.query_rows, 0, NULL);
    status = lhk_window_workspace(&args, &out->workspace_bytes, error);
    if (!status) out->state_bytes = sizeof(lhk_instance);
    return status;
}

static lhk_status lhk_window_all_sizes(const lhk_variant *self, const lhk_problem *problem, uint32_t workers,
                                       lhk_sizes *out, lhk_error *error) {
    lhk_instance all;
    (void)self, (void)workers;
    lhk_status status = lhk_window_all_configure(problem, &all, error);
    if (status) return status;
    out->state_bytes = sizeof(lhk_instance);
    out->workspace_bytes = 0;
    return LHK_OK;
}

static lhk_status lhk_window_room(uint64_t bytes, lhk_error *error) {
    if (bytes >= sizeof(lhk_instance)) return LHK_OK;
    return lhk_fail(error, LHK_ERROR_CAPACITY, 3, "selector: state of %llu bytes, needs %zu", (unsigned long long)bytes,
                    sizeof(lhk_instance));
}

static lhk_status lhk_window_create(const lhk_variant *self, const lhk_problem *problem, lhk_instance *state,
                                    uint64_t bytes, lhk_error *error) {
    (void)self;
    lhk_status status = lhk_window_room(bytes, error);
    return status ? status : lhk_window_configure(problem, state, error);
}

static lhk_status lhk_window_all_create(const lhk_variant *self, const lhk_problem *problem, lhk_instance *state,
                                        uint64_t bytes, lhk_error *error) {
    (void)self;
    lhk_status status = lhk_window_room(bytes, error);
    return status ? status : lhk_window_all_configure(problem, state, error);
}

/// Only the shape of the queries is looked at.
static lhk_status lhk_window_check_queries(const lhk_instance *selector, const lhk_tensor *q, lhk_error *error) {
    if (q->rank != 3 || q->shape[0] < 0 || q->shape[0] > selector->query_rows || q->shape[1] != selector->query_heads ||
        q->shape[2] != selector->head_dim)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 2, "selector q: shape is not [up to %lld][%u][%u]",
                        (long long)selector->query_rows, selector->query_heads, selector->head_dim);
    return LHK_OK;
}

static lhk_status lhk_window_selector_select(lhk_instance *selector, const lhk_host *host, const lhk_tensor *q,
                                             lhk_store_ref store, const lhk_attention_params *params,
                                             const lhk_workspace *workspace, lhk_selection *out, lhk_error *error) {
    (void)host;
    lhk_status status = lhk_window_check_queries(selector, q, error);
    if (status) return status;
    lhk_window_args args = lhk_window_args_for(selector, q->shape[0], store.ops->length(store.instance), params);
    return lhk_window_select(&args, workspace, out, error);
}

static lhk_status lhk_window_all_select(lhk_instance *selector, const lhk_host *host, const lhk_tensor *q,
                                        lhk_store_ref store, const lhk_attention_params *params,
                                        const lhk_workspace *workspace, lhk_selection *out, lhk_error *error) {
    (void)host, (void)store, (void)params, (void)workspace;
    lhk_status status = lhk_window_check_queries(selector, q, error);
    if (!status) *out = (lhk_selection){.struct_size = sizeof *out, .kind = LHK_SELECTION_ALL};
    return status;
}

const lhk_life_ops lhk_window_life_ops = {
    .struct_size = sizeof(lhk_life_ops),
    .supports = lhk_window_supports,
    .cost = lhk_window_cost,
    .sizes = lhk_window_sizes,
    .create = lhk_window_create,
};
const lhk_life_ops lhk_window_all_life_ops = {
    .struct_size = sizeof(lhk_life_ops),
    .supports = lhk_window_supports,
    .cost = lhk_window_cost,
    .sizes = lhk_window_all_sizes,
    .create = lhk_window_all_create,
};
const lhk_selector_ops lhk_window_selector_ops = {
    .struct_size = sizeof(lhk_selector_ops),
    .select = lhk_window_selector_select,
};
const lhk_selector_ops lhk_window_all_selector_ops = {
    .struct_size = sizeof(lhk_selector_ops),
    .select = lhk_window_all_select,
};

/// The formula that the method's reference offers: key by key, from the rule for one row.
static lhk_status lhk_window_formula_select(const lhk_problem *problem, const lhk_tensor *q, const lhk_tensor *k,
                                            const lhk_tensor *v, const lhk_attention_params *params, uint8_t *chosen,
                                            lhk_error *error) {
    lhk_instance window;
    lhk_status status = lhk_window_configure(problem, &window, error);
    (void)v;
    if (status) return status;
    const int64_t rows = q->shape[0], keys = k->shape[0];
    const bool given = params && params->flags & LHK_ATTENTION_OFFSET;
    const double offset = given ? (double)params->offset : (double)(keys - rows);
    const int64_t tile_rows = window.exact || rows == 1 ? 1 : LHK_WINDOW_TILE_ROWS;
    for (int64_t i = 0; i < rows; i++) {
        int64_t first = i / tile_rows * tile_rows, last = lhk_min(first + tile_rows, rows) - 1;
        for (int64_t j = 0; j < keys; j++) {
            bool near = (double)j > (double)first + offset - (double)window.size && (double)j <= (double)last + offset;
            for (int64_t h = 0; h < window.query_heads; h++)
                chosen[(i * window.query_heads + h) * keys + j] = j < window.sinks || near;
        }
    }
    return LHK_OK;
}

const lhk_selector_reference lhk_window_formula = {
    .struct_size = sizeof(lhk_selector_reference),
    .select = lhk_window_formula_select,
};
