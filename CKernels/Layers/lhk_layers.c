// SPDX-License-Identifier: Apache-2.0
// Argument checks and dispatch of the elementwise kernels.
#include <lhk/support.h>

#include "lhk_layers_table.h"

const lhk_layers_table *lhk_layers_for_isa(lhk_isa isa) {
#if defined(__x86_64__)
    if (isa & LHK_ISA_AVX512) return &lhk_layers_avx512;
    if (isa & LHK_ISA_AVX2) return &lhk_layers_avx2;
#elif defined(__aarch64__)
    if (isa & LHK_ISA_NEON) return &lhk_layers_neon;
#endif
    (void)isa;
    return &lhk_layers_scalar;
}

/// Elements and bytes per block; zero elements for an unknown type.
static void lhk_block_format(int32_t type, size_t *elements, size_t *bytes) {
    *elements = 1;
    switch (type) {
        case LHK_GGUF_F32: *bytes = 4; return;
        case LHK_GGUF_F16:
        case LHK_GGUF_BF16: *bytes = 2; return;
#define LHK_CASE(name, number, block_elements, block_bytes) \
    case number:                                            \
        *elements = block_elements;                         \
        *bytes = block_bytes;                               \
        return;
            LHK_GGUF_BLOCK_FORMATS(LHK_CASE)
#undef LHK_CASE
        default: *elements = *bytes = 0; return;
    }
}

/// Bytes of a row; the last numbers are the places of type and count among the caller's arguments.
static lhk_status lhk_row_bytes(
    int32_t type, size_t count, size_t *bytes, int32_t type_argument, int32_t count_argument, lhk_error *error) {
    size_t block_elements, block_bytes;
    lhk_block_format(type, &block_elements, &block_bytes);
    if (block_elements == 0) {
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, type_argument, "tensor type %d is not supported", type);
    }
    if (count % block_elements != 0) {
        return lhk_fail(
            error, LHK_ERROR_ARGUMENT, count_argument, "%zu elements are not whole blocks of %zu (tensor type %d)",
            count, block_elements, type);
    }
    if (__builtin_mul_overflow(count / block_elements, block_bytes, bytes)) {
        return lhk_fail(error, LHK_ERROR_OVERFLOW, count_argument, "%zu elements are more than memory can hold", count);
    }
    return LHK_OK;
}

lhk_status lhk_layer_row_bytes(int32_t type, size_t count, size_t *bytes, lhk_error *error) {
    size_t result = 0;
    lhk_status status = lhk_row_bytes(type, count, &result, 0, 1, error);
    if (status == LHK_OK) *bytes = result;
    return status;
}

lhk_status lhk_layer_dequantize(
    lhk_isa isa, int32_t type, const void *src, float *dst, size_t count, lhk_error *error) {
    size_t bytes = 0;
    lhk_status status = lhk_row_bytes(type, count, &bytes, 1, 4, error);
    if (status == LHK_OK) lhk_layers_for_isa(isa)->dequantize(type, src, dst, count);
    return status;
}

/// Checks that every id lies in [0, limit).
static lhk_status lhk_check_ids(const int32_t *ids, size_t count, size_t limit, int32_t argument, lhk_error *error) {
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= limit) {
            return lhk_fail(
                error, LHK_ERROR_ARGUMENT, argument, "token id %d is outside the vocabulary of %zu", ids[i], limit);
        }
    }
    return LHK_OK;
}

lhk_status lhk_layer_embed(
    lhk_isa isa, int32_t type, const void *table, size_t rows, size_t cols, const int32_t *ids, size_t count,
    float *out, lhk_error *error) {
    size_t row_bytes = 0, table_bytes;
    lhk_status status = lhk_row_bytes(type, cols, &row_bytes, 1, 4, error);
    if (status == LHK_OK) status = lhk_check_ids(ids, count, rows, 5, error);
    if (status != LHK_OK) return status;
    if (__builtin_mul_overflow(row_bytes, rows, &table_bytes)) {
        return lhk_fail(error, LHK_ERROR_OVERFLOW, 3, "%zu rows of %zu are more than memory can hold", rows, cols);
    }
    const lhk_layers_table *kernels = lhk_layers_for_isa(isa);
    for (size_t i = 0; i < count; i++) {
        kernels->dequantize(type, (const uint8_t *)table + (size_t)ids[i] * row_bytes, out + i * cols, cols);
    }
    return LHK_OK;
}

void lhk_layer_rms_norm(
    lhk_isa isa, const float *x, size_t x_stride, const float *w, float eps, float *out, size_t out_stride,
    size_t rows, size_t cols) {
    lhk_layers_for_isa(isa)->rms_norm(x, x_stride, w, eps, out, out_stride, rows, cols);
}

void lhk_layer_add(lhk_isa isa, const float *a, const float *b, float *out, size_t count) {
    lhk_layers_for_isa(isa)->add(a, b, out, count);
}

void lhk_layer_scale(lhk_isa isa, const float *x, float factor, float *out, size_t count) {
    lhk_layers_for_isa(isa)->scale(x, factor, out, count);
}

void lhk_layer_silu_mul(lhk_isa isa, const float *gate, const float *up, float *out, size_t count) {
    lhk_layers_for_isa(isa)->silu_mul(gate, up, out, count);
}

void lhk_layer_gelu_tanh_mul(lhk_isa isa, const float *gate, const float *up, float *out, size_t count) {
    lhk_layers_for_isa(isa)->gelu_tanh_mul(gate, up, out, count);
}

void lhk_layer_exp(lhk_isa isa, const float *x, float *out, size_t count) {
    lhk_layers_for_isa(isa)->exp(x, out, count);
}

lhk_status lhk_layer_narrow(
    lhk_isa isa, lhk_dtype dtype, const float *x, uint16_t *out, size_t count, lhk_error *error) {
    if (dtype != LHK_DTYPE_F16 && dtype != LHK_DTYPE_BF16) {
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "element type %u is not f16 or bf16", dtype);
    }
    lhk_layers_for_isa(isa)->narrow(dtype, x, out, count);
    return LHK_OK;
}

static lhk_status lhk_check_row(size_t count, int32_t argument, lhk_error *error) {
    if (count <= INT32_MAX) return LHK_OK;
    return lhk_fail(error, LHK_ERROR_OVERFLOW, argument, "a row of %zu logits is longer than 2^31 - 1", count);
}

lhk_status lhk_layer_logit_statistics(
    lhk_isa isa, const float *logits, size_t count, lhk_layer_logit_stats *stats, lhk_error *error) {
    lhk_status status = lhk_check_row(count, 2, error);
    if (status != LHK_OK) return status;
    lhk_layers_for_isa(isa)->logit_statistics(logits, count, &stats->max, &stats->argmax, &stats->log_sum_exp);
    return LHK_OK;
}

lhk_status lhk_layer_argmax(lhk_isa isa, const float *logits, size_t count, int64_t *index, lhk_error *error) {
    lhk_status status = lhk_check_row(count, 2, error);
    if (status != LHK_OK) return status;
    float max;
    lhk_layers_for_isa(isa)->logit_statistics(logits, count, &max, index, NULL);
    return LHK_OK;
}

lhk_status lhk_layer_compare_logits(
    lhk_isa isa, const float *reference, const float *other, size_t count, lhk_layer_comparison *out,
    lhk_error *error) {
    lhk_status status = lhk_check_row(count, 3, error);
    if (status == LHK_OK) lhk_layers_for_isa(isa)->compare_logits(reference, other, count, out);
    return status;
}

lhk_status lhk_layer_token_nll(
    lhk_isa isa, const float *logits, size_t stride, const int32_t *targets, size_t rows, size_t cols, double *nll,
    lhk_error *error) {
    lhk_status status = lhk_check_row(cols, 5, error);
    if (status == LHK_OK) status = lhk_check_ids(targets, rows, cols, 3, error);
    if (status != LHK_OK) return status;
    const lhk_layers_table *kernels = lhk_layers_for_isa(isa);
    for (size_t r = 0; r < rows; r++) {
        const float *row = logits + r * stride;
        float max;
        int64_t argmax;
        double log_sum_exp;
        kernels->logit_statistics(row, cols, &max, &argmax, &log_sum_exp);
        nll[r] = log_sum_exp - (double)row[targets[r]];
    }
    return LHK_OK;
}
