// SPDX-License-Identifier: Apache-2.0
/// The expected results of a case, from the reference, and their bounds.
#include <lhk/support.h>

#include "fuzz_bounds.h"

static bool allocate(fuzz_case *c) {
    size_t rows = (size_t)(c->args.q.shape[0] * c->problem.query_heads), elements = rows * (size_t)c->problem.dim_v;
    c->expected = fuzz_alloc(c, elements, sizeof(double));
    c->expected_lse = fuzz_alloc(c, rows, sizeof(double));
    uint32_t arithmetic = c->subject->arithmetic;
    int only = arithmetic == LHK_FUZZ_ARITHMETIC_CODES ? FUZZ_ARITHMETIC_CODES
               : arithmetic == LHK_FUZZ_ARITHMETIC_I8  ? FUZZ_ARITHMETIC_I8
                                                       : -1;
    for (int i = 0; i < FUZZ_ARITHMETICS; i++) {
        if (only >= 0 ? i != only : i >= FUZZ_ARITHMETIC_CODES) continue;
        if (i == FUZZ_ARITHMETIC_BF16 && c->problem.kv_dtype != LHK_DTYPE_BF16) continue;
        c->tolerance[i] = fuzz_alloc(c, elements, sizeof(float));
        c->lse_tolerance[i] = fuzz_alloc(c, rows, sizeof(float));
    }
    return !c->out_of_memory;
}

/// Rows [first, first + count) of a contiguous f32 operand.
static lhk_tensor dense(float *data, int64_t first, int64_t count, int64_t heads, int64_t dim) {
    return (lhk_tensor){data + first * heads * dim, LHK_DTYPE_F32, 3, {count, heads, dim}, {heads * dim, dim, 1}};
}

/// Asks the subject's reference about one sequence.
static lhk_status ask(fuzz_case *c, const fuzz_sequence *s, lhk_error *error) {
    const fuzz_problem *p = &c->problem;
    lhk_tensor q = dense(c->q, s->first_row, s->rows, p->query_heads, p->dim_k);
    lhk_tensor k = dense(c->k, s->first_key, s->keys, p->kv_heads, p->dim_k);
    lhk_tensor v = dense(c->v, s->first_key, s->keys, p->kv_heads, p->dim_v);
    int64_t row = s->first_row * p->query_heads;
    return c->subject->reference->attend(c->subject->problem, &q, &k, &v, c->args.selection, c->args.params,
                                         c->expected + row * p->dim_v, c->expected_lse + row, error);
}

/// Fills rotated_q and rotated_k.
static void rotate(fuzz_case *c) {
    const lhk_tensor *q = &c->args.q, *k = &c->args.k;
    int64_t dim = c->problem.dim_k, rows = q->shape[0] * q->shape[1], keys = k->shape[0] * k->shape[1];
    c->rotated_q = fuzz_alloc(c, (size_t)(rows * dim), sizeof(float));
    c->rotated_k = fuzz_alloc(c, (size_t)(keys * dim), sizeof(float));
    double *work = fuzz_alloc(c, (size_t)dim, sizeof *work);
    if (c->out_of_memory) return;
    for (int64_t i = 0; i < rows; i++)
        fuzz_rotate(c->q + i * dim, dim, c->subject->rotation, work, c->rotated_q + i * dim);
    for (int64_t i = 0; i < keys; i++)
        fuzz_rotate(c->k + i * dim, dim, c->subject->rotation, work, c->rotated_k + i * dim);
}

static void solve_rows(fuzz_case *c, const fuzz_sequence *s, fuzz_bounds_row *work) {
    for (int64_t row = 0; row < s->rows; row++) {
        for (int64_t head = 0; head < c->problem.query_heads; head++) {
            int64_t count = fuzz_gather(&c->args, s, row, head, work->entries), keys = 0;
            for (int64_t e = 0; e < count; e++) keys += work->entries[e].key >= 0;
            c->pairs_attended += (uint64_t)keys;
            if (!c->args.selection) c->pairs_visible += (uint64_t)keys;
            fuzz_bound_row(c, s, row, head, work, count);
        }
        if (c->args.selection) c->pairs_visible += (uint64_t)(fuzz_count_visible(&c->args, s, row) * c->problem.query_heads);
    }
}

bool fuzz_case_solve(fuzz_case *c, lhk_error *error) {
    if (!allocate(c)) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for the expected results") == LHK_OK;
    const lhk_fuzz_subject *subject = c->subject;
    if (subject->held && subject->held(subject->context, &c->args, c->k, c->v, error)) return false;
    int64_t longest = 0;
    for (int64_t b = 0; b < fuzz_sequences(&c->args); b++)
        longest = lhk_max(longest, fuzz_get_sequence(&c->args, b).keys);
    size_t room = (size_t)longest + 64;
    fuzz_bounds_row work = {fuzz_alloc(c, room, sizeof(fuzz_entry)), fuzz_alloc(c, room, sizeof(double)),
                            fuzz_alloc(c, room, sizeof(double)), fuzz_alloc(c, room, sizeof(double)),
                            fuzz_alloc(c, room, sizeof(double))};
    if (subject->arithmetic == LHK_FUZZ_ARITHMETIC_I8) rotate(c);
    if (c->out_of_memory) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for the bounds") == LHK_OK;
    for (int64_t b = 0; b < fuzz_sequences(&c->args); b++) {
        fuzz_sequence s = fuzz_get_sequence(&c->args, b);
        if (subject->reference && ask(c, &s, error)) return false;
        solve_rows(c, &s, &work);
    }
    return true;
}
