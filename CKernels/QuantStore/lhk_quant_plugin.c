// SPDX-License-Identifier: Apache-2.0
/// Descriptors of the quantised stores, built from the variant table.
#include <longhand/quant_store.h>
#include <longhand/reference.h>

#include "lhk_quant_store.h"

// What an ISA file provides, and the operations table with it.
#define LHK_QUANT_VARIANT(word, isa, speed)                                                                              \
    void lhk_quant_##word##_score(const lhk_instance *store, uint32_t head, const float *q, int64_t ldq, int32_t rows,   \
                                  const lhk_keys *keys, float *scores, int64_t lds);                                     \
    void lhk_quant_##word##_accumulate(const lhk_instance *store, uint32_t head, const float *p, int64_t ldp,            \
                                       int32_t rows, const lhk_keys *keys, float *out, int64_t ldo);                     \
    uint32_t lhk_quant_##word##_unpack(const lhk_instance *store, uint32_t head, const lhk_keys *keys,                   \
                                       const lhk_panels *panels, uint8_t *block);                                        \
    static const lhk_store_ops word##_ops = {                                                                            \
        .struct_size = sizeof(lhk_store_ops), .append = lhk_quant_append, .length = lhk_quant_length,                    \
        .bytes = lhk_quant_bytes, .read_rows = lhk_quant_read_rows, .score = lhk_quant_##word##_score,                   \
        .accumulate = lhk_quant_##word##_accumulate, .unpack = lhk_quant_##word##_unpack};
#include "lhk_quant_variants.inc"
#undef LHK_QUANT_VARIANT

#define SUMMARY_8 "8-bit codes, f16 scale per 32 channels; rotate=0|1: Hadamard rotation of keys"
#define SUMMARY_4 "4-bit codes, f16 scale and minimum per 32 channels; rotate=0|1: Hadamard rotation of keys"

#define QUANT_VARIANT(width, word, isa, rate)                                                                            \
    static const lhk_quant_variant q##width##_##word = {width, rate};                                                    \
    static const lhk_variant q##width##_##word##_variant = {                                                             \
        .struct_size = sizeof(lhk_variant), .exactness = LHK_BOUNDED, .isa_required = isa, .head_dim_min = 1,            \
        .head_dim_max = LHK_QUANT_MAX_DIM, .head_dim_multiple = 1, .id = "longhand.q" #width "." #word "/1",             \
        .summary = SUMMARY_##width, .life = &lhk_quant_life_ops, .ops = &word##_ops, .data = &q##width##_##word};
#define LHK_QUANT_VARIANT(word, isa, speed) QUANT_VARIANT(8, word, isa, speed) QUANT_VARIANT(4, word, isa, speed)
#include "lhk_quant_variants.inc"
#undef LHK_QUANT_VARIANT

#define LHK_QUANT_VARIANT(word, isa, speed) &q8_##word##_variant,
static const lhk_variant *const q8_variants[] = {
#include "lhk_quant_variants.inc"
};
#undef LHK_QUANT_VARIANT
#define LHK_QUANT_VARIANT(word, isa, speed) &q4_##word##_variant,
static const lhk_variant *const q4_variants[] = {
#include "lhk_quant_variants.inc"
};
#undef LHK_QUANT_VARIANT

static const char *const option_sets[] = {"rotate=1"};
static const lhk_reference reference = {
    .struct_size = sizeof(lhk_reference), .option_set_count = 1, .option_sets = option_sets};

#define QUANT_METHOD(width)                                                                                              \
    static const lhk_method q##width##_method = {                                                                        \
        .struct_size = sizeof(lhk_method), .variant_count = sizeof q##width##_variants / sizeof *q##width##_variants,    \
        .role = LHK_ROLE_STORE, .name = "q" #width, .version = "1.0.0", .summary = SUMMARY_##width,                      \
        .variants = q##width##_variants, .reference = &reference}
QUANT_METHOD(8);
QUANT_METHOD(4);

extern const lhk_plugin lhk_quant_store_plugin_object;

static const lhk_method *const methods[] = {&q8_method, &q4_method};

const lhk_plugin lhk_quant_store_plugin_object = {.struct_size = sizeof(lhk_plugin), .method_count = 2,
                                                  .id = "longhand.quant-store", .version = "1.0.0", .methods = methods};

const lhk_plugin *lhk_quant_store_plugin(void) { return &lhk_quant_store_plugin_object; }
