// SPDX-License-Identifier: Apache-2.0
/// What the first tokens fix: the mean, the thresholds and the levels of the codes. Depends on their transformed keys only.
#include "lhk_adamas_index.h"

/// Integers in the order of floats.
static uint32_t order_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static float float_of(uint32_t order) {
    uint32_t bits = order & 0x80000000u ? order & 0x7fffffffu : ~order;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static float finite(float x) { return isfinite(x) ? x + 0.0f : 0; }  // and no negative zero

float lhk_adamas_order_statistic(float (*at)(const void *context, int64_t i), const void *context, int64_t count,
                                 int64_t rank) {
    uint32_t prefix = 0, mask = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        int64_t bins[256] = {0};
        for (int64_t i = 0; i < count; i++) {
            uint32_t order = order_of(finite(at(context, i)));
            if ((order & mask) == prefix) bins[order >> shift & 255]++;
        }
        uint32_t bin = 0;
        while (rank >= bins[bin]) rank -= bins[bin++];
        prefix |= bin << shift;
        mask |= UINT32_C(255) << shift;
    }
    return float_of(prefix);
}

static float at_index(const void *values, int64_t i) { return ((const float *)values)[i]; }

void lhk_adamas_quartiles(const float *values, int64_t count, float *thresholds) {
    for (int i = 0; i < 3; i++)
        thresholds[i] = lhk_adamas_order_statistic(at_index, values, count, count * (i + 1) / 4);
}

void lhk_adamas_transform(const lhk_adamas_config *config, const float *balance, float *x, const lhk_adamas_kernel *kernel) {
    for (int64_t c = 0; config->balance && c < config->dim_k; c++) x[c] *= balance[c];
    kernel->hadamard(x, config->dim_k);
}

/// The keys of the sample as the codes see them, one row at a time.
typedef struct sample {
    const lhk_adamas_config *config;
    const lhk_adamas_kernel *kernel;
    const float *raw, *balance, *mean;
    const float *inverse;  ///< [rows], or null
    float *row;            ///< the transformed row that was asked for last, less the mean, [dim]
    int64_t *held;         ///< its number
} sample;

static void hold_row(const sample *s, int64_t row) {
    int64_t dim = s->config->dim_k;
    if (*s->held == row) return;
    memcpy(s->row, s->raw + row * dim, (size_t)dim * sizeof *s->row);
    lhk_adamas_transform(s->config, s->balance, s->row, s->kernel);
    for (int64_t c = 0; s->mean && c < dim; c++) s->row[c] -= s->mean[c];
    *s->held = row;
}

static float at_sample(const void *context, int64_t i) {
    const sample *s = context;
    int64_t dim = s->config->dim_k;
    hold_row(s, i / dim);
    return s->inverse ? s->row[i % dim] * s->inverse[i / dim] : s->row[i % dim];
}

/// Rounding of codes spreads evenly over the transformed channels, so it reaches a score by the length of the query times
/// that of the key. Where a channel of keys varies little, queries are mostly large (their product is what was trained):
/// scaling both by the root of the ratio makes the product of the lengths smaller, and the scores stay what they are.
static void set_balance(const float *raw, int64_t rows, int64_t dim, float *balance) {
    double variance[LHK_ADAMAS_MOST_DIM], average = 0;
    for (int64_t c = 0; c < dim; c++) {
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < rows; i++) sum += finite(raw[i * dim + c]);
        for (int64_t i = 0; i < rows; i++) {
            double away = finite(raw[i * dim + c]) - sum / (double)rows;
            squares += away * away;
        }
        variance[c] = squares / (double)rows;
        average += variance[c] / (double)dim;
    }
    for (int64_t c = 0; c < dim; c++)
        balance[c] = average > 0 ? (float)sqrt(sqrt(average / fmax(variance[c], LHK_ADAMAS_LEAST_VARIANCE * average))) : 1;
}

static void set_mean(const sample *s, int64_t rows, float *mean) {
    double sum[LHK_ADAMAS_MOST_DIM] = {0};
    for (int64_t i = 0; i < rows; i++) {
        hold_row(s, i);
        for (int64_t c = 0; c < s->config->dim_k; c++) sum[c] += finite(s->row[c]);
    }
    for (int64_t c = 0; c < s->config->dim_k; c++) mean[c] = (float)(sum[c] / (double)rows);
    *s->held = -1;
}

/// Levels of a normal distribution, should the sample give none: keys that are all the same, or not finite.
static const lhk_adamas_levels normal = {.thresholds = {-0.978f, 0, 0.978f}, .level = {-1.51f, -0.453f, 0.453f, 1.51f}};

static void set_levels(const sample *s, int64_t count, lhk_adamas_levels *levels) {
    double sum[4] = {0};
    int64_t members[4] = {0};
    for (int64_t i = 0; i < count; i++) {
        float x = finite(at_sample(s, i));
        int code = (x > levels->thresholds[0]) + (x > levels->thresholds[1]) + (x > levels->thresholds[2]);
        sum[code] += x;
        members[code]++;
    }
    bool usable = true;
    for (int i = 0; i < 4; i++) {
        levels->level[i] = (float)(sum[i] / (double)lhk_max(members[i], 1));
        usable &= members[i] && fabsf(levels->level[i]) < 1e6f && (!i || levels->level[i] > levels->level[i - 1]);
    }
    if (!usable) *levels = normal;
    levels->floor = levels->level[0];
    levels->unit = (levels->level[3] - levels->level[0]) / 127;
    for (int i = 0; i < 4; i++) levels->step[i] = (uint8_t)lrintf((levels->level[i] - levels->floor) / levels->unit);
}

void lhk_adamas_calibrate(const lhk_adamas_config *config, const float *raw, int64_t rows, float *balance, float *mean,
                          lhk_adamas_levels *levels, const lhk_adamas_kernel *kernel) {
    static const double shares[] = {0.164, 0.5, 0.836};
    bool normalised = config->scoring == LHK_ADAMAS_ASYMMETRIC;
    float inverse[LHK_ADAMAS_MOST_SAMPLE], row[LHK_ADAMAS_MOST_DIM + 16];
    float held[LHK_ADAMAS_MOST_DIM] __attribute__((aligned(64)));
    int64_t dim = config->dim_k, count = rows * dim, number = -1;
    sample s = {.config = config, .kernel = kernel, .raw = raw, .balance = balance, .row = held, .held = &number};
    memset(levels, 0, sizeof *levels);
    if (config->balance) set_balance(raw, rows, dim, balance);
    if (config->center) {
        set_mean(&s, rows, mean);
        s.mean = mean;
    }
    for (int64_t i = 0; normalised && i < rows; i++) {
        uint16_t scale, high[LHK_ADAMAS_MOST_DIM / 16], low[LHK_ADAMAS_MOST_DIM / 16];
        hold_row(&s, i);
        memcpy(row, held, (size_t)dim * sizeof *row);
        kernel->code(row, NULL, dim, levels->thresholds, &scale, high, low);
        float kept = lhk_f16_to_f32(scale);
        inverse[i] = kept > 0 ? 1 / kept : 0;
    }
    if (normalised) s.inverse = inverse;
    for (int i = 0; i < 3; i++) {
        int64_t rank = normalised ? (int64_t)(shares[i] * (double)count) : count * (i + 1) / 4;
        levels->thresholds[i] = lhk_adamas_order_statistic(at_sample, &s, count, rank);
    }
    if (normalised) set_levels(&s, count, levels);
}
