// SPDX-License-Identifier: Apache-2.0
#include "fuzz_corpus.h"

static const fuzz_corpus_case *get(uint32_t index) {
    return index < fuzz_corpus_masks_count ? &fuzz_corpus_masks[index] : &fuzz_corpus_sizes[index - fuzz_corpus_masks_count];
}

uint32_t lhk_fuzz_corpus_count(void) { return fuzz_corpus_masks_count + fuzz_corpus_sizes_count; }

lhk_fuzz_corpus_entry lhk_fuzz_corpus_get(uint32_t index) { return get(index)->entry; }

bool fuzz_corpus_problem(uint32_t index, uint32_t part, uint64_t seed, fuzz_problem *problem) {
    if (index >= lhk_fuzz_corpus_count() || !get(index)->build) return false;
    *problem = fuzz_plain(1, 1, 8);
    problem->seed = seed;
    problem->index = (uint64_t)index * 1000 + part;
    problem->name = get(index)->entry.name;
    problem->values = FUZZ_NORMAL;
    return get(index)->build(part, problem);
}
