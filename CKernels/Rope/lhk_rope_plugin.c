// SPDX-License-Identifier: Apache-2.0
/// Descriptors of the position method `rope`, built from the variant rows.
#include "lhk_rope_internal.h"

enum {
#define LHK_ROPE_VARIANT(name, isa, nanoseconds) lhk_rope_index_##name,
#include "lhk_rope_variants.inc"
#undef LHK_ROPE_VARIANT
    lhk_rope_variant_count
};

const lhk_rope_kernel lhk_rope_kernels[] = {
#define LHK_ROPE_VARIANT(name, isa, nanoseconds) {isa, nanoseconds, lhk_rope_fill_##name, lhk_rope_rotate_##name},
#include "lhk_rope_variants.inc"
#undef LHK_ROPE_VARIANT
};

#define LHK_ROPE_VARIANT(name, isa, nanoseconds)                                        \
    static const lhk_variant lhk_rope_variant_##name = {                                \
        .struct_size = sizeof(lhk_variant),                                             \
        .exactness = LHK_EXACT,                                                         \
        .isa_required = isa,                                                            \
        .head_dim_min = 2,                                                              \
        .head_dim_max = LHK_ROPE_MAX_DIMS,                                              \
        .head_dim_multiple = 1,                                                         \
        .id = "longhand.rope.f32." #name "/1",                                          \
        .summary = "rotary positions: f32, bf16 or f16 in, f32 out; angles in double", \
        .life = &lhk_rope_life_ops,                                                     \
        .ops = &lhk_rope_position_ops,                                                  \
        .data = &lhk_rope_kernels[lhk_rope_index_##name],                               \
    };
#include "lhk_rope_variants.inc"
#undef LHK_ROPE_VARIANT

static const lhk_variant *const lhk_rope_variants[] = {
#define LHK_ROPE_VARIANT(name, isa, nanoseconds) &lhk_rope_variant_##name,
#include "lhk_rope_variants.inc"
#undef LHK_ROPE_VARIANT
};

static const char *const lhk_rope_option_sets[] = {
    "base=500000", "interleaved=1", "dims=2", "scaling=linear,factor=4", "scaling=ntk,factor=2",
    "scaling=yarn,factor=8,original=4096",
};

static const lhk_reference lhk_rope_method_reference = {
    .struct_size = sizeof lhk_rope_method_reference,
    .option_set_count = sizeof lhk_rope_option_sets / sizeof *lhk_rope_option_sets,
    .option_sets = lhk_rope_option_sets,
    .formula = &lhk_rope_formula,
};

static const lhk_method lhk_rope_method = {
    .struct_size = sizeof lhk_rope_method,
    .variant_count = lhk_rope_variant_count,
    .role = LHK_ROLE_POSITION,
    .name = "rope",
    .version = "1.0.0",
    .summary = "rotary positions; base=B, scaling=none|linear|ntk|yarn, factor=S, original=TOKENS, dims=D, "
               "interleaved=0|1, each from the model unless given (arXiv 2104.09864, 2309.00071)",
    .variants = lhk_rope_variants,
    .reference = &lhk_rope_method_reference,
};

static const lhk_method *const lhk_rope_methods[] = {&lhk_rope_method};

const lhk_plugin lhk_rope_plugin_object = {
    .struct_size = sizeof lhk_rope_plugin_object,
    .method_count = 1,
    .id = "longhand.rope",
    .version = "1.0.0",
    .methods = lhk_rope_methods,
};

const lhk_plugin *lhk_rope_plugin(void) { return &lhk_rope_plugin_object; }
