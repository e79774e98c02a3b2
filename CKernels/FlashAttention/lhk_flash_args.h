// SPDX-License-Identifier: Apache-2.0
/// Validation of a direct call and its normalised form, shared by the fast kernel and the reference.
#ifndef LHK_FLASH_ARGS_H
#define LHK_FLASH_ARGS_H

#include <longhand/flash_attention.h>

/// Rows of q and of k at most. Keys are then indexable by the int32 tokens of a selection, and
/// rows * heads * head_dim fits 63 bits.
#define LHK_FLASH_MAX_LENGTH ((int64_t)INT32_MAX)
#define LHK_FLASH_MAX_HEADS 65536
#define LHK_FLASH_MAX_HEAD_DIM 576
/// Most keys of a sequence that LHK_FLASH_PATH_DIRECT takes.
#define LHK_FLASH_DIRECT_KEYS 2048
/// Largest magnitude of an explicit offset, and what an unbounded window becomes: sums of a row, an offset and a window
/// stay within 63 bits, and a window of this size hides nothing.
#define LHK_FLASH_MAX_OFFSET (INT64_C(1) << 61)
#define LHK_FLASH_UNBOUNDED (INT64_C(1) << 62)
/// Longest chain of selections; also ends a circular one.
#define LHK_FLASH_MAX_CHAIN 64

/// Values of lhk_error.argument.
#define LHK_FLASH_ARG_Q 0
#define LHK_FLASH_ARG_K 1
#define LHK_FLASH_ARG_V 2
#define LHK_FLASH_ARG_OUT 3
#define LHK_FLASH_ARG_LSE 4
#define LHK_FLASH_ARG_SEQUENCES 5  ///< sequences, cu_q, cu_k and kv_lengths
#define LHK_FLASH_ARG_PARAMS 6
#define LHK_FLASH_ARG_SELECTION 7
#define LHK_FLASH_ARG_PATH 8

/// A call as both kernels see it: absent members are zero, defaults are resolved, causal is folded into `right`.
typedef struct lhk_flash_call {
    lhk_flash_args args;          ///< members past the caller's struct_size are zero
    lhk_attention_params params;  ///< likewise; full attention when there were none
    int64_t query_heads, kv_heads, group;  ///< group = query_heads / kv_heads
    int64_t dim_k, dim_v;
    int64_t total_q, total_k;
    int64_t sequences;    ///< at least 1
    float scale;          ///< > 0
    float softcap;        ///< 0: none
    int64_t left, right;  ///< >= 0; LHK_FLASH_UNBOUNDED without a bound; right is 0 when causal
    int64_t sink_tokens;
} lhk_flash_call;

/// One sequence of a call. Row i of it is row first_row + i of q, key j row first_key + j of k and v.
typedef struct lhk_flash_sequence {
    int64_t first_row, rows;
    int64_t first_key, keys;  ///< valid keys only
    int64_t offset;           ///< row i sits at position i + offset
} lhk_flash_sequence;

/// The keys that masks show to a row: [0, sink_end) and [begin, end), with sink_end <= begin <= end <= keys.
typedef struct lhk_flash_span {
    int64_t sink_end, begin, end;
} lhk_flash_span;

/// Checks everything about `args` that does not depend on element values: shapes, strides, alignment, overlaps, ranges,
/// flags, sequences, selections. Reads each struct up to its struct_size only.
lhk_status lhk_flash_validate(const lhk_flash_args *args, lhk_error *error);

/// The same for a size query: the data pointers of q, k, v, out and lse may be null and are not looked at.
lhk_status lhk_flash_validate_sizes(const lhk_flash_args *args, lhk_error *error);

/// Checks masks and modifiers of `query_heads` heads; null is valid. Reports `argument`.
lhk_status lhk_flash_validate_params(const lhk_attention_params *params, int64_t query_heads, int32_t argument,
                                     lhk_error *error);

/// Checks a chain of selections for one sequence of `rows` query rows; null is valid. Reports `argument`.
lhk_status lhk_flash_validate_selection(const lhk_selection *selection, int64_t rows, int64_t query_heads,
                                        int64_t kv_heads, int32_t argument, lhk_error *error);

/// Resolves valid `args`.
void lhk_flash_normalise(const lhk_flash_args *args, lhk_flash_call *call);

/// Sets only the members of `call` that follow from masks and modifiers: params, scale, softcap, left, right,
/// sink_tokens. `params` may be null.
void lhk_flash_normalise_params(const lhk_attention_params *params, int64_t dim_k, lhk_flash_call *call);

/// Sequence `index` < call->sequences.
lhk_flash_sequence lhk_flash_get_sequence(const lhk_flash_call *call, int64_t index);

/// A copy of `selection` whose members past its struct_size are zero.
lhk_selection lhk_flash_get_selection(const lhk_selection *selection);

/// What the masks show to row `row` of `sequence`.
static inline lhk_flash_span lhk_flash_visible(const lhk_flash_call *call, const lhk_flash_sequence *sequence,
                                               int64_t row) {
    int64_t position = row + sequence->offset, keys = sequence->keys;
    int64_t end = position + call->right + 1, begin = position - call->left;
    end = end < 0 ? 0 : end > keys ? keys : end;
    begin = begin < 0 ? 0 : begin > end ? end : begin;
    return (lhk_flash_span){call->sink_tokens < begin ? call->sink_tokens : begin, begin, end};
}

/// Adds one call to `stats`, up to its struct_size; null is ignored.
void lhk_flash_count(lhk_attention_stats *stats, uint64_t attended, uint64_t visible, const char *path);

#endif
