// SPDX-License-Identifier: Apache-2.0
/// Descriptors of the selectors `all` and `window`: one variant each, since there is nothing to vectorise.
#include "lhk_window_internal.h"

static const lhk_variant lhk_window_all_variant = {
    .struct_size = sizeof lhk_window_all_variant,
    .exactness = LHK_EXACT,
    .isa_required = LHK_ISA_SCALAR,
    .head_dim_min = 1,
    .head_dim_max = UINT32_MAX,
    .head_dim_multiple = 1,
    .id = "longhand.all.any.scalar/1",
    .summary = "every key",
    .life = &lhk_window_all_life_ops,
    .ops = &lhk_window_all_selector_ops,
};

static const lhk_variant lhk_window_variant = {
    .struct_size = sizeof lhk_window_variant,
    .exactness = LHK_HEURISTIC,
    .isa_required = LHK_ISA_SCALAR,
    .head_dim_min = 1,
    .head_dim_max = UINT32_MAX,
    .head_dim_multiple = 1,
    .id = "longhand.window.any.scalar/1",
    .summary = "at most two runs of keys per row or tile of 64 rows",
    .life = &lhk_window_life_ops,
    .ops = &lhk_window_selector_ops,
};

static const lhk_variant *const lhk_window_all_variants[] = {&lhk_window_all_variant};
static const lhk_variant *const lhk_window_variants[] = {&lhk_window_variant};

static const lhk_method lhk_window_all_method = {
    .struct_size = sizeof lhk_window_all_method,
    .variant_count = 1,
    .role = LHK_ROLE_SELECTOR,
    .name = "all",
    .version = "1.0.0",
    .summary = "every key that the mask shows; no options",
    .variants = lhk_window_all_variants,
};

static const char *const lhk_window_option_sets[] = {
    "size=1,sinks=0", "size=7,sinks=2", "size=7,sinks=2,exact=1", "size=64,sinks=4",
};

static const lhk_reference lhk_window_reference = {
    .struct_size = sizeof lhk_window_reference,
    .option_set_count = sizeof lhk_window_option_sets / sizeof *lhk_window_option_sets,
    .option_sets = lhk_window_option_sets,
    .formula = &lhk_window_formula,
};

static const lhk_method lhk_window_method = {
    .struct_size = sizeof lhk_window_method,
    .variant_count = 1,
    .role = LHK_ROLE_SELECTOR,
    .name = "window",
    .version = "1.0.0",
    .summary = "the first and the last tokens; size=N (1024) last ones, sinks=M (4) first ones, exact=0|1 (0: calls of "
               "several rows round the window up to tiles of 64 rows; 1: a list per row) (arXiv 2309.17453)",
    .variants = lhk_window_variants,
    .reference = &lhk_window_reference,
};

static const lhk_method *const lhk_window_methods[] = {&lhk_window_all_method, &lhk_window_method};

const lhk_plugin lhk_window_plugin_object = {
    .struct_size = sizeof lhk_window_plugin_object,
    .method_count = 2,
    .id = "longhand.window",
    .version = "1.0.0",
    .methods = lhk_window_methods,
};

const lhk_plugin *lhk_window_plugin(void) { return &lhk_window_plugin_object; }
