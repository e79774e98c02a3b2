// SPDX-License-Identifier: Apache-2.0
#include "test_parts.h"

lhk_status lhk_test_cost(const lhk_variant *self, const lhk_problem *problem, lhk_cost *out) {
    (void)self, (void)problem;
    out->time = 1;
    out->bytes = 1;
    return LHK_OK;
}

// ---- position `shift` ----

static lhk_status supports(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa, lhk_error *error) {
    (void)self, (void)isa;
    if (!problem->position) return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "no position parameters");
    return lhk_options_known(problem, "shift", NULL, 0, error);
}

static lhk_status sizes(const lhk_variant *self, const lhk_problem *problem, uint32_t workers, lhk_sizes *out,
                        lhk_error *error) {
    (void)self, (void)problem, (void)workers, (void)error;
    out->state_bytes = 8;
    return LHK_OK;
}

static lhk_status create(const lhk_variant *self, const lhk_problem *problem, lhk_instance *state, uint64_t bytes,
                         lhk_error *error) {
    (void)self, (void)problem, (void)state, (void)bytes, (void)error;
    return LHK_OK;
}

static lhk_status apply(const lhk_instance *position, const lhk_host *host, const lhk_tensor *x, int64_t first,
                        const lhk_tensor *out, lhk_error *error) {
    (void)position, (void)host, (void)error;
    for (int64_t i = 0; i < x->shape[0]; i++)
        for (int64_t h = 0; h < x->shape[1]; h++)
            for (int64_t c = 0; c < x->shape[2]; c++)
                ((float *)lhk_row(out, i, h))[c] =
                    lhk_load_element(lhk_row(x, i, h), x->dtype, c) + (c == 0 ? (float)(first + i) : 0);
    return LHK_OK;
}

static const lhk_life_ops life = {
    .struct_size = sizeof life, .supports = supports, .cost = lhk_test_cost, .sizes = sizes, .create = create};
static const lhk_position_ops ops = {.struct_size = sizeof ops, .apply = apply};
LHK_TEST_METHOD(lhk_test_position, LHK_ROLE_POSITION, "shift", life, ops);

// ---- the plugin ----

const lhk_plugin *lhk_test_plugin(void) {
    static const lhk_method *const methods[] = {&lhk_test_store, &lhk_test_all, &lhk_test_recent, &lhk_test_attention,
                                                &lhk_test_position};
    static const lhk_plugin plugin = {sizeof plugin, 5, "test.doubles", "1.0.0", methods};
    return &plugin;
}

// ---- a method to choose from ----

static lhk_status any(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa, lhk_error *error) {
    (void)self, (void)isa;
    static const char *const names[] = {"known"};
    return lhk_options_known(problem, "choice", names, 1, error);
}

static lhk_status declared_cost(const lhk_variant *self, const lhk_problem *problem, lhk_cost *out) {
    (void)problem;
    out->time = *(const double *)self->data;
    return LHK_OK;
}

const lhk_method *lhk_test_choice(void) {
    static const lhk_life_ops choice_life = {
        .struct_size = sizeof choice_life, .supports = any, .cost = declared_cost, .sizes = sizes, .create = create};
    static const double costs[] = {3, 2, 1};
    static const lhk_variant first = {.struct_size = sizeof first,
                                      .kv_dtypes = LHK_DTYPE_BIT(LHK_DTYPE_F32) | LHK_DTYPE_BIT(LHK_DTYPE_NONE),
                                      .head_dim_min = 8,
                                      .head_dim_max = 64,
                                      .head_dim_multiple = 8,
                                      .id = "test.first/1",
                                      .summary = "",
                                      .life = &choice_life,
                                      .ops = &ops,
                                      .data = &costs[0]};
    static const lhk_variant second = {.struct_size = sizeof second,
                                       .isa_required = LHK_ISA_AVX2,
                                       .id = "test.second/1",
                                       .summary = "",
                                       .life = &choice_life,
                                       .ops = &ops,
                                       .data = &costs[1]};
    static const lhk_variant third = {.struct_size = sizeof third,
                                      .exactness = LHK_HEURISTIC,
                                      .isa_required = LHK_ISA_AVX512,
                                      .id = "test.third/1",
                                      .summary = "",
                                      .life = &choice_life,
                                      .ops = &ops,
                                      .data = &costs[2]};
    static const lhk_variant *const variants[] = {&third, &second, &first};
    static const lhk_method method = {sizeof method, 3, LHK_ROLE_POSITION, "choice", "1.0.0", "", variants, NULL};
    return &method;
}
