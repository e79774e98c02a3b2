// SPDX-License-Identifier: Apache-2.0
/// How a call is cut into tasks, and where its workspace goes. Depends on the problem only, never on the workers.
///
/// A task is one tile of query rows of one head against all its keys, or, when there are few tiles (decode), against one
/// of several contiguous splits of them, merged afterwards in ascending order. Query heads that share a KV head are
/// packed as extra rows of a tile unless a selection lists keys per query head, so that every key and value byte serves
/// the whole group. A store keeps blocks as [block][KV head], and memory is read fastest in that order: a task of few rows
/// takes several KV heads and meets each block of tokens of all of them before the next.
#ifndef LHK_FLASH_PLAN_H
#define LHK_FLASH_PLAN_H

#include "lhk_flash_args.h"
#include "lhk_flash_kernel.h"

#define LHK_FLASH_STRIPS 16        ///< strips per tile
#define LHK_FLASH_STREAM_STRIPS 4  ///< the first strip of a task of so few streams its panels from memory
#define LHK_FLASH_ROWS_AHEAD 4     ///< rows of queries and outputs that are asked for before their turn
#define LHK_FLASH_TARGET_TASKS 64  ///< keys are split until there are about this many tasks ...
#define LHK_FLASH_SPLIT_KEYS 512   ///< ... but a split keeps this many keys
#define LHK_FLASH_TILE_KEYS 2048   ///< most keys that a store scores and sums up in one call: a store of codes ends each of these
                                   ///< with a product with its codebook
#define LHK_FLASH_UNPACK_ROWS 24   ///< query rows of a KV head from which on blocks are unpacked rather than scored by tiles
#define LHK_FLASH_DIRECT_PIECES 24  ///< pieces of LHK_FLASH_DIRECT_KEYS keys: blocks, cut at sinks and windows

/// Where keys and values come from.
#define LHK_FLASH_PANELS 0u  ///< panels used in place: a dense store's, or row-major tensors packed whole beforehand
#define LHK_FLASH_ROWS 1u    ///< row-major tensors, packed block by block into scratch
#define LHK_FLASH_TILES 2u   ///< a store that scores and sums its own tiles
#define LHK_FLASH_UNPACKED 3u  ///< the same with enough query rows that unpacking a block into scratch pays
typedef struct lhk_flash_source {
    uint32_t kind;
    lhk_panels panels;  ///< of the store, or of the scratch blocks
    lhk_store_ref store;
} lhk_flash_source;

/// Scratch of one worker. q, o, m and l have the rows of all heads of a task, one head after the other.
typedef struct lhk_flash_scratch {
    void *q;     ///< packed query rows
    float *o;    ///< [rows][padded_dim_v], unnormalised
    float *m, *l;
    float *s;    ///< [strip][lds]
    lhk_flash_span *spans;  ///< visible keys per row
    int64_t *positions;     ///< absolute position per row
    uint8_t *blocks;        ///< packed blocks for sources that need it
    int32_t *index;         ///< gathered tokens of a piece
    float *weights;         ///< their log weights
    uint64_t *counts;       ///< [0] pairs attended, [1] pairs visible, [2] blocks packed with values that are no numbers
} lhk_flash_scratch;

typedef struct lhk_flash_plan {
    const lhk_flash_call *call;
    const lhk_flash_kernel *kernel;
    lhk_flash_source source;
    bool direct, packed;
    bool prepack;  ///< row-major tensors that several tiles read: packed once into the workspace, before any task
    int64_t heads;        ///< KV heads if packed, else query heads
    int64_t group;        ///< query heads per task: call->group if packed, else 1
    int64_t tile_rows;    ///< most rows of a tile
    int64_t together;     ///< heads of a task, each a tile of its own; the last task of a sequence may have fewer
    int64_t list_rows;    ///< 0, or query rows per list of the block selection
    int64_t ldq, lds;     ///< words per packed query row, floats per score row
    int64_t piece_keys;   ///< most keys of a piece that are no list
    int64_t scratch_blocks;
    int64_t tasks;
    bool any_split;
    // workspace
    int64_t *first_task;  ///< [sequences + 1]
    int64_t *splits;      ///< [sequences]
    int64_t *first_block;  ///< [sequences + 1], with prepack
    float *partials;      ///< [tasks][together][tile_rows][padded_dim_v + 2]: o, m, l; only when any_split
    uint8_t *workers;
    uint64_t worker_bytes;
} lhk_flash_plan;

/// One task, decoded from its number.
typedef struct lhk_flash_task {
    int64_t number;
    lhk_flash_sequence sequence;
    int64_t head, heads;  ///< first head, and how many
    int64_t split, splits;
    int64_t first_block;  ///< of the sequence, in the panels
    int64_t first, rows;  ///< rows of the tile: row r is query row (first + r) / group, head (first + r) % group of the task's
} lhk_flash_task;

/// Lays out the workspace at `base` (null: only adds up `bytes`) and counts tasks. `plan` has call, kernel, source and
/// direct set. False when sizes overflow.
bool lhk_flash_plan_make(lhk_flash_plan *plan, uint32_t workers, uint8_t *base, uint64_t *bytes);

/// Upper bound of the workspace of any call of one sequence with up to `rows` query rows, for a store's instance.
bool lhk_flash_plan_bound(lhk_flash_plan *plan, int64_t rows, uint32_t workers, uint64_t *bytes);

lhk_flash_scratch lhk_flash_plan_scratch(const lhk_flash_plan *plan, uint32_t worker);
lhk_flash_task lhk_flash_plan_task(const lhk_flash_plan *plan, int64_t number);

/// Runs the whole plan on `host`, once.
void lhk_flash_run(lhk_flash_plan *plan, const lhk_host *host, lhk_attention_stats *stats);

/// One task, and the merge and output of finished rows of one head (lhk_flash_task.c, lhk_flash_finish.c).
void lhk_flash_run_task(const lhk_flash_plan *plan, const lhk_flash_task *task, const lhk_flash_scratch *scratch);
void lhk_flash_finish(const lhk_flash_plan *plan, const lhk_flash_task *task, float *o, float *m, float *l);
/// The same for all heads of a task, from the partial sums of its splits.
void lhk_flash_merge_splits(const lhk_flash_plan *plan, const lhk_flash_task *task);

/// Partial sums of head `head` of a task, counted from its first.
static inline float *lhk_flash_partial(const lhk_flash_plan *plan, int64_t task, int64_t head) {
    return plan->partials + (task * plan->together + head) * plan->tile_rows * (plan->source.panels.padded_dim_v + 2);
}
static inline int64_t lhk_flash_query_row(const lhk_flash_plan *plan, const lhk_flash_task *t, int64_t r) {
    return (t->first + r) / plan->group;
}
static inline int64_t lhk_flash_query_head(const lhk_flash_plan *plan, const lhk_flash_task *t, int64_t r) {
    return t->head * plan->group + (t->first + r) % plan->group;
}
/// Asks for row r of a task in the queries or outputs, where there is one: rows lie a whole token apart, where processors do
/// not fetch ahead by themselves.
static inline void lhk_flash_fetch_row(const lhk_flash_plan *plan, const lhk_flash_task *t, const lhk_tensor *tensor,
                                       int64_t dim, int64_t r, bool to_write) {
    if (r >= t->rows) return;
    int64_t row = t->sequence.first_row + lhk_flash_query_row(plan, t, r);
    const uint8_t *at = lhk_row(tensor, row, lhk_flash_query_head(plan, t, r));
    const uint8_t *end = at + dim * (int64_t)lhk_dtype_size(tensor->dtype);
    for (; at < end; at += 64) {
        if (to_write) __builtin_prefetch(at, 1);
        else __builtin_prefetch(at);
    }
}
static inline int64_t lhk_flash_kv_head(const lhk_flash_plan *plan, const lhk_flash_task *t) {
    return plan->packed ? t->head : t->head / plan->call->group;
}

#endif
