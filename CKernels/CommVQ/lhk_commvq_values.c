// SPDX-License-Identifier: Apache-2.0
/// What the search for a value's bits needs of a codebook besides its rows.
#include "lhk_commvq_store.h"

enum { MOST_BITS = 2 * LHK_COMMVQ_MAX_DIM };  ///< of a value

/// Orders rows by their norms, smallest first. `norms` is scratch [bits].
static void sort_rows(float *rows, int64_t bits, int64_t dim, float *norms) {
    const size_t row_bytes = (size_t)dim * sizeof *rows;
    for (int64_t k = 0; k < bits; k++) {
        float row[LHK_COMMVQ_MAX_DIM];
        double sum = 0;
        for (int64_t c = 0; c < dim; c++) sum += (double)rows[k * dim + c] * (double)rows[k * dim + c];
        const float norm = (float)sum;
        int64_t i = k;
        for (; i > 0 && norms[i - 1] > norm; i--) norms[i] = norms[i - 1];
        norms[i] = norm;
        if (i == k) continue;
        memcpy(row, rows + k * dim, row_bytes);
        memmove(rows + (i + 1) * dim, rows + i * dim, (size_t)(k - i) * row_bytes);
        memcpy(rows + i * dim, row, row_bytes);
    }
}

/// Lower factor of the Gram matrix with a fifth of its mean diagonal added: without, rows that depend on others would decide
/// bits by noise. Column by column, so that the inner loop runs along memory: `lower` holds the transposed factor meanwhile.
static void factorise(const float *gram, int64_t bits, float *lower) {
    double ridge = 1e-20, sums[MOST_BITS];
    for (int64_t k = 0; k < bits; k++) ridge += 0.2 / (double)bits * (double)gram[k * bits + k];
    memset(lower, 0, (size_t)(bits * bits) * sizeof *lower);
    for (int64_t j = 0; j < bits; j++) {
        for (int64_t i = j; i < bits; i++) sums[i] = (double)gram[i * bits + j] + (i == j ? ridge : 0);
        for (int64_t k = 0; k < j; k++) {
            const float *column = lower + k * bits;
            const double factor = (double)column[j];
            for (int64_t i = j; i < bits; i++) sums[i] -= (double)column[i] * factor;
        }
        lower[j * bits + j] = (float)sqrt(fmax(sums[j], ridge / 2));
        for (int64_t i = j + 1; i < bits; i++) lower[j * bits + i] = (float)(sums[i] / (double)lower[j * bits + j]);
    }
}

/// Forward substitution with the transposed factor, for one channel of the rows.
static void whiten(const float *factor, const float *column, int64_t bits, float *white) {
    double sums[MOST_BITS];
    for (int64_t k = 0; k < bits; k++) sums[k] = (double)column[k];
    for (int64_t i = 0; i < bits; i++) {
        white[i] = (float)(sums[i] / (double)factor[i * bits + i]);
        for (int64_t k = i + 1; k < bits; k++) sums[k] -= (double)factor[i * bits + k] * (double)white[i];
    }
}

static void transpose(float *square, int64_t size) {
    for (int64_t i = 0; i < size; i++)
        for (int64_t j = 0; j < i; j++) {
            const float x = square[i * size + j];
            square[i * size + j] = square[j * size + i];
            square[j * size + i] = x;
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
    for (int64_t k = 0; k < bits; k++) {
        double sums[MOST_BITS] = {0};
        for (int64_t c = 0; c < dim; c++) {
            const float *column = out->columns + c * bits;
            for (int64_t i = 0; i <= k; i++) sums[i] += (double)column[k] * (double)column[i];
        }
        for (int64_t i = 0; i <= k; i++) out->gram[k * bits + i] = out->gram[i * bits + k] = (float)sums[i];
    }
    factorise(out->gram, bits, out->lower);
    for (int64_t c = 0; c < dim; c++) whiten(out->lower, out->columns + c * bits, bits, out->white + c * bits);
    transpose(out->lower, bits);
}
