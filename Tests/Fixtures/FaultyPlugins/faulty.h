// SPDX-License-Identifier: Apache-2.0
/// What the faulty plugins share: each holds one sound method, or a few, and the same again with one fault each, which
/// `longhand verify` must find. Built by the tests, one shared library for each role.
#ifndef FAULTY_H
#define FAULTY_H

#include <lhk/support.h>
#include <longhand/longhand.h>

/// Estimates of methods that have one variant: all the same.
static lhk_status faulty_cost(const lhk_variant *self, const lhk_problem *problem, lhk_cost *out) {
    (void)self, (void)problem;
    out->time = out->bytes = 1;
    return LHK_OK;
}

/// The fault of a variant, kept in its data.
static inline uint32_t faulty_number(const lhk_variant *self) { return (uint32_t)(uintptr_t)self->data; }

/// Defines variant and method `role-word` whose fault is `number`.
#define FAULTY_METHOD(symbol, role, role_id, word, number, isa, class, life_table, ops_table, reference_table)          \
    static const lhk_variant symbol##_variant = {.struct_size = sizeof(lhk_variant), .exactness = class,                \
                                                 .isa_required = isa, .id = "test." role "." word "/1",                 \
                                                 .summary = word, .life = &(life_table), .ops = &(ops_table),           \
                                                 .data = (const void *)(uintptr_t)(number)};                            \
    static const lhk_variant *const symbol##_variants[] = {&symbol##_variant};                                          \
    static const lhk_method symbol = {sizeof(lhk_method), 1, role_id, role "-" word, "1.0.0", word, symbol##_variants,  \
                                      reference_table};

/// Defines the plugin of one role from its array of methods.
#define FAULTY_PLUGIN(role, methods)                                                                       \
    static const lhk_plugin plugin = {sizeof(lhk_plugin), sizeof(methods) / sizeof *(methods), "test." role, "1.0.0", methods}; \
    LHK_DEFINE_PLUGIN_ENTRY(plugin)

#endif
