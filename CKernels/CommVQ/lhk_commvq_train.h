// SPDX-License-Identifier: Apache-2.0
/// Training of one head's codebooks, included by every ISA file after the encoder, whose arithmetic it shares: no FMA, sums
/// over 16 lanes, so that a seed gives the same codebooks everywhere.

/// exp of 16 numbers from -20 to 0.
LHK_ALWAYS_INLINE void LHK_NAME(exp16)(lhk_commvq_floats *x) {
    const lhk_commvq_floats turns = *x * 1.44269504f;
    const lhk_commvq_floats shifted = turns + 0x1.8p23f, f = turns - (shifted - 0x1.8p23f);
    lhk_commvq_floats p = f * 1.33336e-3f + 9.61823e-3f;
    p = p * f + 5.550357e-2f;
    p = p * f + 2.4022651e-1f;
    p = p * f + 6.9314718e-1f;
    p = p * f + 1.0f;
    *x = (lhk_commvq_floats)((lhk_commvq_ints)p + ((lhk_commvq_ints)shifted << 23));
}

/// Sums of a step of expectation: what the normal equations of a level's codebook are made of.
typedef struct LHK_NAME(step_sums) {
    float counts[16][16];
    lhk_commvq_floats real[LHK_COMMVQ_MAX_PAIRS], imaginary[LHK_COMMVQ_MAX_PAIRS];
    double squares, distances;  ///< of tokens to their nearest centres
} LHK_NAME(step_sums);

/// Adds one residual [pairs of x, pairs of y] with weights softmax(-distance / temperature) over the 256 centres.
LHK_ALWAYS_INLINE void LHK_NAME(expect)(const LHK_NAME(level) * level, int64_t pairs, const float *x, float temperature,
                                        LHK_NAME(step_sums) * out) {
    lhk_commvq_floats real = {0}, imaginary = {0}, norm, beta = {0}, alpha;
    _Alignas(64) float w[16][16];
    for (int64_t j = 0; j < pairs; j++) {
        real += x[j] * level->x[j] + x[pairs + j] * level->y[j];
        imaginary += x[pairs + j] * level->x[j] - x[j] * level->y[j];
    }
    memcpy(&norm, level->norm, sizeof norm);
    const lhk_commvq_floats of_a = norm - 2 * real, of_b = norm - 2 * imaginary;
    const float square = LHK_NAME(dot16)(x, x, 2 * pairs);
    float least = INFINITY;
    for (int a = 0; a < 16; a++)
        for (int b = 0; b < 16; b++) {
            const float d = square + of_a[a] + of_b[b] - level->cross[a * 16 + b];
            w[a][b] = sqrtf(d > 0 ? d : 0);
        }
    for (int i = 0; i < 256; i++) least = w[i / 16][i % 16] < least ? w[i / 16][i % 16] : least;
    float total = 0;
    for (int a = 0; a < 16; a++) {
        lhk_commvq_floats some;
        memcpy(&some, w[a], sizeof some);
        some = (least - some) * (1 / temperature);
        const lhk_commvq_ints there = (lhk_commvq_ints)(some > -20);
        some = (lhk_commvq_floats)((lhk_commvq_ints)some & there);
        LHK_NAME(exp16)(&some);
        some = (lhk_commvq_floats)((lhk_commvq_ints)some & there);
        beta += some;
        memcpy(w[a], &some, sizeof some);
    }
    total = 1 / LHK_NAME(total)(&beta);
    beta *= total;
    for (int a = 0; a < 16; a++)
        for (int b = 0; b < 16; b++) out->counts[a][b] += w[a][b] *= total;
    for (int half = 8; half; half /= 2)
        for (int a = 0; a < 16; a++)
            for (int b = 0; b < half; b++) w[a][b] += w[a][b + half];
    for (int a = 0; a < 16; a++) alpha[a] = w[a][0];
    for (int64_t j = 0; j < pairs; j++) {
        out->real[j] += alpha * x[j] + beta * x[pairs + j];
        out->imaginary[j] += alpha * x[pairs + j] - beta * x[j];
    }
    out->squares += (double)least * (double)least;
    out->distances += (double)least;
}

/// Solves (diag(counts by a + counts by b) + i (counts - its transpose)) z = sums for the level's codebook.
static void LHK_NAME(maximise)(const LHK_NAME(step_sums) * sums, int64_t pairs, LHK_NAME(level) * level) {
    double complex m[16][16], right[16];
    double ridge = 0;
    for (int a = 0; a < 16; a++)
        for (int b = 0; b < 16; b++) ridge += (double)sums->counts[a][b] * 1e-6 / 256 + 1e-9;
    for (int a = 0; a < 16; a++)
        for (int b = 0; b < 16; b++) m[a][b] = ((double)sums->counts[a][b] - (double)sums->counts[b][a]) * I;
    for (int a = 0; a < 16; a++) {
        m[a][a] += ridge;
        for (int b = 0; b < 16; b++) m[a][a] += (double)sums->counts[a][b] + (double)sums->counts[b][a];
    }
    // Cholesky: the matrix is Hermitian and, with the ridge, positive definite.
    for (int i = 0; i < 16; i++)
        for (int j = 0; j <= i; j++) {
            double complex sum = m[i][j];
            for (int k = 0; k < j; k++) sum -= m[i][k] * conj(m[j][k]);
            m[i][j] = i == j ? (double complex)sqrt(fmax(creal(sum), 1e-300)) : sum / m[j][j];
        }
    for (int64_t j = 0; j < pairs; j++) {
        for (int i = 0; i < 16; i++) {
            right[i] = (double)sums->real[j][i] + (double)sums->imaginary[j][i] * I;
            for (int k = 0; k < i; k++) right[i] -= m[i][k] * right[k];
            right[i] /= m[i][i];
        }
        for (int i = 15; i >= 0; i--) {
            for (int k = i + 1; k < 16; k++) right[i] -= conj(m[k][i]) * right[k];
            right[i] /= m[i][i];
            level->x[j][i] = (float)creal(right[i]);
            level->y[j][i] = (float)cimag(right[i]);
        }
    }
}

/// Norms and products of a level's vectors, which distances need.
static void LHK_NAME(measure)(LHK_NAME(level) * level, int64_t pairs, float *norm, float *cross) {
    for (int a = 0; a < 16; a++)
        for (int b = 0; b < 16; b++) {
            double product = 0, square = 0;
            for (int64_t j = 0; j < pairs; j++) {
                const double x = (double)level->x[j][a], y = (double)level->y[j][a];
                product += 2 * (x * (double)level->y[j][b] - y * (double)level->x[j][b]);
                square += x * x + y * y;
            }
            cross[a * 16 + b] = (float)product;
            norm[a] = (float)square;
        }
    level->norm = norm;
    level->cross = cross;
    LHK_NAME(fill_rows)(level, pairs);
}

void LHK_NAME(train_keys)(lhk_commvq_training *t) {
    const int64_t pairs = t->dim / 2, dim = t->dim;
    LHK_NAME(level) level, best;
    LHK_NAME(step_sums) *sums = (void *)t->scratch;
    _Alignas(64) float norm[16], cross[256];
    for (int64_t r = 0; r < t->count; r++) {
        double least = INFINITY, spread = 1;
        for (int c = 0; c < 16; c++) {
            const float *start = t->rows + lhk_commvq_random(&t->seed, t->tokens) * dim;
            for (int64_t j = 0; j < pairs; j++) {
                level.x[j][c] = start[j] * 0.7f;
                level.y[j][c] = start[pairs + j] * 0.7f;
            }
        }
        for (int64_t step = 0; step <= t->steps; step++) {
            LHK_NAME(measure)(&level, pairs, norm, cross);
            memset(sums, 0, sizeof *sums);
            const double heat = 0.05 * pow(0.01, (double)step / (double)t->steps);
            for (int64_t i = 0; i < t->tokens; i++)
                LHK_NAME(expect)(&level, pairs, t->rows + i * dim, (float)(heat * spread), sums);
            spread = fmax(sums->distances / (double)t->tokens, 1e-20);
            if (sums->squares < least) {
                least = sums->squares;
                best = level;
            }
            if (step < t->steps) LHK_NAME(maximise)(sums, pairs, &level);
        }
        LHK_NAME(measure)(&best, pairs, norm, cross);
        for (int64_t i = 0; i < t->tokens + t->check; i++) LHK_NAME(nearest)(&best, pairs, t->rows + i * dim);
        for (int c = 0; c < 16; c++)
            for (int64_t j = 0; j < pairs; j++) {
                t->codebook[(r * 16 + c) * dim + j] = best.x[j][c];
                t->codebook[(r * 16 + c) * dim + pairs + j] = best.y[j][c];
            }
    }
}

void LHK_NAME(train_values)(lhk_commvq_training *t) {
    const int64_t bits = t->count, dim = t->dim, n = bits + 1;
    lhk_commvq_value_tables book = lhk_commvq_value_tables_at(t->scratch, (uint64_t)bits, (uint64_t)dim);
    float *sums = book.centre + dim;
    float *squares = sums + n * dim;  // [n][n]: how often bits are set together; the last one always is
    _Alignas(64) float x[LHK_COMMVQ_MAX_DIM];
    uint8_t bit[LHK_COMMVQ_MAX_BITS];
    for (int64_t round = 0; round <= t->steps; round++) {
        lhk_commvq_prepare_values(bits, dim, t->codebook, t->offset, &book);
        const bool last = round == t->steps;
        memset(sums, 0, (size_t)(n * dim + n * n) * sizeof *sums);
        for (int64_t i = 0; i < t->tokens + (last ? t->check : 0); i++) {
            float *row = t->rows + i * dim, set[LHK_COMMVQ_MAX_BITS + 1];
            LHK_NAME(find_bits)(&book, bits, dim, row, bit);
            for (int64_t k = 0; k < bits; k++) set[k] = bit[k];
            set[bits] = 1;
            if (last) {  // what is left of it
                memcpy(x, t->offset, (size_t)dim * sizeof *x);
                for (int64_t k = 0; k < bits; k++)
                    for (int64_t c = 0; c < dim; c++) x[c] += set[k] * t->codebook[k * dim + c];
                for (int64_t c = 0; c < dim; c++) row[c] -= x[c];
                continue;
            }
            for (int64_t k = 0; k < n; k++) {
                if (set[k] == 0) continue;
                for (int64_t c = 0; c < dim; c++) sums[k * dim + c] += row[c];
                for (int64_t c = 0; c < n; c++) squares[k * n + c] += set[c];
            }
        }
        if (!last) lhk_commvq_solve_values(t, squares, sums);
    }
}

#include "lhk_commvq_train_nearest.h"
