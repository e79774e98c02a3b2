// SPDX-License-Identifier: Apache-2.0
/// Descriptors of the stores.
#include <longhand/reference.h>

#include "lhk_kivi_store.h"

static const lhk_store_ops ops = {
    .struct_size = sizeof(lhk_store_ops), .append = lhk_kivi_append, .length = lhk_kivi_length, .bytes = lhk_kivi_bytes,
    .read_rows = lhk_kivi_read_rows, .score = lhk_kivi_score, .accumulate = lhk_kivi_accumulate, .unpack = lhk_kivi_unpack};

static const char *const option_sets[] = {"recent=32,fit=1", "group=64,sinks=5"};
static const lhk_reference reference = {.struct_size = sizeof(lhk_reference), .option_set_count = 2,
                                        .option_sets = option_sets};

#define KIVI_METHOD(width, class, text)                                                                                  \
    static const uint16_t q##width##_bits = width;                                                                       \
    static const lhk_variant q##width##_variant = {                                                                      \
        .struct_size = sizeof(lhk_variant), .exactness = class, .isa_required = LHK_ISA_SCALAR, .head_dim_min = 1,       \
        .head_dim_max = LHK_KIVI_MAX_DIM, .head_dim_multiple = 1, .id = "longhand.kivi.q" #width ".portable/1",          \
        .summary = text, .life = &lhk_kivi_life_ops, .ops = &ops, .data = &q##width##_bits};                             \
    static const lhk_variant *const q##width##_variants[] = {&q##width##_variant};                                       \
    static const lhk_method q##width##_method = {                                                                        \
        .struct_size = sizeof(lhk_method), .variant_count = 1, .role = LHK_ROLE_STORE, .name = "q" #width,               \
        .version = "1.0.0", .summary = text, .variants = q##width##_variants, .reference = &reference}

KIVI_METHOD(2, LHK_BOUNDED, "2-bit codes, keys per channel, values per token (KIVI, arXiv 2402.02750); group, recent, sinks, fit");
KIVI_METHOD(1, LHK_HEURISTIC, "1-bit codes, keys per channel, values per token, a baseline; group, recent, sinks, fit");

extern const lhk_plugin lhk_kivi_plugin_object;

static const lhk_method *const methods[] = {&q2_method, &q1_method};

const lhk_plugin lhk_kivi_plugin_object = {.struct_size = sizeof(lhk_plugin), .method_count = 2, .id = "longhand.kivi",
                                           .version = "1.0.0", .methods = methods};

const lhk_plugin *lhk_kivi_plugin(void) { return &lhk_kivi_plugin_object; }
