// SPDX-License-Identifier: Apache-2.0
#include "fuzz_bounds.h"

#include <float.h>
#include <lhk/support.h>

/// Beyond this sum of magnitudes a score may overflow in f32: nothing is promised but class.
#define OVERFLOW_MAGNITUDE 1e37
/// A weight that f32 and bf16 units may round to zero, so that whether 0 * infinity arises is up to the kernel.
#define VANISHING_WEIGHT 1e-30

/// Sums over the entries of a row.
typedef struct row_sums {
    double maximum, total;    ///< of exp(score - maximum), sink included
    double largest;           ///< max |score|
    bool overflows, undefined;
} row_sums;

/// What rounding query row `q` to 8 bits may change of its score with a key, both rotated.
static double coarse_error(const float *q, const float *k, int64_t dim) {
    double largest = 0, q_squares = 0, sum = 0, magnitude = 0, squares = 0;
    for (int64_t x = 0; x < dim; x++) {
        largest = fmax(largest, fabs((double)q[x]));
        q_squares += (double)q[x] * (double)q[x];
        sum += (double)k[x];
        magnitude += fabs((double)k[x]);
        squares += (double)k[x] * (double)k[x];
    }
    return largest / 253.9 * fmin(magnitude, 3 * sqrt(squares) + fabs(sum)) + 0x1p-20 * sqrt(q_squares * squares);
}

/// Scores of the entries with the magnitudes that their errors grow with.
static void score_row(const fuzz_case *c, const fuzz_sequence *s, int64_t row, int64_t head, fuzz_bounds_row *w,
                      int64_t count) {
    const fuzz_problem *p = &c->problem;
    int64_t heads = p->query_heads, dim = p->dim_k;
    const lhk_attention_params *params = c->args.params;
    double scale = params && params->scale > 0 ? params->scale : (float)(1 / sqrt((double)dim));
    double cap = params ? params->softcap : 0, slope = params && params->alibi_slopes ? params->alibi_slopes[head] : 0;
    const float *q = c->q + ((s->first_row + row) * heads + head) * dim;
    for (int64_t e = 0; e < count; e++) {
        if (w->entries[e].key < 0) {
            w->score[e] = w->entries[e].weight;
            w->magnitude[e] = w->spread[e] = w->coarse[e] = 0;
            continue;
        }
        int64_t key = ((s->first_key + w->entries[e].key) * p->kv_heads + head / (heads / p->kv_heads)) * dim;
        const float *k = c->k + key;
        double dot = 0, magnitude = 0, squares = 0, largest = 0, size = 0, q_squares = 0, k_squares = 0;
        for (int64_t x = 0; x < dim; x++) {
            double product = (double)q[x] * (double)k[x];
            dot += product;
            magnitude += fabs(product);
            squares += product * product;
            largest = fmax(largest, fabs((double)q[x]));
            size += fabs((double)k[x]);
            q_squares += (double)q[x] * (double)q[x];
            k_squares += (double)k[x] * (double)k[x];
        }
        double distance = fabs((double)(row + s->offset - w->entries[e].key)), raw = dot * scale;
        double capped = cap > 0 ? cap * tanh(raw / cap) : raw, value = capped - slope * distance + w->entries[e].weight;
        w->score[e] = value;
        w->spread[e] = 2.5 * scale * sqrt(squares) + fabs(raw);
        w->magnitude[e] = scale * magnitude;
        w->coarse[e] = scale * (c->rotated_q ? coarse_error(c->rotated_q + (q - c->q), c->rotated_k + key, dim)
                                             : fmax(largest * size, sqrt(q_squares * k_squares)) / 253.9);
        // The parts of E_j other than A_j and max|s|, in its units: kept with A_j by dividing through its factor.
        double rest = 2 * fabs(capped) + 2 * fabs(slope) * distance + fabs((double)w->entries[e].weight) + 4 * cap;
        w->magnitude[e] += rest / (2 + sqrt((double)dim) / 2);
    }
}

static row_sums sum_row(const fuzz_case *c, int64_t head, const fuzz_bounds_row *w, int64_t count) {
    row_sums r = {.maximum = -INFINITY};
    const float *sinks = c->args.params ? c->args.params->sink_logits : NULL;
    if (sinks) r.maximum = sinks[head];
    for (int64_t e = 0; e < count; e++) {
        r.undefined |= isnan(w->score[e]) || w->score[e] == INFINITY;
        r.overflows |= w->magnitude[e] > OVERFLOW_MAGNITUDE;
        if (w->score[e] > r.maximum) r.maximum = w->score[e];
        if (isfinite(w->score[e])) r.largest = fmax(r.largest, fabs(w->score[e]));
    }
    if (sinks && isfinite(sinks[head])) r.largest = fmax(r.largest, fabs((double)sinks[head]));
    if (r.maximum == -INFINITY) return r;
    if (sinks) r.total = exp(sinks[head] - r.maximum);
    for (int64_t e = 0; e < count; e++) r.total += exp(w->score[e] - r.maximum);
    return r;
}

/// E_j of an entry.
static double score_error(const fuzz_case *c, const row_sums *r, const fuzz_bounds_row *w, int64_t e, int arithmetic) {
    double error = 0x1p-23 * ((2 + sqrt((double)c->problem.dim_k) / 2) * w->magnitude[e] + r->largest);
    if (arithmetic == FUZZ_ARITHMETIC_CODES || (arithmetic == FUZZ_ARITHMETIC_BF16 && c->problem.query_dtype != LHK_DTYPE_BF16))
        error += 0x1p-8 * fmin(w->magnitude[e], w->spread[e]);
    bool coarse = arithmetic == FUZZ_ARITHMETIC_CODES || arithmetic == FUZZ_ARITHMETIC_I8;
    return coarse ? error + w->coarse[e] : error;
}

static const float *value_of(const fuzz_case *c, const fuzz_sequence *s, int64_t head, const fuzz_entry *entry) {
    const fuzz_problem *p = &c->problem;
    if (entry->key < 0) return entry->mean;
    return c->v + ((s->first_key + entry->key) * p->kv_heads + head / (p->query_heads / p->kv_heads)) * p->dim_v;
}

/// Adds an entry of probability p and bound D to the sums per channel, and `coarse` times its largest value to all of them. A
/// vanishing weight on a value that is not finite makes the channel free (NaN).
static void add_entry(const float *v, int64_t dim, double p, double bound, double coarse, float *tolerance) {
    float w = (float)(p * bound + 2 * FLT_MIN), largest = 0;
    for (int64_t x = 0; x < dim && coarse > 0; x++) largest = fmaxf(largest, fabsf(v[x]));
    for (int64_t x = 0; x < dim && coarse > 0; x++) tolerance[x] += (float)(p * coarse) * largest;
    for (int64_t x = 0; x < dim; x++) {
        float size = fabsf(v[x]);
        if (size <= FLT_MAX) tolerance[x] += w * size;
        else if (p < VANISHING_WEIGHT) tolerance[x] = NAN;
    }
}

static void bound_row(fuzz_case *c, const fuzz_sequence *s, int64_t row, int64_t head, const fuzz_bounds_row *w,
                      int64_t count, int arithmetic, const row_sums *r) {
    int64_t dim = c->problem.dim_v, index = (s->first_row + row) * c->problem.query_heads + head;
    float *tolerance = c->tolerance[arithmetic] + index * dim, *lse_tolerance = c->lse_tolerance[arithmetic] + index;
    bool rounded = arithmetic != FUZZ_ARITHMETIC_F32;  // probabilities are, to 8 bits
    double base = 2e-6 * (1 + sqrt((double)count) / 64) + (rounded ? 0x1p-8 : 0);
    double floor = (double)(count + 1) * (rounded ? (double)FLT_MIN : 0x1p-147);
    if (r->overflows && !r->undefined) {
        for (int64_t x = 0; x < dim; x++) tolerance[x] = NAN;
        *lse_tolerance = NAN;
        return;
    }
    if (r->undefined || !(r->total > 0)) return;  // NaN all over, or zero and -inf: exact
    double sum = 0, worst = 0x1p-23 * r->largest;
    for (int64_t e = 0; e < count; e++) {
        double p = exp(w->score[e] - r->maximum) / r->total, error = score_error(c, r, w, e, arithmetic);
        double bound = (error < 50 ? expm1(error) : 1e20) + base;
        if (w->score[e] == -INFINITY) error = bound = 0;
        add_entry(value_of(c, s, head, &w->entries[e]), dim, p, bound,
                  arithmetic == FUZZ_ARITHMETIC_CODES ? 0x1p-7 : 0, tolerance);
        sum += p * bound;
        worst = fmax(worst, error);
    }
    const double *expected = c->expected + index * dim;
    for (int64_t x = 0; x < dim && sum <= 0.5; x++)
        tolerance[x] = (float)((tolerance[x] + fabs(expected[x]) * sum) / (1 - sum) + floor);
    double slack = base + 0x1p-22 * (1 + r->largest + fabs(c->expected_lse[index]));
    *lse_tolerance = (float)((sum <= 0.5 ? sum / (1 - sum) : worst) + slack);
    if (sum <= 0.5) return;
    for (int64_t x = 0; x < dim; x++) {
        float most = 0;
        for (int64_t e = 0; e < count; e++) most = fmaxf(most, fabsf(value_of(c, s, head, &w->entries[e])[x]));
        if (!isnan(tolerance[x])) tolerance[x] = 2 * most;
    }
}

/// The softmax of the scores, for subjects without a reference of their own.
static void apply_formula(fuzz_case *c, const fuzz_sequence *s, int64_t row, int64_t head, const fuzz_bounds_row *w,
                          int64_t count, const row_sums *r) {
    int64_t dim = c->problem.dim_v, index = (s->first_row + row) * c->problem.query_heads + head;
    double base = r->maximum == -INFINITY ? 0 : r->maximum, total = 0, *out = c->expected + index * dim;
    for (int64_t x = 0; x < dim; x++) out[x] = 0;
    for (int64_t e = 0; e < count; e++) {
        double p = exp(w->score[e] - base);
        const float *v = value_of(c, s, head, &w->entries[e]);
        total += p;
        for (int64_t x = 0; x < dim; x++) out[x] += p * (double)v[x];
    }
    const float *sinks = c->args.params ? c->args.params->sink_logits : NULL;
    if (sinks) total += exp((double)sinks[head] - base);
    for (int64_t x = 0; x < dim; x++) out[x] = total == 0 ? 0 : out[x] / total;
    c->expected_lse[index] = total == 0 ? -INFINITY : base + log(total);
}

void fuzz_bound_row(fuzz_case *c, const fuzz_sequence *s, int64_t row, int64_t head, fuzz_bounds_row *w, int64_t count) {
    score_row(c, s, row, head, w, count);
    row_sums r = sum_row(c, head, w, count);
    if (!c->subject->reference) apply_formula(c, s, row, head, w, count, &r);
    for (int i = 0; i < FUZZ_ARITHMETICS; i++)
        if (c->tolerance[i]) bound_row(c, s, row, head, w, count, i, &r);
}

double fuzz_storage_error(lhk_dtype dtype, double value) {
    double size = fabs(value);
    switch (dtype) {
        case LHK_DTYPE_BF16: return size * 0x1p-8 + 0x1p-134;
        case LHK_DTYPE_F16: return size * 0x1p-11 + 0x1p-25;
        default: return size * 0x1p-24 + 0x1p-150;
    }
}
