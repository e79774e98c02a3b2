// SPDX-License-Identifier: Apache-2.0
/// Training of a layer's codebooks: the call, its tasks, and what is done once per head.
#include "lhk_commvq_train_plan.h"

#define LHK_COMMVQ_VARIANT(word, isa, rate, product_rate)                               \
    void lhk_commvq_##word##_train_keys(lhk_commvq_training *t);          \
    void lhk_commvq_##word##_train_values(lhk_commvq_training *t);
#include "lhk_commvq_variants.inc"
#undef LHK_COMMVQ_VARIANT

typedef void train_step(lhk_commvq_training *t);

/// By instruction set, slowest first.
static const struct {
    lhk_isa isa;
    train_step *keys, *values;
} steps[] = {
#define LHK_COMMVQ_VARIANT(word, isa, rate, product_rate) {isa, lhk_commvq_##word##_train_keys, lhk_commvq_##word##_train_values},
#include "lhk_commvq_variants.inc"
#undef LHK_COMMVQ_VARIANT
};

typedef struct train_call {
    const lhk_commvq_samples *samples;
    lhk_commvq_codebooks *out;
    lhk_isa isa;
    uint32_t levels, value_bits;
    uint16_t channels[LHK_COMMVQ_MAX_DIM];
    float *key_scales, *value_scales;  ///< [tokens + check]: inverse norms over all heads
    _Atomic uint32_t failed;  ///< no memory
} train_call;

// ---- rows ----

static double energy(const float *rows, int64_t first, int64_t count, int64_t dim) {
    double sum = 0;
    for (int64_t i = first * dim; i < (first + count) * dim; i++) sum += (double)rows[i] * (double)rows[i];
    return sum;
}

static void train_task(void *context, int64_t task, uint32_t worker) {
    (void)worker;
    train_call *call = context;
    const lhk_commvq_samples *s = call->samples;
    const uint32_t head = (uint32_t)(task % s->kv_heads);
    const bool keys = task < s->kv_heads;
    const int64_t dim = keys ? s->head_dim_k : s->head_dim_v, total = s->tokens + s->check;
    lhk_commvq_training t = {.tokens = s->tokens, .check = s->check, .dim = dim, .seed = s->seed * 1000003 + (uint64_t)task,
                             .count = keys ? call->levels : call->value_bits, .steps = keys ? s->key_steps : s->value_rounds};
    t.rows = malloc((size_t)(total * dim) * sizeof *t.rows);
    const int64_t floats = lhk_round_up(lhk_commvq_scratch_floats(dim, call->value_bits), 16);
    t.scratch = aligned_alloc(LHK_ALIGNMENT, (size_t)floats * sizeof(float));
    if (!t.rows || !t.scratch) {
        atomic_store(&call->failed, 1);
    } else {
        const float *from = (keys ? s->keys : s->values) + (int64_t)head * total * dim;
        const float *scales = keys ? call->key_scales : call->value_scales;
        float weights[LHK_COMMVQ_MAX_PAIRS];
        if (keys) lhk_commvq_take_weights(s, call->channels, head, weights);
        if (keys) memcpy(call->out->weights + (int64_t)head * (dim / 2), weights, (size_t)(dim / 2) * sizeof *weights);
        for (int64_t i = 0; i < total; i++)
            for (int64_t c = 0; c < dim; c++) {
                const float x = from[i * dim + (keys ? call->channels[c] : c)] * scales[i];
                t.rows[i * dim + c] = keys ? x * weights[c % (dim / 2)] : x;
            }
        const int64_t judged = s->check ? s->check : s->tokens, first = s->check ? s->tokens : 0;
        double before = energy(t.rows, first, judged, dim);
        t.codebook = keys ? call->out->keys + (int64_t)head * call->levels * LHK_COMMVQ_CODES * dim
                          : call->out->values + (int64_t)head * call->value_bits * dim;
        if (!keys) t.offset = call->out->offsets + (int64_t)head * dim;
        if (!keys) lhk_commvq_begin_values(&t);
        train_step *step = keys ? steps[0].keys : steps[0].values;
        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
            if (!(steps[i].isa & ~call->isa)) step = keys ? steps[i].keys : steps[i].values;
        step(&t);
        double *left = (keys ? call->out->key_error : call->out->value_error) + head;
        *left = before > 0 ? energy(t.rows, first, judged, dim) / before : 0;
    }
    free(t.rows);
    free(t.scratch);
}

// ---- values ----

void lhk_commvq_solve_values(lhk_commvq_training *t, const float *squares, const float *sums) {
    const int64_t n = t->count + 1, dim = t->dim;
    const int64_t half = lhk_round_up(lhk_commvq_scratch_floats(dim, t->count) / 2, 16);
    double *m = (double *)(void *)(t->scratch + half), *right = m + n * n;
    for (int64_t i = 0; i < n * n; i++) m[i] = (double)squares[i];
    for (int64_t i = 0; i < n; i++) m[i * n + i] += 1e-4 * (double)t->tokens;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            double sum = m[i * n + j];
            for (int64_t k = 0; k < j; k++) sum -= m[i * n + k] * m[j * n + k];
            m[i * n + j] = i == j ? sqrt(fmax(sum, 1e-300)) : sum / m[j * n + j];
        }
    for (int64_t c = 0; c < dim; c++) {
        for (int64_t i = 0; i < n; i++) {
            right[i] = (double)sums[i * dim + c];
            for (int64_t k = 0; k < i; k++) right[i] -= m[i * n + k] * right[k];
            right[i] /= m[i * n + i];
        }
        for (int64_t i = n; i-- > 0;) {
            for (int64_t k = i + 1; k < n; k++) right[i] -= m[k * n + i] * right[k];
            right[i] /= m[i * n + i];
            *(i < t->count ? &t->codebook[i * dim + c] : &t->offset[c]) = (float)right[i];
        }
    }
}

void lhk_commvq_begin_values(lhk_commvq_training *t) {
    // Distortion of the best uniform quantiser of a normal variable, and its step, by bits.
    static const double left[] = {1, 0.3634, 0.1188, 0.03744, 0.01154, 0.00349, 0.00104, 0.0003, 0.00009};
    static const double step[] = {0, 1.5958, 0.9957, 0.586, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308};
    const int64_t dim = t->dim;
    double *m = (double *)(void *)t->scratch, *v = m + dim * dim, mean[LHK_COMMVQ_MAX_DIM] = {0};
    int given[LHK_COMMVQ_MAX_DIM] = {0};
    for (int64_t i = 0; i < t->tokens; i++)
        for (int64_t c = 0; c < dim; c++) mean[c] += (double)t->rows[i * dim + c] / (double)t->tokens;
    memset(m, 0, (size_t)(dim * dim) * sizeof *m);
    for (int64_t i = 0; i < t->tokens; i++)
        for (int64_t a = 0; a < dim; a++) {
            const double x = (double)t->rows[i * dim + a] - mean[a];
            for (int64_t b = 0; b < dim; b++)
                m[a * dim + b] += x * ((double)t->rows[i * dim + b] - mean[b]) / (double)t->tokens;
        }
    lhk_commvq_diagonalise(m, v, dim);
    double half[LHK_COMMVQ_MAX_DIM] = {0};
    for (int64_t k = 0; k < t->count; k++) {
        int64_t axis = -1;
        double most = -1;
        for (int64_t i = 0; i < dim; i++) {
            const double rest = m[i * dim + i] * left[given[i]];
            if (given[i] == 8 || rest <= most) continue;
            most = rest;
            axis = i;
        }
        if (axis >= 0) given[axis]++;
    }
    for (int64_t i = 0, k = 0; i < dim; i++)
        for (int b = 0; b < given[i]; b++, k++) {
            const double length = sqrt(fmax(m[i * dim + i], 0)) * step[given[i]] * (1 << b);
            for (int64_t c = 0; c < dim; c++) {
                t->codebook[k * dim + c] = (float)(length * v[i * dim + c]);
                half[c] += length * v[i * dim + c] / 2;
            }
        }
    for (int64_t c = 0; c < dim; c++) t->offset[c] = (float)(mean[c] - half[c]);
}

/// Twice what the steps of training take at most, so that the solver has the other half.
int64_t lhk_commvq_scratch_floats(int64_t dim, int64_t bits) {
    const int64_t n = bits + 1, search = (int64_t)lhk_commvq_search_floats((uint64_t)bits, (uint64_t)dim);
    const int64_t values = search + n * dim + n * n, solver = 2 * (n * n + n);
    const int64_t keys = 256 + 2 * 16 * LHK_COMMVQ_MAX_PAIRS + 64, axes = 4 * dim * dim;
    return 2 * (lhk_max(lhk_max(values, solver), lhk_max(keys, axes)) + 64);
}

// ---- the call ----

lhk_status lhk_commvq_train(const lhk_host *host, const lhk_commvq_samples *samples, lhk_commvq_codebooks *out,
                            lhk_error *error) {
    lhk_status status = lhk_commvq_check_samples(samples, 2, error);
    if (status) return status;
    train_call call = {.samples = samples, .out = out, .isa = host->isa, .levels = samples->bits * samples->head_dim_k / 8,
                       .value_bits = samples->bits * samples->head_dim_v};
    call.key_scales = lhk_commvq_take_scales(samples, call.channels);
    if (!call.key_scales) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "commvq training: no memory");
    call.value_scales = call.key_scales + samples->tokens + samples->check;
    lhk_parallel_for(host, 2 * (int64_t)samples->kv_heads, train_task, &call);
    free(call.key_scales);
    return call.failed ? lhk_fail(error, LHK_ERROR_MEMORY, -1, "commvq training: no memory") : LHK_OK;
}
