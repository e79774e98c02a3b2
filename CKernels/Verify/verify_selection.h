// SPDX-License-Identifier: Apache-2.0
/// A selection spelled out: which key each row of each head takes.
#ifndef VERIFY_SELECTION_H
#define VERIFY_SELECTION_H

#include "verify.h"

typedef struct verify_shape {
    int64_t rows, query_heads, kv_heads, dim_v, keys;
} verify_shape;

/// [rows][query_heads][keys] and, where remainders are given, [rows][query_heads] (x dim_v), summed over the chain.
typedef struct verify_chosen {
    uint8_t *taken;
    float *weights;    ///< log weights; 0 where there are none
    uint64_t entries;  ///< keys taken, over all rows and heads
    float *rest_lse, *rest_mean;  ///< of the first node that has a remainder; null: none
} verify_chosen;

/// Spells a selection out. Fails when it is not well-formed: counts and order of lists, disjoint entries, ranges,
/// weights. Entries past the keys are allowed, and ignored.
verify_chosen verify_spell_out(verify_check *check, const lhk_selection *selection, const verify_shape *shape);
/// Fails unless both are the same.
void verify_same_selection(verify_check *check, const verify_chosen *a, const verify_chosen *b, const verify_shape *shape);

#endif
