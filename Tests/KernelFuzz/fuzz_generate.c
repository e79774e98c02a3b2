// SPDX-License-Identifier: Apache-2.0
/// Draws problems from edge sets: where tiles, vectors and ranges begin and end.
#include "fuzz_problem.h"

#include <lhk/support.h>

static const int64_t lengths[] = {0,  1,  1,  2,  3,  7,  15, 16,  17,  31,  32,  33,  37,  47,  48,  49,
                                  63, 64, 65, 79, 97, 101, 127, 128, 129, 191, 255, 256, 257, 511, 512, 513};
static const int64_t long_lengths[] = {640, 769, 1000, 1023, 1024, 1025, 1499, 1536};
static const int64_t dims[] = {1, 2, 3, 8, 16, 17, 31, 32, 40, 59, 64, 64, 64, 72, 80, 96, 112, 128, 128, 192, 256, 512, 576};
static const int64_t groups[] = {1, 1, 1, 2, 2, 3, 4, 7, 8};
static const lhk_dtype float_types[] = {LHK_DTYPE_F32, LHK_DTYPE_F32, LHK_DTYPE_BF16, LHK_DTYPE_F16};

fuzz_problem fuzz_plain(int64_t rows, int64_t keys, int64_t dim) {
    fuzz_problem p = {.query_heads = 1, .kv_heads = 1, .dim_k = dim, .dim_v = dim, .wants_lse = true, .density = 100};
    p.rows[0] = rows;
    p.keys[0] = p.valid[0] = keys;
    p.query_dtype = p.kv_dtype = p.out_dtype = LHK_DTYPE_F32;
    p.left = p.right = p.nan_key = p.nan_value = p.nan_row = -1;
    p.tile_rows = 1;
    return p;
}

static int64_t pick_length(fuzz_rng *rng) {
    if (fuzz_chance(rng, 4)) return FUZZ_PICK(rng, long_lengths);
    return fuzz_chance(rng, 80) ? FUZZ_PICK(rng, lengths) : fuzz_below(rng, 300);
}

static int64_t pick_rows(fuzz_rng *rng) { return fuzz_chance(rng, 30) ? 1 : pick_length(rng); }
static int64_t pick_dim(fuzz_rng *rng) { return fuzz_chance(rng, 75) ? FUZZ_PICK(rng, dims) : 1 + fuzz_below(rng, 256); }

double fuzz_work(const fuzz_problem *p) {
    double pairs = 0;
    for (int64_t b = 0; b < (p->sequences ? p->sequences : 1); b++) pairs += (double)p->rows[b] * (double)p->keys[b];
    return pairs * (double)p->query_heads * (double)(p->dim_k + p->dim_v);
}

static void draw_lengths(fuzz_rng *rng, fuzz_problem *p) {
    if (fuzz_chance(rng, 20)) p->sequences = 1 + fuzz_below(rng, FUZZ_MAX_SEQUENCES);
    p->has_lengths = fuzz_chance(rng, 25);
    for (int64_t b = 0; b < (p->sequences ? p->sequences : 1); b++) {
        p->rows[b] = p->sequences > 1 && fuzz_chance(rng, 60) ? fuzz_below(rng, 20) : pick_rows(rng);
        p->keys[b] = p->sequences > 1 && fuzz_chance(rng, 40) ? fuzz_below(rng, 70) : pick_length(rng);
        if (fuzz_chance(rng, 15)) p->keys[b] = p->rows[b];
    }
    if (p->sequences && fuzz_chance(rng, 30)) p->spare_rows = fuzz_below(rng, 5);
    if (p->sequences && fuzz_chance(rng, 30)) p->spare_keys = fuzz_below(rng, 5);
}

static void draw_heads(fuzz_rng *rng, fuzz_problem *p) {
    p->kv_heads = 1 + (fuzz_chance(rng, 50) ? fuzz_below(rng, 4) : 0);
    p->query_heads = p->kv_heads * FUZZ_PICK(rng, groups);
    p->dim_k = pick_dim(rng);
    p->dim_v = fuzz_chance(rng, 60) ? p->dim_k : pick_dim(rng);
    if (fuzz_chance(rng, 3)) p->dim_k = 576, p->dim_v = 512;
}

/// A decode step: few rows over keys enough to be split.
static void draw_decode(fuzz_rng *rng, fuzz_problem *p) {
    static const int64_t keys[] = {1023, 1025, 1536, 2047, 2048, 2049, 3001, 4096, 5003};
    static const int64_t small_dims[] = {1, 3, 8, 16, 20};
    p->rows[0] = 1 + fuzz_below(rng, 3);
    p->keys[0] = FUZZ_PICK(rng, keys);
    p->kv_heads = 1 + fuzz_below(rng, 2);
    p->query_heads = p->kv_heads * (1 + fuzz_below(rng, 3));
    p->dim_k = FUZZ_PICK(rng, small_dims);
    p->dim_v = FUZZ_PICK(rng, small_dims);
}

/// Makes the problem cheaper until it fits, by drawing one of its sizes again.
static void limit_work(fuzz_rng *rng, fuzz_problem *p) {
    double limit = fuzz_chance(rng, 4) ? 3e6 : 2.5e5;
    for (int tries = 0; fuzz_work(p) > limit; tries++) {
        int64_t b = fuzz_below(rng, p->sequences ? p->sequences : 1), smaller;
        switch (fuzz_below(rng, 4)) {
            case 0:
                if (p->kv_heads > 1) p->query_heads = p->query_heads / p->kv_heads * (p->kv_heads - 1), p->kv_heads--;
                else p->query_heads = p->query_heads > 1 ? (p->query_heads + 1) / 2 : 1;
                break;
            case 1:
                smaller = tries < 60 ? pick_rows(rng) : p->rows[b] / 2;
                p->rows[b] = lhk_min(p->rows[b], smaller);
                break;
            case 2:
                smaller = tries < 60 ? pick_length(rng) : p->keys[b] / 2;
                p->keys[b] = lhk_min(p->keys[b], smaller);
                break;
            default:
                smaller = pick_dim(rng);
                p->dim_k = lhk_min(p->dim_k, smaller);
                p->dim_v = lhk_min(p->dim_v, fuzz_chance(rng, 60) ? smaller : pick_dim(rng));
        }
    }
}

static void draw_masks(fuzz_rng *rng, fuzz_problem *p) {
    static const float caps[] = {0.5f, 5, 30, 50}, scales[] = {0.1f, 0.3f, 1, 0.0884f};
    static const int64_t windows[] = {0, 1, 2, 15, 16, 31, 63, 64, 65, 128, 700}, sinks[] = {1, 1, 4, 4, 16, 70, INT64_MAX};
    p->no_params = fuzz_chance(rng, 12);
    if (p->no_params) return;
    if (fuzz_chance(rng, 50)) p->flags |= LHK_ATTENTION_CAUSAL;
    if (fuzz_chance(rng, 25)) {
        p->flags |= LHK_ATTENTION_OFFSET;
        int64_t shift = p->keys[0] - p->rows[0];
        const int64_t offsets[] = {0, shift, shift - 1, shift + 1, -p->rows[0] / 2, -p->rows[0] - 3, p->keys[0] / 2,
                                   p->keys[0] + 5, 1000000, fuzz_below(rng, 2 * p->keys[0] + 1) - p->keys[0]};
        p->offset = FUZZ_PICK(rng, offsets);
    }
    if (fuzz_chance(rng, 35)) p->left = fuzz_chance(rng, 85) ? FUZZ_PICK(rng, windows) : p->keys[0] - fuzz_below(rng, 3) + 1;
    if (fuzz_chance(rng, 15)) p->right = FUZZ_PICK(rng, windows);
    if (fuzz_chance(rng, 3)) p->left = INT64_MAX;
    if (fuzz_chance(rng, 3)) p->right = INT64_MAX;
    if (fuzz_chance(rng, p->left >= 0 ? 50 : 5)) p->sink_tokens = FUZZ_PICK(rng, sinks);
    if (fuzz_chance(rng, 20)) p->softcap = FUZZ_PICK(rng, caps);
    if (fuzz_chance(rng, 20)) p->slopes = fuzz_chance(rng, 70) ? FUZZ_SLOPES_GEOMETRIC : FUZZ_SLOPES_MIXED;
    if (fuzz_chance(rng, 20)) p->sinks = fuzz_chance(rng, 60) ? FUZZ_SINKS_NORMAL : FUZZ_SINKS_EXTREME;
    if (fuzz_chance(rng, 40)) p->scale = FUZZ_PICK(rng, scales);
}

static void draw_selection(fuzz_rng *rng, fuzz_problem *p) {
    static const int64_t tiles[] = {1, 7, 16, 32, 64, 128, 1000};
    static const int densities[] = {0, 3, 10, 30, 58, 90, 100};
    if (p->sequences > 1 || !fuzz_chance(rng, 35)) return;
    p->selection = FUZZ_SELECT_ALL + (int)fuzz_below(rng, 4);
    p->tile_rows = FUZZ_PICK(rng, tiles);
    p->density = FUZZ_PICK(rng, densities);
    p->per_kv_head = fuzz_chance(rng, 50);
    p->log_weights = fuzz_chance(rng, 60);
    p->rest = fuzz_chance(rng, 35);
    p->past_end = fuzz_chance(rng, 30);
}

static fuzz_layout draw_layout(fuzz_rng *rng, bool input) {
    fuzz_layout layout = {.heads_first = fuzz_chance(rng, 40), .one_head = input && fuzz_chance(rng, 4)};
    if (fuzz_chance(rng, 35)) layout.head_pad = 1 + fuzz_below(rng, 20);
    if (fuzz_chance(rng, 35)) layout.row_pad = 1 + fuzz_below(rng, 40);
    return layout;
}

static void draw_values(fuzz_rng *rng, fuzz_problem *p) {
    p->values = fuzz_chance(rng, 45) ? (int)fuzz_below(rng, 2) : (int)fuzz_below(rng, FUZZ_VALUE_CLASSES);
    p->poison_hidden = fuzz_chance(rng, 60);
    // Elsewhere a special value could be lost to underflow, or a zero times infinity arise, by rounding alone.
    if (p->values <= FUZZ_NORMAL && fuzz_chance(rng, 25)) p->specials = 1 + (int)fuzz_below(rng, 4);
    p->specials_nan_only = p->softcap > 0;
}

fuzz_problem fuzz_generate(uint64_t seed, uint64_t index) {
    fuzz_rng rng = fuzz_seeded(seed, index);
    fuzz_problem p = fuzz_plain(0, 0, 1);
    p.seed = seed;
    p.index = index;
    draw_lengths(&rng, &p);
    draw_heads(&rng, &p);
    if (fuzz_chance(&rng, 6) && p.sequences == 0) draw_decode(&rng, &p);
    else limit_work(&rng, &p);
    for (int64_t b = 0; b < FUZZ_MAX_SEQUENCES; b++)
        p.valid[b] = !p.has_lengths || fuzz_chance(&rng, 30) ? p.keys[b] : fuzz_below(&rng, p.keys[b] + 1);
    draw_masks(&rng, &p);
    draw_selection(&rng, &p);
    p.query_dtype = FUZZ_PICK(&rng, float_types);
    p.kv_dtype = FUZZ_PICK(&rng, float_types);
    p.out_dtype = FUZZ_PICK(&rng, float_types);
    p.q = draw_layout(&rng, true);
    p.k = draw_layout(&rng, true);
    p.v = draw_layout(&rng, true);
    p.out = draw_layout(&rng, false);
    p.lse = draw_layout(&rng, false);
    p.wants_lse = fuzz_chance(&rng, 75);
    p.at_start = fuzz_chance(&rng, 10);
    p.path = fuzz_chance(&rng, 60) ? LHK_FLASH_PATH_AUTO : (uint32_t)(1 + fuzz_below(&rng, 2));
    if (p.path == LHK_FLASH_PATH_DIRECT && !fuzz_fits_direct(&p)) p.path = LHK_FLASH_PATH_AUTO;
    draw_values(&rng, &p);
    return p;
}

bool fuzz_fits_direct(const fuzz_problem *p) {
    for (int64_t b = 0; b < (p->sequences ? p->sequences : 1); b++)
        if ((p->has_lengths ? p->valid[b] : p->keys[b]) > 2048) return false;
    return p->selection == FUZZ_SELECT_NONE;
}

bool fuzz_is_masked(const fuzz_problem *p) {
    return !p->no_params && (p->flags & LHK_ATTENTION_CAUSAL || p->left >= 0 || p->right >= 0);
}
