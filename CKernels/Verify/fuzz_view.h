// SPDX-License-Identifier: Apache-2.0
/// A second, independent reading of a call: which keys each row takes, straight from the documented rules.
#ifndef FUZZ_VIEW_H
#define FUZZ_VIEW_H

#include <lhk_fuzz.h>

typedef struct fuzz_sequence {
    int64_t first_row, rows, first_key, keys, offset;
} fuzz_sequence;

/// A part of a row's softmax: a key, or the remainder of a selection.
typedef struct fuzz_entry {
    int64_t key;                      ///< within the sequence; -1: a remainder
    float weight;                     ///< log weight, or log mass of the remainder
    const float *mean;  ///< of the remainder
} fuzz_entry;

static inline int64_t fuzz_sequences(const lhk_fuzz_args *args) { return args->sequences ? args->sequences : 1; }
fuzz_sequence fuzz_get_sequence(const lhk_fuzz_args *args, int64_t index);

/// Whether masks show `key` to `row`.
bool fuzz_visible(const lhk_fuzz_args *args, const fuzz_sequence *sequence, int64_t row, int64_t key);

/// Writes what takes part in the softmax of one row of one head (sink logit aside); returns the number. There are at
/// most keys + 64 of them.
int64_t fuzz_gather(const lhk_fuzz_args *args, const fuzz_sequence *sequence, int64_t row, int64_t head,
                    fuzz_entry *entries);

/// Number of keys that masks show to `row`.
int64_t fuzz_count_visible(const lhk_fuzz_args *args, const fuzz_sequence *sequence, int64_t row);

#endif
