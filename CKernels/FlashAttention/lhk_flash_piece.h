// SPDX-License-Identifier: Apache-2.0
/// A piece: up to 256 keys whose panels a strip can read, or up to 2048 that a store scores, and the walk that yields the pieces
/// of a task.
#ifndef LHK_FLASH_PIECE_H
#define LHK_FLASH_PIECE_H

#include <lhk/panel_pack.h>

#include "lhk_flash_plan.h"

typedef struct lhk_flash_piece {
    int64_t base;         ///< key of column 0, unless index is set
    int32_t begin, end;   ///< columns
    const int32_t *index;  ///< gathered: key of each column
    const float *log_weights;
    const uint8_t *keys;   ///< panels; null for stores that score their own tiles
    const float *key_scales;  ///< of i8 keys
    const uint8_t *values;
    const uint8_t *head_base;  ///< tokens listed in `index` are read in place: start of the KV head in the panels' first block
    bool whole;  ///< every row of the task sees all columns; `base` then means nothing
    bool may_hold_nonfinite;  ///< values may hold infinities or NaN: masked ones must stay out of products
} lhk_flash_piece;

typedef struct lhk_flash_walk {
    const lhk_flash_plan *plan;
    const lhk_flash_task *task;
    const lhk_flash_scratch *scratch;
    int64_t low, high;   ///< keys visible to some row of the tile beyond the sinks: [low, high)
    int64_t sink_end;    ///< and [0, sink_end), sink_end <= low
    int64_t whole_low, whole_high;  ///< keys visible to all rows of the tile
    int64_t split_low, split_high;  ///< this task's share of [low, high); split 0 also takes the sinks
    int32_t gathered;               ///< columns of the scratch block that hold gathered runs
    int32_t scratch_block;          ///< block of scratch that the next packed piece goes to
    void (*visit)(void *context, const lhk_flash_piece *piece);
    void (*turn)(void *context, int64_t head);  ///< tasks of several heads: pieces of this one follow
    void *context;
} lhk_flash_walk;

/// Visits, in ascending order per selection of the chain, all pieces that hold keys selected and visible to the tile.
/// Packed pieces live in scratch until the same scratch block is used again.
void lhk_flash_walk_pieces(lhk_flash_walk *walk);

/// Packs block `number` of a sequence's row-major keys and values of one KV head. Returns whether a value is infinite or
/// NaN.
bool lhk_flash_pack_block(const lhk_flash_plan *plan, const lhk_flash_sequence *sequence, int64_t number, int64_t head,
                          uint8_t *block);

#endif
