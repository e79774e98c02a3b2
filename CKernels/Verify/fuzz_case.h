// SPDX-License-Identifier: Apache-2.0
/// A problem in memory: operands behind guard pages, the call, its reference and its bounds.
#ifndef FUZZ_CASE_H
#define FUZZ_CASE_H

#include <lhk_fuzz.h>

#include "fuzz_guard.h"
#include "fuzz_problem.h"
#include "fuzz_view.h"

/// How a kernel computes: decides the bound. Index of fuzz_case.tolerance.
enum { FUZZ_ARITHMETIC_F32, FUZZ_ARITHMETIC_BF16, FUZZ_ARITHMETIC_CODES, FUZZ_ARITHMETIC_I8, FUZZ_ARITHMETICS };

/// Mappings that outlive a case.
typedef struct fuzz_arena {
    fuzz_buffer q, k, v, out, lse, second_out, second_lse, workspace;
} fuzz_arena;

typedef struct fuzz_block {
    struct fuzz_block *next;
} fuzz_block;

typedef struct fuzz_case {
    fuzz_problem problem;
    const lhk_fuzz_subject *subject;
    fuzz_arena *arena;
    fuzz_block *blocks;  ///< small memory, freed with the case
    bool out_of_memory;
    lhk_fuzz_args args;
    lhk_attention_params params;
    float *q, *k, *v;  ///< operands as floats, contiguous; of keys and values what the subject holds
    float *rotated_q, *rotated_k;  ///< the same in the coordinates in which queries are quantised; ARITHMETIC_I8 only
    /// [total_q][query_heads][dim_v] and [total_q][query_heads]. A tolerance of NaN: any value will do.
    double *expected, *expected_lse;
    float *tolerance[FUZZ_ARITHMETICS], *lse_tolerance[FUZZ_ARITHMETICS];
    uint64_t pairs_attended, pairs_visible;
    uint8_t *owned;      ///< per 2 bytes of out: belongs to a computed row
    uint8_t *lse_owned;
} fuzz_case;

/// Builds operands and arguments. False: no memory.
bool fuzz_case_build(fuzz_case *c, const fuzz_problem *problem, const lhk_fuzz_subject *subject, fuzz_arena *arena);
/// Computes the expected results and their bounds. False: the subject's store or its reference refused; `error` says why.
bool fuzz_case_solve(fuzz_case *c, lhk_error *error);
void fuzz_case_free(fuzz_case *c);

/// Zeroed memory of the case, or null (then out_of_memory is set).
void *fuzz_alloc(fuzz_case *c, size_t count, size_t size);
/// out = x, or D H x for LHK_ROTATION_HADAMARD (see `lhk_hadamard`), in double precision; `work` has room for `dim`.
void fuzz_rotate(const float *x, int64_t dim, uint32_t rotation, double *work, float *out);
/// Steps of building, in this order.
void fuzz_build_params(fuzz_case *c, fuzz_rng *rng);
void fuzz_build_selection(fuzz_case *c, fuzz_rng *rng);
void fuzz_fill_values(fuzz_case *c, fuzz_rng *rng);
void fuzz_poison(fuzz_case *c, fuzz_rng *rng);

/// Fills the outputs in `out` and `lse` with the canary: all of their memory, or only the rows of a sparse problem.
void fuzz_reset_outputs(const fuzz_case *c, fuzz_buffer *out, fuzz_buffer *lse);

#endif
