// SPDX-License-Identifier: Apache-2.0
/// What the search for a value's bits needs of a codebook besides its rows.
#include "lhk_commvq_store.h"

/// Orders rows by their norms, smallest first. `norms` is scratch [bits].
static void sort_rows(float *rows, int64_t bits, int64_t dim, float *norms) {
    for (int64_t k = 0; k < bits; k++) {
        double sum = 0;
        for (int64_t c = 0; c < dim; c++) sum += (double)rows[k * dim + c] * (double)rows[k * dim + c];
        norms[k] = (float)sum;
        for (int64_t i = k; i > 0 && norms[i - 1] > norms[i]; i--) {
            const float norm = norms[i];
            norms[i] = norms[i - 1];
            norms[i - 1] = norm;
            for (int64_t c = 0; c < dim; c++) {
                const float x = rows[i * dim + c];
                rows[i * dim + c] = rows[(i - 1) * dim + c];
                rows[(i - 1) * dim + c] = x;
            }
        }
    }
}

/// Lower factor of the Gram matrix with a fifth of its mean diagonal added: without, rows that depend on others would decide
/// bits by noise.
static void factorise(const float *gram, int64_t bits, float *lower) {
    double ridge = 1e-20;
    for (int64_t k = 0; k < bits; k++) ridge += 0.2 / (double)bits * (double)gram[k * bits + k];
    memset(lower, 0, (size_t)(bits * bits) * sizeof *lower);
    for (int64_t i = 0; i < bits; i++)
        for (int64_t j = 0; j <= i; j++) {
            double sum = (double)gram[i * bits + j] + (i == j ? ridge : 0);
            for (int64_t k = 0; k < j; k++) sum -= (double)lower[i * bits + k] * (double)lower[j * bits + k];
            lower[i * bits + j] = (float)(i == j ? sqrt(fmax(sum, ridge / 2)) : sum / (double)lower[j * bits + j]);
        }
}

void lhk_commvq_prepare_values(int64_t bits, int64_t dim, float *rows, const float *offset, lhk_commvq_value_tables *out) {
    sort_rows(rows, bits, dim, out->lower);
    for (int64_t c = 0; c < dim; c++) {
        double half = 0;
        for (int64_t k = 0; k < bits; k++) {
            out->columns[c * bits + k] = rows[k * dim + c];
            half += (double)rows[k * dim + c] / 2;
        }
        out->centre[c] = (float)((double)offset[c] + half);
    }
    for (int64_t k = 0; k < bits; k++)
        for (int64_t i = 0; i <= k; i++) {
            double sum = 0;
            for (int64_t c = 0; c < dim; c++) sum += (double)rows[k * dim + c] * (double)rows[i * dim + c];
            out->gram[k * bits + i] = out->gram[i * bits + k] = (float)sum;
        }
    factorise(out->gram, bits, out->lower);
    for (int64_t c = 0; c < dim; c++)
        for (int64_t k = 0; k < bits; k++) {
            double sum = (double)rows[k * dim + c];
            for (int64_t i = 0; i < k; i++) sum -= (double)out->lower[k * bits + i] * (double)out->white[c * bits + i];
            out->white[c * bits + k] = (float)(sum / (double)out->lower[k * bits + k]);
        }
}
