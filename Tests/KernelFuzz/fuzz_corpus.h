// SPDX-License-Identifier: Apache-2.0
/// Bugs that attention kernels really had, one builder each. Parts of an entry vary what the report left open.
#ifndef FUZZ_CORPUS_H
#define FUZZ_CORPUS_H

#include <lhk_fuzz.h>

#include "fuzz_problem.h"

/// An entry with its builder, which is null for what is tested elsewhere. The builder turns fuzz_plain(1, 1, 8) with
/// normal values into part `part`; false when there are no more parts.
typedef struct fuzz_corpus_case {
    lhk_fuzz_corpus_entry entry;
    bool (*build)(uint32_t part, fuzz_problem *problem);
} fuzz_corpus_case;

/// Entries 1 to 16: masks, NaN, ranges, workspaces.
extern const fuzz_corpus_case fuzz_corpus_masks[];
extern const uint32_t fuzz_corpus_masks_count;
/// Entries 17 to 30: sizes, alignment, sinks, selections, head sizes.
extern const fuzz_corpus_case fuzz_corpus_sizes[];
extern const uint32_t fuzz_corpus_sizes_count;

/// Part `part` (from 0) of entry `index`. False: there is no such part.
bool fuzz_corpus_problem(uint32_t index, uint32_t part, uint64_t seed, fuzz_problem *problem);

static const lhk_dtype fuzz_corpus_types[] = {LHK_DTYPE_F32, LHK_DTYPE_BF16, LHK_DTYPE_F16};

static inline void set_types(fuzz_problem *p, lhk_dtype dtype) { p->query_dtype = p->kv_dtype = p->out_dtype = dtype; }

/// f32, bf16 or f16 for 0, 1, 2, and so on in turn.
static inline void set_type(fuzz_problem *p, uint32_t number) { set_types(p, fuzz_corpus_types[number % 3]); }

static inline void set_size(fuzz_problem *p, int64_t rows, int64_t keys, int64_t dim) {
    p->rows[0] = rows;
    p->keys[0] = p->valid[0] = keys;
    p->dim_k = p->dim_v = dim;
}

static inline void set_heads(fuzz_problem *p, int64_t kv_heads, int64_t group) {
    p->kv_heads = kv_heads;
    p->query_heads = kv_heads * group;
}

static inline void set_causal(fuzz_problem *p) { p->flags |= LHK_ATTENTION_CAUSAL; }

static inline void set_offset(fuzz_problem *p, int64_t offset) {
    p->flags |= LHK_ATTENTION_OFFSET;
    p->offset = offset;
}

#endif
