// SPDX-License-Identifier: Apache-2.0
/// The direct call on row-major tensors.
#include "lhk_flash_variants.h"

static void make_plan(const lhk_flash_call *call, const lhk_host *host, lhk_flash_plan *plan) {
    const lhk_flash_variant *v = lhk_flash_best_variant(call->args.k.dtype, host->isa);
    *plan = (lhk_flash_plan){.call = call, .kernel = v->kernel};
    lhk_panel_layout(&plan->source.panels, v->dtype, (uint32_t)call->dim_k, (uint32_t)call->dim_v, LHK_BLOCK_TOKENS);
    int64_t most_keys = 0, most_rows = 0;
    for (int64_t b = 0; b < call->sequences; b++) {
        lhk_flash_sequence s = lhk_flash_get_sequence(call, b);
        most_keys = lhk_max(most_keys, s.keys);
        most_rows = lhk_max(most_rows, s.rows * call->group);
    }
    plan->prepack = !call->args.selection && most_rows > (int64_t)v->kernel->strip_rows * LHK_FLASH_STRIPS;
    plan->source.kind = plan->prepack ? LHK_FLASH_PANELS : LHK_FLASH_ROWS;
    plan->direct = call->args.path == LHK_FLASH_PATH_DIRECT ||
                   (call->args.path == LHK_FLASH_PATH_AUTO && !call->args.selection &&
                    lhk_flash_prefers_direct(most_rows, most_keys));
}

lhk_status lhk_flash_attention_workspace(const lhk_flash_args *args, const lhk_host *host, uint64_t *bytes,
                                         lhk_error *error) {
    lhk_status status = lhk_flash_validate_sizes(args, error);
    if (status) return status;
    lhk_flash_call call;
    lhk_flash_plan plan;
    lhk_flash_normalise(args, &call);
    make_plan(&call, host, &plan);
    if (!lhk_flash_plan_make(&plan, host->workers, NULL, bytes))
        return lhk_fail(error, LHK_ERROR_OVERFLOW, -1, "workspace size overflows");
    return LHK_OK;
}

lhk_status lhk_flash_attention(const lhk_flash_args *args, const lhk_host *host, const lhk_workspace *workspace,
                               lhk_error *error) {
    lhk_status status = lhk_flash_validate(args, error);
    if (status) return status;
    if (host->workers == 0) return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "host has 0 workers");
    lhk_flash_call call;
    lhk_flash_plan plan;
    uint64_t bytes;
    lhk_flash_normalise(args, &call);
    make_plan(&call, host, &plan);
    if (!lhk_flash_plan_make(&plan, host->workers, NULL, &bytes))
        return lhk_fail(error, LHK_ERROR_OVERFLOW, -1, "workspace size overflows");
    if (bytes > workspace->bytes || (bytes && (!workspace->data || (uintptr_t)workspace->data % LHK_ALIGNMENT)))
        return lhk_fail(error, LHK_ERROR_CAPACITY, -1, "workspace of %llu bytes given, %llu aligned to %u needed",
                        (unsigned long long)workspace->bytes, (unsigned long long)bytes, LHK_ALIGNMENT);
    lhk_flash_plan_make(&plan, host->workers, workspace->data, &bytes);
    lhk_flash_run(&plan, host, call.args.stats);
    return LHK_OK;
}
