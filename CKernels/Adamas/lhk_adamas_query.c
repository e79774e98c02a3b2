// SPDX-License-Identifier: Apache-2.0
/// Queries as scans want them: thermometer planes, int8 codes in the order of the lanes, or plain rows.
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

/// int8 codes of y in the order of the lanes, and what turns sums of products with them into scores in log2 units.
static void weigh_query(const select_job *job, int64_t head, const float *y) {
    const lhk_adamas_levels *levels = &job->parts.levels[head / job->group];
    bool moving = job->c->center == LHK_ADAMAS_CENTER_MOVING;
    const float *mean = job->c->center && !moving ? job->parts.mean + head / job->group * job->c->dim_k : NULL;
    int64_t dim = job->c->dim_k, groups = lhk_adamas_groups(dim), sum = 0;
    int8_t *weights = (int8_t *)(job->room.weights + head * groups * 4);
    float most = 0;
    double base = 0;
    bool finite = true;
    for (int64_t c = 0; c < dim; c++) {
        finite &= fabsf(y[c]) < 1e20f;  // false for NaN; products below then stay finite
        most = fabsf(y[c]) > most ? fabsf(y[c]) : most;
        if (mean) base += (double)y[c] * mean[c];
    }
    float inverse = finite && most > 1e-30f ? 127 / most : 0, log2_scale = job->scale * log2_e;
    memset(weights, 0, (size_t)groups * 16);
    for (int64_t c = 0; c < dim && inverse > 0; c++) {
        int32_t code = (int32_t)lrintf(y[c] * inverse);
        weights[c / 16 * 16 + c % 4 * 4 + c / 4 % 4] = (int8_t)code;
        sum += code;
    }
    float unit = inverse > 0 ? most / 127 * log2_scale : 0;
    job->room.factor[head] = unit * levels->unit;
    job->room.offset[head] = unit * levels->floor * (float)sum;
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
