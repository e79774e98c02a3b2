// SPDX-License-Identifier: Apache-2.0
/// Fitting levels of 16 vectors to columns of numbers: k-means, and turns of it where levels add up. Sums are
/// taken token by token, so that results are the same everywhere.
#include "lhk_commvq_train_levels.h"

// ---- one level ----

static float distance(const lhk_commvq_sparse_level *level, int32_t code, const float *const *x, int64_t token) {
    float sum = 0;
    for (int32_t j = 0; j < level->width; j++) {
        const float e = x[j][token] - level->entries[code][j];
        sum += e * e;
    }
    return sum;
}

#define SEEDS 512  // tokens that first vectors are drawn from

/// k-means++: each next vector is a token, drawn by its squared distance to those before.
static void draw_vectors(lhk_commvq_sparse_level *level, const float *const *x, int64_t count, uint64_t *seed) {
    float seeds[LHK_COMMVQ_PRODUCT_WIDTH][SEEDS], least[SEEDS], far[SEEDS];
    const int64_t some = count < SEEDS ? count : SEEDS, apart = count / some;
    for (int32_t j = 0; j < level->width; j++)
        for (int64_t i = 0; i < some; i++) seeds[j][i] = x[j][i * apart];
    for (int64_t i = 0; i < some; i++) least[i] = INFINITY;
    int64_t pick = lhk_commvq_random(seed, some);
    for (int32_t c = 0; c < (int32_t)LHK_COMMVQ_CODES; c++) {
        memset(far, 0, sizeof far);
        for (int32_t j = 0; j < level->width; j++) {
            const float at = level->entries[c][j] = seeds[j][pick];
            for (int64_t i = 0; i < some; i++) far[i] += (seeds[j][i] - at) * (seeds[j][i] - at);
        }
        double sum = 0;
        for (int64_t i = 0; i < some; i++) least[i] = far[i] < least[i] ? far[i] : least[i];
        for (int64_t i = 0; i < some; i++) sum += (double)least[i];
        double until = sum * (double)lhk_commvq_random(seed, INT64_C(1) << 40) * 0x1p-40;
        for (pick = 0; pick < some - 1 && until >= (double)least[pick]; pick++) until -= (double)least[pick];
    }
}

/// Moves vectors to the means of their tokens; one without tokens to the token that lies furthest from its own.
static void move_to_means(lhk_commvq_sparse_level *level, const float *const *x, int64_t count, const uint8_t *codes) {
    double sums[LHK_COMMVQ_CODES][LHK_COMMVQ_PRODUCT_WIDTH];
    int64_t counts[LHK_COMMVQ_CODES] = {0};
    for (int64_t t = 0; t < count; t++) counts[codes[t]]++;
    for (int32_t j = 0; j < level->width; j++) {
        double some[4][LHK_COMMVQ_CODES] = {{0}};  // four in turn: neighbours often have one code, and would wait for each other
        int64_t t = 0;
        for (; t + 4 <= count; t += 4)
            for (int i = 0; i < 4; i++) some[i][codes[t + i]] += (double)x[j][t + i];
        for (; t < count; t++) some[0][codes[t]] += (double)x[j][t];
        for (uint32_t c = 0; c < LHK_COMMVQ_CODES; c++) sums[c][j] = some[0][c] + some[1][c] + (some[2][c] + some[3][c]);
    }
    int64_t far = -1;
    for (int32_t c = 0; c < (int32_t)LHK_COMMVQ_CODES; c++) {
        if (counts[c]) continue;
        if (far >= 0) break;  // one a step: the next one would lie at the same place
        float most = -1;
        for (int64_t t = 0; t < count; t++) {
            const float d = distance(level, codes[t], x, t);
            if (d > most) far = t, most = d;
        }
        for (int32_t j = 0; j < level->width; j++) sums[c][j] = (double)x[j][far];
        counts[c] = 1;
    }
    for (int32_t c = 0; c < (int32_t)LHK_COMMVQ_CODES; c++)
        for (int32_t j = 0; j < level->width && counts[c]; j++) level->entries[c][j] = (float)(sums[c][j] / (double)counts[c]);
}

double lhk_commvq_fit_level(lhk_commvq_sparse_level *level, const float *const *x, const lhk_commvq_columns *columns,
                            int64_t steps, bool warm, uint64_t *seed, uint8_t *codes) {
    const int64_t count = columns->count;
    if (!warm) draw_vectors(level, x, count, seed);
    double left = columns->nearest(level, x, count, codes);
    for (int64_t step = 0; step < steps; step++) {
        const lhk_commvq_sparse_level before = *level;
        move_to_means(level, x, count, codes);
        const double now = columns->nearest(level, x, count, codes);
        const bool done = now >= left * (1 - 1e-5);
        if (now > left) {
            *level = before;
            return columns->nearest(level, x, count, codes);
        }
        left = now;
        if (done) break;
    }
    return left;
}

void lhk_commvq_take_out(const lhk_commvq_sparse_level *level, float *const *x, int64_t count, const uint8_t *codes) {
    for (int32_t j = 0; j < level->width; j++)
        for (int64_t t = 0; t < count; t++) x[j][t] -= level->entries[codes[t]][j];
}

// ---- levels that add up ----

#define MOST_STAGES 16  // levels of a run: codes of `lhk_commvq_fit_floats` are 4 * 4 bytes a token

/// Columns of a run's channels, and where each level of it finds its own among them.
typedef struct run_columns {
    int32_t count;
    int32_t channels[LHK_COMMVQ_PRODUCT_WIDTH];
    float *at[LHK_COMMVQ_PRODUCT_WIDTH];
} run_columns;

static void collect(const lhk_commvq_level_plan *plan, int32_t run, const lhk_commvq_columns *columns, float *scratch,
                    run_columns *out) {
    out->count = 0;
    for (int32_t l = plan->begin[run]; l < plan->begin[run + 1]; l++)
        for (int32_t j = 0; j < plan->level[l].width; j++) {
            int32_t i = 0;
            while (i < out->count && out->channels[i] != plan->level[l].channels[j]) i++;
            if (i < out->count) continue;
            out->channels[out->count] = plan->level[l].channels[j];
            out->at[out->count] = scratch + out->count * columns->stride;
            out->count++;
        }
}

static void load_columns(const run_columns *r, const lhk_commvq_columns *columns) {
    for (int32_t i = 0; i < r->count; i++)
        memcpy(r->at[i], columns->at + r->channels[i] * columns->stride, (size_t)columns->stride * sizeof(float));
}

static void pick_columns(const run_columns *r, const lhk_commvq_sparse_level *level, float **x) {
    for (int32_t j = 0; j < level->width; j++)
        for (int32_t i = 0; i < r->count; i++)
            if (r->channels[i] == level->channels[j]) x[j] = r->at[i];
}

/// Adds what the codes stand for to the columns again.
static void put_back(const lhk_commvq_sparse_level *level, float *const *x, int64_t count, const uint8_t *codes) {
    for (int32_t j = 0; j < level->width; j++)
        for (int64_t t = 0; t < count; t++) x[j][t] += level->entries[codes[t]][j];
}

static double squares(const run_columns *r, int64_t count) {
    double sum = 0;
    for (int32_t i = 0; i < r->count; i++)
        for (int64_t t = 0; t < count; t++) sum += (double)r->at[i][t] * (double)r->at[i][t];
    return sum;
}

/// Codes of a run's tokens, level by level, from the columns as they are; leaves what is left.
static void encode_run(const lhk_commvq_level_plan *plan, int32_t run, const run_columns *r,
                       const lhk_commvq_columns *columns, uint8_t *codes) {
    float *x[LHK_COMMVQ_PRODUCT_WIDTH] = {0};
    for (int32_t l = plan->begin[run]; l < plan->begin[run + 1]; l++, codes += columns->stride) {
        pick_columns(r, &plan->level[l], x);
        columns->nearest(&plan->level[l], (const float *const *)x, columns->count, codes);
        lhk_commvq_take_out(&plan->level[l], x, columns->count, codes);
    }
}

void lhk_commvq_fit_run(lhk_commvq_level_plan *plan, int32_t run, const lhk_commvq_columns *columns, int64_t steps,
                        bool warm, uint64_t *seed, float *scratch) {
    run_columns r;
    float *x[LHK_COMMVQ_PRODUCT_WIDTH] = {0};
    const int32_t first = plan->begin[run], levels = plan->begin[run + 1] - first;
    const int64_t stride = columns->stride, count = columns->count;
    uint8_t *codes = (uint8_t *)(scratch + LHK_COMMVQ_PRODUCT_WIDTH * stride);
    collect(plan, run, columns, scratch, &r);
    load_columns(&r, columns);
    for (int32_t l = 0; l < levels; l++) {
        lhk_commvq_sparse_level *level = &plan->level[first + l];
        pick_columns(&r, level, x);
        lhk_commvq_fit_level(level, (const float *const *)x, columns, steps, warm, seed, codes + l * stride);
        lhk_commvq_take_out(level, x, count, codes + l * stride);
    }
    if (levels < 2) return;
    double least = squares(&r, count);
    lhk_commvq_sparse_level best[MOST_STAGES];
    memcpy(best, plan->level + first, (size_t)levels * sizeof *best);
    for (int64_t step = 0; step < steps; step++) {
        for (int32_t l = 0; l < levels; l++) {
            lhk_commvq_sparse_level *level = &plan->level[first + l];
            pick_columns(&r, level, x);
            put_back(level, x, count, codes + l * stride);
            move_to_means(level, (const float *const *)x, count, codes + l * stride);
            lhk_commvq_take_out(level, x, count, codes + l * stride);
        }
        load_columns(&r, columns);
        encode_run(plan, run, &r, columns, codes);
        const double left = squares(&r, count);
        if (left < least) memcpy(best, plan->level + first, (size_t)levels * sizeof *best);
        if (left >= least * (1 - 1e-5) && step > 3) break;
        least = fmin(left, least);
    }
    memcpy(plan->level + first, best, (size_t)levels * sizeof *best);
}

void lhk_commvq_decode_levels(const lhk_commvq_level_plan *plan, const lhk_commvq_columns *columns, int64_t dim, float *decoded,
                              float *scratch) {
    run_columns r;
    const int64_t stride = columns->stride;
    memset(decoded, 0, (size_t)(dim * stride) * sizeof *decoded);
    for (int32_t run = 0; run < plan->runs; run++) {
        collect(plan, run, columns, scratch, &r);
        load_columns(&r, columns);
        encode_run(plan, run, &r, columns, (uint8_t *)(scratch + LHK_COMMVQ_PRODUCT_WIDTH * stride));
        for (int32_t i = 0; i < r.count; i++) {
            const float *from = columns->at + r.channels[i] * stride;
            for (int64_t t = 0; t < columns->count; t++) decoded[r.channels[i] * stride + t] = from[t] - r.at[i][t];
        }
    }
}
