// SPDX-License-Identifier: Apache-2.0
/// The formulas in double precision, page by page. A score is an interval that rounding may move it in: a page is chosen if too
/// little can be ahead of it, left out if enough surely is, and may go either way otherwise.
#include "lhk_baselines_internal.h"

typedef struct bound {
    double value, weight;
} bound;

typedef struct formula {
    const lhk_baselines_kind *kind;
    lhk_baselines_config c;
    const lhk_tensor *q, *k;
    int64_t keys, origin;
    double scale;
    double *low, *high, *weight;  ///< [pages]
    bound *lows, *highs;          ///< [pages], sorted, with sums of the weights from each on
    double *query;                ///< [dim]
    uint8_t *choice;              ///< [pages]
} formula;

static double element(const lhk_tensor *t, int64_t row, int64_t head, int64_t c) {
    return (double)lhk_load_element(lhk_row(t, row, head), t->dtype, c);
}

/// Score of a page of keys, and how far single precision may move it.
static double score(const formula *f, int64_t kv_head, int64_t page, double *room) {
    const int64_t begin = page * f->c.page, end = lhk_min(begin + f->c.page, f->keys);
    double sum = 0;
    *room = 0;
    for (int64_t c = 0; c < f->c.dim; c++) {
        double least = INFINITY, most = -INFINITY, mean = 0, size = 0;
        for (int64_t t = begin; t < end; t++) {
            double x = element(f->k, t, kv_head, c);
            least = fmin(least, x);
            most = fmax(most, x);
            mean += x / (double)(end - begin);
            size += fabs(x) / (double)(end - begin);
        }
        double term = f->kind->prefill ? f->query[c] * mean : fmax(f->query[c] * least, f->query[c] * most);
        sum += term;
        *room += f->kind->prefill ? 1e-5 * (fabs(f->query[c]) + 1e-3) * size : 1e-5 * fabs(term);
    }
    double scale = f->kind->prefill ? f->scale : 1;
    *room = *room * scale + 1e-9;
    return sum * scale;
}

static int ascending(const void *a, const void *b) {
    double x = ((const bound *)a)->value, y = ((const bound *)b)->value;
    return (x > y) - (x < y);
}

/// Sorts, and turns weights into sums of all from there on.
static void sum_up(bound *bounds, int64_t count) {
    qsort(bounds, (size_t)count, sizeof *bounds, ascending);
    for (int64_t i = count - 2; i >= 0; i--) bounds[i].weight += bounds[i + 1].weight;
}

/// The weight of bounds above `value`, or, when `equal`, not below it.
static double weight_above(const bound *bounds, int64_t count, double value, bool equal) {
    int64_t low = 0, high = count;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        bool above = equal ? bounds[middle].value >= value : bounds[middle].value > value;
        if (above) high = middle;
        else low = middle + 1;
    }
    return low < count ? bounds[low].weight : 0;
}

static void choose(formula *f, int64_t head, int64_t first, int64_t rows) {
    const int64_t last = first + rows - 1 + f->origin, kv_head = head / (f->c.query_heads / f->c.kv_heads);
    const lhk_baselines_reach r = lhk_baselines_reach_of(f->kind, &f->c, last, f->keys);
    const int64_t count = r.to - r.from, pages = (f->keys + f->c.page - 1) / f->c.page;
    const bool by_mass = f->kind->prefill && f->c.share == 0;
    double most = -INFINITY, sum = 0, widest = 0;
    for (int64_t c = 0; c < f->c.dim; c++) {
        f->query[c] = 0;
        for (int64_t row = first; row < first + rows; row++) f->query[c] += element(f->q, row, head, c) / (double)rows;
    }
    for (int64_t i = 0; i < count; i++) {
        double room = 0;
        double s = f->kind->score ? score(f, kv_head, r.from + i, &room) : (double)lhk_baselines_draw(&f->c, head, last, r.from + i);
        f->low[i] = s - room;
        f->high[i] = s + room;
        most = fmax(most, s);
        widest = fmax(widest, room);
    }
    for (int64_t i = 0; i < count; i++) sum += f->weight[i] = by_mass ? exp((f->low[i] + f->high[i]) / 2 - most) : 1;
    for (int64_t i = 0; i < count; i++) {
        if (by_mass) f->weight[i] /= sum;
        f->lows[i] = (bound){f->low[i], f->weight[i]};
        f->highs[i] = (bound){f->high[i], f->weight[i]};
    }
    sum_up(f->lows, count);
    sum_up(f->highs, count);
    const double wanted = by_mass ? (double)f->c.mass : (double)r.wanted, slack = by_mass ? 1e-5 + 3 * widest : 0;
    memset(f->choice, LHK_CHOSEN_NO, (size_t)pages);
    memset(f->choice, LHK_CHOSEN_YES, (size_t)r.end);
    for (int64_t i = 0; i < count; i++) {
        double may = weight_above(f->highs, count, f->low[i], true) - f->weight[i];
        double must = weight_above(f->lows, count, f->high[i], false);
        f->choice[r.from + i] = may < wanted - slack     ? LHK_CHOSEN_YES
                                : must >= wanted + slack ? LHK_CHOSEN_NO
                                                         : LHK_CHOSEN_EITHER;
    }
}

static lhk_status choose_all(formula *f, uint8_t *chosen, lhk_error *error) {
    const int64_t rows = f->q->shape[0], heads = f->c.query_heads, tile = f->kind->prefill ? LHK_BASELINES_TILE_ROWS : 1;
    const size_t pages = (size_t)((f->keys + f->c.page - 1) / f->c.page);
    double *numbers = malloc((3 * pages + f->c.dim) * sizeof *numbers);
    f->lows = malloc(2 * pages * sizeof *f->lows);
    f->choice = malloc(pages);
    bool memory = numbers && f->lows && f->choice;
    if (memory) {
        f->low = numbers, f->high = numbers + pages, f->weight = numbers + 2 * pages, f->query = numbers + 3 * pages;
        f->highs = f->lows + pages;
    }
    for (int64_t first = 0; memory && first < rows; first += tile)
        for (int64_t head = 0; head < heads; head++) {
            const int64_t count = lhk_min(tile, rows - first);
            choose(f, head, first, count);
            for (int64_t row = first; row < first + count; row++)
                for (int64_t j = 0; j < f->keys; j++) chosen[(row * heads + head) * f->keys + j] = f->choice[j / f->c.page];
        }
    free(numbers);
    free(f->lows);
    free(f->choice);
    return memory ? LHK_OK : lhk_fail(error, LHK_ERROR_MEMORY, -1, "%s: no memory for the reference", f->kind->name);
}

static lhk_status run(const lhk_baselines_kind *kind, const lhk_problem *problem, const lhk_tensor *q, const lhk_tensor *k,
                      const lhk_attention_params *params, uint8_t *chosen, lhk_error *error) {
    formula f = {.kind = kind, .q = q, .k = k, .keys = k->shape[0], .origin = lhk_baselines_origin(q->shape[0], k->shape[0], params)};
    lhk_status status = lhk_baselines_configure(kind, problem, &f.c, error);
    if (status) return status;
    f.scale = params && params->scale > 0 ? (double)params->scale : 1 / sqrt((double)f.c.dim);
    if (lhk_baselines_selects(kind, &f.c, q->shape[0], f.keys, params)) return choose_all(&f, chosen, error);
    memset(chosen, LHK_CHOSEN_YES, (size_t)(q->shape[0] * f.c.query_heads * f.keys));
    return LHK_OK;
}

#define LHK_BASELINES_FORMULA(word)                                                                                         \
    static lhk_status word##_select(const lhk_problem *problem, const lhk_tensor *q, const lhk_tensor *k, const lhk_tensor *v, \
                                    const lhk_attention_params *params, uint8_t *chosen, lhk_error *error) {                \
        (void)v;                                                                                                            \
        return run(&lhk_baselines_##word, problem, q, k, params, chosen, error);                                            \
    }                                                                                                                       \
    const lhk_selector_reference lhk_baselines_##word##_formula = {.struct_size = sizeof(lhk_selector_reference),           \
                                                                   .select = word##_select};
LHK_BASELINES_FORMULA(quest)
LHK_BASELINES_FORMULA(pooled)
LHK_BASELINES_FORMULA(random)
