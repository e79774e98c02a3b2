// SPDX-License-Identifier: Apache-2.0
/// A direct call of attention decoded from bytes: shapes, layouts, masks and selections, sane or near the limits of their
/// types, in memory of exactly the described extents.
#ifndef FUZZ_PROBLEM_DECODED_H
#define FUZZ_PROBLEM_DECODED_H

#include <longhand/flash_attention.h>

#include "input.h"

#define MOST_BLOCKS 64

typedef struct decoded_problem {
    lhk_flash_args *args;  ///< of exactly struct_size bytes
    bool in_memory;        ///< operands of exactly the described extents exist; else their data pointers are wild
    bool comparable;       ///< finite operands of magnitude up to 1
    double spread;         ///< largest magnitude of what is added to scores: softcap, ALiBi, weights
    double work;           ///< multiplications
    void *blocks[MOST_BLOCKS];
    int count;
} decoded_problem;

/// Memory of the problem; its end is guarded to the byte.
void *problem_memory(decoded_problem *p, size_t bytes, size_t alignment);
/// Elements from the first to one past the last of a view of rank 3, or -1 when that is not sane.
int64_t view_extent(const lhk_tensor *t);
void decode_problem(fuzz_input *in, decoded_problem *out);
void free_problem(decoded_problem *p);

#endif
