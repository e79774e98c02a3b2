// SPDX-License-Identifier: Apache-2.0
/// How the levels of `form=product` are shared out. Units in order of variance are cut into runs, and each run gets levels in
/// one of a few shapes. What every candidate leaves is measured by fitting it to a sample; dynamic programming then finds the
/// cut that leaves least with the levels there are.
#include "lhk_commvq_train_levels.h"

/// Levels on all of a run, one to four of them; or one on each unit, and one on all after those or before them.
enum { ONE, TWO, THREE, FOUR, SPLIT, JOIN, SHAPES };

#define MOST_UNITS 8  // of a run
#define PASSES 2      // over all pairs of units that may be swapped
#define REACH 8       // places in the order between them, at most
#define STEPS 8       // of k-means for a candidate
#define SKIPPED 255

static int32_t levels_of(int32_t units, int32_t shape) { return shape >= SPLIT ? units + 1 : shape + 1; }
/// Supports that hold a unit of the run beyond the first one.
static int32_t extra_of(int32_t units, int32_t shape) { return shape >= SPLIT ? units : units * shape; }

/// Runs longer than this have no such shape: they would leave more than shorter ones with as many levels.
static int32_t most_units(int32_t shape, bool paired) {
    static const int32_t most[2][SHAPES] = {{8, 4, 2, 1, 4, 4}, {4, 3, 3, 2, 3, 3}};
    return most[paired][shape];
}

typedef struct sharing {
    const lhk_commvq_columns *columns;
    int32_t units, unit;           ///< unit: channels of one
    int32_t pairs;                 ///< the second channel of a unit is so much further
    uint8_t order[LHK_COMMVQ_MAX_DIM];
    double variance[LHK_COMMVQ_MAX_DIM];  ///< in order
    double (*left)[MOST_UNITS + 1][SHAPES];  ///< of a run from a unit on
    float *residual;               ///< [dim][stride]: what a level of each unit alone leaves
    float *scratch;                ///< [LHK_COMMVQ_PRODUCT_WIDTH][stride], and codes
} sharing;

static void sort_units(sharing *s) {
    const lhk_commvq_columns *x = s->columns;
    for (int32_t u = 0; u < s->units; u++) {
        double sum = 0;
        for (int32_t part = 0; part < s->unit; part++)
            for (int64_t t = 0; t < x->count; t++) {
                const double v = (double)x->at[(u + part * s->pairs) * x->stride + t];
                sum += v * v;
            }
        int32_t at = u;
        for (; at > 0 && s->variance[at - 1] < sum; at--) {
            s->variance[at] = s->variance[at - 1];
            s->order[at] = s->order[at - 1];
        }
        s->variance[at] = sum;
        s->order[at] = (uint8_t)u;
    }
}

/// Channel `i` of the run that begins at unit `first` of the order.
static int32_t channel_of(const sharing *s, int32_t first, int32_t i) {
    return s->order[first + i / s->unit] + i % s->unit * s->pairs;
}

/// Fits levels one after the other to copies of the columns, and tells what each of them leaves.
static void measure(sharing *s, const float *const *from, int32_t width, int32_t stages, uint64_t *seed, double *left) {
    const lhk_commvq_columns *columns = s->columns;
    float *x[LHK_COMMVQ_PRODUCT_WIDTH] = {0};
    uint8_t *codes = (uint8_t *)(s->scratch + LHK_COMMVQ_PRODUCT_WIDTH * columns->stride);
    lhk_commvq_sparse_level level = {.width = width};
    for (int32_t j = 0; j < width; j++) {
        x[j] = s->scratch + j * columns->stride;
        memcpy(x[j], from[j], (size_t)columns->stride * sizeof(float));
    }
    for (int32_t i = 0; i < stages; i++) {
        left[i] = lhk_commvq_fit_level(&level, (const float *const *)x, columns, STEPS, false, seed, codes);
        lhk_commvq_take_out(&level, x, columns->count, codes);
        const int32_t units = width / s->unit;
        if (i > 0 || stages == 1 || units == 1 || units > most_units(JOIN, s->unit == 2)) continue;
        lhk_commvq_sparse_level alone = {.width = s->unit};
        left[JOIN] = 0;
        for (int32_t u = 0; u < units; u++)
            left[JOIN] += lhk_commvq_fit_level(&alone, (const float *const *)x + u * s->unit, columns, STEPS, false, seed, codes);
    }
}

static void measure_all(sharing *s, bool paired, uint64_t *seed) {
    const int64_t stride = s->columns->stride;
    const float *from[LHK_COMMVQ_PRODUCT_WIDTH];
    for (int32_t u = 0; u < s->units; u++)
        for (int32_t n = 1; n <= most_units(ONE, paired) && u + n <= s->units; n++) {
            const int32_t width = n * s->unit;
            int32_t stages = 1;
            while (stages < 4 && n <= most_units(stages, paired)) stages++;
            for (int32_t shape = 0; shape < SHAPES; shape++) s->left[u][n][shape] = INFINITY;
            for (int32_t j = 0; j < width; j++) from[j] = s->columns->at + channel_of(s, u, j) * stride;
            measure(s, from, width, stages, seed, s->left[u][n]);
        }
    // A level of each unit alone, whose residuals runs of shape SPLIT then share.
    for (int32_t u = 0; u < s->units; u++) {
        float *x[LHK_COMMVQ_PRODUCT_WIDTH] = {0};
        uint8_t *codes = (uint8_t *)(s->scratch + LHK_COMMVQ_PRODUCT_WIDTH * stride);
        lhk_commvq_sparse_level level = {.width = s->unit};
        for (int32_t j = 0; j < s->unit; j++) {
            x[j] = s->residual + channel_of(s, u, j) * stride;
            memcpy(x[j], s->columns->at + channel_of(s, u, j) * stride, (size_t)stride * sizeof(float));
        }
        lhk_commvq_fit_level(&level, (const float *const *)x, s->columns, STEPS, false, seed, codes);
        lhk_commvq_take_out(&level, x, s->columns->count, codes);
    }
    for (int32_t u = 0; u < s->units; u++)
        for (int32_t n = 2; n <= most_units(SPLIT, paired) && u + n <= s->units; n++) {
            for (int32_t j = 0; j < n * s->unit; j++) from[j] = s->residual + channel_of(s, u, j) * stride;
            measure(s, from, n * s->unit, 1, seed, &s->left[u][n][SPLIT]);
        }
}

/// A run of the cut.
typedef struct chosen_run {
    int32_t first, units, shape;
    double left;
} chosen_run;

/// What a run leaves, with the units that are in it now.
static double left_of(sharing *s, const chosen_run *run, uint64_t seed) {
    const float *from[LHK_COMMVQ_PRODUCT_WIDTH];
    double left[SHAPES];
    const float *columns = run->shape == SPLIT ? s->residual : s->columns->at;
    for (int32_t j = 0; j < run->units * s->unit; j++)
        from[j] = columns + channel_of(s, run->first, j) * s->columns->stride;
    measure(s, from, run->units * s->unit, run->shape == JOIN ? 2 : run->shape == SPLIT ? 1 : run->shape + 1, &seed, left);
    return left[run->shape == SPLIT ? ONE : run->shape];
}

/// Swaps units of runs where that leaves less: units that depend on one another come together.
static void swap_units(sharing *s, chosen_run *runs, int32_t count, uint64_t seed) {
    for (int32_t r = 0; r < count; r++) runs[r].left = left_of(s, &runs[r], seed);
    for (int pass = 0; pass < PASSES; pass++)
        for (int32_t q = 1; q < count; q++)
            for (int32_t r = 0; r < q; r++) {
                chosen_run *a = &runs[r], *b = &runs[q];
                if (a->units * b->units == 1) continue;
                for (int32_t i = a->first; i < a->first + a->units; i++)
                    for (int32_t j = b->first; j < b->first + b->units; j++) {
                        if (abs(i - j) > REACH) continue;
                        uint8_t unit = s->order[i];
                        s->order[i] = s->order[j];
                        s->order[j] = unit;
                        const double of_a = left_of(s, a, seed), of_b = left_of(s, b, seed);
                        if (of_a + of_b < (a->left + b->left) * 0.995) {
                            a->left = of_a;
                            b->left = of_b;
                        } else {
                            unit = s->order[i];
                            s->order[i] = s->order[j];
                            s->order[j] = unit;
                        }
                    }
            }
}

/// Adds the levels of a run to the plan.
static void add_run(const sharing *s, lhk_commvq_level_plan *plan, int32_t first, int32_t units, int32_t shape) {
    const int32_t count = levels_of(units, shape);
    plan->begin[plan->runs++] = plan->levels;
    for (int32_t i = 0; i < count; i++) {
        lhk_commvq_sparse_level *level = &plan->level[plan->levels++];
        const bool alone = (shape == SPLIT && i < units) || (shape == JOIN && i > 0);
        const int32_t at = first + (shape == JOIN ? i - 1 : i);
        level->width = (alone ? 1 : units) * s->unit;
        for (int32_t j = 0; j < level->width; j++) level->channels[j] = (uint8_t)channel_of(s, alone ? at : first, j);
    }
    plan->begin[plan->runs] = plan->levels;
}

/// Least that is left of the first i units with exactly l levels and at most e extra supports, and the way there.
static bool cut(sharing *s, lhk_commvq_level_plan *plan, bool paired, uint64_t *seed) {
    const int32_t levels = plan->levels, side = levels + 1, plane = side * side;
    double *least = malloc((MOST_UNITS + 1) * (size_t)plane * sizeof *least);  // of the last units
    uint8_t *choice = malloc(((size_t)s->units + 1) * (size_t)plane);
    if (!least || !choice) {
        free(least);
        free(choice);
        return false;
    }
    for (int32_t l = 0; l < side; l++)
        for (int32_t e = 0; e < side; e++) least[l * side + e] = l ? INFINITY : 0;
    for (int32_t i = 1; i <= s->units; i++)
        for (int32_t l = 0; l < side; l++)
            for (int32_t e = 0; e < side; e++) {
                const int32_t at = l * side + e;
                double best = least[(i - 1) % (MOST_UNITS + 1) * plane + at] + s->variance[i - 1];
                uint8_t how = SKIPPED;
                for (int32_t n = 1; n <= MOST_UNITS && n <= i; n++)
                    for (int32_t shape = 0; shape < SHAPES; shape++) {
                        const int32_t more = levels_of(n, shape), extra = extra_of(n, shape);
                        if (n > most_units(shape, paired) || (shape >= SPLIT && n == 1) || more > l || extra > e) continue;
                        const double before = least[(i - n) % (MOST_UNITS + 1) * plane + at - more * side - extra];
                        const double left = before + s->left[i - n][n][shape];
                        if (left < best) best = left, how = (uint8_t)(n * SHAPES + shape);
                    }
                least[i % (MOST_UNITS + 1) * plane + at] = best;
                choice[(int64_t)i * plane + at] = how;
            }
    chosen_run runs[LHK_COMMVQ_PRODUCT_LEVELS];
    int32_t count = 0;
    plan->levels = 0;
    for (int32_t i = s->units, l = levels, e = levels; i > 0;) {
        const uint8_t how = choice[(int64_t)i * plane + l * side + e];
        if (how == SKIPPED) {
            i--;
            continue;
        }
        i -= how / SHAPES;
        l -= levels_of(how / SHAPES, how % SHAPES);
        e -= extra_of(how / SHAPES, how % SHAPES);
        runs[count++] = (chosen_run){i, how / SHAPES, how % SHAPES, 0};
    }
    if (paired) swap_units(s, runs, count, *seed);
    for (int32_t r = 0; r < count; r++) add_run(s, plan, runs[r].first, runs[r].units, runs[r].shape);
    free(least);
    free(choice);
    return true;
}

bool lhk_commvq_share_levels(lhk_commvq_level_plan *plan, const lhk_commvq_columns *columns, int64_t dim, bool paired,
                             uint64_t *seed) {
    sharing s = {.columns = columns, .units = (int32_t)(paired ? dim / 2 : dim), .unit = paired ? 2 : 1,
                 .pairs = paired ? (int32_t)(dim / 2) : 0};
    s.left = malloc((size_t)s.units * sizeof *s.left);
    s.residual = malloc((size_t)(dim * columns->stride) * sizeof(float));
    s.scratch = malloc((size_t)lhk_commvq_fit_floats(columns->stride) * sizeof(float));
    bool done = s.left && s.residual && s.scratch;
    if (done) {
        sort_units(&s);
        measure_all(&s, paired, seed);
        done = cut(&s, plan, paired, seed);
    }
    free(s.left);
    free(s.residual);
    free(s.scratch);
    return done;
}
