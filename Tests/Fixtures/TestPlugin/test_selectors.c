// SPDX-License-Identifier: Apache-2.0
#include "test_parts.h"

// ---- all ----

static lhk_status no_options(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa, lhk_error *error) {
    (void)self, (void)isa;
    return lhk_options_known(problem, "all", NULL, 0, error);
}

static lhk_status nothing(const lhk_variant *self, const lhk_problem *problem, uint32_t workers, lhk_sizes *out,
                          lhk_error *error) {
    (void)self, (void)problem, (void)workers, (void)out, (void)error;
    return LHK_OK;
}

static lhk_status create_nothing(const lhk_variant *self, const lhk_problem *problem, lhk_instance *state, uint64_t bytes,
                                 lhk_error *error) {
    (void)self, (void)problem, (void)state, (void)bytes, (void)error;
    return LHK_OK;
}

static lhk_status select_all(lhk_instance *selector, const lhk_host *host, const lhk_tensor *q, lhk_store_ref store,
                             const lhk_attention_params *params, const lhk_workspace *workspace, lhk_selection *out,
                             lhk_error *error) {
    (void)selector, (void)host, (void)q, (void)store, (void)params, (void)workspace, (void)error;
    out->kind = LHK_SELECTION_ALL;
    return LHK_OK;
}

static const lhk_life_ops all_life = {.struct_size = sizeof all_life,
                                      .supports = no_options,
                                      .cost = lhk_test_cost,
                                      .sizes = nothing,
                                      .create = create_nothing};
static const lhk_selector_ops all_ops = {.struct_size = sizeof all_ops, .select = select_all};
LHK_TEST_METHOD(lhk_test_all, LHK_ROLE_SELECTOR, "all", all_life, all_ops);

// ---- recent ----

typedef struct recent_index {
    int64_t count, fail_at, tokens;
    uint32_t heads, reserved;
} recent_index;

static lhk_status recent_supports(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa, lhk_error *error) {
    (void)self, (void)isa;
    static const char *const names[] = {"count", "fail_at"};
    return lhk_options_known(problem, "recent", names, 2, error);
}

static lhk_status recent_sizes(const lhk_variant *self, const lhk_problem *problem, uint32_t workers, lhk_sizes *out,
                               lhk_error *error) {
    (void)self, (void)workers, (void)error;
    lhk_carver carver = {0};
    lhk_carve(&carver, problem->query_heads + 1, sizeof(int64_t));
    lhk_carve(&carver, (uint64_t)problem->keys * problem->query_heads, sizeof(int32_t));
    out->state_bytes = sizeof(recent_index);
    out->workspace_bytes = carver.used;
    return LHK_OK;
}

static lhk_status recent_create(const lhk_variant *self, const lhk_problem *problem, lhk_instance *state, uint64_t bytes,
                                lhk_error *error) {
    (void)self, (void)bytes;
    recent_index *index = (recent_index *)state;
    index->count = 4;
    index->fail_at = INT64_MAX;
    index->heads = problem->query_heads;
    const int64_t shape[] = {problem->query_heads, 2};
    const float *calibrated;
    lhk_status status = lhk_problem_parameter(problem, "recent.count", 2, shape, &calibrated, error);
    if (status) return status;
    if (calibrated) index->count = (int64_t)calibrated[2 * (problem->query_heads - 1)] + lhk_problem_layer(problem);
    status = lhk_option_int(problem, "recent", "count", 1, INT32_MAX, &index->count, error);
    return status ? status : lhk_option_int(problem, "recent", "fail_at", 0, INT64_MAX, &index->fail_at, error);
}

static lhk_status recent_truncate(lhk_instance *state, int64_t tokens, lhk_error *error) {
    recent_index *index = (recent_index *)state;
    if (tokens > index->tokens) return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "holds fewer tokens");
    index->tokens = tokens;
    return LHK_OK;
}

static lhk_status recent_fork(const lhk_instance *source, lhk_instance *destination, lhk_error *error) {
    (void)error;
    ((recent_index *)destination)->tokens = ((const recent_index *)source)->tokens;
    return LHK_OK;
}

static uint64_t recent_save_size(const lhk_instance *state) {
    (void)state;
    return 5;  // not a multiple of 8, to exercise padding
}

static void recent_save(const lhk_instance *state, uint8_t *out) {
    memcpy(out, &((const recent_index *)state)->tokens, 4);
    out[4] = 1;
}

static lhk_status recent_load(lhk_instance *state, const uint8_t *bytes, uint64_t count, lhk_error *error) {
    if (count != 5 || bytes[4] != 1) return lhk_fail(error, LHK_ERROR_CORRUPT, -1, "not an index");
    memcpy(&((recent_index *)state)->tokens, bytes, 4);
    return LHK_OK;
}

static lhk_status recent_append(lhk_instance *state, const lhk_host *host, const lhk_tensor *k, const lhk_tensor *v,
                                lhk_error *error) {
    (void)host, (void)v;
    recent_index *index = (recent_index *)state;
    if (index->tokens + k->shape[0] >= index->fail_at) return lhk_fail(error, LHK_ERROR_IO, 2, "fails as asked");
    index->tokens += k->shape[0];
    return LHK_OK;
}

static lhk_status recent_select(lhk_instance *state, const lhk_host *host, const lhk_tensor *q, lhk_store_ref store,
                                const lhk_attention_params *params, const lhk_workspace *workspace, lhk_selection *out,
                                lhk_error *error) {
    (void)host, (void)q, (void)params;
    const recent_index *index = (const recent_index *)state;
    const int64_t length = store.ops->length(store.instance), chosen = lhk_min(index->count, length);
    if (length != index->tokens) return lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "the index is not in step");
    lhk_carver carver = {.base = workspace->data};
    int64_t *offsets = lhk_carve(&carver, index->heads + 1, sizeof *offsets);
    int32_t *tokens = lhk_carve(&carver, (uint64_t)chosen * index->heads, sizeof *tokens);
    if (carver.used > workspace->bytes) return lhk_fail(error, LHK_ERROR_CAPACITY, 5, "the workspace is too small");
    for (uint32_t h = 0; h <= index->heads; h++) offsets[h] = h * chosen;
    for (uint32_t h = 0; h < index->heads; h++)
        for (int64_t j = 0; j < chosen; j++) tokens[h * chosen + j] = (int32_t)(length - chosen + j);
    out->kind = LHK_SELECTION_TOKENS;
    out->list_count = index->heads;
    out->list_offsets = offsets;
    out->tokens = tokens;
    return LHK_OK;
}

static const lhk_life_ops recent_life = {.struct_size = sizeof recent_life,
                                         .supports = recent_supports,
                                         .cost = lhk_test_cost,
                                         .sizes = recent_sizes,
                                         .create = recent_create,
                                         .truncate = recent_truncate,
                                         .fork = recent_fork,
                                         .save_size = recent_save_size,
                                         .save = recent_save,
                                         .load = recent_load};
static const lhk_selector_ops recent_ops = {
    .struct_size = sizeof recent_ops, .append = recent_append, .select = recent_select};
LHK_TEST_METHOD(lhk_test_recent, LHK_ROLE_SELECTOR, "recent", recent_life, recent_ops);
