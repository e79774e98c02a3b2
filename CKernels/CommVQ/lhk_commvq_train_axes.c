// SPDX-License-Identifier: Apache-2.0
/// The axes that values are coded along: principal ones at first, then, by turns with the levels, those along which the levels
/// leave least (Ge, He, Ke, Sun: Optimized Product Quantization, section 3.1).
#include "lhk_commvq_train_levels.h"
#include "lhk_commvq_vector.h"

#define CHUNK 4096  // tokens whose products are added up as floats

static double product_of(const float *x, const float *y, int64_t count) {
    double sum = 0;
    for (int64_t t = 0; t < count; t += CHUNK) {
        const int64_t end = t + CHUNK < count ? t + CHUNK : count;
        lhk_commvq_floats lanes = {0}, a, b;
        int64_t i = t;
        for (; i + 16 <= end; i += 16) {
            memcpy(&a, x + i, sizeof a);
            memcpy(&b, y + i, sizeof b);
            lanes += a * b;
        }
        for (int lane = 0; lane < 16; lane++) sum += (double)lanes[lane];
        for (; i < end; i++) sum += (double)x[i] * (double)y[i];
    }
    return sum;
}

void lhk_commvq_principal_axes(const lhk_commvq_columns *columns, int64_t dim, double *axes, double *work) {
    double *m = work, *v = work + dim * dim;
    for (int64_t a = 0; a < dim; a++)
        for (int64_t b = 0; b <= a; b++)
            m[a * dim + b] = m[b * dim + a] =
                product_of(columns->at + a * columns->stride, columns->at + b * columns->stride, columns->count);
    lhk_commvq_diagonalise(m, v, dim);
    bool taken[LHK_COMMVQ_MAX_DIM] = {false};
    for (int64_t i = 0; i < dim; i++) {
        int64_t best = -1;
        for (int64_t k = 0; k < dim; k++)
            if (!taken[k] && (best < 0 || m[k * dim + k] > m[best * dim + best])) best = k;
        taken[best] = true;
        memcpy(axes + i * dim, v + best * dim, (size_t)dim * sizeof *axes);
    }
}

/// out = a b, or with the transpose of a.
static void multiply(const double *a, const double *b, int64_t n, bool transposed, double *out) {
    memset(out, 0, (size_t)(n * n) * sizeof *out);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < n; k++) {
            const double x = transposed ? a[k * n + i] : a[i * n + k];
            for (int64_t j = 0; j < n; j++) out[i * n + j] += x * b[k * n + j];
        }
}

void lhk_commvq_turn_axes(const lhk_commvq_columns *turned, const float *decoded, int64_t dim, double *axes, double *work) {
    const int64_t size = dim * dim, stride = turned->stride;
    double *products = work, *m = work + size, *v = work + 2 * size, *root = work + 3 * size, trace = 0;
    for (int64_t a = 0; a < dim; a++)
        for (int64_t b = 0; b < dim; b++)
            products[a * dim + b] = product_of(decoded + a * stride, turned->at + b * stride, turned->count);
    for (int64_t a = 0; a < dim; a++) trace += products[a * dim + a] / (double)dim;
    if (trace <= 0) return;
    // Axes without levels have no products: they stay where they are, as far as the others let them.
    for (int64_t a = 0; a < dim; a++) products[a * dim + a] += 1e-3 * trace;
    // The nearest orthogonal matrix: products times the inverse root of their squares.
    multiply(products, products, dim, true, m);
    lhk_commvq_diagonalise(m, v, dim);
    memset(root, 0, (size_t)size * sizeof *root);
    for (int64_t k = 0; k < dim; k++) {
        const double scale = 1 / sqrt(fmax(m[k * dim + k], 1e-12 * trace * trace));
        for (int64_t i = 0; i < dim; i++)
            for (int64_t j = 0; j < dim; j++) root[i * dim + j] += scale * v[k * dim + i] * v[k * dim + j];
    }
    multiply(products, root, dim, false, m);
    multiply(m, axes, dim, false, v);
    memcpy(axes, v, (size_t)size * sizeof *axes);
}

void lhk_commvq_along_axes(const float *columns, int64_t stride, int64_t dim, const double *axes, float *out) {
    for (int64_t first = 0; first < stride; first += 512) {
        const int64_t some = stride - first < 512 ? stride - first : 512;
        for (int64_t a = 0; a < dim; a++) {
            float *to = out + a * stride + first;
            memset(to, 0, (size_t)some * sizeof *to);
            for (int64_t c = 0; c < dim; c++) {
                const float *from = columns + c * stride + first, x = (float)axes[a * dim + c];
                for (int64_t t = 0; t < some; t++) to[t] += x * from[t];
            }
        }
    }
}
