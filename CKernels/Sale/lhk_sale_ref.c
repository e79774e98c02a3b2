// SPDX-License-Identifier: Apache-2.0
/// The formula: codes as longhand/sale.h defines them, in f32, all scores in double precision, key by key.
#include <longhand/reference.h>

#include "lhk_sale_call.h"

/// Blocks whose best estimate lies this close to the threshold may go either way.
#define MARGIN 1e-3

typedef struct formula {
    const lhk_tensor *q, *k;
    lhk_sale_call call;
    int64_t bits, block, dim, group;
    float screen;
    float *energy, *weight;    ///< [segments][groups], [groups]
    int64_t *order;            ///< [groups]
    float *keys;               ///< of a segment: [128][dim] less their mean
    float *key_codes, *key_scale;    ///< [keys][dim], [keys]
    float *key_mean;           ///< [segments][dim]
    float *row, *row_codes, *tile_mean;
    double *limit;             ///< of the tile's rows
} formula;

static double element(const lhk_tensor *t, int64_t row, int64_t head, int64_t c) {
    return (double)lhk_load_element(lhk_row(t, row, head), t->dtype, c);
}

/// Codes of `count` numbers that share a scale, which is returned.
static float quantise(const float *x, int64_t count, float levels, float *codes) {
    float top = 0;
    for (int64_t i = 0; i < count; i++) top = fabsf(x[i]) > top || x[i] != x[i] ? fabsf(x[i]) : top;
    bool usable = top > 0x1p-113f && top < INFINITY;
    float inverse = usable ? levels / top : 0;
    for (int64_t i = 0; i < count; i++) codes[i] = usable ? rintf(x[i] * inverse) : 0;
    return usable ? top / levels : top <= 0x1p-113f ? 0 : NAN;
}

static void encode_keys(formula *f, int64_t kv_head) {
    const int64_t groups = (f->dim + 3) / 4;
    const int64_t shared = f->bits == 8 ? LHK_SALE_BLOCK : 1, dim = f->dim;
    for (int64_t g = 0; g < lhk_sale_segments(f->call.keys); g++) {
        const int64_t begin = LHK_SALE_BLOCK + g * LHK_SALE_SEGMENT;
        float *mean = f->key_mean + g * dim;
        for (int64_t c = 0; c < dim; c++) {
            mean[c] = 0;
            for (int64_t t = 0; t < LHK_SALE_SEGMENT; t++) mean[c] += (float)element(f->k, begin + t, kv_head, c);
            mean[c] /= LHK_SALE_SEGMENT;
            for (int64_t t = 0; t < LHK_SALE_SEGMENT; t++)
                f->keys[t * dim + c] = (float)element(f->k, begin + t, kv_head, c) - mean[c];
        }
        float *energy = f->energy + g * groups;
        memset(energy, 0, (size_t)groups * sizeof *energy);
        for (int64_t i = 0; i < LHK_SALE_SEGMENT * dim; i++) energy[i % dim / 4] += f->keys[i] * f->keys[i];
        for (int64_t i = 0; i < groups; i++) energy[i] /= 4 * LHK_SALE_SEGMENT;
        for (int64_t t = 0; t < LHK_SALE_SEGMENT; t += shared) {
            float scale = quantise(f->keys + t * dim, shared * dim, f->bits == 8 ? 63 : 7, f->key_codes + (begin + t) * dim);
            for (int64_t i = 0; i < shared; i++) f->key_scale[begin + t + i] = scale;
        }
    }
}

static double exact(const formula *f, int64_t row, int64_t head, int64_t key) {
    double s = 0;
    for (int64_t c = 0; c < f->dim; c++) s += element(f->q, row, head, c) * element(f->k, key, head / f->group, c);
    s *= (double)f->call.scale;
    double cap = (double)f->call.softcap;
    return cap > 0 ? cap * tanh(s / cap) : s;
}

/// ln(tau) + log of the summed weights of what row `row` always keeps.
static double threshold(const formula *f, int64_t row, int64_t head, lhk_sale_reach reach) {
    const int64_t own = lhk_min(row + f->call.offset + 1, f->call.keys), local = (1 + reach.middle) * LHK_SALE_BLOCK;
    const float *sinks = f->call.sink_logits;
    double m = sinks ? (double)sinks[head] : -INFINITY, l = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t j = 0; j < own; j++) {
            if (j >= LHK_SALE_BLOCK && j < local) continue;
            double s = exact(f, row, head, j);
            if (pass) l += exp(s - m);
            else m = s > m ? s : m;
        }
    if (sinks) l += exp((double)sinks[head] - m);
    return m + log(l) + log((double)f->call.tau[head]);
}

/// Sets row_codes, tile_mean and limit of the tile's row r; returns its scale.
static float encode_row(formula *f, int64_t row, int64_t head) {
    for (int64_t c = 0; c < f->dim; c++)
        f->row[c] = (float)element(f->q, row, head, c) - (f->bits == 4 ? f->tile_mean[c] : 0);
    return quantise(f->row, f->dim, f->bits == 8 ? 127 : 7, f->row_codes);
}

static double estimate(const formula *f, int64_t row, int64_t head, float row_scale, int64_t key) {
    const int64_t segment = (key - LHK_SALE_BLOCK) / LHK_SALE_SEGMENT;
    const float *mean = f->key_mean + segment * f->dim, *codes = f->key_codes + key * f->dim;
    double dot = 0, rest = 0;
    for (int64_t c = 0; c < f->dim; c++) {
        dot += (double)f->row_codes[c] * (double)codes[c];
        rest += element(f->q, row, head, c) * (double)mean[c];
        if (f->bits == 4)
            rest += (double)f->tile_mean[c] * (element(f->k, key, head / f->group, c) - (double)mean[c]);
    }
    double s = (double)f->call.scale * ((double)row_scale * (double)f->key_scale[key] * dot + rest), cap = (double)f->call.softcap;
    return cap > 0 ? cap * tanh(s / cap) : s;
}

/// The order in which the tile meets groups of channels, in f32 as longhand/sale.h tells.
static void find_order(formula *f, int64_t head, int64_t first, int64_t last, int64_t segments) {
    const int64_t groups = (f->dim + 3) / 4;
    for (int64_t g = 0; g < groups; g++) {
        float total = 0, sum = 0;
        for (int64_t row = first; row < last; row++) {
            float square = 0;
            for (int64_t c = 4 * g; c < 4 * g + 4 && c < f->dim; c++) {
                float x = (float)element(f->q, row, head, c);
                square += x * x;
            }
            total += square;
        }
        for (int64_t s = 0; s < segments; s++) sum += f->energy[s * groups + g];
        f->weight[g] = sum * total;
        int64_t at = g;
        for (; at > 0 && f->weight[f->order[at - 1]] < f->weight[g]; at--) f->order[at] = f->order[at - 1];
        f->order[at] = g;
    }
}

/// Whether screening surely lets a pair pass, whose limit is in units of scores.
static bool passes(const formula *f, int64_t row, int64_t head, float row_scale, int64_t key, double limit) {
    const int64_t segment = (key - LHK_SALE_BLOCK) / LHK_SALE_SEGMENT, groups = (f->dim + 3) / 4;
    const float *mean = f->key_mean + segment * f->dim, *codes = f->key_codes + key * f->dim;
    const double scale = (double)f->call.scale, cap = (double)f->call.softcap;
    double rest = cap > 0 ? (limit >= cap ? INFINITY : limit <= -cap ? -INFINITY : cap * atanh(limit / cap)) : limit;
    for (int64_t c = 0; c < f->dim; c++) rest -= scale * element(f->q, row, head, c) * (double)mean[c];
    for (int stage = 0; stage < 3; stage++) {
        double dot = 0, variance = 0;
        for (int64_t s = 0; s < groups; s++) {
            const int64_t g = f->order[s];
            double square = 0;
            for (int64_t c = 4 * g; c < 4 * g + 4 && c < f->dim; c++) {
                if (s < groups >> (3 - stage)) dot += (double)f->row_codes[c] * (double)codes[c];
                square += element(f->q, row, head, c) * element(f->q, row, head, c);
            }
            if (s >= groups >> (3 - stage)) variance += square * (double)f->energy[segment * groups + g];
        }
        double reach = scale * ((double)row_scale * (double)f->key_scale[key] * dot + (double)f->screen * sqrt(variance));
        if (!(reach - rest > MARGIN * (1 + fabs(rest) * 1e-2))) return false;
    }
    return true;
}

/// LHK_CHOSEN_* of the keys [begin, end) for the tile of rows [first, last), from the margins of all its pairs.
static uint8_t decide(formula *f, int64_t first, int64_t last, int64_t head, int64_t begin, int64_t end) {
    bool near = false;
    for (int64_t row = first; row < last; row++) {
        float scale = encode_row(f, row, head);
        for (int64_t j = begin; j < end; j++) {
            double s = estimate(f, row, head, scale, j), over = s - f->limit[row - first];
            double margin = MARGIN * (1 + fabs(s) * 1e-2);
            bool surely = !(over <= margin);
            if (surely && (f->screen == 0 || passes(f, row, head, scale, j, f->limit[row - first]))) return LHK_CHOSEN_YES;
            near |= surely || over > -margin;
        }
    }
    return near ? LHK_CHOSEN_EITHER : LHK_CHOSEN_NO;
}

static void choose_tile(formula *f, int64_t head, int64_t first, int64_t last, uint8_t *chosen) {
    const lhk_sale_call *call = &f->call;
    const lhk_sale_reach reach = lhk_sale_reach_of(last - 1 + call->offset, call->keys);
    const bool dense = call->tau[head] < LHK_SALE_TAU_DENSE;
    for (int64_t c = 0; c < f->dim; c++) {
        f->tile_mean[c] = 0;
        for (int64_t row = first; row < last; row++) f->tile_mean[c] += (float)element(f->q, row, head, c);
        f->tile_mean[c] /= (float)(last - first);
    }
    if (f->screen > 0) find_order(f, head, first, last, reach.middle / 4);
    for (int64_t row = first; row < last && reach.middle && !dense; row++)
        f->limit[row - first] = threshold(f, row, head, reach);
    for (int64_t begin = 0; begin < reach.end; begin += f->block) {
        const int64_t end = lhk_min(begin + f->block, reach.end);
        bool always = dense || begin < LHK_SALE_BLOCK || begin >= (1 + reach.middle) * LHK_SALE_BLOCK;
        uint8_t choice = always ? LHK_CHOSEN_YES : decide(f, first, last, head, begin, end);
        for (int64_t row = first; row < last; row++)
            memset(chosen + (row * call->query_heads + head) * call->keys + begin, choice, (size_t)(end - begin));
    }
}

static lhk_status select_all(formula *f, bool dense, uint8_t *chosen, lhk_error *error) {
    const int64_t dim = f->dim, keys = f->call.keys, segments = lhk_sale_segments(keys);
    const int64_t counts[] = {LHK_SALE_SEGMENT * dim, keys * dim, keys, segments * dim, dim, dim, dim, segments * dim, dim};
    float **arrays[] = {&f->keys, &f->key_codes, &f->key_scale, &f->key_mean, &f->row, &f->row_codes, &f->tile_mean,
                        &f->energy, &f->weight};
    int64_t order[LHK_SALE_MAX_HEAD_DIM / 4];
    const int count = sizeof arrays / sizeof *arrays;
    double limit[LHK_SALE_TILE_ROWS];
    bool memory = true;
    f->limit = limit;
    f->order = order;
    memset(chosen, dense, (size_t)(f->call.rows * f->call.query_heads * keys));
    for (int i = 0; i < count; i++) memory &= !!(*arrays[i] = calloc((size_t)counts[i] + 1, sizeof(float)));
    for (int64_t head = 0; memory && !dense && head < f->call.query_heads; head++) {
        if (head % f->group == 0) encode_keys(f, head / f->group);
        for (int64_t first = 0; first < f->call.rows; first += LHK_SALE_TILE_ROWS)
            choose_tile(f, head, first, lhk_min(first + LHK_SALE_TILE_ROWS, f->call.rows), chosen);
    }
    for (int i = 0; i < count; i++) free(*arrays[i]);
    return memory ? LHK_OK : lhk_fail(error, LHK_ERROR_MEMORY, -1, "sale: no memory for the reference");
}

static lhk_status choose(const lhk_problem *problem, const lhk_tensor *q, const lhk_tensor *k, const lhk_tensor *v,
                         const lhk_attention_params *params, uint8_t *chosen, lhk_error *error) {
    (void)v;
    formula f = {.q = q, .k = k, .dim = q->shape[2], .group = problem->query_heads / problem->kv_heads};
    lhk_sale_options options;
    bool dense = false;
    f.call = (lhk_sale_call){.query_heads = problem->query_heads, .kv_heads = problem->kv_heads, .rows = q->shape[0],
                             .keys = k->shape[0]};
    lhk_status status = lhk_sale_read_options(problem, &options, error);
    if (!status) status = lhk_sale_get_layout(problem->head_dim_k, (uint32_t)options.bits, &f.call.layout, error);
    if (!status) status = lhk_sale_read_params(&f.call, params, &dense, error);
    if (status) return status;
    float *tau = calloc(problem->query_heads, sizeof *tau);
    if (!tau) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "sale: no memory for the reference");
    for (uint32_t h = 0; h < problem->query_heads; h++) tau[h] = options.calibrated ? options.calibrated[h] : options.tau;
    f.call.tau = tau;
    f.bits = options.bits;
    f.block = options.block;
    f.screen = options.screen;
    status = select_all(&f, dense, chosen, error);
    free(tau);
    return status;
}

const lhk_selector_reference lhk_sale_formula = {.struct_size = sizeof(lhk_selector_reference), .select = choose};
