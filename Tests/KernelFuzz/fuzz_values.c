// SPDX-License-Identifier: Apache-2.0
/// Fills q, k and v by value class, then places NaN and infinities where they must not matter, or where they must.
#include <lhk/support.h>

#include "fuzz_case.h"

/// What a class asks of one operand: a center, a random part, and rare or single exceptions.
typedef struct recipe {
    float center, spread;
    bool normal;
    float outlier_rate;
    float zero_rate;
} recipe;

enum { OPERAND_Q, OPERAND_K, OPERAND_V };

/// Magnitude of q and k elements whose products sum up to a score of `score`.
static float magnitude_for(const fuzz_case *c, float score) {
    float scale = c->problem.scale > 0 && !c->problem.no_params ? c->problem.scale : 1 / sqrtf((float)c->problem.dim_k);
    return sqrtf(score / (scale * (float)c->problem.dim_k));
}

static recipe recipe_for(const fuzz_case *c, int operand) {
    bool value = operand == OPERAND_V, small = c->problem.dim_k * c->problem.keys[0] < 20000;
    float sign = operand == OPERAND_K ? -1.0f : 1.0f, size;
    switch (c->problem.values) {
        case FUZZ_UNIFORM: return (recipe){.spread = 1};
        case FUZZ_OUTLIERS: return (recipe){.spread = 1, .normal = true, .outlier_rate = small ? 0.02f : 0.001f};
        case FUZZ_EQUAL: return (recipe){.center = value ? -1.375f : 0.75f};
        case FUZZ_HUGE_LOGITS: return (recipe){.spread = value ? 1 : 300};
        case FUZZ_NEGATIVE_LOGITS:
            size = magnitude_for(c, 2.45e5f) * sign;
            return value ? (recipe){.spread = 1} : (recipe){.center = size, .spread = operand == OPERAND_K ? size / 100 : 0};
        case FUZZ_MILD_NEGATIVE:
            size = magnitude_for(c, 20) * sign;
            return value ? (recipe){.spread = 1} : (recipe){.center = size, .spread = size / 2};
        case FUZZ_ONE_HUGE: return (recipe){.center = operand == OPERAND_Q ? 1.0f : 0, .spread = 1, .normal = value};
        case FUZZ_SUBNORMAL: return (recipe){.spread = 1e-39f};
        case FUZZ_SIGNED_ZEROS: return (recipe){.spread = 1, .zero_rate = 0.8f};
        case FUZZ_BEYOND_F16: return (recipe){.center = value ? 0 : 300, .spread = value ? 1 : 30};
        case FUZZ_LARGE_VALUES: return (recipe){.center = value ? 100 : 0, .spread = value ? 10 : 0.02f};
        default: return (recipe){.spread = 1, .normal = true};
    }
}

static float draw(fuzz_rng *rng, const recipe *r) {
    if (r->spread == 0) return r->center;
    float x = r->center + r->spread * (r->normal ? fuzz_normal(rng) : fuzz_uniform(rng));
    if (r->outlier_rate > 0 && fuzz_uniform(rng) * 0.5f + 0.5f < r->outlier_rate) x += 10 * fuzz_normal(rng);
    if (r->zero_rate > 0 && fuzz_uniform(rng) * 0.5f + 0.5f < r->zero_rate) x = copysignf(0, x);
    return x;
}

static void fill(fuzz_case *c, fuzz_rng *rng, const lhk_tensor *t, int operand) {
    recipe r = recipe_for(c, operand);
    if (t->dtype == LHK_DTYPE_F16 && c->problem.values == FUZZ_SUBNORMAL) r.spread = 5e-5f;
    for (int64_t i = 0; i < t->shape[0]; i++)
        for (int64_t h = 0; h < t->shape[1]; h++)
            for (int64_t x = 0; x < t->shape[2]; x++) lhk_store_element(lhk_row(t, i, h), t->dtype, x, draw(rng, &r));
    if (c->problem.values != FUZZ_ONE_HUGE || operand != OPERAND_K || t->shape[0] == 0) return;
    int64_t key = fuzz_below(rng, t->shape[0]);
    for (int64_t h = 0; h < t->shape[1]; h++)
        for (int64_t x = 0; x < t->shape[2]; x++) lhk_store_element(lhk_row(t, key, h), t->dtype, x, 10);
}

void fuzz_fill_values(fuzz_case *c, fuzz_rng *rng) {
    fill(c, rng, &c->args.q, OPERAND_Q);
    fill(c, rng, &c->args.k, OPERAND_K);
    fill(c, rng, &c->args.v, OPERAND_V);
}

static float draw_special(fuzz_rng *rng, bool nan_only) {
    static const float specials[] = {NAN, NAN, INFINITY, -INFINITY};
    return nan_only ? NAN : FUZZ_PICK(rng, specials);
}

/// Ruins row (i, h) of a tensor in one place or all over.
static void poison_row(fuzz_rng *rng, const lhk_tensor *t, int64_t i, int64_t h) {
    bool all = fuzz_chance(rng, 50);
    int64_t place = fuzz_below(rng, t->shape[2]);
    for (int64_t x = 0; x < t->shape[2]; x++)
        if (all || x == place) lhk_store_element(lhk_row(t, i, h), t->dtype, x, draw_special(rng, false));
}

/// Marks every key of every KV head that some row takes.
static uint8_t *mark_admitted(fuzz_case *c) {
    const lhk_flash_args *a = &c->args;
    int64_t total = a->k.shape[0], heads = a->q.shape[1], group = heads / a->k.shape[1];
    uint8_t *admitted = fuzz_alloc(c, (size_t)(a->k.shape[1] * total), 1);
    fuzz_entry *entries = fuzz_alloc(c, (size_t)total + 64, sizeof *entries);
    for (int64_t b = 0; admitted && entries && b < fuzz_sequences(a); b++) {
        fuzz_sequence s = fuzz_get_sequence(a, b);
        for (int64_t row = 0; row < s.rows; row++)
            for (int64_t h = 0; h < heads; h += a->selection ? 1 : group) {
                int64_t count = fuzz_gather(a, &s, row, h, entries);
                for (int64_t e = 0; e < count; e++)
                    if (entries[e].key >= 0) admitted[h / group * total + s.first_key + entries[e].key] = 1;
            }
    }
    return admitted;
}

static void poison_hidden_keys(fuzz_case *c, fuzz_rng *rng) {
    const lhk_flash_args *a = &c->args;
    int64_t total = a->k.shape[0], heads = a->k.shape[1];
    const uint8_t *admitted = mark_admitted(c);
    if (!admitted) return;
    for (int64_t j = 0; j < total; j++) {
        bool any = false;
        for (int64_t h = 0; h < heads; h++) any |= admitted[h * total + j];
        for (int64_t h = 0; h < heads; h++) {
            if (!(a->k.stride[1] == 0 && heads > 1 ? any : admitted[h * total + j]) && fuzz_chance(rng, 80))
                poison_row(rng, &a->k, j, h);
            if (!(a->v.stride[1] == 0 && heads > 1 ? any : admitted[h * total + j]) && fuzz_chance(rng, 80))
                poison_row(rng, &a->v, j, h);
        }
    }
}

/// Keys past the valid lengths and spare rows hold NaN always: they are not operands at all.
static void poison_outside(fuzz_case *c) {
    const lhk_flash_args *a = &c->args;
    fuzz_sequence before = {0};
    for (int64_t b = 0; b <= fuzz_sequences(a); b++) {
        bool last = b == fuzz_sequences(a);
        fuzz_sequence s = last ? (fuzz_sequence){.first_key = a->k.shape[0]} : fuzz_get_sequence(a, b);
        for (int64_t j = before.first_key + before.keys; j < s.first_key; j++)
            for (int64_t h = 0; h < a->k.shape[1]; h++) {
                for (int64_t x = 0; x < a->k.shape[2]; x++) lhk_store_element(lhk_row(&a->k, j, h), a->k.dtype, x, NAN);
                for (int64_t x = 0; x < a->v.shape[2]; x++) lhk_store_element(lhk_row(&a->v, j, h), a->v.dtype, x, NAN);
            }
        before = s;
    }
}

void fuzz_poison(fuzz_case *c, fuzz_rng *rng) {
    const fuzz_problem *p = &c->problem;
    const lhk_tensor *tensors[] = {&c->args.q, &c->args.k, &c->args.v};
    for (int i = 0; i < p->specials; i++) {
        const lhk_tensor *t = FUZZ_PICK(rng, tensors);
        if (t->shape[0])
            lhk_store_element(lhk_row(t, fuzz_below(rng, t->shape[0]), fuzz_below(rng, t->shape[1])), t->dtype,
                              fuzz_below(rng, t->shape[2]), draw_special(rng, p->specials_nan_only));
    }
    if (p->nan_key >= 0) lhk_store_element(lhk_row(&c->args.k, p->nan_key, 0), c->args.k.dtype, 0, NAN);
    if (p->nan_value >= 0) lhk_store_element(lhk_row(&c->args.v, p->nan_value, 0), c->args.v.dtype, 0, NAN);
    if (p->nan_row >= 0) lhk_store_element(lhk_row(&c->args.q, p->nan_row, 0), c->args.q.dtype, 0, NAN);
    if (p->sparse) return;
    poison_outside(c);
    if (p->poison_hidden) poison_hidden_keys(c, rng);
}
