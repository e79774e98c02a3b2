// SPDX-License-Identifier: Apache-2.0
/// The tables of form=product: sparse levels as bytes that shuffles look up, and as floats for the encoder.
#include "lhk_commvq_product.h"

enum { CODES = LHK_COMMVQ_CODES, WIDTH = LHK_COMMVQ_PRODUCT_WIDTH, MOST_LEVELS = 2 * LHK_COMMVQ_MAX_LEVELS };

/// Where levels come from: parameters, or a seed.
typedef struct source {
    const float *keys, *weights, *centre, *values, *axes, *offsets;  ///< see lhk_commvq_product
    int64_t seed;  ///< -1: the tensors are there
    lhk_commvq_layout layout;
} source;

static lhk_status find(const lhk_problem *problem, const lhk_commvq_state *shape, source *out, lhk_error *error) {
    *out = (source){.layout = lhk_commvq_layout_of(shape)};
    lhk_status status = lhk_commvq_take_seed(problem, "levels", " --form product", &out->seed, error);
    if (status || out->seed >= 0) return status;
    const lhk_commvq_layout *l = &out->layout;
    const int64_t heads = l->kv_heads, dk = l->dim_k, dv = l->dim_v;
    const struct {
        const char *name;
        uint32_t rank;
        int64_t shape[4];
        const float **at;
    } all[] = {{"commvq.product_keys", 4, {heads, l->key.levels, CODES, dk}, &out->keys},
               {"commvq.product_weight", 2, {heads, l->pairs}, &out->weights},
               {"commvq.product_centre", 2, {heads, dk}, &out->centre},
               {"commvq.product_values", 4, {heads, l->value.levels, CODES, dv}, &out->values},
               {"commvq.product_axes", 3, {heads, dv, dv}, &out->axes},
               {"commvq.product_offset", 2, {heads, dv}, &out->offsets}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        status = lhk_problem_parameter(problem, all[i].name, all[i].rank, all[i].shape, all[i].at, error);
        if (status) return status;
        if (!*all[i].at)
            return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "commvq: layer %u has no '%s': calibrate it with --form product, or "
                            "give it another store, as in --store-layers \"%u: bf16\"", lhk_problem_layer(problem),
                            all[i].name, lhk_problem_layer(problem));
    }
    return lhk_commvq_check_position(problem, error);
}

lhk_status lhk_commvq_check_product(const lhk_problem *problem, const lhk_commvq_state *shape, lhk_error *error) {
    source from;
    return find(problem, shape, &from, error);
}

// ---- random levels ----

/// Whether a random level covers a unit. As in trained ones, the first half of the levels share the units evenly, and each of the
/// others comes on top of one of these, every other one of keys of two.
static bool covers(const lhk_commvq_side *side, int64_t seed, uint64_t level, uint64_t unit) {
    const uint64_t first = (side->levels + 1) / 2, turn = (uint64_t)seed * 7 + 3;
    if (level >= first) {
        const uint64_t at = (level * 5 + turn) % side->units;
        return at == unit || (side->members == 2 && level % 2 && (at + side->units / 2) % side->units == unit);
    }
    const uint64_t most = WIDTH / side->members, share = (side->units + first - 1) / first;
    return (unit + turn) % side->units / (share < most ? share : most) == level;
}

/// Entry of a level, code and channel.
static double entry(const source *from, const lhk_commvq_side *side, uint64_t head, uint64_t level, uint64_t code,
                    uint64_t channel) {
    const bool keys = side->members == 2;
    const uint64_t index = ((head * side->levels + level) * CODES + code) * side->dim + channel;
    if (from->seed < 0) return (double)(keys ? from->keys : from->values)[index];
    if (!covers(side, from->seed, level, channel % side->units)) return 0;
    return lhk_commvq_normal(from->seed + keys, index) / sqrt((double)side->dim * from->layout.kv_heads);
}

// ---- one side of one head ----

/// What is known of a side before its tables are written.
typedef struct side_work {
    double centre[LHK_COMMVQ_MAX_DIM];       ///< added to levels
    double unit_step[LHK_COMMVQ_MAX_DIM];    ///< of a unit's channels
    uint16_t support[MOST_LEVELS][WIDTH];
    uint8_t width[MOST_LEVELS];
    uint16_t tables[LHK_COMMVQ_MAX_DIM];     ///< levels of a unit
} side_work;

static lhk_status take_supports(const source *from, const lhk_commvq_side *side, uint64_t head, uint32_t layer,
                                side_work *out, lhk_error *error) {
    const char *name = side->members == 2 ? "commvq.product_keys" : "commvq.product_values";
    uint64_t extra = 0;
    memset(out->tables, 0, sizeof out->tables);
    for (uint64_t g = 0; g < side->levels; g++) {
        uint64_t width = 0;
        for (uint64_t u = 0; u < side->units; u++) {
            bool there = false;
            for (uint64_t code = 0; code < CODES && !there; code++)
                for (uint64_t m = 0; m < side->members; m++)
                    there |= entry(from, side, head, g, code, u + m * side->units) != 0;
            if (!there) continue;
            if (width + side->members > WIDTH)
                return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "commvq: level %llu of parameter '%s' of layer %u, head %llu, "
                                "holds more than %d channels", (unsigned long long)g, name, layer, (unsigned long long)head, WIDTH);
            for (uint64_t m = 0; m < side->members; m++) out->support[g][width++] = (uint16_t)(u + m * side->units);
            extra += out->tables[u]++ > 0;
        }
        out->width[g] = (uint8_t)width;
        for (; width < WIDTH; width++) out->support[g][width] = UINT16_MAX;
    }
    if (extra > side->levels)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "commvq: levels of parameter '%s' of layer %u, head %llu, overlap in "
                        "%llu places, over %u", name, layer, (unsigned long long)head, (unsigned long long)extra, side->levels);
    return LHK_OK;
}

/// Steps such that no sum of tables leaves `most` steps on either side, whatever the codes.
static void choose_steps(const source *from, const lhk_commvq_side *side, uint64_t head, double most, side_work *w) {
    double low[LHK_COMMVQ_MAX_DIM], high[LHK_COMMVQ_MAX_DIM];
    for (uint64_t c = 0; c < side->dim; c++) low[c] = high[c] = w->centre[c];
    for (uint64_t g = 0; g < side->levels; g++)
        for (uint64_t i = 0; i < w->width[g]; i++) {
            const uint64_t c = w->support[g][i];
            double least = INFINITY, largest = -INFINITY;
            for (uint64_t code = 0; code < CODES; code++) {
                const double x = entry(from, side, head, g, code, c);
                least = fmin(least, x);
                largest = fmax(largest, x);
            }
            low[c] += least;
            high[c] += largest;
        }
    for (uint64_t u = 0; u < side->units; u++) {
        double bound = 0;
        for (uint64_t c = u; c < side->dim; c += side->units) bound = fmax(bound, fmax(fabs(low[c]), fabs(high[c])));
        const double roundings = 0.5 * (w->tables[u] + 1);
        w->unit_step[u] = bound / fmax(most - roundings, most / 4);
    }
}

static int32_t steps_of(double x, double step) { return step > 0 ? (int32_t)lrint(x / step) : 0; }

/// Writes tables of bytes, and vectors and norms for the encoder; no sum of a channel leaves `most` steps.
static lhk_status fill_side(const source *from, const lhk_commvq_side *side, uint64_t head, double most, uint32_t layer,
                            side_work *w, lhk_instance *store, lhk_error *error) {
    lhk_status status = take_supports(from, side, head, layer, w, error);
    if (status) return status;
    choose_steps(from, side, head, most, w);
    const lhk_commvq_side_tables t = lhk_commvq_side_at(store, side, (uint32_t)head);
    uint8_t *table = (uint8_t *)(uintptr_t)t.table;
    uint16_t *levels = (uint16_t *)(uintptr_t)t.level, *first = (uint16_t *)(uintptr_t)t.first;
    uint16_t *support = (uint16_t *)(uintptr_t)t.support;
    float *vectors = (float *)(uintptr_t)t.vectors, *norms = (float *)(uintptr_t)t.norms;
    const int32_t bias = side->members == 2 ? LHK_COMMVQ_KEY_BIAS : LHK_COMMVQ_VALUE_BIAS;
    uint16_t at = 0;
    for (uint64_t u = 0; u < side->units; u++) {
        first[u] = at;
        for (uint64_t g = 0; g < side->levels; g++) {
            bool there = false;
            for (uint64_t i = 0; i < w->width[g]; i++) there |= w->support[g][i] == u;
            if (!there && !(w->tables[u] == 0 && g == 0)) continue;  // a unit of no level has a table that is constant
            for (uint64_t m = 0; m < side->members; m++)
                for (uint64_t code = 0; code < CODES; code++) {
                    const uint64_t c = u + m * side->units;
                    int32_t steps = there ? steps_of(entry(from, side, head, g, code, c), w->unit_step[u]) : 0;
                    if (at == first[u]) steps += bias + steps_of(w->centre[c], w->unit_step[u]);
                    table[((uint64_t)at * side->members + m) * CODES + code] = (uint8_t)(uint32_t)steps;
                }
            levels[at++] = (uint16_t)g;
        }
    }
    first[side->units] = at;
    memcpy(support, w->support, (size_t)side->levels * sizeof *w->support);
    for (uint64_t g = 0; g < side->levels; g++) {
        double squares[CODES] = {0};
        for (uint64_t i = 0; i < w->width[g]; i++) {
            const uint64_t c = w->support[g][i];
            const double step = w->unit_step[c % side->units];
            for (uint64_t code = 0; code < CODES; code++) {
                const double x = steps_of(entry(from, side, head, g, code, c), step) * step;
                vectors[(g * WIDTH + i) * CODES + code] = (float)x;
                squares[code] += x * x;
            }
        }
        for (uint64_t code = 0; code < CODES; code++) norms[g * CODES + code] = (float)(squares[code] / 2);
    }
    return LHK_OK;
}

static lhk_status fill_keys(const source *from, lhk_instance *store, uint64_t head, uint32_t layer, lhk_error *error) {
    const lhk_commvq_layout *l = &from->layout;
    side_work w = {0};
    for (uint64_t c = 0; c < l->dim_k; c++)
        w.centre[c] = from->seed < 0 ? (double)from->centre[head * l->dim_k + c]
                                     : lhk_commvq_normal(from->seed + 2, head * l->dim_k + c) / (double)l->dim_k;
    lhk_status status = fill_side(from, &l->key, head, LHK_COMMVQ_KEY_BIAS - 1, layer, &w, store, error);
    float *steps = lhk_commvq_floats_at(store, l->key_step) + head * l->pairs;
    float *weights = lhk_commvq_floats_at(store, l->key_weight) + head * l->pairs;
    float *base = lhk_commvq_floats_at(store, l->key_base) + head * l->dim_k;
    for (uint64_t j = 0; j < l->pairs && !status; j++) {
        weights[j] = from->seed < 0 ? from->weights[head * l->pairs + j] : 1;
        steps[j] = (float)(w.unit_step[j] / 256 / (double)weights[j]);  // sums of keys are bytes in the high half of words
        for (uint64_t c = j; c < l->dim_k; c += l->pairs)
            base[c] = (float)(steps_of(w.centre[c], w.unit_step[j]) * w.unit_step[j]);
    }
    return status;
}

/// Axis i of a head's values at channel c; those that are random are channels, some with another sign.
static double axis(const source *from, uint64_t head, uint64_t i, uint64_t c) {
    const uint64_t dim = from->layout.dim_v;
    if (from->seed < 0) return (double)from->axes[(head * dim + i) * dim + c];
    return (i * 7 + head) % dim == c ? i % 3 ? 1 : -1 : 0;
}

static lhk_status fill_values(const source *from, lhk_instance *store, uint64_t head, uint32_t layer, lhk_error *error) {
    const lhk_commvq_layout *l = &from->layout;
    const uint64_t dim = l->dim_v;
    side_work w = {0};
    lhk_status status = fill_side(from, &l->value, head, LHK_COMMVQ_VALUE_BIAS - 1, layer, &w, store, error);
    if (status) return status;
    float *axes = lhk_commvq_floats_at(store, l->axes) + head * dim * dim;
    float *rows = lhk_commvq_floats_at(store, l->value_rows) + head * dim * dim;
    float *offset = lhk_commvq_floats_at(store, l->value_offset) + head * dim;
    float *along = lhk_commvq_floats_at(store, l->axis_offset) + head * dim;
    for (uint64_t c = 0; c < dim; c++) offset[c] = from->seed < 0 ? from->offsets[head * dim + c] : 0.01f;
    for (uint64_t i = 0; i < dim; i++) {
        double sum = 0;
        for (uint64_t c = 0; c < dim; c++) {
            axes[i * dim + c] = (float)axis(from, head, i, c);
            rows[i * dim + c] = (float)(axis(from, head, i, c) * w.unit_step[i]);
            sum += (double)axes[i * dim + c] * (double)offset[c];
        }
        along[i] = (float)sum;
    }
    const lhk_commvq_side_tables t = lhk_commvq_side_at(store, &l->value, (uint32_t)head);
    float *added = lhk_commvq_floats_at(store, l->level_rows) + head * l->value.levels * CODES * dim;
    for (uint64_t n = 0; n < l->value.levels * CODES; n++, added += dim) {
        const float *vector = t.vectors + n / CODES * WIDTH * CODES + n % CODES;
        for (uint64_t i = 0; i < w.width[n / CODES]; i++)
            for (uint64_t c = 0; c < dim; c++) added[c] += vector[i * CODES] * axes[w.support[n / CODES][i] * dim + c];
    }
    return LHK_OK;
}

static lhk_status check_source(const source *from, uint32_t layer, lhk_error *error) {
    const lhk_commvq_layout *l = &from->layout;
    const uint64_t heads = l->kv_heads, dk = l->dim_k, dv = l->dim_v;
    const struct {
        const char *name;
        const float *numbers;
        uint64_t count;
    } all[] = {{"commvq.product_keys", from->keys, heads * l->key.levels * CODES * dk},
               {"commvq.product_centre", from->centre, heads * dk},
               {"commvq.product_values", from->values, heads * l->value.levels * CODES * dv},
               {"commvq.product_axes", from->axes, heads * dv * dv},
               {"commvq.product_offset", from->offsets, heads * dv}};
    lhk_status status = lhk_commvq_check_weights("commvq.product_weight", from->weights, heads * l->pairs, layer, error);
    for (size_t i = 0; i < sizeof all / sizeof *all && !status; i++)
        status = lhk_commvq_check_numbers(all[i].name, all[i].numbers, all[i].count, layer, error);
    return status;
}

lhk_status lhk_commvq_fill_product(const lhk_problem *problem, lhk_instance *store, lhk_error *error) {
    const lhk_commvq_state *state = lhk_commvq(store);
    const uint32_t layer = lhk_problem_layer(problem);
    source from;
    lhk_status status = find(problem, state, &from, error);
    if (!status && from.seed < 0) status = check_source(&from, layer, error);
    if (status) return status;
    // Tables may be shorter than their room, and all of it enters the hash.
    memset(lhk_commvq_at(store, LHK_COMMVQ_HEADER), 0, (size_t)(from.layout.turn_token - LHK_COMMVQ_HEADER));
    for (uint64_t head = 0; head < state->kv_heads && !status; head++) {
        status = fill_keys(&from, store, head, layer, error);
        if (!status) status = fill_values(&from, store, head, layer, error);
    }
    return status ? status : lhk_commvq_finish_tables(problem, from.seed >= 0, store, error);
}
