// SPDX-License-Identifier: Apache-2.0
/// The side index of the selector `adamas`: what is configured, where it lies in memory, and what its files share.
#ifndef LHK_ADAMAS_INDEX_H
#define LHK_ADAMAS_INDEX_H

#include <longhand/adamas.h>
#include <longhand/reference.h>

#include "lhk_adamas_kernel.h"

#define LHK_ADAMAS_MANHATTAN 0u
#define LHK_ADAMAS_ASYMMETRIC 1u
#define LHK_ADAMAS_EXACT 2u  ///< true scores, read from the store: what any selector can be held against; keeps no codes
#define LHK_ADAMAS_MOST_SAMPLE 4096
#define LHK_ADAMAS_LEAST_VARIANCE 1e-6  ///< of a channel, of the average; channels of less are scaled like this
#define LHK_ADAMAS_CENTER_NONE 0u
#define LHK_ADAMAS_CENTER_SAMPLE 1u  ///< keys are coded less the mean of the sample
#define LHK_ADAMAS_CENTER_MOVING 2u  ///< less the mean of the 256 tokens before their block, as their codes have it
#define LHK_ADAMAS_LISTS_QUERY 0u  ///< a list per query head
#define LHK_ADAMAS_LISTS_UNION 1u  ///< per KV head: what any of its query heads picks
#define LHK_ADAMAS_LISTS_KV 2u     ///< per KV head: by the sum of the scores of its query heads

/// Options and shape. `passive` instances select everything and keep nothing: dense layers and layers with a window.
typedef struct lhk_adamas_config {
    uint32_t query_heads, kv_heads, dim_k, dim_v;
    uint32_t scoring, remainder, lists, center;
    uint32_t passive;
    uint32_t balance;  ///< channels are scaled before the transform
    int64_t budget, sinks, recent;  ///< tokens of a list; of these the first and last ones, always taken
    int64_t values;                 ///< tokens of at least 1/values of the weight enter the remainder with their own values
    int64_t sample;                 ///< tokens that thresholds, mean and levels are fixed from
    int64_t capacity, query_rows;
} lhk_adamas_config;

/// What the first `sample` tokens fix, per KV head.
typedef struct lhk_adamas_levels {
    float thresholds[3];
    float level[4];     ///< asymmetric: mean of the normalised values of each code
    uint8_t step[4];    ///< asymmetric: level as floor + unit * step, with steps from 0 to 127
    float floor, unit;
} lhk_adamas_levels;

struct lhk_instance {
    const lhk_variant *variant;
    lhk_adamas_config config;
    int64_t length;
    int64_t summed;  ///< tokens whose values are in the running sums; remainder only
};

/// Pieces of the state, behind the instance. Codes of a KV head lie together: a step reads them one after the other.
typedef struct lhk_adamas_parts {
    lhk_adamas_levels *levels;  ///< [kv_heads]
    float *balance;             ///< [kv_heads][dim_k]: factors of a key's channels; a query is divided by them
    float *mean;                ///< [kv_heads][dim_k]; moving: [kv_heads][head_blocks][dim_k]
    float *raw;                 ///< [kv_heads][sample][dim_k]: keys of the first tokens
    uint8_t *blocks;            ///< [kv_heads][head_blocks][block_bytes]
    float *sums;     ///< [head_blocks][kv_heads][dim_v]: sum of the values of all blocks before
    float *partial;  ///< [kv_heads][dim_v]: the same for the tokens of the last, incomplete block
    uint64_t block_bytes, bytes;
    int64_t head_blocks;  ///< blocks of the capacity, and one
} lhk_adamas_parts;

/// Where everything lies; `state` null: sizes only. False when sizes overflow.
bool lhk_adamas_carve(const lhk_adamas_config *config, const void *state, lhk_adamas_parts *out);

static inline lhk_adamas_parts lhk_adamas_parts_of(const lhk_instance *index) {
    lhk_adamas_parts parts;
    lhk_adamas_carve(&index->config, index, &parts);
    return parts;
}
static inline uint8_t *lhk_adamas_block(const lhk_adamas_parts *p, int64_t block, int64_t head) {
    return p->blocks + (uint64_t)(head * p->head_blocks + block) * p->block_bytes;
}

static inline int64_t lhk_adamas_blocks_for(int64_t tokens) { return (tokens + LHK_ADAMAS_BLOCK - 1) / LHK_ADAMAS_BLOCK; }
/// The mean that a block's keys were coded about.
static inline float *lhk_adamas_mean(const lhk_adamas_config *c, const lhk_adamas_parts *p, int64_t block, int64_t head) {
    return p->mean + (c->center == LHK_ADAMAS_CENTER_MOVING ? head * p->head_blocks + block : head) * c->dim_k;
}
/// Whether a block's mean follows from the block before it: all but those that begin within the sample.
static inline bool lhk_adamas_moves(const lhk_adamas_config *c, int64_t block) {
    return c->center == LHK_ADAMAS_CENTER_MOVING && block * LHK_ADAMAS_BLOCK >= c->sample;
}

lhk_status lhk_adamas_configure(const lhk_problem *problem, lhk_adamas_config *out, lhk_error *error);

/// Fixes factors, thresholds, mean and levels of one head from `rows` keys [rows][dim].
void lhk_adamas_calibrate(const lhk_adamas_config *config, const float *raw, int64_t rows, float *balance, float *mean,
                          lhk_adamas_levels *levels, const lhk_adamas_kernel *kernel);
/// x = H (balance * x): a key as codes see it.
void lhk_adamas_transform(const lhk_adamas_config *config, const float *balance, float *x, const lhk_adamas_kernel *kernel);
/// Order statistic number `rank` of values that are taken through `at`; infinities and NaN count as 0.
float lhk_adamas_order_statistic(float (*at)(const void *context, int64_t i), const void *context, int64_t count,
                                 int64_t rank);

lhk_status lhk_adamas_append(lhk_instance *index, const lhk_host *host, const lhk_tensor *k, const lhk_tensor *v,
                             lhk_error *error);
/// Sets the mean of a block and head from the codes of the block before; a block of the sample has the sample's.
void lhk_adamas_move(const lhk_instance *index, const lhk_adamas_parts *parts, int64_t block, int64_t head);
/// Codes the first `sample` tokens from the raw rows, once there are that many.
void lhk_adamas_code_sample(lhk_instance *index, const lhk_host *host);
lhk_status lhk_adamas_select(lhk_instance *index, const lhk_host *host, const lhk_tensor *q, lhk_store_ref store,
                             const lhk_attention_params *params, const lhk_workspace *workspace, lhk_selection *out,
                             lhk_error *error);
/// Exact bytes of workspace of `select`; false on overflow.
bool lhk_adamas_workspace(const lhk_adamas_config *config, uint32_t workers, uint64_t *bytes);
/// Brings the running sums of values up to the store's length.
lhk_status lhk_adamas_sum_values(lhk_instance *index, const lhk_host *host, lhk_store_ref store, float *scratch,
                                 lhk_error *error);

lhk_status lhk_adamas_fork(const lhk_instance *source, lhk_instance *destination, lhk_error *error);
uint64_t lhk_adamas_save_size(const lhk_instance *index);
void lhk_adamas_save(const lhk_instance *index, uint8_t *out);
lhk_status lhk_adamas_load(lhk_instance *index, const uint8_t *bytes, uint64_t count, lhk_error *error);

extern const lhk_life_ops lhk_adamas_life_ops;
extern const lhk_selector_ops lhk_adamas_selector_ops;
extern const lhk_selector_reference lhk_adamas_formula;

static inline const lhk_adamas_kernel *lhk_adamas_kernel_of(const lhk_instance *index) { return index->variant->data; }

/// The kernel of the best level that `isa` allows, for direct calls.
const lhk_adamas_kernel *lhk_adamas_best_kernel(lhk_isa isa);

#endif
