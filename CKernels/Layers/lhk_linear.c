// SPDX-License-Identifier: Apache-2.0
// Linear layers: the split into parts, and the choice between the small kernel and OpenBLAS.
#include <lhk/support.h>

#include "lhk_layers_table.h"
#include "lhk_openblas.h"

enum {
    // A few-row product is bound by reading w: enough bytes per part to hide the cost of starting one.
    LHK_SMALL_PART_BYTES = 256 * 1024,
    // A BLAS call packs x again for each part: with narrower parts that copy is felt (96 columns: about 5 %).
    LHK_GEMM_PART_COLUMNS = 96,
    LHK_GEMM_PART_PRODUCTS = 1 << 20,
    // Part boundaries are multiples of the widest microkernel tile, so that only the last part has a ragged edge.
    LHK_PART_ALIGN = 16,
    LHK_PARTS_MAX = 64,
};

static size_t lhk_smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

/// a * b, or the largest size when that overflows.
static size_t lhk_saturated(size_t a, size_t b) {
    return b != 0 && a > SIZE_MAX / b ? SIZE_MAX : a * b;
}

// A power of two, so that equal parts divide evenly among the usual numbers of workers.
size_t lhk_linear_parts(const lhk_linear_shape *shape) {
    size_t limit;
    if (shape->m <= LHK_LINEAR_SMALL_M) {
        limit = lhk_saturated(lhk_saturated(shape->n, shape->k), sizeof(float)) / LHK_SMALL_PART_BYTES;
        limit = lhk_smaller(limit, shape->n / LHK_PART_ALIGN);
    } else {
        size_t products = lhk_saturated(lhk_saturated(shape->m, shape->n), shape->k);
        limit = lhk_smaller(shape->n / LHK_GEMM_PART_COLUMNS, products / LHK_GEMM_PART_PRODUCTS);
    }
    size_t parts = 1;
    while (2 * parts <= lhk_smaller(limit, LHK_PARTS_MAX)) parts *= 2;
    return parts;
}

void lhk_linear_part_columns(const lhk_linear_shape *shape, size_t part, size_t *begin, size_t *end) {
    size_t parts = lhk_linear_parts(shape), tiles = shape->n / LHK_PART_ALIGN;
    // tiles * part / parts without the overflow of the product.
    size_t quotient = tiles / parts, rest = tiles % parts;
    *begin = (quotient * part + rest * part / parts) * LHK_PART_ALIGN;
    *end = part + 1 >= parts ? shape->n : (quotient * (part + 1) + rest * (part + 1) / parts) * LHK_PART_ALIGN;
}

static lhk_status lhk_check_linear(
    lhk_isa isa, const lhk_linear_shape *s, size_t part_begin, size_t part_end, bool small, lhk_error *error) {
    const size_t sizes[] = {s->m, s->n, s->k, s->ldx, s->ldy};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (sizes[i] > INT32_MAX) {
            return lhk_fail(error, LHK_ERROR_OVERFLOW, 1, "a linear layer has a size or stride of %zu", sizes[i]);
        }
    }
    if (s->ldx < s->k || s->ldy < s->n) {
        return lhk_fail(
            error, LHK_ERROR_ARGUMENT, 1, "row strides %zu and %zu are shorter than rows of %zu and %zu", s->ldx,
            s->ldy, s->k, s->n);
    }
    if (part_begin > part_end || part_end > lhk_linear_parts(s)) {
        return lhk_fail(
            error, LHK_ERROR_ARGUMENT, 5, "parts [%zu, %zu) of a linear layer cut into %zu", part_begin, part_end,
            lhk_linear_parts(s));
    }
    if (small) return LHK_OK;
    const lhk_openblas *blas = lhk_openblas_loaded();
    if (!blas) {
        return lhk_fail(error, LHK_ERROR_NOT_FOUND, -1, "a linear layer of %zu rows needs lhk_linear_load first", s->m);
    }
    if (!lhk_openblas_within(isa, blas)) {
        return lhk_fail(
            error, LHK_ERROR_UNSUPPORTED, 0, "OpenBLAS runs %s kernels, which the ISA mask excludes", blas->core);
    }
    return LHK_OK;
}

lhk_status lhk_linear_f32(
    lhk_isa isa, const lhk_linear_shape *shape, const float *x, const float *w, float *y, size_t part_begin,
    size_t part_end, lhk_error *error) {
    bool small = shape->m <= LHK_LINEAR_SMALL_M || shape->k == 0;
    lhk_status status = lhk_check_linear(isa, shape, part_begin, part_end, small, error);
    if (status != LHK_OK) return status;
    for (size_t part = part_begin; part < part_end; part++) {
        size_t begin, end;
        lhk_linear_part_columns(shape, part, &begin, &end);
        if (begin == end || shape->m == 0) continue;
        if (small) {
            lhk_layers_for_isa(isa)->linear_small(shape, x, w, y, begin, end);
        } else {
            lhk_openblas_loaded()->sgemm(
                LHK_BLAS_ROW_MAJOR, LHK_BLAS_NO_TRANS, LHK_BLAS_TRANS, (int)shape->m, (int)(end - begin), (int)shape->k,
                1.0f, x, (int)shape->ldx, w + begin * shape->k, (int)shape->k, 0.0f, y + begin,
                (int)shape->ldy);
        }
    }
    return LHK_OK;
}
