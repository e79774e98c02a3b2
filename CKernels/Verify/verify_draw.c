// SPDX-License-Identifier: Apache-2.0
/// Shapes, options and operands of cases.
#include <lhk/support.h>

#include "verify.h"

bool verify_parse_options(const char *text, verify_options *out) {
    out->count = 0;
    if (strlen(text) >= sizeof out->text) return false;
    strcpy(out->text, text);
    for (char *at = out->text; at && *at; out->count++) {
        char *end = strchr(at, ','), *value = strchr(at, '=');
        if (end) *end++ = 0;
        if (out->count == VERIFY_OPTIONS || !value || value == at || !value[1] || (end && value > end)) return false;
        *value = 0;
        out->options[out->count] = (lhk_option){at, value + 1};
        at = end;
    }
    return true;
}

lhk_problem verify_store_problem(const verify_store *store, const lhk_problem *problem, int64_t keys) {
    lhk_problem p = *problem;
    p.options = store->options.options;
    p.option_count = store->options.count;
    p.keys = keys;
    return p;
}

uint32_t verify_option_sets(const lhk_method *method) { return method->reference ? method->reference->option_set_count : 0; }

void verify_use_options(verify_check *check, uint64_t number, verify_options *storage, lhk_problem *problem) {
    if (number == 0 || number > verify_option_sets(check->target->method)) return;
    const char *text = check->target->method->reference->option_sets[number - 1];
    check->step = "option set of the reference";
    if (!verify_parse_options(text, storage)) verify_fail(check, "'%s' is no list of key=value", text);
    problem->options = storage->options;
    problem->option_count = storage->count;
    size_t used = strlen(check->problem);
    snprintf(check->problem + used, sizeof check->problem - used, " %s", text);
}

bool verify_dim_fits(const lhk_variant *variant, int64_t dim) {
    return dim >= variant->head_dim_min && (!variant->head_dim_max || dim <= variant->head_dim_max) &&
           (!variant->head_dim_multiple || dim % variant->head_dim_multiple == 0);
}

int64_t verify_fit_dim(const lhk_variant *variant, int64_t dim) {
    int64_t multiple = lhk_max(variant->head_dim_multiple, 1);
    int64_t least = lhk_round_up(lhk_max(variant->head_dim_min, 1), multiple);
    int64_t most = variant->head_dim_max ? variant->head_dim_max / multiple * multiple : INT64_MAX;
    return lhk_max(least, lhk_min(most, lhk_round_up(dim, multiple)));
}

lhk_dtype verify_fit_dtype(uint64_t mask, lhk_dtype dtype) {
    if (!mask || mask & LHK_DTYPE_BIT(dtype)) return dtype;
    for (lhk_dtype other = LHK_DTYPE_F32; other <= LHK_DTYPE_F16; other++)
        if (mask & LHK_DTYPE_BIT(other)) return other;
    return dtype;
}

int64_t verify_draw_dim(verify_check *check, const lhk_variant *variant) {
    static const int64_t dims[] = {1, 2, 3, 8, 16, 17, 31, 32, 40, 59, 64, 64, 80, 96, 128, 128, 192, 256};
    int64_t dim = fuzz_chance(&check->rng, 85) ? FUZZ_PICK(&check->rng, dims) : 1 + fuzz_below(&check->rng, 300);
    return verify_fit_dim(variant, dim);
}

int64_t verify_draw_length(verify_check *check, int64_t most) {
    static const int64_t lengths[] = {0,  1,  2,  3,   7,   15,  16,  17,  31,  32,  33,  63,
                                      64, 65, 97, 127, 128, 129, 255, 256, 257, 511, 512, 513};
    int64_t length = fuzz_chance(&check->rng, 80) ? FUZZ_PICK(&check->rng, lengths) : fuzz_below(&check->rng, 700);
    return lhk_min(length, most);
}

lhk_problem verify_problem(int64_t query_heads, int64_t kv_heads, int64_t dim_k, int64_t dim_v, int64_t rows,
                           int64_t keys) {
    return (lhk_problem){.struct_size = sizeof(lhk_problem), .query_heads = (uint32_t)query_heads,
                         .kv_heads = (uint32_t)kv_heads, .head_dim_k = (uint32_t)dim_k, .head_dim_v = (uint32_t)dim_v,
                         .query_dtype = LHK_DTYPE_F32, .kv_dtype = LHK_DTYPE_F32, .output_dtype = LHK_DTYPE_F32,
                         .query_rows = rows, .keys = keys};
}

static float draw_value(fuzz_rng *rng, verify_values values, lhk_dtype dtype) {
    static const float specials[] = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 1e-40f, -1e-40f, 3e38f, 65519.0f, 65520.0f};
    float x = fuzz_normal(rng);
    if (values == VERIFY_WIDE) {
        int reach = dtype == LHK_DTYPE_F16 ? 10 : 40;
        x = ldexpf(x, (int)fuzz_below(rng, 2 * reach) - reach);
    }
    switch (values) {
        case VERIFY_SPECIAL: return fuzz_chance(rng, 2) ? FUZZ_PICK(rng, specials) : x;
        case VERIFY_ZERO: return copysignf(0, x);
        case VERIFY_EQUAL: return 0.75f;
        case VERIFY_TINY: return x * (dtype == LHK_DTYPE_F16 ? 0x1p-22f : 0x1p-140f);
        default: return x;
    }
}

lhk_tensor verify_rows(verify_check *check, lhk_dtype dtype, int64_t rows, int64_t heads, int64_t dim,
                       verify_values values) {
    fuzz_rng *rng = &check->rng;
    lhk_tensor t = {.dtype = dtype, .rank = 3, .shape = {rows, heads, dim}, .stride = {0, 0, 1}};
    int64_t inner = dim + (fuzz_chance(rng, 30) ? 1 + fuzz_below(rng, 20) : 0);
    int64_t pad = fuzz_chance(rng, 30) ? 1 + fuzz_below(rng, 40) : 0;
    bool heads_first = fuzz_chance(rng, 30);
    t.stride[heads_first ? 0 : 1] = inner;
    t.stride[heads_first ? 1 : 0] = (heads_first ? rows : heads) * inner + pad;
    int64_t extent = rows && heads ? (rows - 1) * t.stride[0] + (heads - 1) * t.stride[1] + dim : 0;
    size_t size = lhk_dtype_size(dtype);
    fuzz_buffer *buffer = verify_buffer(check, (uint64_t)extent * size, size);
    t.data = buffer->data;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t c = 0; c < dim; c++) {
                float x = draw_value(rng, values, dtype);
                lhk_store_element(lhk_row(&t, i, h), dtype, c, values == VERIFY_OUTLIER && c == dim / 3 ? 100 * x : x);
            }
    fuzz_buffer_protect(buffer, false);
    return t;
}

lhk_tensor verify_slice(const lhk_tensor *tensor, int64_t first, int64_t count) {
    lhk_tensor rows = *tensor;
    rows.data = (uint8_t *)tensor->data + (size_t)(first * tensor->stride[0]) * lhk_dtype_size(tensor->dtype);
    rows.shape[0] = count;
    return rows;
}

bool verify_same_float(float a, float b) {
    uint32_t x, y;
    memcpy(&x, &a, 4);
    memcpy(&y, &b, 4);
    return x == y || (isnan(a) && isnan(b));
}

float verify_round(lhk_dtype dtype, float value) {
    uint32_t storage = 0;
    lhk_store_element(&storage, dtype, 0, value);
    return lhk_load_element(&storage, dtype, 0);
}
