// SPDX-License-Identifier: Apache-2.0
// Linear layers: the split into parts, and the choice between the small kernel and OpenBLAS.
#include <stdbool.h>
#include <string.h>

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

static size_t lhk_min(size_t a, size_t b) {
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
        limit = lhk_min(limit, shape->n / LHK_PART_ALIGN);
    } else {
        size_t products = lhk_saturated(lhk_saturated(shape->m, shape->n), shape->k);
        limit = lhk_min(shape->n / LHK_GEMM_PART_COLUMNS, products / LHK_GEMM_PART_PRODUCTS);
    }
    size_t parts = 1;
    while (2 * parts <= lhk_min(limit, LHK_PARTS_MAX)) parts *= 2;
    return parts;
}

void lhk_linear_part_columns(const lhk_linear_shape *shape, size_t part, size_t *begin, size_t *end) {
    size_t parts = lhk_linear_parts(shape), tiles = shape->n / LHK_PART_ALIGN;
    // tiles * part / parts without the overflow of the product.
    size_t quotient = tiles / parts, rest = tiles % parts;
    *begin = (quotient * part + rest * part / parts) * LHK_PART_ALIGN;
    *end = part + 1 >= parts ? shape->n : (quotient * (part + 1) + rest * (part + 1) / parts) * LHK_PART_ALIGN;
}

static bool lhk_shape_valid(const lhk_linear_shape *s) {
    const size_t sizes[] = {s->m, s->n, s->k, s->ldx, s->ldy};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (sizes[i] > INT32_MAX) return false;
    }
    // Below 2^31 each, so no product of two of them with sizeof(float) overflows 64 bits.
    return s->ldx >= s->k && s->ldy >= s->n;
}

lhk_layer_status lhk_linear_f32(
    uint64_t isa, const lhk_linear_shape *shape, const float *x, const float *w, float *y, size_t part_begin,
    size_t part_end) {
    if (!lhk_shape_valid(shape)) return LHK_LAYER_BAD_SHAPE;
    if (part_begin > part_end || part_end > lhk_linear_parts(shape)) return LHK_LAYER_OUT_OF_RANGE;
    bool small = shape->m <= LHK_LINEAR_SMALL_M || shape->k == 0;
    const lhk_openblas *blas = small ? NULL : lhk_openblas_loaded();
    if (!small) {
        if (!blas) return LHK_LAYER_BLAS_NOT_LOADED;
        if (!lhk_openblas_within(isa, blas)) return LHK_LAYER_BLAS_ABOVE_ISA;
    }
    for (size_t part = part_begin; part < part_end; part++) {
        size_t begin, end;
        lhk_linear_part_columns(shape, part, &begin, &end);
        if (begin == end || shape->m == 0) continue;
        if (small) {
            lhk_layers_for_isa(isa)->linear_small(shape, x, w, y, begin, end);
        } else {
            blas->sgemm(
                CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)shape->m, (blasint)(end - begin), (blasint)shape->k,
                1.0f, x, (blasint)shape->ldx, w + begin * shape->k, (blasint)shape->k, 0.0f, y + begin,
                (blasint)shape->ldy);
        }
    }
    return LHK_LAYER_OK;
}
