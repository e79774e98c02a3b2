// SPDX-License-Identifier: Apache-2.0
/// Queries as scans want them: thermometer planes, weights of codes, or plain rows.
#include "lhk_adamas_select.h"

/// Thermometer planes of the codes of y, by the quartiles of a normal distribution of y's own mean square.
static void code_query(const select_job *job, float *y, uint64_t *planes) {
    int64_t dim = job->c->dim_k, words = lhk_adamas_words(dim);
    uint16_t high[LHK_ADAMAS_MOST_DIM / 16 + 3] = {0}, low[LHK_ADAMAS_MOST_DIM / 16 + 3] = {0};
    double squares = 0;
    for (int64_t c = 0; c < dim; c++) squares += (double)y[c] * y[c];
    float quartile = 0.67448975f * (float)sqrt(squares / (double)dim), thresholds[] = {-quartile, 0, quartile};
    job->kernel->code(y, NULL, dim, thresholds, NULL, high, low);
    for (int64_t w = 0; w < words; w++) {
        uint64_t h, l;
        memcpy(&h, high + 4 * w, 8);
        memcpy(&l, low + 4 * w, 8);
        planes[w] = h | l;
        planes[words + w] = h;
        planes[2 * words + w] = h & l;
    }
}

/// The greatest sum of |y| over the channels of a group.
static float greatest_group(const float *y, int64_t dim) {
    float most = 0;
    for (int64_t g = 0; g < lhk_adamas_groups(dim); g++) {
        float sum = 0;
        for (int64_t c = LHK_ADAMAS_GROUP * g; c < lhk_min(dim, LHK_ADAMAS_GROUP * (g + 1)); c++) sum += fabsf(y[c]);
        most = sum > most ? sum : most;
    }
    return most;
}

/// What each code of a channel adds, as a byte: (level - the level that adds least) * y, in units of 1/`inverse` of a step
/// of the levels. [rows][4 channels][4 codes]
static void weigh_codes(const float *y, int64_t dim, const uint8_t *step, float inverse, uint8_t *weights) {
    for (int64_t g = 0; g < lhk_adamas_groups(dim); g++)
        for (int64_t b = 0; b < lhk_adamas_group_rows(dim, g); b++)
            for (int64_t s = 0; s < 4; s++) {
                int64_t c = lhk_adamas_channel(dim, g, b, s);
                float size = c < dim ? fabsf(y[c]) * inverse : 0;
                // Adding 2^23 rounds to the nearest integer, even ones among two: what is added is less than 256.
                for (int i = 0; i < 4; i++) {
                    float rounded = size * (float)(c < dim && y[c] < 0 ? 127 - step[i] : step[i]) + 0x1p23f;
                    uint32_t bits;
                    memcpy(&bits, &rounded, sizeof bits);
                    *weights++ = (uint8_t)bits;
                }
            }
}

/// Weights of codes, and what turns sums of them into scores in log2 units.
static void weigh_query(const select_job *job, int64_t head, const float *y) {
    const lhk_adamas_levels *levels = &job->parts.levels[head / job->group];
    bool moving = job->c->center == LHK_ADAMAS_CENTER_MOVING;
    const float *mean = job->c->center && !moving ? lhk_adamas_mean(job->c, &job->parts, 0, head / job->group) : NULL;
    int64_t dim = job->c->dim_k;
    uint8_t *weights = job->room.weights + head * 16 * lhk_adamas_rows(dim);
    double base = 0, sum = 0, negative = 0;
    bool finite = true;
    for (int64_t c = 0; c < dim; c++) {
        finite &= fabsf(y[c]) < 1e20f;  // false for NaN; products below then stay finite
        sum += y[c];
        negative += y[c] < 0 ? y[c] : 0;
        if (mean) base += (double)y[c] * mean[c];
    }
    float most = finite ? greatest_group(y, dim) : 0, log2_scale = job->scale * log2_e;
    // Rounding adds up to 6 for the channels of a group: together no more than 255.
    float inverse = most > 1e-30f ? 249 / (127 * most) : 0, unit = inverse > 0 ? levels->unit * log2_scale : 0;
    if (inverse > 0) weigh_codes(y, dim, levels->step, inverse, weights);
    else memset(weights, 0, (size_t)(16 * lhk_adamas_rows(dim)));
    job->room.factor[head] = inverse > 0 ? unit / inverse : 0;
    job->room.offset[head] = inverse > 0 ? (float)(log2_scale * levels->floor * sum + unit * 127 * negative) : 0;
    job->room.base[head] = (float)(base * log2_scale);
    if (!isfinite(job->room.factor[head] * 1e15f) || !isfinite(job->room.offset[head] * 1e15f))
        job->room.factor[head] = job->room.offset[head] = 0;
    float *row = job->room.queries + head * job->room.ldq;
    for (int64_t c = 0; moving && c < job->room.ldq; c++)
        row[c] = c < dim && job->room.factor[head] > 0 ? y[c] * log2_scale : 0;
}

void lhk_adamas_query_task(void *context, int64_t head, uint32_t worker) {
    (void)worker;
    const select_job *job = context;
    float y[LHK_ADAMAS_MOST_DIM + 16] __attribute__((aligned(64)));
    const void *from = lhk_row(job->q, 0, head);
    for (int64_t c = 0; c < job->c->dim_k; c++) y[c] = lhk_load_element(from, job->q->dtype, c);
    if (job->c->scoring == LHK_ADAMAS_EXACT) {
        memcpy(job->room.queries + head * job->room.ldq, y, job->c->dim_k * sizeof *y);
        job->room.base[head] = 0;
        return;
    }
    const float *balance = job->parts.balance + head / job->group * job->c->dim_k;
    for (int64_t c = 0; job->c->balance && c < job->c->dim_k; c++) y[c] /= balance[c];
    job->kernel->hadamard(y, job->c->dim_k);
    if (job->c->scoring == LHK_ADAMAS_ASYMMETRIC) weigh_query(job, head, y);
    else code_query(job, y, job->room.planes + head * 3 * lhk_adamas_words(job->c->dim_k));
}
