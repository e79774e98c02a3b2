// SPDX-License-Identifier: Apache-2.0
/// What an ISA file provides, and the tile of queries it works on.
#ifndef LHK_SALE_KERNEL_H
#define LHK_SALE_KERNEL_H

#include <lhk/panel.h>
#include <longhand/sale.h>

#define LHK_SALE_TILES 16    ///< tiles of 16 keys that are always kept, at most: the sink and seven local blocks
#define LHK_SALE_COLUMNS (16 * LHK_SALE_TILES)
#define LHK_SALE_SEGMENT_TILES (LHK_SALE_SEGMENT / 16)
#define LHK_SALE_PADDED_ROWS 72  ///< rows of a tile rounded up to strips, at most
#define LHK_SALE_NEVER (-(1 << 30))  ///< where the sum of a row that has no vote begins

/// Steps after which sums are screened, stage by stage.
static inline int64_t lhk_sale_stage(int64_t steps, int64_t stage) { return steps >> (3 - stage); }

/// Largest codes, and what is added to those of keys.
#define LHK_SALE_KEY_LEVELS(bits) ((bits) == 8 ? 63 : 7)
#define LHK_SALE_QUERY_LEVELS(bits) ((bits) == 8 ? 127 : 7)
#define LHK_SALE_KEY_OFFSET(bits) ((bits) == 8 ? 64 : 8)

/// Segments whose share of the remainder is added at a time.
#define LHK_SALE_REST_SEGMENTS 8

/// What a tile skips: weights are in units of exp(T_i), the threshold of the row.
typedef struct lhk_sale_rest {
    int64_t dim_v;
    float log2_scale;  ///< attention scale / ln 2
    int32_t waiting;   ///< segments below, whose weight times mean value is not in `sum` yet
    const float *value[LHK_SALE_REST_SEGMENTS];            ///< mean values
    float weight[LHK_SALE_REST_SEGMENTS][LHK_SALE_TILE_ROWS];
    float mass[LHK_SALE_TILE_ROWS];
    float *sum;        ///< [dim_v][64]
} lhk_sale_rest;

/// 64 query rows of one head. Rows past `rows` are zero.
typedef struct lhk_sale_tile {
    const lhk_sale_layout *layout;
    int32_t rows;
    float *channels;  ///< [head_dim][64]: the queries, row by row in a line
    float *mean;      ///< [head_dim]: of the rows (bits 4)
    float screen;     ///< C; 0: no screening
    float *energy;    ///< [padded_dim/4][64]: squares of a group of channels, with screening
    float *weight;    ///< [padded_dim/4]: of the groups: in, sums over segments; groups are met by falling weight * energy
    int32_t *order;   ///< [padded_dim/4]: where in a tile of keys the steps' codes are, in bytes: 64 * group
    uint32_t *codes;  ///< [strips][steps = padded_dim/4][strip_rows] words of four codes
    float scale[LHK_SALE_TILE_ROWS];        ///< a code times it is a channel; NaN for a row that is not finite
    float unit[LHK_SALE_TILE_ROWS];         ///< 1 / scale
    int32_t sum[LHK_SALE_PADDED_ROWS];      ///< of a row's codes
    int32_t late[3][LHK_SALE_TILE_ROWS];    ///< of those codes that are met after each stage of the screening
    float threshold[LHK_SALE_PADDED_ROWS];  ///< T_i / attention scale: estimates of q.k are compared with it
    float *scores;    ///< [score rows][LHK_SALE_COLUMNS] scratch
    int64_t block;    ///< keys that are kept or skipped together, 16 or 32
    float products[LHK_SALE_TILE_ROWS];  ///< of the rows with the mean of the segment tested last
    lhk_sale_rest remainder;
} lhk_sale_tile;

/// What is always kept, for the thresholds of a tile.
typedef struct lhk_sale_kept {
    lhk_dtype dtype;   ///< of the key tiles: F32, BF16 or F16 panels
    int32_t tiles;     ///< of 16 columns
    const uint8_t *tile[LHK_SALE_TILES];
    int32_t visible[LHK_SALE_TILE_ROWS];  ///< columns [0, visible) are seen by the row
    float scale, softcap;  ///< of the attention; softcap 0: none
    float log_tau;
    float sink;        ///< the head's sink logit; -inf: none
} lhk_sale_kept;

typedef struct lhk_sale_kernel {
    int32_t strip_rows;
    /// Codes, scales and sums from the channels, in the order of the steps, which it finds.
    void (*encode)(lhk_sale_tile *tile);
    /// Thresholds, from exact scores of what is always kept.
    void (*thresholds)(lhk_sale_tile *tile, const lhk_sale_kept *kept);
    /// Which of the eight 16 keys of a segment are kept, a bit each. `next` is the segment that will be asked for next, or the
    /// same. `keys` are the segment's exact keys as panels of `dtype` (bits 4 only). Leaves `products`.
    uint32_t (*test)(lhk_sale_tile *tile, const uint8_t *segment, const uint8_t *next, const uint8_t *const *keys,
                     lhk_dtype dtype);
    /// Adds `skipped` keys of the segment tested last, whose mean value is `value`, to the remainder.
    void (*rest)(lhk_sale_tile *tile, int64_t skipped, const float *value);
    /// Adds what waits, and divides sums by masses.
    void (*finish)(lhk_sale_tile *tile);
} lhk_sale_kernel;

#endif
