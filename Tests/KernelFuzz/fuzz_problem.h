// SPDX-License-Identifier: Apache-2.0
/// The description of a problem: everything that decides shapes, masks, layouts and values, and no memory.
#ifndef FUZZ_PROBLEM_H
#define FUZZ_PROBLEM_H

#include <longhand/flash_attention.h>

#include "fuzz_rng.h"

#define FUZZ_MAX_SEQUENCES 6

/// Value classes of q, k and v.
enum {
    FUZZ_UNIFORM,
    FUZZ_NORMAL,
    FUZZ_OUTLIERS,         ///< normal, 0.1 % (2 % in small problems) with an added normal of deviation 10
    FUZZ_EQUAL,            ///< all elements of an operand equal
    FUZZ_HUGE_LOGITS,      ///< scores of some 1e5 of both signs
    FUZZ_NEGATIVE_LOGITS,  ///< all scores near -2.45e5
    FUZZ_MILD_NEGATIVE,    ///< all scores between about -40 and -5
    FUZZ_ONE_HUGE,         ///< one key's scores dominate
    FUZZ_SUBNORMAL,
    FUZZ_SIGNED_ZEROS,
    FUZZ_BEYOND_F16,       ///< scores of some 1e6, products beyond the f16 range
    FUZZ_LARGE_VALUES,     ///< values near 100, nearly equal scores: sums beyond the f16 range
    FUZZ_VALUE_CLASSES
};

enum { FUZZ_SLOPES_NONE, FUZZ_SLOPES_GEOMETRIC, FUZZ_SLOPES_MIXED };
enum { FUZZ_SINKS_NONE, FUZZ_SINKS_NORMAL, FUZZ_SINKS_EXTREME };

/// How rows and heads of an operand lie in memory.
typedef struct fuzz_layout {
    bool heads_first;      ///< [heads][rows][dim] instead of [rows][heads][dim]
    bool one_head;         ///< head stride 0: all heads are the same memory (inputs only)
    int64_t row_pad, head_pad;  ///< extra elements per step of the outer and the inner of both dimensions
} fuzz_layout;

/// Which kinds of keys are chosen. CHAIN: runs below a cut and tokens above it.
enum { FUZZ_SELECT_NONE, FUZZ_SELECT_ALL, FUZZ_SELECT_BLOCKS, FUZZ_SELECT_TOKENS, FUZZ_SELECT_CHAIN };

typedef struct fuzz_problem {
    uint64_t seed, index;
    const char *name;  ///< of a corpus case, else null
    int64_t sequences;  ///< 0: one sequence without cu_q; else at most FUZZ_MAX_SEQUENCES
    int64_t rows[FUZZ_MAX_SEQUENCES], keys[FUZZ_MAX_SEQUENCES], valid[FUZZ_MAX_SEQUENCES];
    int64_t spare_rows, spare_keys;  ///< rows after the last (before the first) sequence: untouched, hidden
    bool has_lengths;
    int64_t query_heads, kv_heads, dim_k, dim_v;
    lhk_dtype query_dtype, kv_dtype, out_dtype;
    fuzz_layout q, k, v, out, lse;
    bool wants_lse, at_start, no_params;
    bool many_workers;  ///< try 2 to 48 workers, not 2 or 5
    bool sparse;  ///< operands span so much address space that only their rows are written
    uint32_t flags;
    float scale, softcap;
    int64_t offset, left, right, sink_tokens;
    int slopes, sinks;
    uint32_t path;
    int selection;
    int64_t tile_rows;
    bool per_kv_head, log_weights, lowest_weights, rest, past_end;
    int density;  ///< percent of keys chosen
    int values;
    bool poison_hidden;  ///< keys that no row admits hold NaN and infinities
    int specials;        ///< NaN and infinities placed anywhere in q, k and v
    bool specials_nan_only;
    int64_t nan_key, nan_value, nan_row;  ///< a NaN in this key, value or query row, or -1
} fuzz_problem;

/// A problem of one sequence of one head with plain values, on which cases are built.
fuzz_problem fuzz_plain(int64_t rows, int64_t keys, int64_t dim);
/// Problem `index` of `seed`.
fuzz_problem fuzz_generate(uint64_t seed, uint64_t index);
/// Multiplications of the products, without regard to masks.
double fuzz_work(const fuzz_problem *problem);
/// Whether rows see different keys for any reason but selections and lengths.
bool fuzz_is_masked(const fuzz_problem *problem);
/// Whether the direct path takes it.
bool fuzz_fits_direct(const fuzz_problem *problem);
/// One line, always terminated.
void fuzz_print(const fuzz_problem *problem, char *text, size_t size);

#endif
