// SPDX-License-Identifier: Apache-2.0
/// What the files of the test plugin share.
#ifndef TEST_PARTS_H
#define TEST_PARTS_H

#include <lhk/support.h>

#include "test_plugin.h"

extern const lhk_method lhk_test_store, lhk_test_all, lhk_test_recent, lhk_test_attention, lhk_test_position;

/// The cost of every test double: the same, since none has a second variant.
lhk_status lhk_test_cost(const lhk_variant *self, const lhk_problem *problem, lhk_cost *out);

/// Defines the one variant and the method of a test double.
#define LHK_TEST_METHOD(symbol, role_id, word, life_table, table)                                                     \
    static const lhk_variant symbol##_variant = {.struct_size = sizeof(lhk_variant),                                  \
                                                 .id = "test." word "/1",                                            \
                                                 .summary = "test double",                                            \
                                                 .life = &(life_table),                                               \
                                                 .ops = &(table)};                                                    \
    static const lhk_variant *const symbol##_variants[] = {&symbol##_variant};                                        \
    const lhk_method symbol = {sizeof(lhk_method), 1, role_id, word, "1.0.0", "test double", symbol##_variants, NULL}

#endif
