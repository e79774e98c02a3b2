// SPDX-License-Identifier: Apache-2.0
/// What the checks of all roles share: the context of a run, and of one case of one variant under one set of levels.
#ifndef VERIFY_H
#define VERIFY_H

#include <longhand_verify.h>
#include <string.h>

#include "fuzz_check.h"
#include "fuzz_host.h"

#define VERIFY_BUFFERS 64
#define VERIFY_OPTIONS 12
#define VERIFY_EVERY_BYTE 256

/// Options of one option set; `text` holds what they point to.
typedef struct verify_options {
    lhk_option options[VERIFY_OPTIONS];
    uint32_t count;
    char text[256];
} verify_options;

/// A store over which the other roles are checked.
typedef struct verify_store {
    const lhk_method *method;
    lhk_dtype dtype;   ///< the type it rounds to; NONE: it approximates
    lhk_dtype panels;  ///< what the other role sees of its panels; NONE: it has none, or they are hidden
    bool hidden;       ///< its panels are not shown
    uint32_t rotation;  ///< of queries, LHK_ROTATION_*
    verify_options options;
    char name[120];    ///< method, options, and whether panels are hidden
} verify_store;

/// A store's operations, to be changed: those that a table of an older plugin lacks are null.
static inline lhk_store_ops verify_store_ops(const lhk_variant *variant) {
    lhk_store_ops ops = {0};
    uint32_t size = ((const lhk_store_ops *)variant->ops)->struct_size;
    memcpy(&ops, variant->ops, size < sizeof ops ? size : sizeof ops);
    return ops;
}

struct lhk_verify {
    lhk_host pool;
    uint64_t seed;
    char *command;  ///< how a line that replays a case begins
    lhk_verify_target *targets;
    uint32_t target_count;
    verify_store *stores;
    uint32_t store_count;
    fuzz_arena arena;                     ///< of attention
    fuzz_buffer buffers[VERIFY_BUFFERS];  ///< of the other roles
};

/// Value classes of rows.
typedef enum verify_values {
    VERIFY_NORMAL,
    VERIFY_WIDE,     ///< magnitudes from 2^-40 to 2^40
    VERIFY_SPECIAL,  ///< with NaN, infinities, signed zeros, subnormals
    VERIFY_ZERO,     ///< zeros of both signs
    VERIFY_EQUAL,    ///< all elements equal
    VERIFY_TINY,     ///< subnormal in f16, the least of them in f32
    VERIFY_OUTLIER,  ///< one channel a hundred times the others
    VERIFY_VALUE_CLASSES
} verify_values;

/// What a case with a name fixes; sizes of 0 are drawn.
typedef struct verify_fixed {
    int64_t kv_heads, dim_k, dim_v, rows, tokens, first;
    bool has_first;
    verify_values values;
    bool every_byte;  ///< damage each of the first VERIFY_EVERY_BYTE bytes of what is saved, and cut it there; some later ones
} verify_fixed;

/// One case of one target under one set of levels.
typedef struct verify_check {
    lhk_verify *v;
    const lhk_verify_target *target;
    lhk_verify_outcome *outcome;
    lhk_isa isa;
    uint64_t index;
    const char *name;           ///< of the case; null: random case `index`, else `index` is the part
    const verify_fixed *fixed;  ///< null: everything is drawn
    fuzz_rng rng;
    const char *step;    ///< what is being done, for failures
    uint32_t buffers;    ///< in use
    fuzz_block *blocks;  ///< small memory
    fuzz_loop loop;
    lhk_error error;     ///< of the last call
    char problem[400];   ///< one line
} verify_check;

/// An instance in memory of exactly the reported size before an inaccessible page.
typedef struct verify_instance {
    const lhk_variant *variant;
    lhk_problem problem;
    lhk_instance *state;
    fuzz_buffer *buffer;
    uint64_t workspace_bytes;
} verify_instance;

/// Records a failure and ends the case.
__attribute__((noreturn, format(printf, 2, 3))) void verify_fail(verify_check *check, const char *format, ...);
/// Records why the case does not apply and ends it.
__attribute__((noreturn)) void verify_skip(verify_check *check, const char *reason);

/// Zeroed memory until the end of the case. Ends the case when there is none.
void *verify_alloc(verify_check *check, uint64_t count, uint64_t size);
/// Memory that ends at an inaccessible page, filled with the canary, until the end of the case.
fuzz_buffer *verify_buffer(verify_check *check, uint64_t bytes, uint64_t alignment);

/// A host of the harness itself.
lhk_host verify_host(verify_check *check, uint32_t workers);
/// The caller's pool of threads, under the levels of the check.
lhk_host verify_pool(verify_check *check);

/// Reads `key=value,...`; false when it is no such list or too long.
bool verify_parse_options(const char *text, verify_options *out);
/// The problem for a store of `keys` tokens: that of another role, with the store's own options.
lhk_problem verify_store_problem(const verify_store *store, const lhk_problem *problem, int64_t keys);
/// Option set `number` of the target's method; set 0 and those past the end are empty.
void verify_use_options(verify_check *check, uint64_t number, verify_options *storage, lhk_problem *problem);
uint32_t verify_option_sets(const lhk_method *method);

/// Whether the variant's static fields admit the problem: element types and head dimensions.
bool verify_dim_fits(const lhk_variant *variant, int64_t dim);
/// The head dimension nearest to `dim` that the variant takes.
int64_t verify_fit_dim(const lhk_variant *variant, int64_t dim);
/// `dtype` if it is in the mask (or the mask is 0), else the least of the mask.
lhk_dtype verify_fit_dtype(uint64_t mask, lhk_dtype dtype);

/// Asks whether the variant supports the problem; skips the case when it does not.
void verify_support(verify_check *check, const lhk_variant *variant, const lhk_problem *problem);
/// Creates an instance for `workers` workers.
verify_instance verify_create(verify_check *check, const lhk_variant *variant, const lhk_problem *problem,
                              uint32_t workers);
/// The same state at another place; only the one or the other may be destroyed.
verify_instance verify_copy(verify_check *check, const verify_instance *instance);
/// Moves the state elsewhere, as states may be, and ruins the old place.
void verify_move(verify_check *check, verify_instance *instance);
/// Ends an instance.
void verify_destroy(verify_check *check, verify_instance *instance);
/// Fails when something was written past the state.
void verify_intact(verify_check *check, const verify_instance *instance);
/// A cleared error for the next call.
lhk_error *verify_error(verify_check *check);
/// Fails unless `status`, of the last call, is LHK_OK.
void verify_ok(verify_check *check, lhk_status status);
/// Fails unless the last call failed with `expected` and said why.
void verify_refused(verify_check *check, lhk_status status, lhk_status expected);

/// A rank-3 tensor of random rows in guarded memory, read-only when done: padded or transposed strides at random.
lhk_tensor verify_rows(verify_check *check, lhk_dtype dtype, int64_t rows, int64_t heads, int64_t dim,
                       verify_values values);
/// Rows [first, first + count) of a tensor.
lhk_tensor verify_slice(const lhk_tensor *tensor, int64_t first, int64_t count);
/// Equal bits, or NaN both.
bool verify_same_float(float a, float b);
/// `value` rounded to `dtype`.
float verify_round(lhk_dtype dtype, float value);

/// Dimensions and lengths where tiles and vectors begin and end.
int64_t verify_draw_dim(verify_check *check, const lhk_variant *variant);
int64_t verify_draw_length(verify_check *check, int64_t most);
/// `drawn`, unless the case fixes that size.
static inline int64_t verify_size(int64_t fixed, int64_t drawn) { return fixed ? fixed : drawn; }
/// A problem of the drawn shape with F32 operands and no parameters.
lhk_problem verify_problem(int64_t query_heads, int64_t kv_heads, int64_t dim_k, int64_t dim_v, int64_t rows,
                           int64_t keys);

// ---- roles: each runs one case and records what it finds ----

void verify_store_case(verify_check *check);
void verify_selector_case(verify_check *check);
void verify_position_case(verify_check *check);
/// Attention solves a case once for all levels. `name_index` is an entry of the corpus, or UINT32_MAX for random case
/// `index`.
lhk_status verify_attention_case(lhk_verify *v, const lhk_verify_target *target, uint64_t index, uint32_t name_index,
                                 const lhk_isa *levels, uint32_t level_count, lhk_verify_outcome *outcomes,
                                 lhk_error *error);

#endif
