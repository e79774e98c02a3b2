// SPDX-License-Identifier: Apache-2.0
/// Life cycle of the position method `rope`: options, support, cost, sizes, state.
#include "lhk_rope_internal.h"

/// The state: nothing per token.
struct lhk_instance {
    const lhk_rope_kernel *kernel;
    uint32_t head_dim;
    uint32_t reserved;
    lhk_rope_table table;
};

static lhk_status lhk_rope_option_scaling(const lhk_problem *problem, uint32_t *scaling, lhk_error *error) {
    static const char *const names[] = {"none", "linear", "ntk", "yarn"};  // in the order of LHK_SCALING_*
    const char *text = lhk_option_value(problem, "scaling");
    if (!text) return LHK_OK;
    for (uint32_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(text, names[i])) continue;
        *scaling = i;
        return LHK_OK;
    }
    return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "rope: option scaling=%s is not none, linear, ntk or yarn", text);
}

/// An option that the scaling in force would not look at is a mistake, not a wish.
static lhk_status lhk_rope_options_used(const lhk_problem *problem, uint32_t scaling, lhk_error *error) {
    if (scaling == LHK_SCALING_NONE && lhk_option_value(problem, "factor"))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "rope: option factor has no effect without a scaling");
    if (scaling != LHK_SCALING_YARN && lhk_option_value(problem, "original"))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "rope: option original has an effect with scaling=yarn only");
    return LHK_OK;
}

/// The problem's position parameters with the options on top.
static lhk_status lhk_rope_configure(const lhk_problem *problem, lhk_rope_table *table, lhk_error *error) {
    static const char *const names[] = {"base", "scaling", "factor", "original", "dims", "interleaved"};
    lhk_position_params p = {0};
    if (problem->position)
        memcpy(&p, problem->position, (size_t)lhk_min(problem->position->struct_size, sizeof p));
    p.struct_size = sizeof p;
    int64_t dims = p.dims, interleaved = p.interleaved;
    lhk_status status = lhk_options_known(problem, "rope", names, sizeof names / sizeof *names, error);
    if (!status) status = lhk_option_float(problem, "rope", "base", 1, 1e30, &p.base, error);
    if (!status) status = lhk_rope_option_scaling(problem, &p.scaling, error);
    if (!status) status = lhk_option_float(problem, "rope", "factor", 1, 1e6, &p.factor, error);
    if (!status)
        status = lhk_option_int(problem, "rope", "original", 1, LHK_ROPE_MAX_POSITION, &p.original_context, error);
    if (!status) status = lhk_option_int(problem, "rope", "dims", 2, LHK_ROPE_MAX_DIMS, &dims, error);
    if (!status) status = lhk_option_int(problem, "rope", "interleaved", 0, 1, &interleaved, error);
    if (!status) status = lhk_rope_options_used(problem, p.scaling, error);
    if (status) return status;
    p.dims = (uint32_t)dims;
    p.interleaved = (uint32_t)interleaved;
    return lhk_rope_table_init(&p, problem->head_dim_k, table, error);
}

static lhk_status lhk_rope_supports(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa,
                                    lhk_error *error) {
    lhk_rope_table table;
    if (self->isa_required & ~isa)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, -1, "%s needs an instruction set that the host does not offer",
                        self->id);
    if (problem->head_dim_k < self->head_dim_min || problem->head_dim_k > self->head_dim_max)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, -1, "rope: head dimension %u is not from %u to %u",
                        problem->head_dim_k, self->head_dim_min, self->head_dim_max);
    return lhk_rope_configure(problem, &table, error);
}

static lhk_status lhk_rope_cost(const lhk_variant *self, const lhk_problem *problem, lhk_cost *out) {
    const lhk_rope_kernel *kernel = self->data;
    double elements = (double)problem->query_rows * problem->query_heads * problem->head_dim_k;
    out->time = elements * kernel->nanoseconds;
    out->bytes = elements * 2 * sizeof(float);
    return LHK_OK;
}

static lhk_status lhk_rope_sizes(const lhk_variant *self, const lhk_problem *problem, uint32_t workers, lhk_sizes *out,
                                 lhk_error *error) {
    (void)self, (void)problem, (void)workers, (void)error;
    out->state_bytes = sizeof(lhk_instance);
    out->workspace_bytes = 0;
    return LHK_OK;
}

static lhk_status lhk_rope_create(const lhk_variant *self, const lhk_problem *problem, lhk_instance *state,
                                  uint64_t bytes, lhk_error *error) {
    if (bytes < sizeof *state)
        return lhk_fail(error, LHK_ERROR_CAPACITY, 3, "rope: state of %llu bytes, needs %zu", (unsigned long long)bytes,
                        sizeof *state);
    lhk_status status = lhk_rope_configure(problem, &state->table, error);
    if (status) return status;
    state->kernel = self->data;
    state->head_dim = problem->head_dim_k;
    return LHK_OK;
}

static lhk_status lhk_rope_position_apply(const lhk_instance *position, const lhk_host *host, const lhk_tensor *x,
                                          int64_t first, const lhk_tensor *out, lhk_error *error) {
    if (x->rank != 3 || x->shape[2] != position->head_dim)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 2, "rope x: shape is not [tokens][heads][%u]", position->head_dim);
    return lhk_rope_apply_with(position->kernel, &position->table, host, x, first, out, error);
}

const lhk_life_ops lhk_rope_life_ops = {
    .struct_size = sizeof lhk_rope_life_ops,
    .supports = lhk_rope_supports,
    .cost = lhk_rope_cost,
    .sizes = lhk_rope_sizes,
    .create = lhk_rope_create,
};

const lhk_position_ops lhk_rope_position_ops = {
    .struct_size = sizeof lhk_rope_position_ops,
    .apply = lhk_rope_position_apply,
};

/// The formula that the method's reference offers.
static lhk_status lhk_rope_formula_apply(const lhk_problem *problem, const lhk_tensor *x, int64_t first, double *out,
                                         lhk_error *error) {
    lhk_rope_table table;
    lhk_status status = lhk_rope_configure(problem, &table, error);
    return status ? status : lhk_rope_reference(&table, x, first, out, error);
}

const lhk_position_reference lhk_rope_formula = {
    .struct_size = sizeof lhk_rope_formula,
    .apply = lhk_rope_formula_apply,
};
