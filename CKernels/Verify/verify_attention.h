// SPDX-License-Identifier: Apache-2.0
/// One variant of attention over one store, as a subject of the fuzz harness.
#ifndef VERIFY_ATTENTION_H
#define VERIFY_ATTENTION_H

#include "verify.h"

typedef struct attention_subject {
    lhk_verify *v;
    const lhk_variant *variant;
    const verify_store *store;
    lhk_isa isa;  ///< the most that the run offers
    lhk_problem shape;  ///< heads, head dimensions, element types and options
    verify_options options;
    char name[320];  ///< variant, store and options, for failures
    int64_t spare;   ///< rows and keys that the instance has room for beyond the call's
    fuzz_buffer *store_state, *attention_state, *other_state;
} attention_subject;

/// Functions of lhk_fuzz_subject; the context is an attention_subject.
lhk_status verify_attention_workspace(void *context, const lhk_fuzz_args *args, const lhk_host *host, uint64_t *bytes,
                                      lhk_error *error);
lhk_status verify_attention_attend(void *context, const lhk_fuzz_args *args, const lhk_host *host,
                                   const lhk_workspace *workspace, lhk_error *error);
/// What a store that approximates holds of the operands.
lhk_status verify_attention_held(void *context, const lhk_fuzz_args *args, float *k, float *v, lhk_error *error);

#endif
