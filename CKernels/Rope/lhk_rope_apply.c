// SPDX-License-Identifier: Apache-2.0
/// The loop over tokens and heads, its checks, and the direct call.
#include "lhk_rope_internal.h"

/// Elements of one task: large enough to pay for waking a worker. Depends on the shape only.
#define LHK_ROPE_TASK_ELEMENTS 16384

lhk_status lhk_rope_check(const lhk_rope_table *table, const lhk_tensor *x, int64_t first, const lhk_tensor *out,
                          lhk_error *error) {
    if (table->dims < 2 || table->dims % 2 || table->dims > LHK_ROPE_MAX_DIMS || table->interleaved > 1)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "rope: the frequency table is not initialised");
    if (x->rank != 3 || x->shape[1] < 0 || x->shape[2] < (int64_t)table->dims)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 2, "rope x: shape is not [tokens][heads][at least %u]", table->dims);
    lhk_status status = lhk_check_rows(x, x->shape[1], x->shape[2], "rope x", 2, error);
    if (status) return status;
    int64_t last;
    if (__builtin_add_overflow(first, lhk_max(x->shape[0] - 1, 0), &last) || first < -LHK_ROPE_MAX_POSITION ||
        last > LHK_ROPE_MAX_POSITION)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 3, "rope: %lld positions from %lld on leave the range +-2^40",
                        (long long)x->shape[0], (long long)first);
    if (!out || x->shape[0] == 0 || x->shape[1] == 0) return LHK_OK;
    return lhk_check_output(x, out, "rope out", 4, error);
}

typedef struct lhk_rope_call {
    const lhk_rope_kernel *kernel;
    const lhk_rope_table *table;
    const lhk_tensor *x, *out;
    int64_t first, task_tokens;
} lhk_rope_call;

static void lhk_rope_task(void *context, int64_t task, uint32_t worker) {
    const lhk_rope_call *call = context;
    const lhk_tensor *x = call->x, *out = call->out;
    _Alignas(LHK_ALIGNMENT) float cosines[LHK_ROPE_MAX_DIMS / 2], sines[LHK_ROPE_MAX_DIMS / 2];
    (void)worker;
    int64_t begin = task * call->task_tokens, end = lhk_min(begin + call->task_tokens, x->shape[0]);
    for (int64_t i = begin; i < end; i++) {
        call->kernel->fill(call->table, (double)(call->first + i), cosines, sines);
        for (int64_t h = 0; h < x->shape[1]; h++)
            call->kernel->rotate(call->table, cosines, sines, lhk_row(x, i, h), x->dtype, lhk_row(out, i, h),
                                 x->shape[2]);
    }
}

lhk_status lhk_rope_apply_with(const lhk_rope_kernel *kernel, const lhk_rope_table *table, const lhk_host *host,
                               const lhk_tensor *x, int64_t first, const lhk_tensor *out, lhk_error *error) {
    lhk_status status = lhk_rope_check(table, x, first, out, error);
    if (status || x->shape[0] == 0 || x->shape[1] == 0) return status;
    int64_t tokens = lhk_max(LHK_ROPE_TASK_ELEMENTS / x->shape[1] / x->shape[2], 1);
    lhk_rope_call call = {kernel, table, x, out, first, tokens};
    lhk_parallel_for(host, (x->shape[0] - 1) / tokens + 1, lhk_rope_task, &call);
    return LHK_OK;
}

lhk_status lhk_rope_apply(const lhk_rope_table *table, const lhk_host *host, const lhk_tensor *x, int64_t first,
                          const lhk_tensor *out, lhk_error *error) {
    const lhk_rope_kernel *kernel = lhk_rope_kernels;
    while (kernel->isa & ~host->isa) kernel++;
    return lhk_rope_apply_with(kernel, table, host, x, first, out, error);
}
