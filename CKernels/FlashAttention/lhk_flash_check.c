// SPDX-License-Identifier: Apache-2.0
/// Validation of the parts that an attention over a store shares with a direct call: masks and selections.
#include "lhk_flash_args.h"

#include <float.h>
#include <lhk/support.h>

/// Whether finite values of `params` lie in their ranges.
static lhk_status check_numbers(const lhk_attention_params *p, int32_t argument, lhk_error *error) {
    if (p->flags & ~(uint32_t)(LHK_ATTENTION_CAUSAL | LHK_ATTENTION_OFFSET))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "params: unknown flags 0x%x", p->flags);
    if (!(p->scale >= 0 && p->scale <= FLT_MAX))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "params: scale %g is negative or not finite", p->scale);
    if (!(p->softcap >= 0 && p->softcap <= FLT_MAX))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "params: softcap %g is negative or not finite", p->softcap);
    if (p->window_left < -1 || p->window_right < -1)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "params: a window is below -1");
    if (p->sink_tokens < 0) return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "params: sink_tokens is negative");
    if (p->flags & LHK_ATTENTION_OFFSET && (p->offset < -LHK_FLASH_MAX_OFFSET || p->offset > LHK_FLASH_MAX_OFFSET))
        return lhk_fail(error, LHK_ERROR_OVERFLOW, argument, "params: offset exceeds 2^61 in magnitude");
    return LHK_OK;
}

lhk_status lhk_flash_validate_params(const lhk_attention_params *params, int64_t query_heads, int32_t argument,
                                     lhk_error *error) {
    if (!params) return LHK_OK;
    if (params->struct_size < offsetof(lhk_attention_params, sink_tokens))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "params: struct_size does not reach past the windows");
    lhk_flash_call call;
    lhk_flash_normalise_params(params, 1, &call);
    lhk_status status = check_numbers(&call.params, argument, error);
    if (status) return status;
    const float *slopes = call.params.alibi_slopes, *sinks = call.params.sink_logits;
    if ((uintptr_t)slopes % sizeof(float) || (uintptr_t)sinks % sizeof(float))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "params: an array is not aligned to its elements");
    for (int64_t h = 0; slopes && h < query_heads; h++)
        if (!(fabsf(slopes[h]) <= FLT_MAX))
            return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "params: ALiBi slope of head %lld is not finite",
                            (long long)h);
    for (int64_t h = 0; sinks && h < query_heads; h++)
        if (!(sinks[h] <= FLT_MAX))
            return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "params: sink logit of head %lld is NaN or infinite",
                            (long long)h);
    return LHK_OK;
}

static lhk_status check_runs(const lhk_selection *s, int32_t argument, lhk_error *error) {
    for (int64_t l = 0; l < s->list_count; l++) {
        int64_t reached = 0;
        for (int64_t e = s->list_offsets[l]; e < s->list_offsets[l + 1]; e++) {
            if (s->runs[e].begin < reached || s->runs[e].end < s->runs[e].begin)
                return lhk_fail(error, LHK_ERROR_ARGUMENT, argument,
                                "selection: run %lld is negative, reversed, or meets the one before", (long long)e);
            reached = s->runs[e].end;
        }
    }
    return LHK_OK;
}

static lhk_status check_tokens(const lhk_selection *s, int32_t argument, lhk_error *error) {
    for (int64_t l = 0; l < s->list_count; l++) {
        int64_t last = -1;
        for (int64_t e = s->list_offsets[l]; e < s->list_offsets[l + 1]; e++) {
            if (s->tokens[e] <= last)
                return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "selection: token %lld is negative or not ascending",
                                (long long)e);
            if (s->log_weights && !(s->log_weights[e] <= FLT_MAX))
                return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "selection: log weight %lld is NaN or +infinite",
                                (long long)e);
            last = s->tokens[e];
        }
    }
    return LHK_OK;
}

/// Checks the lists of a BLOCKS or TOKENS selection.
static lhk_status check_lists(const lhk_selection *s, int64_t rows, int64_t query_heads, int64_t kv_heads,
                              int32_t argument, lhk_error *error) {
    bool blocks = s->kind == LHK_SELECTION_BLOCKS;
    if (blocks && s->tile_rows < 1)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "selection: tile_rows %lld is not positive",
                        (long long)s->tile_rows);
    int64_t tiles = blocks ? rows / s->tile_rows + (rows % s->tile_rows != 0) : 1;
    if (s->list_count != query_heads * tiles && (blocks || s->list_count != kv_heads))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "selection: %lld lists for %lld query heads, %lld kv heads%s",
                        (long long)s->list_count, (long long)query_heads, (long long)kv_heads,
                        blocks ? " and the query tiles" : "");
    if (blocks && s->log_weights)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "selection: runs take no log weights");
    if (s->list_count == 0) return LHK_OK;
    if (!s->list_offsets || s->list_offsets[0] < 0)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "selection: list_offsets is null or negative");
    for (int64_t l = 0; l < s->list_count; l++)
        if (s->list_offsets[l + 1] < s->list_offsets[l])
            return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "selection: list_offsets[%lld] descends",
                            (long long)l + 1);
    if (s->list_offsets[s->list_count] == s->list_offsets[0]) return LHK_OK;
    if (blocks ? !s->runs : !s->tokens)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "selection: its entries are null");
    return blocks ? check_runs(s, argument, error) : check_tokens(s, argument, error);
}

lhk_status lhk_flash_validate_selection(const lhk_selection *selection, int64_t rows, int64_t query_heads,
                                        int64_t kv_heads, int32_t argument, lhk_error *error) {
    const lhk_selection *node = selection;
    for (int length = 0; node; length++) {
        if (length == LHK_FLASH_MAX_CHAIN)
            return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "selection: the chain exceeds %d or is circular",
                            LHK_FLASH_MAX_CHAIN);
        if (node->struct_size < offsetof(lhk_selection, tile_rows))
            return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "selection: struct_size does not reach past kind");
        lhk_selection s = lhk_flash_get_selection(node);
        if (s.kind > LHK_SELECTION_TOKENS)
            return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "selection: kind %u is unknown", s.kind);
        if (s.kind == LHK_SELECTION_ALL && (length > 0 || s.next))
            return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "selection: all keys cannot be chained with more");
        if (!s.rest_lse != !s.rest_mean)
            return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "selection: only one of rest_lse and rest_mean is given");
        lhk_status status =
            s.kind == LHK_SELECTION_ALL ? LHK_OK : check_lists(&s, rows, query_heads, kv_heads, argument, error);
        if (status) return status;
        node = s.next;
    }
    return LHK_OK;
}
