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

/// The transformed keys of the sample as the codes see them, one row at a time.
typedef struct sample {
    const lhk_adamas_config *config;
    const float *raw, *mean;
    const float *inverse;  ///< [rows], or null
} sample;

static float at_sample(const void *context, int64_t i) {
    const sample *s = context;
    int64_t dim = s->config->dim_k;
    float y = s->raw[i];
    if (s->mean) y -= s->mean[i % dim];
    return s->inverse ? y * s->inverse[i / dim] : y;
}

static void set_mean(const lhk_adamas_config *config, const float *raw, int64_t rows, float *mean) {
    for (int64_t c = 0; c < config->dim_k; c++) {
        double sum = 0;
        for (int64_t i = 0; i < rows; i++) sum += finite(raw[i * config->dim_k + c]);
        mean[c] = (float)(sum / (double)rows);
    }
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

void lhk_adamas_calibrate(const lhk_adamas_config *config, const float *raw, int64_t rows, float *mean,
                          lhk_adamas_levels *levels, const lhk_adamas_kernel *kernel) {
    static const double shares[] = {0.164, 0.5, 0.836};
    bool normalised = config->scoring == LHK_ADAMAS_ASYMMETRIC;
    float inverse[LHK_ADAMAS_MOST_SAMPLE], row[LHK_ADAMAS_MOST_DIM];
    sample s = {config, raw, config->center ? mean : NULL, normalised ? inverse : NULL};
    int64_t dim = config->dim_k, count = rows * dim;
    memset(levels, 0, sizeof *levels);
    if (config->center) set_mean(config, raw, rows, mean);
    for (int64_t i = 0; normalised && i < rows; i++) {
        uint16_t scale, high[LHK_ADAMAS_MOST_DIM / 16], low[LHK_ADAMAS_MOST_DIM / 16];
        memcpy(row, raw + i * dim, (size_t)dim * sizeof *row);
        kernel->code(row, s.mean, dim, levels->thresholds, &scale, high, low);
        float kept = lhk_f16_to_f32(scale);
        inverse[i] = kept > 0 ? 1 / kept : 0;
    }
    for (int i = 0; i < 3; i++) {
        int64_t rank = normalised ? (int64_t)(shares[i] * (double)count) : count * (i + 1) / 4;
        levels->thresholds[i] = lhk_adamas_order_statistic(at_sample, &s, count, rank);
    }
    if (normalised) set_levels(&s, count, levels);
}
