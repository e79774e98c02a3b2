// SPDX-License-Identifier: Apache-2.0
/// The formula in double precision, key by key. Codes next to a threshold may fall either way in single precision, so every
/// score is an interval: a key is chosen if too few others can be ahead of it, and left out if enough surely are.
#include "lhk_adamas_index.h"

/// Relative distance to a threshold within which rounding may decide.
#define CLOSE 2e-5

typedef struct range {
    double low, high;
} range;

typedef struct formula {
    lhk_adamas_config c;
    int64_t keys, rows;
    double scale;
    double *y;       ///< [keys][dim]: transformed keys of one KV head, centred and normalised
    double *rms;     ///< [keys]: what they were divided by
    double *loose;   ///< [keys]: relative error of that, where rounding to f16 may go either way
    double *mean, *slack;  ///< [blocks][dim]: mean of each block, and how far off it may be
    double *sorted;  ///< values of the sample
    double balance[LHK_ADAMAS_MOST_DIM], thresholds[3];
    double level[4], doubt[4];  ///< what codes stand for, and how far off it may be
    double error;    ///< of normalised values and thresholds, relative
} formula;

static void transform(double *x, int64_t dim) {
    for (int64_t size; dim > 0; x += size, dim -= size) {
        size = lhk_hadamard_block(dim);
        for (int64_t stride = 1; stride < size; stride *= 2)
            for (int64_t i = 0; i < size; i++) {
                if (i & stride) continue;
                double sum = x[i] + x[i + stride];
                x[i + stride] = x[i] - x[i + stride];
                x[i] = sum;
            }
        for (int64_t i = 0; i < size; i++) x[i] /= sqrt((double)size);
    }
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/// Factors of channels from the keys of the sample, [sample][dim] at y.
static void prepare_balance(formula *f) {
    int64_t dim = f->c.dim_k, rows = f->c.sample;
    double average = 0;
    for (int64_t c = 0; c < dim; c++) {
        double sum = 0, squares = 0;
        for (int64_t j = 0; j < rows; j++) sum += f->y[j * dim + c] / (double)rows;
        for (int64_t j = 0; j < rows; j++) squares += (f->y[j * dim + c] - sum) * (f->y[j * dim + c] - sum) / (double)rows;
        f->balance[c] = squares;
        average += squares / (double)dim;
    }
    for (int64_t c = 0; c < dim; c++) {
        double least = LHK_ADAMAS_LEAST_VARIANCE * average;
        f->balance[c] = !f->c.balance || average == 0 ? 1 : pow(average / fmax(f->balance[c], least), 0.25);
    }
}

/// The least and the greatest code that y may get, if it may be `room` off besides rounding.
static void codes_of(double y, const double *thresholds, double error, double room, int *low, int *high) {
    *low = *high = 0;
    for (int i = 0; i < 3; i++) {
        double all = error * (fabs(y) + fabs(thresholds[i])) + room;
        *low += y - all > thresholds[i];
        *high += y + all > thresholds[i];
    }
}

static void codes_of_key(const formula *f, int64_t j, int64_t c, int *low, int *high) {
    double slack = f->slack[j / LHK_ADAMAS_BLOCK * f->c.dim_k + c], magnitude = f->c.scoring == LHK_ADAMAS_ASYMMETRIC ? 1 : f->rms[j];
    double room = CLOSE * magnitude + (f->rms[j] > 0 ? slack / f->rms[j] : 0);
    codes_of(f->y[j * f->c.dim_k + c], f->thresholds, f->error + f->loose[j], room, low, high);
}

/// Centres key j and divides it by the root of its mean square in f16. Distances go without the division.
static void normalise(formula *f, int64_t j) {
    int64_t dim = f->c.dim_k;
    double *y = f->y + j * dim, squares = 0, off = 0;
    for (int64_t c = 0; c < dim; c++) {
        double slack = f->slack[j / LHK_ADAMAS_BLOCK * dim + c];
        y[c] -= f->mean[j / LHK_ADAMAS_BLOCK * dim + c];
        squares += y[c] * y[c];
        off += slack * slack;
    }
    double rms = sqrt(squares / (double)dim), about = sqrt(off / (double)dim);
    f->rms[j] = rms;
    f->loose[j] = 0;
    if (f->c.scoring != LHK_ADAMAS_ASYMMETRIC) return;
    double least = lhk_f16_to_f32(lhk_f32_to_f16((float)(fmax(rms - about, 0) * (1 - 4e-6))));
    double most = lhk_f16_to_f32(lhk_f32_to_f16((float)((rms + about) * (1 + 4e-6))));
    f->rms[j] = (least + most) / 2;
    if (f->rms[j] > 0) f->loose[j] = (most - least) / 2 / f->rms[j];
    for (int64_t c = 0; c < dim; c++) y[c] = f->rms[j] > 0 ? y[c] / f->rms[j] : 0;
}

/// Thresholds and levels from the normalised keys of the sample.
static void prepare_levels(formula *f) {
    static const double shares[2][3] = {{0.25, 0.5, 0.75}, {0.164, 0.5, 0.836}};
    int64_t count = f->c.sample * f->c.dim_k, members[4] = {0};
    double sum[4] = {0};
    f->error = 0;
    for (int64_t j = 0; j < f->c.sample; j++) f->error = fmax(f->error, f->loose[j]);
    f->error += CLOSE;
    memcpy(f->sorted, f->y, (size_t)count * sizeof *f->sorted);
    qsort(f->sorted, (size_t)count, sizeof *f->sorted, compare);
    for (int i = 0; i < 3; i++)
        f->thresholds[i] = f->sorted[(int64_t)(shares[f->c.scoring == LHK_ADAMAS_ASYMMETRIC][i] * (double)count)];
    for (int64_t i = 0; i < count; i++) {
        int code = (f->y[i] > f->thresholds[0]) + (f->y[i] > f->thresholds[1]) + (f->y[i] > f->thresholds[2]);
        sum[code] += f->y[i];
        members[code]++;
    }
    for (int i = 0; i < 4; i++) f->level[i] = members[i] ? sum[i] / (double)members[i] : 0;
    double floor = f->level[0], unit = (f->level[3] - floor) / 127;
    for (int i = 0; i < 4 && unit > 0; i++) {
        double step = (f->level[i] - floor) / unit, to_edge = fabs(fabs(step - rint(step)) - 0.5);
        f->level[i] = floor + unit * rint(step);
        f->doubt[i] = (to_edge < 0.05 ? unit : 0) + (CLOSE + f->error) * fmax(fabs(f->level[0]), fabs(f->level[3]));
    }
}

/// The mean of block b from what the codes of the block before stand for.
static void move_mean(formula *f, int64_t b) {
    int64_t dim = f->c.dim_k;
    for (int64_t c = 0; c < dim; c++) {
        double mean = 0, slack = 0, size = 0;
        for (int64_t j = (b - 1) * LHK_ADAMAS_BLOCK; j < b * LHK_ADAMAS_BLOCK; j++) {
            int low, high;
            codes_of_key(f, j, c, &low, &high);
            double x = f->level[low], y = f->level[high], doubt = fmax(f->doubt[low], f->doubt[high]);
            mean += f->rms[j] * (x + y) / 2;
            slack += f->rms[j] * ((y - x) / 2 + doubt + f->loose[j] * fmax(fabs(x), fabs(y)));
            size += f->rms[j];
        }
        f->mean[b * dim + c] = f->mean[(b - 1) * dim + c] + mean / LHK_ADAMAS_BLOCK;
        f->slack[b * dim + c] = f->slack[(b - 1) * dim + c] + (slack + 3e-5 * size) / LHK_ADAMAS_BLOCK;
    }
}

/// Keys of a KV head as codes see them, thresholds and levels.
static void prepare(formula *f, const lhk_tensor *k, int64_t head) {
    int64_t dim = f->c.dim_k;
    for (int64_t j = 0; j < f->keys; j++)
        for (int64_t c = 0; c < dim; c++) f->y[j * dim + c] = lhk_load_element(lhk_row(k, j, head), k->dtype, c);
    prepare_balance(f);
    for (int64_t j = 0; j < f->keys; j++) {
        for (int64_t c = 0; c < dim; c++) f->y[j * dim + c] *= f->balance[c];
        transform(f->y + j * dim, dim);
    }
    int64_t blocks = (f->keys + LHK_ADAMAS_BLOCK - 1) / LHK_ADAMAS_BLOCK;
    memset(f->mean, 0, (size_t)(blocks * dim) * sizeof *f->mean);
    memset(f->slack, 0, (size_t)(blocks * dim) * sizeof *f->slack);
    for (int64_t c = 0; c < dim; c++)
        for (int64_t j = 0; f->c.center && j < f->c.sample; j++) f->mean[c] += f->y[j * dim + c] / (double)f->c.sample;
    for (int64_t j = 0; j < f->c.sample; j++) {
        int64_t b = j / LHK_ADAMAS_BLOCK;
        if (b && j % LHK_ADAMAS_BLOCK == 0) memcpy(f->mean + b * dim, f->mean, (size_t)dim * sizeof *f->mean);
        normalise(f, j);
    }
    prepare_levels(f);
    for (int64_t j = f->c.sample; j < f->keys; j++) {
        int64_t b = j / LHK_ADAMAS_BLOCK;
        if (b && j % LHK_ADAMAS_BLOCK == 0) {
            if (f->c.center == LHK_ADAMAS_CENTER_MOVING) move_mean(f, b);
            else memcpy(f->mean + b * dim, f->mean, (size_t)dim * sizeof *f->mean);
        }
        normalise(f, j);
    }
}

/// Minus the Manhattan distance.
static range distance_score(const formula *f, const double *hq, double rms_q, int64_t j) {
    double quartile = 0.67448975 * rms_q, tq[] = {-quartile, 0, quartile}, least = 0, most = 0;
    for (int64_t c = 0; c < f->c.dim_k; c++) {
        int a, b, x, y;
        codes_of(hq[c], tq, CLOSE, CLOSE * rms_q, &a, &b);
        codes_of_key(f, j, c, &x, &y);
        int apart = lhk_max(0, lhk_max(x - b, a - y));
        least += apart;
        most += lhk_max(abs(b - x), abs(y - a));
    }
    return (range){-most, -least};
}

/// The dot product with the levels and, where means move, with the block's, in log2 units. Codes of the query that may fall
/// either way are bounded rather than repeated.
static range estimate(const formula *f, const double *hq, double most_q, int64_t j) {
    double unit = most_q / 127, sum = 0, room = 0, base = 0, base_room = 0, log2_scale = f->scale * 1.4426950408889634;
    const double *mean = f->mean + j / LHK_ADAMAS_BLOCK * f->c.dim_k, *slack = f->slack + j / LHK_ADAMAS_BLOCK * f->c.dim_k;
    for (int64_t c = 0; c < f->c.dim_k; c++) {
        int x, y;
        codes_of_key(f, j, c, &x, &y);
        double q = most_q > 0 ? rint(hq[c] / unit) * unit : 0, a = f->level[x], b = f->level[y];
        double either = fabs(fabs(hq[c] / unit - rint(hq[c] / unit)) - 0.5) < 1e-3 ? unit : 0;
        sum += q * (a + b) / 2;
        room += fabs(q) * ((b - a) / 2 + fmax(f->doubt[x], f->doubt[y])) + either * fmax(fabs(a), fabs(b));
        base += hq[c] * mean[c];
        base_room += fabs(hq[c]) * (slack[c] + 4e-6 * fabs(mean[c]));
    }
    room += (CLOSE + f->loose[j]) * fabs(sum) + 1e-5;
    if (f->c.center != LHK_ADAMAS_CENTER_MOVING) base = base_room = 0;
    return (range){log2_scale * (f->rms[j] * (sum - room) + base - base_room),
                   log2_scale * (f->rms[j] * (sum + room) + base + base_room)};
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
    double hq[LHK_ADAMAS_MOST_DIM], squares = 0, most = 0;
    for (int64_t c = 0; c < f->c.dim_k; c++) hq[c] = lhk_load_element(lhk_row(q, 0, head), q->dtype, c) / f->balance[c];
    transform(hq, f->c.dim_k);
    for (int64_t c = 0; c < f->c.dim_k; c++) {
        squares += hq[c] * hq[c];
        most = fmax(most, fabs(hq[c]));
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
            if (f->c.scoring != LHK_ADAMAS_EXACT) prepare(f, k, kv);
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
