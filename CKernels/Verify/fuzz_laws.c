// SPDX-License-Identifier: Apache-2.0
/// Laws: the same call in another arrangement.
#include <inttypes.h>
#include <lhk/support.h>

#include "fuzz_check.h"

static const fuzz_call plain_call = {.workers = 1, .workspace_byte = 0xff};

/// Whether law `number` is drawn for this case: about one in `n` cases, all of them when thorough.
static bool drawn(const fuzz_check *check, uint64_t number, uint64_t n) {
    return check->thorough || fuzz_mix(check->c->problem.index * 16 + number) % n == 0;
}

/// The call with its results in the second pair of outputs, which hold the canary.
static lhk_fuzz_args with_second_outputs(fuzz_check *check) {
    fuzz_arena *arena = check->c->arena;
    lhk_fuzz_args args = check->c->args;
    fuzz_buffer_prepare(&arena->second_out, arena->out.bytes, lhk_dtype_size(args.out.dtype), false);
    fuzz_buffer_prepare(&arena->second_lse, arena->lse.bytes, sizeof(float), false);
    fuzz_reset_outputs(check->c, &arena->second_out, &arena->second_lse);
    args.out.data = arena->second_out.data;
    if (args.lse.data) args.lse.data = arena->second_lse.data;
    return args;
}

/// As same_bits, for problems whose memory is mostly gaps that were never touched.
static bool same_rows(fuzz_check *check, const char *what) {
    lhk_tensor first = check->c->args.out, second = first;
    second.data = check->c->arena->second_out.data;
    size_t bytes = (size_t)first.shape[2] * lhk_dtype_size(first.dtype);
    for (int64_t i = 0; i < first.shape[0]; i++)
        for (int64_t h = 0; h < first.shape[1]; h++)
            if (memcmp(lhk_row(&first, i, h), lhk_row(&second, i, h), bytes)) {
                fuzz_fail(check, what, "row %" PRId64 " differs in its bits from 1 worker's", i);
                return false;
            }
    return true;
}

static bool same_bits(fuzz_check *check, const char *what) {
    const fuzz_arena *arena = check->c->arena;
    if (check->c->problem.sparse) return same_rows(check, what);
    if (!memcmp(arena->out.data, arena->second_out.data, arena->out.bytes) &&
        !memcmp(arena->lse.data, arena->second_lse.data, arena->lse.bytes))
        return true;
    size_t at = 0;
    while (at < arena->out.bytes && arena->out.data[at] == arena->second_out.data[at]) at++;
    fuzz_fail(check, what, at < arena->out.bytes ? "out differs in its bits from 1 worker's, at byte %zu"
                                                 : "lse differs in its bits from 1 worker's",
              at);
    return false;
}

/// Any number of workers, in any order, over any workspace, with and without statistics: the same bits.
static void check_workers(fuzz_check *check) {
    static const uint32_t many[] = {2, 5, 8, 16, 24, 32, 48};
    uint32_t count = check->c->problem.many_workers ? 7 : 1, first = count > 1 ? 0 : (uint32_t)(check->c->problem.index % 2);
    for (uint32_t i = 0; i < count && !check->failed; i++) {
        char what[32];
        snprintf(what, sizeof what, "%u workers", many[first + i]);
        lhk_fuzz_args args = with_second_outputs(check);
        if (fuzz_attend(check, &args, (fuzz_call){.workers = many[first + i], .workspace_byte = i & 1 ? 0x7f : 0}, LHK_OK,
                        what))
            same_bits(check, what);
    }
    if (!check->failed && check->options->pool && drawn(check, 1, 4)) {
        lhk_fuzz_args args = with_second_outputs(check);
        if (fuzz_attend(check, &args, (fuzz_call){.use_pool = true, .workspace_byte = 0xff}, LHK_OK, "thread pool"))
            same_bits(check, "thread pool");
    }
}

/// Too small a workspace is refused before anything is written.
static void check_capacity(fuzz_check *check) {
    const char *what = "workspace one byte short";
    if (check->c->problem.sparse) return;
    uint64_t bytes = 0;
    lhk_host host = {.struct_size = sizeof host, .workers = 2, .isa = check->isa};
    const lhk_fuzz_subject *s = &check->options->subject;
    if (s->workspace(s->context, &check->c->args, &host, &bytes, NULL) || bytes == 0) return;
    lhk_fuzz_args args = with_second_outputs(check);
    fuzz_call call = {.workers = 2, .withhold = 1, .may_succeed = s->loose_workspace};
    if (!fuzz_attend(check, &args, call, LHK_ERROR_CAPACITY, what)) return;
    const fuzz_buffer *out = &check->c->arena->second_out;
    for (size_t i = 0; i < out->bytes / 2; i++)
        if (((const uint16_t *)out->data)[i] != FUZZ_CANARY) {
            fuzz_fail(check, what, "out was written, at byte %zu", 2 * i);
            return;
        }
}

/// The other modes give the same within bounds.
static void check_modes(fuzz_check *check) {
    for (uint32_t mode = 0; mode < check->c->subject->modes && !check->failed; mode++) {
        if (mode == check->c->args.mode) continue;
        char what[32];
        snprintf(what, sizeof what, "mode %u", mode);
        lhk_fuzz_args args = with_second_outputs(check);
        args.mode = mode;
        if (!fuzz_attend(check, &args, plain_call, LHK_OK, what)) continue;
        args.out.shape[0] -= check->c->problem.spare_rows;
        fuzz_compare(check, &args, 0, what);
    }
}

/// NaN in one row of q changes no other row's bits.
static void check_isolation(fuzz_check *check) {
    fuzz_arena *arena = check->c->arena;
    const lhk_tensor *q = &check->c->args.q;
    int64_t rows = q->shape[0] - check->c->problem.spare_rows;
    if (rows < 2 || q->stride[1] == 0) return;
    int64_t row = (int64_t)(fuzz_mix(check->c->problem.index) % (uint64_t)rows), dim = q->shape[2];
    void *victim = lhk_row(q, row, 0);
    float *kept = fuzz_alloc(check->c, (size_t)dim, sizeof *kept);
    if (!kept) return;
    lhk_fuzz_args args = with_second_outputs(check);
    fuzz_buffer_protect(&arena->q, true);
    for (int64_t x = 0; x < dim; x++) {
        kept[x] = lhk_load_element(victim, q->dtype, x);
        lhk_store_element(victim, q->dtype, x, NAN);
    }
    fuzz_buffer_protect(&arena->q, false);
    bool called = fuzz_attend(check, &args, plain_call, LHK_OK, "NaN in one row");
    fuzz_buffer_protect(&arena->q, true);
    for (int64_t x = 0; x < dim; x++) lhk_store_element(victim, q->dtype, x, kept[x]);
    fuzz_buffer_protect(&arena->q, false);
    if (!called) return;
    size_t bytes = (size_t)args.out.shape[2] * lhk_dtype_size(args.out.dtype);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t h = 0; h < args.out.shape[1]; h++)
            if ((i != row || h != 0) && memcmp(lhk_row(&args.out, i, h), lhk_row(&check->c->args.out, i, h), bytes)) {
                fuzz_fail(check, "NaN in one row", "NaN in row %" PRId64 " head 0 of q changed row %" PRId64 " head %" PRId64,
                          row, i, h);
                return;
            }
}

/// A row alone, as a decode step would compute it.
static void check_single_rows(fuzz_check *check) {
    const lhk_fuzz_args *whole = &check->c->args;
    if (whole->sequences || whole->selection || whole->q.shape[0] < 2) return;
    fuzz_sequence s = fuzz_get_sequence(whole, 0);
    const int64_t rows[] = {0, s.rows / 2, s.rows - 1};
    for (int i = 0; i < 3 && !check->failed; i++) {
        lhk_attention_params params = check->c->params;
        lhk_fuzz_args args = with_second_outputs(check);
        int64_t row = rows[i];
        args.q.data = lhk_row(&args.q, row, 0);
        args.q.shape[0] = args.out.shape[0] = args.lse.shape[0] = 1;
        params.flags |= LHK_ATTENTION_OFFSET;
        params.offset = s.offset + row;
        if (args.params) args.params = &params;
        if (fuzz_attend(check, &args, plain_call, LHK_OK, "single row")) fuzz_compare(check, &args, row, "single row");
    }
}

/// Rows `from` on of a tensor.
static lhk_tensor rows_from(lhk_tensor t, int64_t from, int64_t count) {
    if (t.data && from < t.shape[0]) t.data = lhk_row(&t, from, 0);
    t.shape[0] = count;
    return t;
}

/// Merges the results of two parts into the first by their log-sum-exp.
static void merge(int64_t rows, int64_t dim, float *const outs[2], float *const lses[2]) {
    for (int64_t row = 0; row < rows; row++) {
        double a = lses[0][row], b = lses[1][row], base = a > b || isnan(b) ? a : b;
        if (base == -INFINITY) base = 0;
        double total = exp(a - base) + exp(b - base), first = a == -INFINITY ? 0 : exp(a - base) / total;
        for (int64_t x = row * dim; x < (row + 1) * dim; x++) {
            double sum = a == -INFINITY ? 0 : first * (double)outs[0][x];
            if (b != -INFINITY) sum += exp(b - base) / total * (double)outs[1][x];
            outs[0][x] = (float)sum;
        }
        lses[0][row] = total == 0 ? -INFINITY : (float)(base + log(total));
    }
}

/// Results over two disjoint ranges of keys merge to the result over all.
static void check_split(fuzz_check *check) {
    const char *what = "split keys and merge";
    const lhk_fuzz_args *whole = &check->c->args;
    if (whole->sequences || whole->selection || check->c->subject->held) return;
    fuzz_sequence s = fuzz_get_sequence(whole, 0);
    int64_t rows = s.rows, heads = whole->q.shape[1], dim = whole->v.shape[2];
    int64_t cut = (int64_t)(fuzz_mix(check->c->problem.index + 7) % (uint64_t)(s.keys + 1));
    float *outs[2], *lses[2];
    for (int part = 0; part < 2; part++) {
        int64_t begin = part ? cut : 0, count = part ? s.keys - cut : cut;
        lhk_attention_params params = check->c->params;
        lhk_fuzz_args args = *whole;
        float *out = fuzz_alloc(check->c, (size_t)(rows * heads * dim), sizeof *out);
        float *lse = fuzz_alloc(check->c, (size_t)(rows * heads), sizeof *lse);
        if (!out || !lse) return;
        args.k = rows_from(args.k, begin, count);
        args.v = rows_from(args.v, begin, count);
        args.kv_lengths = NULL;
        args.out = (lhk_tensor){out, LHK_DTYPE_F32, 3, {rows, heads, dim}, {heads * dim, dim, 1}};
        args.lse = (lhk_tensor){lse, LHK_DTYPE_F32, 2, {rows, heads}, {heads, 1}};
        params.flags |= LHK_ATTENTION_OFFSET;
        params.offset = s.offset - begin;
        params.sink_tokens = part ? lhk_max(params.sink_tokens - cut, 0) : params.sink_tokens;
        if (part) params.sink_logits = NULL;
        if (args.params) args.params = &params;
        if (!fuzz_attend(check, &args, plain_call, LHK_OK, what)) return;
        outs[part] = out;
        lses[part] = lse;
    }
    merge(rows * heads, dim, outs, lses);
    lhk_fuzz_args merged = *whole;
    merged.out = (lhk_tensor){outs[0], LHK_DTYPE_F32, 3, {rows, heads, dim}, {heads * dim, dim, 1}};
    merged.lse = (lhk_tensor){lses[0], LHK_DTYPE_F32, 2, {rows, heads}, {heads, 1}};
    fuzz_compare(check, &merged, 0, what);
}

/// A copy of a tensor with its rows in another order.
static lhk_tensor permuted(fuzz_check *check, const lhk_tensor *t, int64_t step, int64_t shift) {
    lhk_tensor copy = *t;
    size_t row = (size_t)t->shape[2] * lhk_dtype_size(t->dtype);
    copy.data = fuzz_alloc(check->c, (size_t)(t->shape[0] * t->shape[1]), row);
    copy.stride[1] = t->shape[2];
    copy.stride[0] = t->shape[1] * t->shape[2];
    for (int64_t i = 0; copy.data && i < t->shape[0]; i++)
        for (int64_t h = 0; h < t->shape[1]; h++)
            memcpy(lhk_row(&copy, (i * step + shift) % t->shape[0], h), lhk_row(t, i, h), row);
    return copy;
}

/// Without masks the order of the keys does not matter.
static void check_permutation(fuzz_check *check) {
    const fuzz_problem *p = &check->c->problem;
    const lhk_fuzz_args *whole = &check->c->args;
    int64_t keys = whole->k.shape[0];
    if (whole->sequences || whole->selection || p->has_lengths || keys < 2 || check->c->subject->held) return;
    if (fuzz_is_masked(p) || (p->slopes && !p->no_params)) return;
    lhk_fuzz_args args = with_second_outputs(check);
    int64_t step = keys % 7 ? 7 : 1;
    args.k = permuted(check, &whole->k, step, keys / 2);
    args.v = permuted(check, &whole->v, step, keys / 2);
    if (!args.k.data || !args.v.data) return;
    if (fuzz_attend(check, &args, plain_call, LHK_OK, "permuted keys")) fuzz_compare(check, &args, 0, "permuted keys");
}

void fuzz_check_laws(fuzz_check *check) {
    static const struct {
        void (*law)(fuzz_check *);
        uint64_t one_in;
        bool small_only;
    } laws[] = {{check_workers, 1, false},    {check_capacity, 8, false},   {check_modes, 4, true},
                {check_isolation, 4, true},   {check_single_rows, 4, true}, {check_split, 3, true},
                {check_permutation, 2, true}};
    bool small = !check->c->problem.sparse && fuzz_work(&check->c->problem) < 2e7;
    for (size_t i = 0; i < sizeof laws / sizeof *laws && !check->failed; i++)
        if (drawn(check, i + 2, laws[i].one_in) && (small || !laws[i].small_only)) laws[i].law(check);
}
