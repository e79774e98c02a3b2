// SPDX-License-Identifier: Apache-2.0
/// Descriptors: one portable variant of each selector.
#include "lhk_baselines_internal.h"

#define FLOATS (LHK_DTYPE_BIT(LHK_DTYPE_F32) | LHK_DTYPE_BIT(LHK_DTYPE_BF16) | LHK_DTYPE_BIT(LHK_DTYPE_F16))

#define LHK_BASELINES_VARIANT(word, text, life_ops, selector_ops)                                                         \
    static const lhk_variant word##_variant = {                                                                           \
        .struct_size = sizeof(lhk_variant), .exactness = LHK_HEURISTIC, .isa_required = LHK_ISA_SCALAR,                   \
        .query_dtypes = FLOATS, .head_dim_min = 1, .head_dim_max = 65536, .head_dim_multiple = 1,                         \
        .id = "longhand." #word ".portable/1", .summary = text, .life = &life_ops, .ops = &selector_ops,                  \
        .data = &lhk_baselines_##word};                                                                                   \
    static const lhk_variant *const word##_variants[] = {&word##_variant};                                                \
    static const lhk_reference word##_reference = {.struct_size = sizeof(lhk_reference),                                  \
                                                   .option_set_count = sizeof word##_sets / sizeof *word##_sets,          \
                                                   .option_sets = word##_sets, .formula = &lhk_baselines_##word##_formula};

static const char *const quest_sets[] = {"budget=24,page=4,dense_layers=0", "budget=1,page=16,dense_layers=0"};
static const char *const pooled_sets[] = {"mass=0.5,block=16", "share=0.4"};
static const char *const random_sets[] = {"budget=20,seed=7,dense_layers=0", "budget=1,dense_layers=0"};

LHK_BASELINES_VARIANT(quest, "bounds of scores from the least and greatest channel values of pages", lhk_baselines_life_ops,
                      lhk_baselines_selector_ops)
LHK_BASELINES_VARIANT(pooled, "scores of mean keys for mean queries of 64 rows", lhk_baselines_life_ops,
                      lhk_baselines_selector_ops)
LHK_BASELINES_VARIANT(random, "tokens by lot", lhk_baselines_stateless_life_ops, lhk_baselines_stateless_selector_ops)

#define LHK_BASELINES_METHOD(word, text)                                                                                   \
    static const lhk_method word##_method = {.struct_size = sizeof(lhk_method), .variant_count = 1,                        \
                                             .role = LHK_ROLE_SELECTOR, .name = #word, .version = "1.0.0", .summary = text, \
                                             .variants = word##_variants, .reference = &word##_reference};

LHK_BASELINES_METHOD(quest, "a baseline for decode: pages of page=N (16) keys by bounds of their scores; budget=N (128) tokens, "
                            "dense_layers=N (2) (arXiv 2406.10774)")
LHK_BASELINES_METHOD(pooled, "a baseline for prefill: blocks of block=N (32) keys by scores of means, up to a mass=M (0.95) of their "
                             "softmax, or share=S of all blocks (as in arXiv 2407.02490)")
LHK_BASELINES_METHOD(random, "a baseline for decode: the current token and others by lot; budget=N (128), seed=N (0), "
                             "dense_layers=N (2)")

static const lhk_method *const methods[] = {&quest_method, &pooled_method, &random_method};

const lhk_plugin lhk_baselines_plugin_object = {.struct_size = sizeof(lhk_plugin), .method_count = 3,
                                                .id = "longhand.baselines", .version = "1.0.0", .methods = methods};

const lhk_plugin *lhk_baselines_plugin(void) { return &lhk_baselines_plugin_object; }
