// SPDX-License-Identifier: Apache-2.0
/// What a method offers to whoever checks it: its formula in double precision, and options worth checking.
///
/// `longhand verify` finds every variant of every plugin and compares it with its method's reference. A reference is
/// plain code: the formula as it is written, one row at a time, no blocks, no instruction sets, results in double
/// precision; it may allocate and be slow. It is never used to compute anything else. All of its functions are
/// thread-safe, validate nothing that the method's own functions would refuse, and read operands of type F32, BF16 or
/// F16 whose last stride is 1. `problem` is what the checked instance was created for: options are found there.
#ifndef LONGHAND_REFERENCE_H
#define LONGHAND_REFERENCE_H

#include <longhand/roles.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

/// Of attention. A method of class LHK_EXACT without one is held to the softmax that `lhk_attention_params` describes.
typedef struct lhk_attention_reference {
    uint32_t struct_size;
    uint32_t reserved;
    /// q [rows][query_heads][head_dim_k]; k, v [keys][kv_heads][...] as the store holds them, decoded.
    /// out [rows][query_heads][head_dim_v] and lse [rows][query_heads], contiguous; lse may be null.
    lhk_status (*attend)(const lhk_problem *problem, const lhk_tensor *q, const lhk_tensor *k, const lhk_tensor *v,
                         const lhk_selection *LHK_NULLABLE selection, const lhk_attention_params *LHK_NULLABLE params,
                         double *out, double *LHK_NULLABLE lse, lhk_error *LHK_NULLABLE error);
} lhk_attention_reference;

#define LHK_CHOSEN_NO 0u
#define LHK_CHOSEN_YES 1u
#define LHK_CHOSEN_EITHER 2u  ///< a tie, or too close to a threshold for rounding to decide

/// Of a selector.
typedef struct lhk_selector_reference {
    uint32_t struct_size;
    uint32_t reserved;
    /// Sets chosen [rows][query_heads][keys] to LHK_CHOSEN_*. k and v hold all rows of the sequence as they were
    /// appended, which the store holds without further rounding; q holds its last rows. Keys that `params` hides are not
    /// looked at, so that a selector may choose them or not.
    lhk_status (*select)(const lhk_problem *problem, const lhk_tensor *q, const lhk_tensor *k, const lhk_tensor *v,
                         const lhk_attention_params *LHK_NULLABLE params, uint8_t *chosen,
                         lhk_error *LHK_NULLABLE error);
} lhk_selector_reference;

/// Of a position method.
typedef struct lhk_position_reference {
    uint32_t struct_size;
    uint32_t reserved;
    /// x [tokens][heads][head_dim_k] at positions first, first + 1, ...; out has the same shape, contiguous.
    lhk_status (*apply)(const lhk_problem *problem, const lhk_tensor *x, int64_t first, double *out,
                        lhk_error *LHK_NULLABLE error);
} lhk_position_reference;

/// What a method hands to a checker. A store needs no formula: what it returns is compared with what was appended.
typedef struct lhk_reference {
    uint32_t struct_size;
    uint32_t option_set_count;
    /// Options as in a method specification after its colon, such as `size=7,sinks=2`: values that reach all of the
    /// method's code with some hundred tokens. A checker uses each of them, and no options. A set that `supports` refuses
    /// for a problem is passed over.
    const char *const LHK_NONNULL *LHK_NULLABLE option_sets;
    /// Of the method's role: lhk_attention_reference, lhk_selector_reference or lhk_position_reference. Null: none.
    const void *LHK_NULLABLE formula;
} lhk_reference;

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
