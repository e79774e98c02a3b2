// SPDX-License-Identifier: Apache-2.0
/// The checks of a store: what it holds against what was appended.
#ifndef VERIFY_STORE_H
#define VERIFY_STORE_H

#include "verify.h"

/// One case: the shape, what will be appended, and what an instance should then return.
typedef struct store_case {
    verify_check *check;
    const lhk_variant *variant;
    const lhk_store_ops *ops;
    lhk_problem problem;
    verify_options options;
    lhk_dtype dtype;  ///< the type it rounds to; NONE: it approximates
    verify_values values;
    int64_t count;    ///< rows of k and v, at most the capacity
    lhk_tensor k, v;  ///< [count][kv_heads][...], any layout
} store_case;

/// Rows that a store returned, [kv_heads][count][dim].
typedef struct store_content {
    int64_t count;
    float *k, *v;
} store_content;

verify_instance store_new(store_case *s);
/// Appends rows [first, first + count) of the case's tensors, with a host of one worker where `host` is null.
void store_append(store_case *s, verify_instance *store, int64_t first, int64_t count, const lhk_host *host);
/// Appends the same rows in pieces of random sizes.
void store_append_pieces(store_case *s, verify_instance *store, int64_t first, int64_t count);
int64_t store_length(store_case *s, const verify_instance *store);
/// Everything that the store holds, read back. Fails unless that are `expected` rows.
store_content store_read(store_case *s, const verify_instance *store, int64_t expected);
/// Fails unless the first `count` rows of both are equal, bit for bit.
void store_compare(store_case *s, const store_content *a, const store_content *b, int64_t count);
/// The saved bytes, which end at an inaccessible page.
fuzz_buffer *store_save(store_case *s, const verify_instance *store);

/// The type that a store's variant rounds to, judged by its statement and, once there is an instance, its panels.
lhk_dtype store_dtype(const lhk_variant *variant, const lhk_instance *instance);

// ---- checks; each ends the case when it fails ----

void store_check_rounding(store_case *s, const store_content *content);
/// What holds for every approximation: finite rows stay finite, and are closer to what was given than zeros would be.
void store_check_approximation(store_case *s, const store_content *content);
void store_check_bytes(store_case *s, const verify_instance *store);
void store_check_panels(store_case *s, const verify_instance *store, const store_content *content);
void store_check_unpack(store_case *s, const verify_instance *store, const store_content *content);
void store_check_score(store_case *s, const verify_instance *store, const store_content *content);
void store_check_accumulate(store_case *s, const verify_instance *store, const store_content *content);
void store_check_truncate(store_case *s, verify_instance *store, const store_content *content);
void store_check_fork(store_case *s, verify_instance *store, const store_content *content);
void store_check_saving(store_case *s, verify_instance *store, const store_content *content);
void store_check_bad_bytes(store_case *s, const fuzz_buffer *saved);

#endif
