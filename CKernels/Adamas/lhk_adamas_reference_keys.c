// SPDX-License-Identifier: Apache-2.0
/// The formula's keys in double precision: scaled, transformed, centred, normalised; thresholds, levels and means.
#include "lhk_adamas_reference.h"

void lhk_adamas_formula_transform(double *x, int64_t dim) {
    for (int64_t size; dim > 0; x += size, dim -= size) {
        size = lhk_hadamard_block(dim);
        for (int64_t stride = 1; stride < size; stride *= 2)
            for (int64_t i = 0; i < size; i++) {
                if (i & stride) continue;
                double sum = x[i] + x[i + stride];
                x[i + stride] = x[i] - x[i + stride];
                x[i] = sum;
            }
        for (int64_t i = 0; i < size; i++) x[i] /= sqrt((double)size);
    }
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/// Factors of channels from the keys of the sample, [sample][dim] at y.
static void prepare_balance(formula *f) {
    int64_t dim = f->c.dim_k, rows = f->c.sample;
    double average = 0;
    for (int64_t c = 0; c < dim; c++) {
        double sum = 0, squares = 0;
        for (int64_t j = 0; j < rows; j++) sum += f->y[j * dim + c] / (double)rows;
        for (int64_t j = 0; j < rows; j++) squares += (f->y[j * dim + c] - sum) * (f->y[j * dim + c] - sum) / (double)rows;
        f->balance[c] = squares;
        average += squares / (double)dim;
    }
    for (int64_t c = 0; c < dim; c++) {
        double least = LHK_ADAMAS_LEAST_VARIANCE * average;
        f->balance[c] = !f->c.balance || average == 0 ? 1 : pow(average / fmax(f->balance[c], least), 0.25);
    }
}

/// The least and the greatest code that y may get, if it may be `room` off besides rounding.
void lhk_adamas_formula_codes(double y, const double *thresholds, double error, double room, int *low, int *high) {
    *low = *high = 0;
    for (int i = 0; i < 3; i++) {
        double all = error * (fabs(y) + fabs(thresholds[i])) + room;
        *low += y - all > thresholds[i];
        *high += y + all > thresholds[i];
    }
}

void lhk_adamas_formula_key_codes(const formula *f, int64_t j, int64_t c, int *low, int *high) {
    double slack = f->slack[j / LHK_ADAMAS_BLOCK * f->c.dim_k + c];
    double magnitude = f->c.scoring == LHK_ADAMAS_ASYMMETRIC ? 1 : f->rms[j];
    double room = CLOSE * magnitude + (f->rms[j] > 0 ? slack / f->rms[j] : 0);
    lhk_adamas_formula_codes(f->y[j * f->c.dim_k + c], f->thresholds, f->error + f->loose[j], room, low, high);
}

/// Centres key j and divides it by the root of its mean square in f16. Distances go without the division.
static void normalise(formula *f, int64_t j) {
    int64_t dim = f->c.dim_k;
    double *y = f->y + j * dim, squares = 0, off = 0;
    for (int64_t c = 0; c < dim; c++) {
        double slack = f->slack[j / LHK_ADAMAS_BLOCK * dim + c];
        y[c] -= f->mean[j / LHK_ADAMAS_BLOCK * dim + c];
        squares += y[c] * y[c];
        off += slack * slack;
    }
    double rms = sqrt(squares / (double)dim), about = sqrt(off / (double)dim);
    f->rms[j] = rms;
    f->loose[j] = 0;
    if (f->c.scoring != LHK_ADAMAS_ASYMMETRIC) return;
    double least = lhk_f16_to_f32(lhk_f32_to_f16((float)(fmax(rms - about, 0) * (1 - 4e-6))));
    double most = lhk_f16_to_f32(lhk_f32_to_f16((float)((rms + about) * (1 + 4e-6))));
    f->rms[j] = (least + most) / 2;
    if (f->rms[j] > 0) f->loose[j] = (most - least) / 2 / f->rms[j];
    for (int64_t c = 0; c < dim; c++) y[c] = f->rms[j] > 0 ? y[c] / f->rms[j] : 0;
}

/// Thresholds and levels from the normalised keys of the sample.
static void prepare_levels(formula *f) {
    static const double shares[2][3] = {{0.25, 0.5, 0.75}, {0.164, 0.5, 0.836}};
    int64_t count = f->c.sample * f->c.dim_k, members[4] = {0};
    double sum[4] = {0};
    f->error = 0;
    for (int64_t j = 0; j < f->c.sample; j++) f->error = fmax(f->error, f->loose[j]);
    f->error += CLOSE;
    memcpy(f->sorted, f->y, (size_t)count * sizeof *f->sorted);
    qsort(f->sorted, (size_t)count, sizeof *f->sorted, compare);
    for (int i = 0; i < 3; i++)
        f->thresholds[i] = f->sorted[(int64_t)(shares[f->c.scoring == LHK_ADAMAS_ASYMMETRIC][i] * (double)count)];
    for (int64_t i = 0; i < count; i++) {
        int code = (f->y[i] > f->thresholds[0]) + (f->y[i] > f->thresholds[1]) + (f->y[i] > f->thresholds[2]);
        sum[code] += f->y[i];
        members[code]++;
    }
    for (int i = 0; i < 4; i++) f->level[i] = members[i] ? sum[i] / (double)members[i] : 0;
    double floor = f->level[0], unit = (f->level[3] - floor) / 127;
    for (int i = 0; i < 4 && unit > 0; i++) {
        double step = (f->level[i] - floor) / unit, to_edge = fabs(fabs(step - rint(step)) - 0.5);
        f->level[i] = floor + unit * rint(step);
        f->doubt[i] = (to_edge < 0.05 ? unit : 0) + (CLOSE + f->error) * fmax(fabs(f->level[0]), fabs(f->level[3]));
    }
}

/// The mean of block b from what the codes of the block before stand for.
static void move_mean(formula *f, int64_t b) {
    int64_t dim = f->c.dim_k;
    for (int64_t c = 0; c < dim; c++) {
        double mean = 0, slack = 0, size = 0;
        for (int64_t j = (b - 1) * LHK_ADAMAS_BLOCK; j < b * LHK_ADAMAS_BLOCK; j++) {
            int low, high;
            lhk_adamas_formula_key_codes(f, j, c, &low, &high);
            double x = f->level[low], y = f->level[high], doubt = fmax(f->doubt[low], f->doubt[high]);
            mean += f->rms[j] * (x + y) / 2;
            slack += f->rms[j] * ((y - x) / 2 + doubt + f->loose[j] * fmax(fabs(x), fabs(y)));
            size += f->rms[j];
        }
        f->mean[b * dim + c] = f->mean[(b - 1) * dim + c] + mean / LHK_ADAMAS_BLOCK;
        f->slack[b * dim + c] = f->slack[(b - 1) * dim + c] + (slack + 3e-5 * size) / LHK_ADAMAS_BLOCK;
    }
}

/// Keys of a KV head as codes see them, thresholds and levels.
void lhk_adamas_formula_prepare(formula *f, const lhk_tensor *k, int64_t head) {
    int64_t dim = f->c.dim_k;
    for (int64_t j = 0; j < f->keys; j++)
        for (int64_t c = 0; c < dim; c++) f->y[j * dim + c] = lhk_load_element(lhk_row(k, j, head), k->dtype, c);
    prepare_balance(f);
    for (int64_t j = 0; j < f->keys; j++) {
        for (int64_t c = 0; c < dim; c++) f->y[j * dim + c] *= f->balance[c];
        lhk_adamas_formula_transform(f->y + j * dim, dim);
    }
    int64_t blocks = (f->keys + LHK_ADAMAS_BLOCK - 1) / LHK_ADAMAS_BLOCK;
    memset(f->mean, 0, (size_t)(blocks * dim) * sizeof *f->mean);
    memset(f->slack, 0, (size_t)(blocks * dim) * sizeof *f->slack);
    for (int64_t c = 0; c < dim; c++)
        for (int64_t j = 0; f->c.center && j < f->c.sample; j++) f->mean[c] += f->y[j * dim + c] / (double)f->c.sample;
    for (int64_t j = 0; j < f->c.sample; j++) {
        int64_t b = j / LHK_ADAMAS_BLOCK;
        if (b && j % LHK_ADAMAS_BLOCK == 0) memcpy(f->mean + b * dim, f->mean, (size_t)dim * sizeof *f->mean);
        normalise(f, j);
    }
    prepare_levels(f);
    for (int64_t j = f->c.sample; j < f->keys; j++) {
        int64_t b = j / LHK_ADAMAS_BLOCK;
        if (b && j % LHK_ADAMAS_BLOCK == 0) {
            if (f->c.center == LHK_ADAMAS_CENTER_MOVING) move_mean(f, b);
            else memcpy(f->mean + b * dim, f->mean, (size_t)dim * sizeof *f->mean);
        }
        normalise(f, j);
    }
}
