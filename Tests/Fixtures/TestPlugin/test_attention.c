// SPDX-License-Identifier: Apache-2.0
#include "test_parts.h"

typedef struct naive_state {
    uint32_t query_heads, kv_heads, dim_k, dim_v;
    int64_t rows, keys;
} naive_state;

static lhk_status supports(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa, lhk_error *error) {
    (void)self, (void)isa;
    if (problem->params && problem->params->softcap != 0)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, -1, "no softcap in test doubles");
    return lhk_options_known(problem, "naive", NULL, 0, error);
}

static lhk_status sizes(const lhk_variant *self, const lhk_problem *problem, uint32_t workers, lhk_sizes *out,
                        lhk_error *error) {
    (void)self, (void)workers, (void)error;
    out->state_bytes = sizeof(naive_state);
    out->workspace_bytes = (uint64_t)problem->keys * (problem->head_dim_k + problem->head_dim_v + 1) * sizeof(double);
    return LHK_OK;
}

static lhk_status create(const lhk_variant *self, const lhk_problem *problem, lhk_instance *state, uint64_t bytes,
                         lhk_error *error) {
    (void)self, (void)bytes, (void)error;
    *(naive_state *)state = (naive_state){problem->query_heads, problem->kv_heads, problem->head_dim_k,
                                          problem->head_dim_v,  problem->query_rows, problem->keys};
    return LHK_OK;
}

static bool chosen(const lhk_selection *selection, uint32_t head, int64_t token) {
    if (!selection) return true;
    for (int64_t i = selection->list_offsets[head]; i < selection->list_offsets[head + 1]; i++)
        if (selection->tokens[i] == token) return true;
    return false;
}

/// One output row; `scores` [keys] in double, `k` and `v` the rows of its KV head.
static void attend_row(const naive_state *state, const lhk_attend_args *args, int64_t row, uint32_t head, int64_t length,
                       double *scores, const float *k, const float *v) {
    const int64_t position = length - args->q.shape[0] + row;
    const float *q = lhk_row(&args->q, row, head);
    float *out = lhk_row(&args->out, row, head);
    const bool causal = args->params && (args->params->flags & LHK_ATTENTION_CAUSAL);
    const double scale = args->params && args->params->scale > 0 ? args->params->scale : 1 / sqrt(state->dim_k);
    double most = -INFINITY, sum = 0;
    for (int64_t j = 0; j < length; j++) {
        scores[j] = -INFINITY;
        if ((causal && j > position) || !chosen(args->selection, head, j)) continue;
        scores[j] = 0;
        for (uint32_t c = 0; c < state->dim_k; c++) scores[j] += (double)q[c] * k[j * state->dim_k + c] * scale;
        if (scores[j] > most) most = scores[j];
        args->stats->pairs_attended++;
    }
    for (int64_t j = 0; j < length; j++) sum += scores[j] == -INFINITY ? 0 : exp(scores[j] - most);
    for (uint32_t c = 0; c < state->dim_v; c++) {
        double value = 0;
        for (int64_t j = 0; j < length; j++)
            if (scores[j] != -INFINITY) value += exp(scores[j] - most) * v[j * state->dim_v + c];
        out[c] = sum > 0 ? (float)(value / sum) : 0;
    }
    if (args->lse.data)
        ((float *)args->lse.data)[row * args->lse.stride[0] + head * args->lse.stride[1]] = (float)(most + log(sum));
}

static lhk_status attend(const lhk_instance *attention, const lhk_host *host, const lhk_attend_args *args,
                         const lhk_workspace *workspace, lhk_error *error) {
    (void)host;
    const naive_state *state = (const naive_state *)attention;
    const int64_t length = args->store.ops->length(args->store.instance);
    if (args->q.shape[0] > state->rows || length > state->keys)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 2, "larger than the problem it was created for");
    if (workspace->bytes < (uint64_t)length * (state->dim_k + state->dim_v + 1) * sizeof(double))
        return lhk_fail(error, LHK_ERROR_CAPACITY, 3, "the workspace is too small");
    double *scores = workspace->data;
    float *k = (float *)(scores + length), *v = k + length * state->dim_k;
    for (uint32_t head = 0; head < state->query_heads; head++) {
        uint32_t kv_head = head / (state->query_heads / state->kv_heads);
        lhk_status status = args->store.ops->read_rows(args->store.instance, kv_head, 0, length, k, v, error);
        if (status) return status;
        for (int64_t row = 0; row < args->q.shape[0]; row++) attend_row(state, args, row, head, length, scores, k, v);
    }
    args->stats->calls++;
    args->stats->path = "naive";
    return LHK_OK;
}

static const lhk_life_ops life = {
    .struct_size = sizeof life, .supports = supports, .cost = lhk_test_cost, .sizes = sizes, .create = create};
static const lhk_attention_ops ops = {.struct_size = sizeof ops, .attend = attend};
LHK_TEST_METHOD(lhk_test_attention, LHK_ROLE_ATTENTION, "naive", life, ops);
