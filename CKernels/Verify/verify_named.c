// SPDX-License-Identifier: Apache-2.0
#include "verify_named.h"

#include <string.h>

#define COUNT(array) ((uint32_t)(sizeof(array) / sizeof *(array)))

/// Head sizes that are no multiple of a group's, several heads: groups of packed elements must not cross them.
static const int64_t head_sizes[] = {64, 96, 80, 40, 59, 24, 160, 192, 576};
static verify_fixed quantised_keys_and_head_sizes(uint32_t part) {
    int64_t dim = head_sizes[part / 2];
    return (verify_fixed){.kv_heads = part & 1 ? 3 : 2, .dim_k = dim, .dim_v = dim == 576 ? 512 : dim, .tokens = 70,
                          .values = VERIFY_NORMAL};
}

/// Rows whose scale is zero, tiny or set by one element.
static const verify_values flat_values[] = {VERIFY_ZERO, VERIFY_EQUAL, VERIFY_TINY, VERIFY_OUTLIER};
static verify_fixed quantised_values_give_nan(uint32_t part) {
    return (verify_fixed){.kv_heads = 2, .dim_k = 64, .dim_v = 64, .tokens = part & 1 ? 33 : 1,
                          .values = flat_values[part / 2]};
}

static const int64_t first_positions[] = {0, 1, 127, 4095, 8191, 65535, 131071, 999000};
static verify_fixed position_shift(uint32_t part) {
    return (verify_fixed){.dim_k = 64, .tokens = 40, .first = first_positions[part], .has_first = true,
                          .values = VERIFY_NORMAL};
}

/// Damage to the header of what was saved and to some of the rest, at every length.
static verify_fixed damaged_bytes(uint32_t part) {
    return (verify_fixed){.kv_heads = 1 + part, .dim_k = 4, .dim_v = 4, .tokens = 3 + 16 * (int64_t)part,
                          .values = VERIFY_NORMAL, .every_byte = true};
}

/// Not of the corpus: more keys than a selector keeps in any case, and rows of several tiles.
static const int64_t prefill_rows[] = {64, 2, 130, 63, 17, 193};
static verify_fixed prefill_of_many_keys(uint32_t part) {
    return (verify_fixed){.kv_heads = 1 + part % 2, .dim_k = part % 3 ? 64 : 40, .rows = prefill_rows[part % COUNT(prefill_rows)],
                          .tokens = 289 + 37 * (int64_t)(part % 13), .values = VERIFY_NORMAL};
}

static const verify_named cases[] = {
    {"store", "corpus_12_quantised_keys_and_head_sizes", 12, 2 * COUNT(head_sizes), quantised_keys_and_head_sizes},
    {"store", "corpus_13_quantised_values_give_nan", 13, 2 * COUNT(flat_values), quantised_values_give_nan},
    {"store", "corpus_28_damaged_bytes", 28, 2, damaged_bytes},
    {"selector", "corpus_28_damaged_bytes", 28, 2, damaged_bytes},
    {"selector", "prefill_of_many_keys", 31, 30, prefill_of_many_keys},
    {"position", "corpus_27_position_shift", 27, COUNT(first_positions), position_shift},
};

const verify_named *verify_named_case(const char *role, uint32_t index) {
    for (uint32_t i = 0; i < COUNT(cases); i++)
        if (!strcmp(cases[i].role, role) && index-- == 0) return &cases[i];
    return NULL;
}
