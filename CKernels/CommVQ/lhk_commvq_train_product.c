// SPDX-License-Identifier: Apache-2.0
/// Training for `form=product`: the call, and what is done once per head with its keys or its values.
#include "lhk_commvq_train_levels.h"

#define SAMPLE 2048      // tokens by which levels are shared out
#define WARM_STEPS 2     // of k-means between two turns of the axes

#define LHK_COMMVQ_VARIANT(word, isa, rate, product_rate) lhk_commvq_nearest_step lhk_commvq_##word##_nearest_codes;
#include "lhk_commvq_variants.inc"
#undef LHK_COMMVQ_VARIANT

/// By instruction set, slowest first.
static const struct {
    lhk_isa isa;
    lhk_commvq_nearest_step *nearest;
} searches[] = {
#define LHK_COMMVQ_VARIANT(word, isa, rate, product_rate) {isa, lhk_commvq_##word##_nearest_codes},
#include "lhk_commvq_variants.inc"
#undef LHK_COMMVQ_VARIANT
};

typedef struct product_call {
    const lhk_commvq_samples *samples;
    lhk_commvq_product *out;
    lhk_commvq_nearest_step *nearest;
    uint16_t channels[LHK_COMMVQ_MAX_DIM];
    float *key_scales, *value_scales;  ///< [tokens + check]: inverse norms over all heads
    _Atomic uint32_t failed;           ///< no memory
} product_call;

/// One head's keys or values in training. Columns are of all tokens, those to learn from first.
typedef struct product_task {
    const product_call *call;
    lhk_commvq_level_plan *plan;
    int64_t dim, total, stride, steps;
    uint32_t head;
    bool keys;
    uint64_t seed;
    float *columns, *turned;  ///< [dim][stride]; turned: along the axes, of keys the columns themselves
    float *decoded;           ///< [dim][stride]
    float *scratch;           ///< lhk_commvq_fit_floats
    double *axes, *work;      ///< [dim][dim], [4][dim][dim]: of values
    double mean[LHK_COMMVQ_MAX_DIM];
} product_task;

static lhk_commvq_columns learned(const product_task *t) {
    return (lhk_commvq_columns){t->turned, t->stride, t->call->samples->tokens, t->call->nearest};
}

/// Rows over their norms, of keys times weights, as columns less their mean.
static void load(product_task *t) {
    const product_call *call = t->call;
    const lhk_commvq_samples *s = call->samples;
    const int64_t dim = t->dim;
    const float *from = (t->keys ? s->keys : s->values) + (int64_t)t->head * t->total * dim;
    const float *scales = t->keys ? call->key_scales : call->value_scales;
    float weights[LHK_COMMVQ_MAX_PAIRS];
    if (t->keys) {
        lhk_commvq_take_weights(s, call->channels, t->head, weights);
        memcpy(call->out->weights + t->head * (dim / 2), weights, (size_t)(dim / 2) * sizeof *weights);
    }
    memset(t->columns, 0, (size_t)(dim * t->stride) * sizeof *t->columns);
    for (int64_t c = 0; c < dim; c++) {
        const float weight = t->keys ? weights[c % (dim / 2)] : 1;
        const int64_t channel = t->keys ? call->channels[c] : c;
        float *to = t->columns + c * t->stride;
        double sum = 0;
        for (int64_t i = 0; i < t->total; i++) to[i] = from[i * dim + channel] * scales[i] * weight;
        for (int64_t i = 0; i < s->tokens; i++) sum += (double)to[i];
        t->mean[c] = sum / (double)s->tokens;
        for (int64_t i = 0; i < t->total; i++) to[i] -= (float)t->mean[c];
    }
}

/// Supports of levels, from a sample of the tokens.
static bool share(product_task *t) {
    const int64_t count = t->call->samples->tokens, some = lhk_min(count, SAMPLE), stride = lhk_round_up(some, 16);
    lhk_commvq_columns sample = {calloc((size_t)(t->dim * stride), sizeof(float)), stride, some, t->call->nearest};
    bool done = sample.at;
    for (int64_t c = 0; c < t->dim && done; c++)
        for (int64_t i = 0; i < some; i++) sample.at[c * stride + i] = t->turned[c * t->stride + i * count / some];
    done = done && lhk_commvq_share_levels(t->plan, &sample, t->dim, t->keys, &t->seed);
    free(sample.at);
    return done;
}

static void fit(product_task *t) {
    lhk_commvq_columns columns = learned(t);
    for (int32_t run = 0; run < t->plan->runs; run++)
        lhk_commvq_fit_run(t->plan, run, &columns, t->steps, false, &t->seed, t->scratch);
    if (t->keys) return;
    for (int64_t round = 0; round < t->steps; round++) {
        lhk_commvq_decode_levels(t->plan, &columns, t->dim, t->decoded, t->scratch);
        lhk_commvq_turn_axes(&columns, t->decoded, t->dim, t->axes, t->work);
        lhk_commvq_along_axes(t->columns, t->stride, t->dim, t->axes, t->turned);
        for (int32_t run = 0; run < t->plan->runs; run++)
            lhk_commvq_fit_run(t->plan, run, &columns, WARM_STEPS, true, &t->seed, t->scratch);
    }
}

/// Energy that codes leave of the tokens judged, each with the scale that serves it best, as a fraction.
static double judge(const product_task *t) {
    const lhk_commvq_samples *s = t->call->samples;
    const int64_t first = s->check ? s->tokens : 0, dim = t->dim;
    const lhk_commvq_columns judged = {t->turned + first, t->stride, s->check ? s->check : s->tokens,
                                       t->call->nearest};
    double mean[LHK_COMMVQ_MAX_DIM], all = 0, left = 0;
    for (int64_t a = 0; a < dim; a++) {
        mean[a] = t->keys ? t->mean[a] : 0;
        for (int64_t c = 0; c < dim && !t->keys; c++) mean[a] += t->axes[a * dim + c] * t->mean[c];
    }
    lhk_commvq_decode_levels(t->plan, &judged, dim, t->decoded, t->scratch);
    for (int64_t i = 0; i < judged.count; i++) {
        double square = 0, held = 0, product = 0;
        for (int64_t a = 0; a < dim; a++) {
            const double x = mean[a] + (double)judged.at[a * t->stride + i];
            const double y = mean[a] + (double)t->decoded[a * t->stride + i];
            square += x * x;
            held += y * y;
            product += x * y;
        }
        all += square;
        left += held > 0 ? fmax(square - product * product / held, 0) : square;
    }
    return all > 0 ? left / all : 0;
}

static void write_levels(const product_task *t, float *out) {
    const lhk_commvq_level_plan *plan = t->plan;
    const int64_t size = LHK_COMMVQ_CODES * t->dim;
    memset(out, 0, (size_t)(plan->levels * size) * sizeof *out);
    for (int32_t l = 0; l < plan->levels; l++)
        for (int64_t c = 0; c < (int64_t)LHK_COMMVQ_CODES; c++)
            for (int32_t j = 0; j < plan->level[l].width; j++)
                out[l * size + c * t->dim + plan->level[l].channels[j]] = plan->level[l].entries[c][j];
}

static void store(const product_task *t) {
    const lhk_commvq_product *out = t->call->out;
    const int64_t dim = t->dim, head = t->head;
    float *mean = (t->keys ? out->centre : out->offsets) + head * dim;
    for (int64_t c = 0; c < dim; c++) mean[c] = (float)t->mean[c];
    write_levels(t, (t->keys ? out->keys : out->values) + head * t->plan->levels * (int64_t)LHK_COMMVQ_CODES * dim);
    (t->keys ? out->key_error : out->value_error)[head] = judge(t);
    for (int64_t i = 0; i < dim * dim && !t->keys; i++) out->axes[head * dim * dim + i] = (float)t->axes[i];
}

static void train_task(void *context, int64_t task, uint32_t worker) {
    (void)worker;
    product_call *call = context;
    const lhk_commvq_samples *s = call->samples;
    const bool keys = task < s->kv_heads;
    product_task t = {.call = call, .head = (uint32_t)(task % s->kv_heads), .keys = keys, .total = s->tokens + s->check,
                      .dim = keys ? s->head_dim_k : s->head_dim_v, .steps = lhk_max(keys ? s->key_steps : s->value_rounds, 1),
                      .seed = s->seed * 1000003 + (uint64_t)task};
    t.stride = lhk_round_up(t.total, 16) + 16;
    const int64_t floats = t.dim * t.stride, size = t.dim * t.dim;
    float *at = malloc((size_t)((keys ? 2 : 3) * floats + lhk_commvq_fit_floats(t.stride)) * sizeof(float));
    t.plan = malloc(sizeof *t.plan);
    t.axes = malloc((size_t)(5 * size) * sizeof(double));
    bool done = at && t.plan && t.axes;
    if (done) {
        t.columns = at;
        t.decoded = at + floats;
        t.turned = keys ? t.columns : at + 2 * floats;
        t.scratch = at + (keys ? 2 : 3) * floats;
        t.work = t.axes + size;
        *t.plan = (lhk_commvq_level_plan){.levels = (int32_t)(s->bits * t.dim / 4)};
        load(&t);
        if (!keys) {
            const lhk_commvq_columns columns = {t.columns, t.stride, s->tokens, call->nearest};
            lhk_commvq_principal_axes(&columns, t.dim, t.axes, t.work);
            lhk_commvq_along_axes(t.columns, t.stride, t.dim, t.axes, t.turned);
        }
        done = share(&t);
    }
    if (done) {
        fit(&t);
        store(&t);
    } else {
        atomic_store(&call->failed, 1);
    }
    free(at);
    free(t.plan);
    free(t.axes);
}

lhk_status lhk_commvq_train_product(const lhk_host *host, const lhk_commvq_samples *samples, lhk_commvq_product *out,
                                    lhk_error *error) {
    lhk_status status = lhk_commvq_check_samples(samples, LHK_COMMVQ_PRODUCT_BITS, error);
    if (status) return status;
    product_call call = {.samples = samples, .out = out};
    for (size_t i = 0; i < sizeof searches / sizeof *searches; i++)
        if (!(searches[i].isa & ~host->isa)) call.nearest = searches[i].nearest;
    call.key_scales = lhk_commvq_take_scales(samples, call.channels);
    if (!call.key_scales) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "commvq training: no memory");
    call.value_scales = call.key_scales + samples->tokens + samples->check;
    lhk_parallel_for(host, 2 * (int64_t)samples->kv_heads, train_task, &call);
    free(call.key_scales);
    return call.failed ? lhk_fail(error, LHK_ERROR_MEMORY, -1, "commvq training: no memory") : LHK_OK;
}
