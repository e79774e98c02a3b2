// SPDX-License-Identifier: Apache-2.0
/// The workspace of a selection, and the exact keys that it reads.
#ifndef LHK_SALE_PLAN_H
#define LHK_SALE_PLAN_H

#include <lhk/panel_pack.h>

#include "lhk_sale_call.h"

/// Query heads of one KV head that a task takes together, at most: a segment of codes then comes from memory once for all.
#define LHK_SALE_TOGETHER 4

/// Scratch of one worker.
typedef struct lhk_sale_scratch {
    struct lhk_sale_head_scratch {
        float *channels, *mean, *energy, *weight;
        int32_t *order;
        uint32_t *codes;
        float *sum;  ///< [dim_v][64], with a remainder
    } heads[LHK_SALE_TOGETHER];
    float *scores;
    float *rows;   ///< [LHK_SALE_COLUMNS][head_dim]: keys read row by row ...
    float *panel;  ///< ... and as tiles [16 keys] of f32
    float *values;  ///< [LHK_SALE_SEGMENT][dim_v], with a remainder
} lhk_sale_scratch;

/// The pieces of a workspace. With a null base, their sizes only.
typedef struct lhk_sale_plan {
    lhk_sale_call *call;
    int64_t tiles, lists, words;
    int64_t *offsets;  ///< [lists + 1]; counts of runs first
    uint32_t *bits;    ///< [lists][words]: bit b is keys LHK_SALE_BLOCK + 16 b to + 16 b + 15
    lhk_run *runs;     ///< dense
    float *rest_lse, *rest_mean;  ///< of the selection, with a remainder
    uint8_t *index;
    float *values;
    uint8_t *workers;
    uint64_t worker_bytes, bytes;
} lhk_sale_plan;

static inline int64_t lhk_sale_group(const lhk_sale_call *call) { return call->query_heads / call->kv_heads; }
static inline int64_t lhk_sale_together(const lhk_sale_call *call) {
    return lhk_min(lhk_sale_group(call), LHK_SALE_TOGETHER);
}

/// Lays the workspace out at `base` (null: adds up its bytes only).
lhk_status lhk_sale_make_plan(lhk_sale_call *call, uint32_t workers, bool with_index, uint8_t *base, lhk_sale_plan *p,
                              lhk_error *error);
lhk_sale_scratch lhk_sale_scratch_of(const lhk_sale_plan *p, uint32_t worker);

/// Keys [begin, begin + count) of a KV head as f32 rows. The range is held, so reading cannot fail.
void lhk_sale_read_keys(const lhk_sale_call *call, int64_t head, int64_t begin, int64_t count, float *rows);

/// The same of values.
void lhk_sale_read_values(const lhk_sale_call *call, int64_t head, int64_t begin, int64_t count, float *rows);

/// Points `tile` at panels of the keys [begin, end), both multiples of 16 unless `end` is the last key: a store's own, or f32
/// in scratch from `column` on. Returns their element type.
lhk_dtype lhk_sale_show_keys(const lhk_sale_call *call, const lhk_sale_scratch *s, int64_t head, int64_t begin, int64_t end,
                             int64_t column, const uint8_t **tile);

static inline uint8_t *lhk_sale_segment(const lhk_sale_call *call, int64_t segment, int64_t head) {
    return call->index + (uint64_t)(segment * call->kv_heads + head) * call->layout.bytes;
}

static inline float *lhk_sale_mean_value(const lhk_sale_call *call, int64_t segment, int64_t head) {
    return call->values + (segment * call->kv_heads + head) * call->dim_v;
}

#endif
