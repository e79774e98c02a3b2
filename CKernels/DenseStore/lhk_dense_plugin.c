// SPDX-License-Identifier: Apache-2.0
/// Descriptors of the dense stores.
#include <longhand/dense_store.h>
#include <longhand/reference.h>

#include "lhk_dense_store.h"

#define DENSE_METHOD(type, dtype_value, class, options, text)                                                       \
    static const lhk_dtype type##_dtype = dtype_value;                                                              \
    static const lhk_variant type##_variant = {                                                                     \
        .struct_size = sizeof(lhk_variant), .exactness = class, .isa_required = LHK_ISA_SCALAR,                     \
        .kv_dtypes = LHK_DTYPE_BIT(dtype_value), .head_dim_min = 1, .head_dim_max = 1024, .head_dim_multiple = 1,   \
        .id = "longhand." #type ".portable/1", .summary = text,                                                     \
        .life = &lhk_dense_life_ops, .ops = &lhk_dense_store_ops, .data = &type##_dtype};                           \
    static const lhk_variant *const type##_variants[] = {&type##_variant};                                          \
    static const lhk_method type##_method = {.struct_size = sizeof(lhk_method), .variant_count = 1,                 \
        .role = LHK_ROLE_STORE, .name = #type, .version = "1.0.0", .summary = text, .variants = type##_variants,    \
        .reference = options}

DENSE_METHOD(f32, LHK_DTYPE_F32, LHK_EXACT, NULL, "keys and values as 32-bit floats, packed into panels at append");
DENSE_METHOD(bf16, LHK_DTYPE_BF16, LHK_EXACT, NULL,
             "keys and values rounded to bfloat16, packed in pairs for the bf16 dot product");
DENSE_METHOD(f16, LHK_DTYPE_F16, LHK_EXACT, NULL,
             "keys and values rounded to half precision; magnitudes over 65504 become infinite");

static const char *const k8v16_options[] = {"rotate=0"};
static const lhk_reference k8v16_reference = {.struct_size = sizeof(lhk_reference), .option_set_count = 1,
                                              .option_sets = k8v16_options};
DENSE_METHOD(k8v16, LHK_DTYPE_I8, LHK_BOUNDED, &k8v16_reference,
             "keys in 8 bits with a scale per token, rotated by a Hadamard matrix (FlashAttention-3, arXiv 2407.08608); "
             "values in bfloat16; rotate=1|0");

extern const lhk_plugin lhk_dense_store_plugin_object;

static const lhk_method *const methods[] = {&f32_method, &bf16_method, &f16_method, &k8v16_method};

const lhk_plugin lhk_dense_store_plugin_object = {.struct_size = sizeof(lhk_plugin), .method_count = 4, .id = "longhand.dense-store",
                                  .version = "1.0.0", .methods = methods};

const lhk_plugin *lhk_dense_store_plugin(void) { return &lhk_dense_store_plugin_object; }
