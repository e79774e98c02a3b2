// SPDX-License-Identifier: Apache-2.0
/// Descriptors of the selector `adamas`, built from the variant table.
#include "lhk_adamas_index.h"

#define LHK_ADAMAS_VARIANT(word, isa) extern const lhk_adamas_kernel lhk_adamas_##word##_kernel;
#include "lhk_adamas_variants.inc"
#undef LHK_ADAMAS_VARIANT

#define FLOATS (LHK_DTYPE_BIT(LHK_DTYPE_F32) | LHK_DTYPE_BIT(LHK_DTYPE_BF16) | LHK_DTYPE_BIT(LHK_DTYPE_F16))

#define LHK_ADAMAS_VARIANT(word, isa)                                                                                    \
    static const lhk_variant word##_variant = {                                                                          \
        .struct_size = sizeof(lhk_variant), .exactness = LHK_HEURISTIC, .isa_required = isa, .query_dtypes = FLOATS,     \
        .head_dim_min = 16, .head_dim_max = LHK_ADAMAS_MOST_DIM, .head_dim_multiple = 1,                                 \
        .id = "longhand.adamas." #word "/4", .summary = "2-bit codes of Hadamard-transformed keys",                      \
        .life = &lhk_adamas_life_ops, .ops = &lhk_adamas_selector_ops, .data = &lhk_adamas_##word##_kernel};
#include "lhk_adamas_variants.inc"
#undef LHK_ADAMAS_VARIANT

static const lhk_variant *const variants[] = {
#define LHK_ADAMAS_VARIANT(word, isa) &word##_variant,
#include "lhk_adamas_variants.inc"
#undef LHK_ADAMAS_VARIANT
};

static const char *const option_sets[] = {
    "budget=8,sample=16,dense_layers=0,scoring=manhattan",
    "budget=33,sample=16,dense_layers=0,lists=query",
    "budget=20,sample=40,dense_layers=0,remainder=0,balance=0",
    "budget=16,sample=16,dense_layers=0,scoring=manhattan,center=1,balance=1,lists=kv,sinks=2,recent=5",
    "budget=12,dense_layers=0,scoring=exact,remainder=1,values=20",
    "budget=10,sample=16,dense_layers=0,values=0",
    "budget=20,sample=25,dense_layers=0,lists=kv,values=1000",
    "budget=1,sample=30,dense_layers=0,scoring=manhattan,lists=union",
};

static const lhk_reference reference = {.struct_size = sizeof(lhk_reference),
                                        .option_set_count = sizeof option_sets / sizeof *option_sets,
                                        .option_sets = option_sets, .formula = &lhk_adamas_formula};

static const lhk_method method = {
    .struct_size = sizeof(lhk_method), .variant_count = sizeof variants / sizeof *variants, .role = LHK_ROLE_SELECTOR,
    .name = "adamas", .version = "1.1.0",
    .summary = "decode: the nearest keys by 2-bit codes after a Hadamard transform (arXiv 2510.18413); budget=N (128), "
               "dense_layers=N (2), scoring=asymmetric|manhattan (the paper's)|exact, remainder=0|1, values=N (2048), "
               "lists=query|union|kv, "
               "sinks=N, recent=N, sample=N (512), center=0|1|moving, balance=0|1",
    .variants = variants, .reference = &reference};
static const lhk_method *const methods[] = {&method};

const lhk_plugin lhk_adamas_plugin_object = {.struct_size = sizeof(lhk_plugin), .method_count = 1, .id = "longhand.adamas",
                                             .version = "1.0.0", .methods = methods};

const lhk_plugin *lhk_adamas_plugin(void) { return &lhk_adamas_plugin_object; }

const lhk_adamas_kernel *lhk_adamas_best_kernel(lhk_isa isa) {
    const lhk_adamas_kernel *best = variants[0]->data;
    for (size_t i = 1; i < sizeof variants / sizeof *variants; i++)
        if (!(variants[i]->isa_required & ~isa)) best = variants[i]->data;
    return best;
}
