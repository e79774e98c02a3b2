// SPDX-License-Identifier: Apache-2.0
/// The formula in double precision, key by key. Codes next to a threshold may fall either way in single precision, so every
/// score is an interval: a key is chosen if too few others can be ahead of it, and left out if enough surely are.
#include "lhk_adamas_reference.h"

typedef struct range {
    double low, high;
} range;

/// Minus the Manhattan distance.
static range distance_score(const formula *f, const double *hq, double rms_q, int64_t j) {
    double quartile = 0.67448975 * rms_q, tq[] = {-quartile, 0, quartile}, least = 0, most = 0;
    for (int64_t c = 0; c < f->c.dim_k; c++) {
        int a, b, x, y;
        lhk_adamas_formula_codes(hq[c], tq, CLOSE, CLOSE * rms_q, &a, &b);
        lhk_adamas_formula_key_codes(f, j, c, &x, &y);
        int apart = lhk_max(0, lhk_max(x - b, a - y));
        least += apart;
        most += lhk_max(abs(b - x), abs(y - a));
    }
    return (range){-most, -least};
}

/// The least and the greatest whole weight that the code of a channel may have: `size` is what a step of the levels weighs.
static range code_weight(const formula *f, double q, double size, int low, int high, double unit, double small) {
    double steps[2] = {(f->level[low] - f->level[0]) / unit, (f->level[high] - f->level[0]) / unit};
    double doubt = fmax(fmax(f->doubt[low], f->doubt[high]) - small, 0) / unit;
    double first = (q < 0 ? 127 - steps[1] : steps[0]) - doubt, last = (q < 0 ? 127 - steps[0] : steps[1]) + doubt;
    return (range){rint(size * fmax(first, 0) - 2e-3), rint(size * fmin(last, 127) + 2e-3)};
}

/// The sum of the weights of codes, which are whole and for a group of channels 249 at most but for rounding, and where
/// means move the product with the block's; in log2 units. `most`: the greatest sum of |query| over a group. Codes and
/// weights that may fall either way are bounded.
static range estimate(const formula *f, const double *hq, double most, int64_t j) {
    double floor = f->level[0], unit = (f->level[3] - floor) / 127, inverse = 249 / (127 * most);
    double small = (CLOSE + f->error) * fmax(fabs(floor), fabs(f->level[3])), log2_scale = f->scale * 1.4426950408889634;
    double low = 0, high = 0, room = 0, base = 0, base_room = 0;
    const double *mean = f->mean + j / LHK_ADAMAS_BLOCK * f->c.dim_k, *slack = f->slack + j / LHK_ADAMAS_BLOCK * f->c.dim_k;
    for (int64_t c = 0; c < f->c.dim_k; c++) {
        int x, y;
        lhk_adamas_formula_key_codes(f, j, c, &x, &y);
        range weight = {0};
        if (most > 0 && unit > 0) weight = code_weight(f, hq[c], fabs(hq[c]) * inverse, x, y, unit, small);
        double all = hq[c] * floor + fmin(hq[c], 0) * unit * 127;
        low += all + (most > 0 ? weight.low * unit / inverse : 0);
        high += all + (most > 0 ? weight.high * unit / inverse : 0);
        room += fabs(hq[c]) * small;
        base += hq[c] * mean[c];
        base_room += fabs(hq[c]) * (slack[c] + 4e-6 * fabs(mean[c]));
    }
    room += (CLOSE + f->loose[j]) * fmax(fabs(low), fabs(high)) + 1e-5;
    if (f->c.center != LHK_ADAMAS_CENTER_MOVING) base = base_room = 0;
    return (range){log2_scale * (f->rms[j] * (low - room) + base - base_room),
                   log2_scale * (f->rms[j] * (high + room) + base + base_room)};
}

/// The true score, in log2 units.
static range exact_score(const formula *f, const lhk_tensor *q, const lhk_tensor *k, int64_t head, int64_t j) {
    double sum = 0, room = 0;
    int64_t kv = head / (f->c.query_heads / f->c.kv_heads);
    for (int64_t c = 0; c < f->c.dim_k; c++) {
        double product = (double)lhk_load_element(lhk_row(q, 0, head), q->dtype, c) *
                         lhk_load_element(lhk_row(k, j, kv), k->dtype, c);
        sum += product;
        room += fabs(product);
    }
    return (range){(sum - 1e-5 * room) * f->scale * 1.4426950408889634, (sum + 1e-5 * room) * f->scale * 1.4426950408889634};
}

/// Marks keys [from, to) of `chosen` by their intervals: `wanted` of them, later ones first among equals.
static void mark(const range *scores, int64_t from, int64_t to, int64_t wanted, uint8_t *chosen) {
    for (int64_t j = from; j < to; j++) {
        int64_t may = 0, must = 0;
        for (int64_t i = from; i < to; i++) {
            if (i == j) continue;
            may += scores[i].high > scores[j].low || (scores[i].high == scores[j].low && i > j);
            must += scores[i].low > scores[j].high || (scores[i].low == scores[j].high && i > j);
        }
        chosen[j] = may < wanted ? LHK_CHOSEN_YES : must >= wanted ? LHK_CHOSEN_NO : LHK_CHOSEN_EITHER;
    }
}

static void score_head(const formula *f, const lhk_tensor *q, const lhk_tensor *k, int64_t head, range *scores) {
    double hq[LHK_ADAMAS_MOST_DIM], squares = 0, most = 0, group = 0;
    for (int64_t c = 0; c < f->c.dim_k; c++) hq[c] = lhk_load_element(lhk_row(q, 0, head), q->dtype, c) / f->balance[c];
    lhk_adamas_formula_transform(hq, f->c.dim_k);
    for (int64_t c = 0; c < f->c.dim_k; c++) {
        squares += hq[c] * hq[c];
        group = (c % LHK_ADAMAS_GROUP ? group : 0) + fabs(hq[c]);
        most = fmax(most, group);
    }
    for (int64_t j = 0; j < f->keys; j++)
        scores[j] = f->c.scoring == LHK_ADAMAS_EXACT        ? exact_score(f, q, k, head, j)
                    : f->c.scoring == LHK_ADAMAS_ASYMMETRIC ? estimate(f, hq, most, j)
                                                            : distance_score(f, hq, sqrt(squares / f->c.dim_k), j);
}

/// A key that one head of the union takes is taken for all.
static void unite(uint8_t *all, const uint8_t *one, int64_t keys) {
    for (int64_t j = 0; j < keys; j++) {
        bool yes = all[j] == LHK_CHOSEN_YES || one[j] == LHK_CHOSEN_YES, no = all[j] == LHK_CHOSEN_NO && one[j] == LHK_CHOSEN_NO;
        all[j] = yes ? LHK_CHOSEN_YES : no ? LHK_CHOSEN_NO : LHK_CHOSEN_EITHER;
    }
}

/// The heads of one KV head. `scores` and `sum` have room for [keys] each.
static void choose(formula *f, const lhk_tensor *q, const lhk_tensor *k, int64_t kv, range *scores, range *sum, uint8_t *chosen) {
    int64_t group = f->c.query_heads / f->c.kv_heads, n = f->keys, from = f->c.sinks, to = n - f->c.recent;
    int64_t wanted = f->c.budget - f->c.sinks - f->c.recent;
    uint8_t *first = chosen + kv * group * n;
    for (int64_t j = 0; j < n; j++) sum[j] = (range){0};
    for (int64_t g = 0; g < group; g++) {
        uint8_t *own = first + g * n;
        score_head(f, q, k, kv * group + g, scores);
        for (int64_t j = 0; j < n; j++) sum[j] = (range){sum[j].low + scores[j].low, sum[j].high + scores[j].high};
        for (int64_t j = 0; j < n; j++) own[j] = LHK_CHOSEN_YES;
        mark(scores, from, to, wanted, own);
        if (f->c.lists == LHK_ADAMAS_LISTS_UNION && g) unite(first, own, n);
    }
    if (f->c.lists == LHK_ADAMAS_LISTS_KV) mark(sum, from, to, wanted, first);
    for (int64_t g = 1; g < group && f->c.lists != LHK_ADAMAS_LISTS_QUERY; g++) for (int64_t j = 0; j < n; j++) first[g * n + j] = first[j];
}

static bool selects(const formula *f, const lhk_attention_params *params) {
    if (f->c.passive || f->rows != 1 || f->keys <= f->c.budget || f->keys < f->c.sample) return false;
    if (!params) return true;
    return params->window_left < 0 && !(params->flags & LHK_ATTENTION_OFFSET && params->offset != f->keys - 1);
}

static lhk_status formula_select(const lhk_problem *problem, const lhk_tensor *q, const lhk_tensor *k, const lhk_tensor *v,
                                 const lhk_attention_params *params, uint8_t *chosen, lhk_error *error) {
    formula *f = calloc(1, sizeof *f);
    (void)v;
    if (!f) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "adamas reference: no memory");
    lhk_status status = lhk_adamas_configure(problem, &f->c, error);
    f->keys = k->shape[0];
    f->rows = q->shape[0];
    f->scale = params && params->scale > 0 ? params->scale : 1 / sqrt((double)f->c.dim_k);
    size_t keys = (size_t)f->keys, dim = f->c.dim_k;
    if (!status && !selects(f, params)) {
        memset(chosen, LHK_CHOSEN_YES, (size_t)f->rows * f->c.query_heads * keys);
    } else if (!status) {
        range *scores = malloc(2 * keys * sizeof *scores);
        f->y = malloc(keys * dim * sizeof *f->y);
        size_t means = (keys / LHK_ADAMAS_BLOCK + 1) * dim;
        f->rms = malloc(keys * sizeof *f->rms);
        f->loose = malloc(keys * sizeof *f->loose);
        f->mean = malloc(means * sizeof *f->mean);
        f->slack = malloc(means * sizeof *f->slack);
        f->sorted = malloc((size_t)f->c.sample * dim * sizeof *f->sorted);
        if (!scores || !f->y || !f->rms || !f->loose || !f->mean || !f->slack || !f->sorted)
            status = lhk_fail(error, LHK_ERROR_MEMORY, -1, "adamas reference: no memory");
        for (int64_t kv = 0; !status && kv < f->c.kv_heads; kv++) {
            if (f->c.scoring != LHK_ADAMAS_EXACT) lhk_adamas_formula_prepare(f, k, kv);
            choose(f, q, k, kv, scores, scores + keys, chosen);
        }
        free(scores);
        free(f->y);
        free(f->rms);
        free(f->loose);
        free(f->mean);
        free(f->slack);
        free(f->sorted);
    }
    free(f);
    return status;
}

const lhk_selector_reference lhk_adamas_formula = {.struct_size = sizeof(lhk_selector_reference), .select = formula_select};
