// SPDX-License-Identifier: Apache-2.0
#include "lhk_flash_args.h"

#include <lhk/support.h>

/// Copies a struct that begins with struct_size into `size` zeroed bytes, no further than it says it reaches.
static void copy_struct(void *to, size_t size, const void *from) {
    uint32_t given;
    memcpy(&given, from, sizeof given);
    memset(to, 0, size);
    memcpy(to, from, given < size ? given : size);
}

/// Number of elements from the first to one past the last of a view [n0][n1][inner].
static int64_t extent(const lhk_tensor *t, int64_t inner) {
    return (t->shape[0] - 1) * t->stride[0] + (t->shape[1] - 1) * t->stride[1] + inner;
}

static lhk_tensor as_rows(const lhk_tensor *lse) {
    lhk_tensor rows = *lse;
    rows.rank = lse->rank == 2 ? 3 : 0;
    rows.shape[2] = rows.stride[2] = 1;
    return rows;
}

/// Whether [n0][n1][inner] addresses every element once. Strides must nest; layouts that are distinct without nesting
/// are refused too, nobody writes them.
static bool is_distinct(const lhk_tensor *t, int64_t inner) {
    int outer = t->shape[0] == 1 || (t->shape[1] > 1 && t->stride[1] > t->stride[0]), middle = !outer;
    if (t->shape[middle] > 1 && t->stride[middle] < inner) return false;
    int64_t reach = t->shape[middle] > 1 ? (t->shape[middle] - 1) * t->stride[middle] + inner : inner;
    return t->shape[outer] <= 1 || t->stride[outer] >= reach;
}

/// Whether blocks of `a` and `b` bytes at addresses x and y, each repeated every `period` bytes, never meet.
static bool are_interleaved(uintptr_t x, uint64_t a, uintptr_t y, uint64_t b, uint64_t period) {
    if (period == 0 || a > period || b > period) return false;
    uint64_t ahead = (uint64_t)(y % period + period - x % period) % period;
    return ahead >= a && period - ahead >= b;
}

/// Whether two non-empty views [n0][n1][inner] may share bytes. Views of one buffer with the same row stride (or head
/// stride) that take different columns of it do not.
static bool may_overlap(const lhk_tensor *a, const lhk_tensor *b) {
    uint64_t size_a = lhk_dtype_size(a->dtype), size_b = lhk_dtype_size(b->dtype);
    uintptr_t x = (uintptr_t)a->data, y = (uintptr_t)b->data;
    uint64_t inner_a = (uint64_t)a->shape[2] * size_a, inner_b = (uint64_t)b->shape[2] * size_b;
    if (x + (uint64_t)extent(a, a->shape[2]) * size_a <= y || y + (uint64_t)extent(b, b->shape[2]) * size_b <= x)
        return false;
    uint64_t row_a = (uint64_t)a->stride[0] * size_a, row_b = (uint64_t)b->stride[0] * size_b;
    uint64_t head_a = (uint64_t)a->stride[1] * size_a, head_b = (uint64_t)b->stride[1] * size_b;
    if (row_a != row_b) return true;
    uint64_t reach_a = (uint64_t)(a->shape[1] - 1) * head_a + inner_a;
    uint64_t reach_b = (uint64_t)(b->shape[1] - 1) * head_b + inner_b;
    if (are_interleaved(x, reach_a, y, reach_b, row_a)) return false;
    return !(head_a == head_b && head_a && row_a % head_a == 0 && are_interleaved(x, inner_a, y, inner_b, head_a));
}

static lhk_status check_lengths(const lhk_flash_args *a, lhk_error *error) {
    const lhk_tensor *q = &a->q, *k = &a->k, *v = &a->v;
    if (q->rank != 3 || q->shape[0] < 0 || q->shape[0] > LHK_FLASH_MAX_LENGTH)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_Q, "q: rank is not 3, or rows are not 0 to 2^31-1");
    if (k->rank != 3 || k->shape[0] < 0 || k->shape[0] > LHK_FLASH_MAX_LENGTH)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_K, "k: rank is not 3, or rows are not 0 to 2^31-1");
    if (v->rank != 3 || v->shape[0] != k->shape[0])
        return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_V, "v: rank is not 3, or rows differ from those of k");
    if (v->dtype != k->dtype)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_V, "v: element type %s differs from k's %s",
                        lhk_dtype_name(v->dtype), lhk_dtype_name(k->dtype));
    if (q->shape[1] < 1 || q->shape[1] > LHK_FLASH_MAX_HEADS || k->shape[1] < 1 || q->shape[1] % k->shape[1])
        return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_K,
                        "%lld query heads are not a multiple (up to %d) of %lld kv heads", (long long)q->shape[1],
                        LHK_FLASH_MAX_HEADS, (long long)k->shape[1]);
    if (q->shape[2] < 1 || q->shape[2] > LHK_FLASH_MAX_HEAD_DIM)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_Q, "q: head dimension %lld is not 1 to %d",
                        (long long)q->shape[2], LHK_FLASH_MAX_HEAD_DIM);
    if (v->shape[2] < 1 || v->shape[2] > LHK_FLASH_MAX_HEAD_DIM)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_V, "v: head dimension %lld is not 1 to %d",
                        (long long)v->shape[2], LHK_FLASH_MAX_HEAD_DIM);
    return LHK_OK;
}

/// Checks the shapes of the operands; `lse` is lse as a view of rank 3.
static lhk_status check_operands(const lhk_flash_args *a, const lhk_tensor *lse, lhk_error *error) {
    lhk_status status = check_lengths(a, error);
    if (status) return status;
    int64_t rows = a->q.shape[0], heads = a->q.shape[1], kv_heads = a->k.shape[1];
    if ((status = lhk_check_rows(&a->q, heads, a->q.shape[2], "q", LHK_FLASH_ARG_Q, error)) ||
        (status = lhk_check_rows(&a->k, kv_heads, a->q.shape[2], "k", LHK_FLASH_ARG_K, error)) ||
        (status = lhk_check_rows(&a->v, kv_heads, a->v.shape[2], "v", LHK_FLASH_ARG_V, error)) ||
        (status = lhk_check_rows(&a->out, heads, a->v.shape[2], "out", LHK_FLASH_ARG_OUT, error)))
        return status;
    if (a->out.shape[0] != rows)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_OUT, "out: rows differ from those of q");
    if (rows && !is_distinct(&a->out, a->out.shape[2]))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_OUT, "out: its rows overlap each other");
    if (!a->lse.data) return LHK_OK;
    if (lse->rank != 3 || lse->dtype != LHK_DTYPE_F32 || lse->shape[0] != rows)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_LSE, "lse: not f32 [rows of q][query heads]");
    if ((status = lhk_check_rows(lse, heads, 1, "lse", LHK_FLASH_ARG_LSE, error))) return status;
    if (rows && !is_distinct(lse, 1))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_LSE, "lse: its elements overlap each other");
    return LHK_OK;
}

static lhk_status check_overlaps(const lhk_flash_args *a, const lhk_tensor *lse, lhk_error *error) {
    if (a->q.shape[0] == 0) return LHK_OK;
    const lhk_tensor *inputs[] = {&a->q, &a->k, &a->v};
    const char *names[] = {"q", "k", "v"};
    for (int i = 0; i < 3; i++) {
        if (inputs[i]->shape[0] == 0) continue;
        if (may_overlap(&a->out, inputs[i]))
            return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_OUT, "out overlaps %s", names[i]);
        if (a->lse.data && may_overlap(lse, inputs[i]))
            return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_LSE, "lse overlaps %s", names[i]);
    }
    if (a->lse.data && may_overlap(lse, &a->out))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_LSE, "lse overlaps out");
    return LHK_OK;
}

static lhk_status check_sequences(const lhk_flash_args *a, lhk_error *error) {
    const int32_t argument = LHK_FLASH_ARG_SEQUENCES;
    int64_t count = a->sequences, total_q = a->q.shape[0], total_k = a->k.shape[0];
    if (count < 0) return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "sequences is negative");
    if (count == 0 && (a->cu_q || a->cu_k))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "cu_q or cu_k is given, but sequences is 0");
    if (count > 0 && (!a->cu_q || !a->cu_k))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "cu_q or cu_k is null");
    if (count > 0 && (a->cu_q[0] != 0 || a->cu_k[0] < 0))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "cu_q does not begin at 0, or cu_k is negative");
    for (int64_t b = 0; b < count; b++) {
        if (a->cu_q[b + 1] < a->cu_q[b] || a->cu_q[b + 1] > total_q)
            return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "cu_q[%lld] descends or is past the rows of q",
                            (long long)b + 1);
        if (a->cu_k[b + 1] < a->cu_k[b] || a->cu_k[b + 1] > total_k)
            return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "cu_k[%lld] descends or is past the rows of k",
                            (long long)b + 1);
    }
    for (int64_t b = 0; a->kv_lengths && b < (count ? count : 1); b++)
        if (a->kv_lengths[b] < 0 || a->kv_lengths[b] > (count ? a->cu_k[b + 1] - a->cu_k[b] : total_k))
            return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "kv_lengths[%lld] is negative or past its sequence",
                            (long long)b);
    return LHK_OK;
}

static lhk_status check_path(const lhk_flash_args *args, lhk_error *error) {
    if (args->path > LHK_FLASH_PATH_DIRECT)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_PATH, "path %u is unknown", args->path);
    if (args->path != LHK_FLASH_PATH_DIRECT) return LHK_OK;
    if (args->selection)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_PATH, "the direct path takes no selection");
    lhk_flash_call call;
    lhk_flash_normalise(args, &call);
    for (int64_t b = 0; b < call.sequences; b++) {
        int64_t keys = lhk_flash_get_sequence(&call, b).keys;
        if (keys > LHK_FLASH_DIRECT_KEYS)
            return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_PATH, "the direct path takes at most %d keys, not %lld",
                            LHK_FLASH_DIRECT_KEYS, (long long)keys);
    }
    return LHK_OK;
}

static lhk_status validate(const lhk_flash_args *args, bool sizes_only, lhk_error *error) {
    if (!args || args->struct_size < offsetof(lhk_flash_args, lse))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "args is null, or its struct_size does not reach past out");
    lhk_flash_args a;
    copy_struct(&a, sizeof a, args);
    if (sizes_only) {
        void *any = (void *)(uintptr_t)LHK_ALIGNMENT;
        a.q.data = a.k.data = a.v.data = a.out.data = any;
        a.lse.data = NULL;
    }
    lhk_tensor lse = as_rows(&a.lse);
    lhk_status status;
    if ((status = check_operands(&a, &lse, error)) || (!sizes_only && (status = check_overlaps(&a, &lse, error))) ||
        (status = check_sequences(&a, error)) ||
        (status = lhk_flash_validate_params(a.params, a.q.shape[1], LHK_FLASH_ARG_PARAMS, error)) ||
        (status = check_path(&a, error)))
        return status;
    if (!a.selection) return LHK_OK;
    if (a.sequences > 1)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_SELECTION, "a selection takes one sequence, not %lld",
                        (long long)a.sequences);
    int64_t rows = a.sequences ? a.cu_q[1] : a.q.shape[0];
    return lhk_flash_validate_selection(a.selection, rows, a.q.shape[1], a.k.shape[1], LHK_FLASH_ARG_SELECTION, error);
}

lhk_status lhk_flash_validate(const lhk_flash_args *args, lhk_error *error) { return validate(args, false, error); }

lhk_status lhk_flash_validate_sizes(const lhk_flash_args *args, lhk_error *error) {
    return validate(args, true, error);
}

void lhk_flash_normalise_params(const lhk_attention_params *params, int64_t dim_k, lhk_flash_call *call) {
    if (params) {
        copy_struct(&call->params, sizeof call->params, params);
    } else {
        call->params = (lhk_attention_params){.struct_size = sizeof(lhk_attention_params)};
        call->params.window_left = call->params.window_right = -1;
    }
    const lhk_attention_params *p = &call->params;
    call->scale = p->scale > 0 ? p->scale : (float)(1.0 / sqrt((double)dim_k));
    call->softcap = p->softcap;
    call->left = p->window_left < 0 ? LHK_FLASH_UNBOUNDED : lhk_min(p->window_left, LHK_FLASH_UNBOUNDED);
    call->right = p->window_right < 0 ? LHK_FLASH_UNBOUNDED : lhk_min(p->window_right, LHK_FLASH_UNBOUNDED);
    if (p->flags & LHK_ATTENTION_CAUSAL) call->right = 0;
    call->sink_tokens = p->sink_tokens;
}

void lhk_flash_normalise(const lhk_flash_args *args, lhk_flash_call *call) {
    copy_struct(&call->args, sizeof call->args, args);
    const lhk_flash_args *a = &call->args;
    call->total_q = a->q.shape[0];
    call->total_k = a->k.shape[0];
    call->query_heads = a->q.shape[1];
    call->kv_heads = a->k.shape[1];
    call->group = call->query_heads / call->kv_heads;
    call->dim_k = a->q.shape[2];
    call->dim_v = a->v.shape[2];
    call->sequences = a->sequences ? a->sequences : 1;
    lhk_flash_normalise_params(a->params, call->dim_k, call);
}

lhk_flash_sequence lhk_flash_get_sequence(const lhk_flash_call *call, int64_t index) {
    const lhk_flash_args *a = &call->args;
    lhk_flash_sequence s = {0, call->total_q, 0, call->total_k, 0};
    if (a->sequences) {
        s.first_row = a->cu_q[index];
        s.rows = a->cu_q[index + 1] - s.first_row;
        s.first_key = a->cu_k[index];
        s.keys = a->cu_k[index + 1] - s.first_key;
    }
    if (a->kv_lengths) s.keys = a->kv_lengths[index];
    s.offset = call->params.flags & LHK_ATTENTION_OFFSET ? call->params.offset : s.keys - s.rows;
    return s;
}

lhk_selection lhk_flash_get_selection(const lhk_selection *selection) {
    lhk_selection copy;
    copy_struct(&copy, sizeof copy, selection);
    return copy;
}

void lhk_flash_count(lhk_attention_stats *stats, uint64_t attended, uint64_t visible, const char *path) {
    if (!stats) return;
#define REACHES(member) (stats->struct_size >= offsetof(lhk_attention_stats, member) + sizeof stats->member)
    if (REACHES(calls)) stats->calls++;
    if (REACHES(pairs_attended)) stats->pairs_attended += attended;
    if (REACHES(pairs_visible)) stats->pairs_visible += visible;
    if (REACHES(path)) stats->path = path;
#undef REACHES
}
