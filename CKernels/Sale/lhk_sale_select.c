// SPDX-License-Identifier: Apache-2.0
/// Masks, and the direct call.
#include "lhk_sale_call.h"

lhk_status lhk_sale_read_params(lhk_sale_call *call, const lhk_attention_params *params, bool *dense, lhk_error *error) {
    const lhk_attention_params none = {.struct_size = sizeof none, .window_left = -1, .window_right = -1};
    if (!params) params = &none;
    if (params->struct_size < LHK_SIZE_THROUGH(lhk_attention_params, sink_logits))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 4, "sale: struct_size of the attention parameters is too small");
    if (params->alibi_slopes) return lhk_fail(error, LHK_ERROR_UNSUPPORTED, 4, "sale: ALiBi is not supported");
    if (!(params->scale >= 0) || isinf(params->scale) || !(params->softcap >= 0) || isinf(params->softcap))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 4, "sale: scale or softcap is negative or not finite");
    const bool given = params->flags & LHK_ATTENTION_OFFSET;
    const int64_t far = 4 * LHK_SALE_MAX_KEYS;  // beyond all keys nothing changes
    call->offset = given ? lhk_max(-far, lhk_min(params->offset, far)) : call->keys - call->rows;
    call->scale = params->scale > 0 ? params->scale : 1 / sqrtf((float)call->layout.head_dim);
    call->softcap = params->softcap;
    call->sink_logits = params->sink_logits;
    const bool causal = params->flags & LHK_ATTENTION_CAUSAL;
    *dense = call->rows < 2 || !causal || params->window_left >= 0 || params->window_right >= 0 ||
             lhk_sale_reach_of(call->rows - 1 + call->offset, call->keys).middle == 0;
    return LHK_OK;
}

const lhk_sale_kernel *lhk_sale_kernel_for(lhk_isa isa) {
#define LHK_SALE_VARIANT(word, required, speed) extern const lhk_sale_kernel lhk_sale_##word##_kernel;
#include "lhk_sale_variants.inc"
#undef LHK_SALE_VARIANT
    const lhk_sale_kernel *best = NULL;
#define LHK_SALE_VARIANT(word, required, speed) \
    if (!((required) & ~isa)) best = &lhk_sale_##word##_kernel;  // rows ascend
#include "lhk_sale_variants.inc"
#undef LHK_SALE_VARIANT
    return best;
}

static lhk_status read_shape(const lhk_sale_args *args, bool data, lhk_sale_call *call, lhk_error *error) {
    if (args->struct_size < LHK_SIZE_THROUGH(lhk_sale_args, params))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "sale: struct_size of the arguments is too small");
    const lhk_tensor *q = &args->q, *k = &args->k;
    if (q->rank != 3 || k->rank != 3 || q->shape[1] < 1 || k->shape[1] < 1 || q->shape[1] > 65536 ||
        q->shape[1] % k->shape[1] || q->shape[2] != k->shape[2])
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "sale: q and k are not [rows][query heads][dim] and [keys][KV heads][dim]");
    if (q->shape[0] < 0 || k->shape[0] < 0 || q->shape[0] > LHK_SALE_MAX_KEYS || k->shape[0] > LHK_SALE_MAX_KEYS)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "sale: rows or keys are not 0 to 2^31-1");
    *call = (lhk_sale_call){.query_heads = (uint32_t)q->shape[1], .kv_heads = (uint32_t)k->shape[1], .rows = q->shape[0],
                            .keys = k->shape[0], .q = *q, .k = *k, .tau = args->tau, .screen = args->screen,
                            .block = LHK_SALE_BLOCK};
    if (args->struct_size >= LHK_SIZE_THROUGH(lhk_sale_args, block) && args->block) call->block = args->block;
    if (call->block != 16 && call->block != LHK_SALE_BLOCK)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "sale: blocks have 16 or 32 keys, not %lld", (long long)call->block);
    if (!(args->screen >= 0 && args->screen <= 64) || (args->screen > 0 && args->bits != 8))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "sale: screen is not 0 to 64, or not 0 with codes of %u bits", args->bits);
    call->remainder = args->struct_size >= LHK_SIZE_THROUGH(lhk_sale_args, v) && args->v.data;
    if (call->remainder) {
        call->v = args->v;
        call->dim_v = call->v.rank == 3 ? call->v.shape[2] : 0;
        if (call->dim_v < 1 || call->dim_v > UINT32_MAX || call->v.shape[0] != k->shape[0] || call->v.shape[1] != k->shape[1])
            return lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "sale: v is not [keys][KV heads][dim] of the keys of k");
    }
    int64_t dim = q->shape[2] < 0 || q->shape[2] > UINT32_MAX ? 0 : q->shape[2];
    lhk_status status = lhk_sale_get_layout((uint32_t)dim, args->bits, &call->layout, error);
    if (status || !data) return status;
    status = lhk_check_rows(q, q->shape[1], dim, "q", 0, error);
    if (!status) status = lhk_check_rows(k, k->shape[1], dim, "k", 0, error);
    if (!status && call->remainder) status = lhk_check_rows(&call->v, k->shape[1], call->dim_v, "v", 0, error);
    for (int64_t h = 0; !status && h < q->shape[1]; h++)
        if (!(args->tau[h] >= 0) || isinf(args->tau[h]))
            status = lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "sale: tau of head %lld is negative or not finite", (long long)h);
    return status;
}

lhk_status lhk_sale_workspace(const lhk_sale_args *args, uint32_t workers, uint64_t *bytes, lhk_error *error) {
    lhk_sale_call call;
    lhk_status status = read_shape(args, false, &call, error);
    return status ? status : lhk_sale_call_bytes(&call, workers, true, bytes, error);
}

lhk_status lhk_sale_select(const lhk_sale_args *args, const lhk_host *host, const lhk_workspace *workspace,
                           lhk_selection *out, lhk_error *error) {
    lhk_sale_call call;
    bool dense = false;
    lhk_status status = read_shape(args, true, &call, error);
    if (!status) status = lhk_sale_read_params(&call, args->params, &dense, error);
    if (!status && call.remainder && call.softcap > 0)
        status = lhk_fail(error, LHK_ERROR_UNSUPPORTED, 0, "sale: a remainder does not know softcaps");
    if (status) return status;
    *out = (lhk_selection){.struct_size = sizeof *out, .kind = LHK_SELECTION_ALL};
    call.kernel = lhk_sale_kernel_for(host->isa);
    return dense ? LHK_OK : lhk_sale_run(&call, host, workspace, true, out, error);
}
