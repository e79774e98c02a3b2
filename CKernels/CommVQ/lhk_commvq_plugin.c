// SPDX-License-Identifier: Apache-2.0
/// Descriptors of the store, built from the variant table.
#include <longhand/reference.h>

#include "lhk_commvq_store.h"

#define SUMMARY "1 to 3 bits per channel, attended from codes; calibration=FILE, form, bits, sinks, recent (arXiv 2506.18879)"

// What an ISA file provides, and the descriptor with it.
#define LHK_COMMVQ_VARIANT(word, isa, rate, product_rate)                                                                \
    lhk_commvq_encode_step lhk_commvq_##word##_encode;                                                                   \
    lhk_status lhk_commvq_##word##_read_rows(const lhk_instance *store, uint32_t head, int64_t begin, int64_t count,     \
                                             float *k, float *v, lhk_error *error);                                      \
    void lhk_commvq_##word##_score(const lhk_instance *store, uint32_t head, const float *q, int64_t ldq, int32_t rows,  \
                                   const lhk_keys *keys, float *scores, int64_t lds);                                    \
    void lhk_commvq_##word##_accumulate(const lhk_instance *store, uint32_t head, const float *p, int64_t ldp,           \
                                        int32_t rows, const lhk_keys *keys, float *out, int64_t ldo);                    \
    uint32_t lhk_commvq_##word##_unpack(const lhk_instance *store, uint32_t head, const lhk_keys *keys,                  \
                                        const lhk_panels *panels, uint8_t *block);                                       \
    static const lhk_store_ops word##_ops = {                                                                            \
        .struct_size = sizeof(lhk_store_ops), .append = lhk_commvq_append, .length = lhk_commvq_length,                  \
        .bytes = lhk_commvq_bytes, .read_rows = lhk_commvq_##word##_read_rows, .score = lhk_commvq_##word##_score,       \
        .accumulate = lhk_commvq_##word##_accumulate, .unpack = lhk_commvq_##word##_unpack};                             \
    static const lhk_commvq_variant word##_data = {lhk_commvq_##word##_encode, rate, product_rate};                              \
    static const lhk_variant word##_variant = {                                                                          \
        .struct_size = sizeof(lhk_variant), .exactness = LHK_HEURISTIC, .isa_required = isa, .head_dim_min = 64,         \
        .head_dim_max = LHK_COMMVQ_MAX_DIM, .head_dim_multiple = 64, .id = "longhand.commvq." #word "/2",                \
        .summary = SUMMARY, .life = &lhk_commvq_life_ops, .ops = &word##_ops, .data = &word##_data};
#include "lhk_commvq_variants.inc"
#undef LHK_COMMVQ_VARIANT

#define LHK_COMMVQ_VARIANT(word, isa, rate, product_rate)&word##_variant,
static const lhk_variant *const variants[] = {
#include "lhk_commvq_variants.inc"
};
#undef LHK_COMMVQ_VARIANT

static const char *const option_sets[] = {"random=1", "random=2,bits=1", "random=3,sinks=0,recent=64", "form=product,random=4",
                                          "form=product,random=5,bits=1,sinks=0", "form=product,random=6,bits=3,recent=64"};
static const lhk_reference reference = {.struct_size = sizeof(lhk_reference),
                                        .option_set_count = sizeof option_sets / sizeof *option_sets,
                                        .option_sets = option_sets};

static const lhk_method method = {.struct_size = sizeof(lhk_method), .variant_count = sizeof variants / sizeof *variants,
                                  .role = LHK_ROLE_STORE, .name = "commvq", .version = "1.0.0", .summary = SUMMARY,
                                  .variants = variants, .reference = &reference};

static const lhk_method *const methods[] = {&method};

const lhk_plugin lhk_commvq_plugin_object = {.struct_size = sizeof(lhk_plugin), .method_count = 1, .id = "longhand.commvq",
                                             .version = "1.0.0", .methods = methods};

const lhk_plugin *lhk_commvq_plugin(void) { return &lhk_commvq_plugin_object; }
