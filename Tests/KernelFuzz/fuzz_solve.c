// SPDX-License-Identifier: Apache-2.0
/// The expected results of a case, from the reference, and their bounds.
#include <lhk/support.h>

#include "fuzz_bounds.h"

/// A contiguous f32 view of `data`.
static lhk_tensor dense(float *data, int64_t rows, int64_t heads, int64_t dim) {
    return (lhk_tensor){data, LHK_DTYPE_F32, dim ? 3 : 2, {rows, heads, dim}, {heads * (dim ? dim : 1), dim ? dim : 1, 1}};
}

static bool allocate(fuzz_case *c) {
    size_t rows = (size_t)(c->args.q.shape[0] * c->problem.query_heads), elements = rows * (size_t)c->problem.dim_v;
    c->expected = fuzz_alloc(c, elements, sizeof(float));
    c->expected_lse = fuzz_alloc(c, rows, sizeof(float));
    for (int i = 0; i < (c->problem.kv_dtype == LHK_DTYPE_BF16 ? FUZZ_ARITHMETICS : 1); i++) {
        c->tolerance[i] = fuzz_alloc(c, elements, sizeof(float));
        c->lse_tolerance[i] = fuzz_alloc(c, rows, sizeof(float));
    }
    return !c->out_of_memory;
}

bool fuzz_case_solve(fuzz_case *c, lhk_error *error) {
    if (!allocate(c)) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for the expected results") == LHK_OK;
    lhk_flash_args exact = c->args;
    exact.out = dense(c->expected, c->args.q.shape[0], c->problem.query_heads, c->problem.dim_v);
    exact.lse = dense(c->expected_lse, c->args.q.shape[0], c->problem.query_heads, 0);
    if (lhk_flash_attention_reference(&exact, error)) return false;

    int64_t longest = 0;
    for (int64_t b = 0; b < fuzz_sequences(&c->args); b++)
        longest = lhk_max(longest, fuzz_get_sequence(&c->args, b).keys);
    size_t room = (size_t)longest + 64;
    fuzz_bounds_row work = {fuzz_alloc(c, room, sizeof(fuzz_entry)), fuzz_alloc(c, room, sizeof(double)),
                            fuzz_alloc(c, room, sizeof(double)), fuzz_alloc(c, room, sizeof(double))};
    if (c->out_of_memory) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for the bounds") == LHK_OK;
    for (int64_t b = 0; b < fuzz_sequences(&c->args); b++) {
        fuzz_sequence s = fuzz_get_sequence(&c->args, b);
        for (int64_t row = 0; row < s.rows; row++) {
            for (int64_t head = 0; head < c->problem.query_heads; head++) {
                int64_t count = fuzz_gather(&c->args, &s, row, head, work.entries), keys = 0;
                for (int64_t e = 0; e < count; e++) keys += work.entries[e].key >= 0;
                c->pairs_attended += (uint64_t)keys;
                if (!c->args.selection) c->pairs_visible += (uint64_t)keys;
                fuzz_bound_row(c, &s, row, head, &work, count);
            }
            if (c->args.selection)
                c->pairs_visible += (uint64_t)(fuzz_count_visible(&c->args, &s, row) * c->problem.query_heads);
        }
    }
    return true;
}
