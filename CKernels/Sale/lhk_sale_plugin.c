// SPDX-License-Identifier: Apache-2.0
/// Descriptors of the selector `sale`, built from the variant table.
#include <longhand/reference.h>

#include "lhk_sale_call.h"
#include "lhk_sale_variants.h"

#define LHK_SALE_VARIANT(word, isa, rate)                                                                               \
    extern const lhk_sale_kernel lhk_sale_##word##_kernel;                                                               \
    static const lhk_sale_variant word##_data = {&lhk_sale_##word##_kernel, rate};                                       \
    static const lhk_variant word##_variant = {                                                                          \
        .struct_size = sizeof(lhk_variant), .exactness = LHK_HEURISTIC, .isa_required = isa, .head_dim_min = 1,          \
        .head_dim_max = LHK_SALE_MAX_HEAD_DIM, .head_dim_multiple = 1, .id = "longhand.sale.any." #word "/2",            \
        .summary = "blocks of 16 or 32 keys per head and tile of 64 rows, from 8-bit or 4-bit codes",                          \
        .life = &lhk_sale_life_ops, .ops = &lhk_sale_selector_ops, .data = &word##_data};
#include "lhk_sale_variants.inc"
#undef LHK_SALE_VARIANT

#define LHK_SALE_VARIANT(word, isa, rate) &word##_variant,
static const lhk_variant *const variants[] = {
#include "lhk_sale_variants.inc"
};
#undef LHK_SALE_VARIANT

// Thresholds at which normal numbers lose some blocks and keep some.
static const char *const option_sets[] = {"tau=0.1,screen=0,block=32", "tau=0.1,bits=4", "tau=0.1", "tau=0.05,screen=2,remainder=0",
                                          "tau=0.1,block=32"};

static const lhk_reference reference = {.struct_size = sizeof(lhk_reference),
                                        .option_set_count = sizeof option_sets / sizeof *option_sets,
                                        .option_sets = option_sets, .formula = &lhk_sale_formula};

static const lhk_method method = {
    .struct_size = sizeof(lhk_method), .variant_count = sizeof variants / sizeof *variants, .role = LHK_ROLE_SELECTOR,
    .name = "sale", .version = "1.1.0",
    .summary = "prefill without blocks of keys whose estimated weights are all negligible; tau=T (0.008): weight relative to "
               "what is always kept, or calibration=FILE: per head; bits=8|4 (8): codes of the estimate; screen=C (4, with "
               "8 bits; 0: off): standard deviations at which part of an estimate is enough; block=16|32 (16): keys kept or skipped "
               "together; remainder=1|0 (1): what is skipped counts by its mean (arXiv 2505.24179)",
    .variants = variants, .reference = &reference};

static const lhk_method *const methods[] = {&method};

const lhk_plugin lhk_sale_plugin_object = {
    .struct_size = sizeof(lhk_plugin), .method_count = 1, .id = "longhand.sale", .version = "1.0.0", .methods = methods};

const lhk_plugin *lhk_sale_plugin(void) { return &lhk_sale_plugin_object; }
