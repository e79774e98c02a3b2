// SPDX-License-Identifier: Apache-2.0
#ifndef FUZZ_CORPUS_H
#define FUZZ_CORPUS_H

#include "fuzz_problem.h"

/// Part `part` (from 0) of entry `index`. False: there is no such part.
bool fuzz_corpus_problem(uint32_t index, uint32_t part, uint64_t seed, fuzz_problem *problem);

#endif
