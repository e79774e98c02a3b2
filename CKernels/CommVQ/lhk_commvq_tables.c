// SPDX-License-Identifier: Apache-2.0
/// The tables of a layer: codebooks as the kernels read them, from calibrated parameters or, for tests, from random numbers.
#include "lhk_commvq_store.h"

#define LEVEL_CODES LHK_COMMVQ_CODES

/// Where codebooks come from: four tensors, or a seed.
typedef struct source {
    const float *keys;     ///< [kv_heads][R][16][head_dim_k], planar, of weighted keys
    const float *weights;  ///< [kv_heads][P]
    const float *values;   ///< [kv_heads][N][head_dim_v]
    const float *offsets;  ///< [kv_heads][head_dim_v]
    int64_t seed;          ///< -1: the tensors are there
    lhk_commvq_layout layout;
} source;

lhk_status lhk_commvq_take_seed(const lhk_problem *problem, const char *what, const char *form, int64_t *seed,
                                lhk_error *error) {
    const char *file = lhk_option_value(problem, "calibration");
    *seed = -1;
    lhk_status status = lhk_option_int(problem, "commvq", "random", 0, INT32_MAX, seed, error);
    if (status) return status;
    if (file && *seed >= 0)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "commvq: options calibration and random exclude each other");
    if (!file && *seed < 0)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, -1, "commvq needs %s: option calibration=FILE, a file that "
                        "`longhand calibrate commvq%s` makes", what, form);
    return LHK_OK;
}

lhk_status lhk_commvq_check_position(const lhk_problem *problem, lhk_error *error) {
    if (problem->position) return LHK_OK;
    return lhk_fail(error, LHK_ERROR_UNSUPPORTED, -1, "commvq keeps keys as they are before rotary positions: it needs "
                    "the position method of the model, without options");
}

static lhk_status find(const lhk_problem *problem, const lhk_commvq_state *shape, source *out, lhk_error *error) {
    *out = (source){.layout = lhk_commvq_layout_of(shape)};
    lhk_status status = lhk_commvq_take_seed(problem, "codebooks", "", &out->seed, error);
    if (status || out->seed >= 0) return status;
    const lhk_commvq_layout *l = &out->layout;
    const int64_t key_shape[] = {l->kv_heads, l->levels, LEVEL_CODES, l->dim_k};
    const int64_t weight_shape[] = {l->kv_heads, l->pairs};
    const int64_t value_shape[] = {l->kv_heads, l->value_bits, l->dim_v}, offset_shape[] = {l->kv_heads, l->dim_v};
    status = lhk_problem_parameter(problem, "commvq.key_codebook", 4, key_shape, &out->keys, error);
    if (!status) status = lhk_problem_parameter(problem, "commvq.key_weight", 2, weight_shape, &out->weights, error);
    if (!status) status = lhk_problem_parameter(problem, "commvq.value_codebook", 3, value_shape, &out->values, error);
    if (!status) status = lhk_problem_parameter(problem, "commvq.value_offset", 2, offset_shape, &out->offsets, error);
    if (status) return status;
    if (!out->keys || !out->weights || !out->values || !out->offsets)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "commvq: layer %u has no codebooks (key_codebook, key_weight, "
                        "value_codebook, value_offset): calibrate it, or give it another store, as in "
                        "--store-layers \"%u: bf16\"", lhk_problem_layer(problem), lhk_problem_layer(problem));
    return lhk_commvq_check_position(problem, error);
}

lhk_status lhk_commvq_check_tables(const lhk_problem *problem, const lhk_commvq_state *shape, lhk_error *error) {
    source from;
    return shape->product ? lhk_commvq_check_product(problem, shape, error) : find(problem, shape, &from, error);
}

// ---- random codebooks ----

double lhk_commvq_normal(int64_t seed, uint64_t index) {
    double sum = -2;
    for (uint64_t i = 0; i < 4; i++) {
        uint64_t x = (uint64_t)seed * 0x9e3779b97f4a7c15u + index * 4 + i;
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
        x = (x ^ x >> 27) * 0x94d049bb133111ebu;
        sum += (double)(x >> 11 ^ x >> 43) * 0x1p-53;
    }
    return sum * 1.7320508;
}

static double key_entry(const source *from, uint64_t head, uint64_t level, uint64_t code, uint64_t channel) {
    const lhk_commvq_layout *l = &from->layout;
    uint64_t index = ((head * l->levels + level) * LEVEL_CODES + code) * l->dim_k + channel;
    if (from->seed < 0) return (double)from->keys[index];
    // As long as the best of 256 random centres wants them, for a residual that shrinks level by level.
    return lhk_commvq_normal(from->seed, index) * 2.4 / l->dim_k * pow(1 - 4.0 / l->dim_k, (double)level) / sqrt((double)l->kv_heads);
}

static double value_entry(const source *from, uint64_t head, uint64_t bit, uint64_t channel) {
    const lhk_commvq_layout *l = &from->layout;
    uint64_t index = (head * l->value_bits + bit) * l->dim_v + channel;
    if (from->seed < 0) return (double)from->values[index];
    return lhk_commvq_normal(from->seed + 1, index) * 2 / sqrt((double)l->value_bits * l->kv_heads * l->dim_v);
}

// ---- keys ----

/// Most that the sum of levels [first, first + 8) can be in a pair, in either member.
static double stage_bound(const source *from, uint64_t head, uint64_t first, uint64_t pair) {
    double sum = 0;
    for (uint64_t r = first; r < first + LHK_COMMVQ_STAGE; r++) {
        double x = 0, y = 0;
        for (uint64_t c = 0; c < LEVEL_CODES; c++) {
            x = fmax(x, fabs(key_entry(from, head, r, c, pair)));
            y = fmax(y, fabs(key_entry(from, head, r, c, from->layout.pairs + pair)));
        }
        sum += x + y;
    }
    return sum;
}

/// Chooses steps and exponents so that no sum of a stage leaves a byte, and no sum of stages 16 bits.
static void choose_steps(const source *from, uint64_t head, double *steps, int32_t *exponents) {
    const lhk_commvq_layout *l = &from->layout;
    double bounds[LHK_COMMVQ_MAX_STAGES][LHK_COMMVQ_MAX_PAIRS];
    double most[LHK_COMMVQ_MAX_STAGES] = {0}, largest = 0, sum = 0;
    for (uint64_t m = 0; m < l->stages; m++) {
        for (uint64_t j = 0; j < l->pairs; j++) {
            bounds[m][j] = stage_bound(from, head, m * LHK_COMMVQ_STAGE, j);
            most[m] = fmax(most[m], bounds[m][j]);
        }
        largest = fmax(largest, most[m]);
    }
    int32_t down[LHK_COMMVQ_MAX_STAGES], top = 0;
    for (uint64_t m = 0; m < l->stages; m++) {
        down[m] = most[m] > 0 && largest < 64 * most[m] ? (int32_t)floor(log2(largest / most[m])) : 6;
        sum += ldexp(127, -down[m]);
    }
    while (ldexp(sum, top + 1) <= 32767) top++;
    for (uint64_t m = 0; m < l->stages; m++) exponents[m] = top > down[m] ? top - down[m] : 0;
    for (sum = 0; sum == 0 || sum > 32767;) {  // where an exponent was clamped
        sum = 0;
        for (uint64_t m = 0; m < l->stages; m++) sum += ldexp(127, exponents[m]);
        for (uint64_t m = 0; m < l->stages && sum > 32767; m++) exponents[m] -= exponents[m] > 0;
    }
    for (uint64_t j = 0; j < l->pairs; j++) {
        double step = 0;  // 119 leaves room for the rounding of 16 entries
        for (uint64_t m = 0; m < l->stages; m++)
            step = fmax(step, bounds[m][j] / ldexp(119, exponents[m]));
        steps[j] = step;
    }
}

static void fill_keys(const source *from, lhk_instance *store, uint64_t head) {
    const lhk_commvq_layout *l = &from->layout;
    float *key_steps = lhk_commvq_floats_at(store, l->key_step) + head * l->pairs;
    float *weights = lhk_commvq_floats_at(store, l->key_weight) + head * l->pairs;
    double steps[LHK_COMMVQ_MAX_PAIRS];
    int32_t *exponents = (int32_t *)(void *)lhk_commvq_at(store, l->key_exponent) + head * l->stages;
    choose_steps(from, head, steps, exponents);
    for (uint64_t j = 0; j < l->pairs; j++) {
        weights[j] = from->seed < 0 ? from->weights[head * l->pairs + j] : 1;
        key_steps[j] = (float)(steps[j] / (double)weights[j]);
    }
    for (uint64_t r = 0; r < l->levels; r++) {
        uint64_t level = head * l->levels + r;
        int8_t *table = lhk_commvq_key_entries(store, l, level);
        float *norm = lhk_commvq_floats_at(store, l->key_norm) + level * 16;
        float *cross = lhk_commvq_floats_at(store, l->key_cross) + level * 256;
        double norms[16] = {0}, crosses[256] = {0};
        for (uint64_t j = 0; j < l->pairs; j++) {
            double unit = ldexp(steps[j], exponents[r / LHK_COMMVQ_STAGE]), z[2][16];
            for (uint64_t i = 0; i < 32; i++) {
                double entry = key_entry(from, head, r, i % 16, j + i / 16 * l->pairs);
                int8_t *at = table + j * LHK_COMMVQ_STAGE * 32 + i;
                *at = (int8_t)(unit > 0 ? rint(entry / unit) : 0);
                z[i / 16][i % 16] = *at * unit;
            }
            for (uint64_t a = 0; a < 16; a++) {
                norms[a] += z[0][a] * z[0][a] + z[1][a] * z[1][a];
                for (uint64_t b = 0; b < 16; b++) crosses[a * 16 + b] += 2 * (z[0][a] * z[1][b] - z[1][a] * z[0][b]);
            }
        }
        for (uint64_t a = 0; a < 16; a++) norm[a] = (float)norms[a];
        for (uint64_t i = 0; i < 256; i++) cross[i] = (float)crosses[i];
    }
}

// ---- values ----

static void fill_values(const source *from, lhk_instance *store, uint64_t head) {
    const lhk_commvq_layout *l = &from->layout;
    const uint64_t bits = l->value_bits, dim = l->dim_v;
    float *rows = lhk_commvq_floats_at(store, l->value_rows) + head * bits * dim;
    float *offset = lhk_commvq_floats_at(store, l->value_offset) + head * dim;
    for (uint64_t c = 0; c < dim; c++) {
        double half = 0;
        for (uint64_t k = 0; k < bits; k++) {
            rows[k * dim + c] = (float)value_entry(from, head, k, c);
            half += (double)rows[k * dim + c] / 2;
        }
        offset[c] = from->seed < 0 ? from->offsets[head * dim + c] : (float)-half;
    }
    lhk_commvq_value_tables tables = lhk_commvq_search(store, l, (uint32_t)head);
    lhk_commvq_prepare_values((int64_t)bits, (int64_t)dim, rows, offset, &tables);
}

lhk_status lhk_commvq_check_weights(const char *name, const float *weights, uint64_t count, uint32_t layer, lhk_error *error) {
    for (uint64_t n = 0; n < count; n++)
        if (!(weights[n] >= 0x1p-20f && weights[n] <= 0x1p20f))
            return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "commvq: parameter '%s' of layer %u holds %g, beyond 2^-20 and 2^20",
                            name, layer, (double)weights[n]);
    return LHK_OK;
}

lhk_status lhk_commvq_check_numbers(const char *name, const float *numbers, uint64_t count, uint32_t layer, lhk_error *error) {
    for (uint64_t n = 0; n < count; n++)
        if (!(fabsf(numbers[n]) <= 0x1p20f))
            return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "commvq: parameter '%s' of layer %u holds %g, beyond 2^20", name,
                            layer, (double)numbers[n]);
    return LHK_OK;
}

static lhk_status check_source(const source *from, uint32_t layer, lhk_error *error) {
    const lhk_commvq_layout *l = &from->layout;
    const uint64_t heads = l->kv_heads;
    lhk_status status = lhk_commvq_check_weights("commvq.key_weight", from->weights, heads * l->pairs, layer, error);
    if (!status)
        status = lhk_commvq_check_numbers("commvq.key_codebook", from->keys, heads * l->levels * LEVEL_CODES * l->dim_k, layer,
                                          error);
    if (!status)
        status = lhk_commvq_check_numbers("commvq.value_codebook", from->values, heads * l->value_bits * l->dim_v, layer, error);
    return status ? status : lhk_commvq_check_numbers("commvq.value_offset", from->offsets, heads * l->dim_v, layer, error);
}

lhk_status lhk_commvq_finish_tables(const lhk_problem *problem, bool random, lhk_instance *store, lhk_error *error) {
    lhk_commvq_state *state = (lhk_commvq_state *)store;
    const lhk_commvq_layout l = lhk_commvq_layout_of(state);
    lhk_status status = lhk_commvq_fill_turns(problem, random, store, error);
    if (status) return status;
    uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a, by words: all tables are whole ones
    for (uint64_t at = LHK_COMMVQ_HEADER; at < l.turn_token; at += 8) {
        uint64_t word;
        memcpy(&word, lhk_commvq_at(store, at), 8);
        hash = (hash ^ word) * 0x100000001b3u;
    }
    state->codebooks = hash;
    return LHK_OK;
}

lhk_status lhk_commvq_fill_tables(const lhk_problem *problem, lhk_instance *store, lhk_error *error) {
    lhk_commvq_state *state = (lhk_commvq_state *)store;
    if (state->product) return lhk_commvq_fill_product(problem, store, error);
    source from;
    lhk_status status = find(problem, state, &from, error);
    if (!status && from.seed < 0) status = check_source(&from, lhk_problem_layer(problem), error);
    if (status) return status;
    for (uint64_t head = 0; head < state->kv_heads; head++) {
        fill_keys(&from, store, head);
        fill_values(&from, store, head);
    }
    return lhk_commvq_finish_tables(problem, from.seed >= 0, store, error);
}
