// SPDX-License-Identifier: Apache-2.0
/// Descriptors of the attention method `flash`, built from the variant table.
#include "lhk_flash_attend.h"
#include "lhk_flash_variants.h"

#define LHK_FLASH_VARIANT(type, word, isa, kv, speed) extern const lhk_flash_kernel lhk_flash_##type##_##word##_kernel;
#include "lhk_flash_variants.inc"
#undef LHK_FLASH_VARIANT

#define DTYPE_f32 LHK_DTYPE_F32
#define DTYPE_f16 LHK_DTYPE_F16
#define DTYPE_bf16 LHK_DTYPE_BF16
#define DTYPE_i8 LHK_DTYPE_I8
#define CLASS_f32 LHK_EXACT
#define CLASS_f16 LHK_EXACT
#define CLASS_bf16 LHK_EXACT
#define CLASS_i8 LHK_BOUNDED  // queries are rounded to 8 bits
#define FLOATS (LHK_DTYPE_BIT(LHK_DTYPE_F32) | LHK_DTYPE_BIT(LHK_DTYPE_BF16) | LHK_DTYPE_BIT(LHK_DTYPE_F16))

#define LHK_FLASH_VARIANT(type, word, isa_bits, kv, speed)                                              \
    static const lhk_flash_variant type##_##word = {&lhk_flash_##type##_##word##_kernel, DTYPE_##type,  \
                                                    isa_bits, speed};                                   \
    static const lhk_variant type##_##word##_variant = {                                                \
        .struct_size = sizeof(lhk_variant), .exactness = CLASS_##type, .isa_required = isa_bits,        \
        .query_dtypes = FLOATS, .kv_dtypes = kv, .output_dtypes = FLOATS, .head_dim_min = 1,            \
        .head_dim_max = LHK_FLASH_MAX_HEAD_DIM, .head_dim_multiple = 1,                                 \
        .id = "longhand.flash." #type "." #word "/2", .summary = "flash attention on " #type " panels", \
        .life = &lhk_flash_life_ops, .ops = &lhk_flash_attention_ops, .data = &type##_##word};
#include "lhk_flash_variants.inc"
#undef LHK_FLASH_VARIANT

static const lhk_variant *const variants[] = {
#define LHK_FLASH_VARIANT(type, word, isa, kv, speed) &type##_##word##_variant,
#include "lhk_flash_variants.inc"
#undef LHK_FLASH_VARIANT
};
#define VARIANT_COUNT (sizeof variants / sizeof *variants)

static const char *const option_sets[] = {"path=blockwise", "path=direct"};
static const lhk_reference reference = {.struct_size = sizeof(lhk_reference), .option_set_count = 2,
                                        .option_sets = option_sets, .formula = &lhk_flash_formula};

static const lhk_method method = {
    .struct_size = sizeof(lhk_method), .variant_count = VARIANT_COUNT, .role = LHK_ROLE_ATTENTION, .name = "flash",
    .version = "1.0.0",
    .summary = "exact softmax attention by blocks (FlashAttention-2, arXiv 2307.08691); path=auto|blockwise|direct",
    .variants = variants, .reference = &reference};
static const lhk_method *const methods[] = {&method};

const lhk_plugin lhk_flash_attention_plugin_object = {.struct_size = sizeof(lhk_plugin), .method_count = 1,
                                                      .id = "longhand.flash-attention", .version = "1.0.0",
                                                      .methods = methods};

const lhk_plugin *lhk_flash_attention_plugin(void) { return &lhk_flash_attention_plugin_object; }

const lhk_flash_variant *lhk_flash_best_variant(lhk_dtype dtype, lhk_isa isa) {
    const lhk_flash_variant *best = NULL;
    for (size_t i = 0; i < VARIANT_COUNT; i++) {
        const lhk_flash_variant *v = variants[i]->data;
        if (v->dtype == dtype && !(v->isa & ~isa) && (!best || v->gigaflops > best->gigaflops)) best = v;
    }
    return best;
}

bool lhk_flash_prefers_direct(int64_t rows, int64_t keys) {
    return rows <= LHK_FLASH_STRIP && keys < 2 * LHK_FLASH_SPLIT_KEYS;
}
