// SPDX-License-Identifier: Apache-2.0
/// What one ISA file provides: the three steps of a strip, a few query rows against one piece of a block of keys.
///
/// The driver (`lhk_flash_task.c`) decides which keys a strip meets; a kernel only computes. Everything per element
/// happens here, everything per block there.
#ifndef LHK_FLASH_KERNEL_H
#define LHK_FLASH_KERNEL_H

#include <lhk/panel.h>

#define LHK_FLASH_STRIP 8  ///< most query rows of a strip, over all kernels

/// A strip and a piece: columns [begin, end) of one block's panels. Column x stands for the key `index[x]`, or
/// `base + x`; row bounds are in the same coordinate as `index`, or in columns when `index` is null.
typedef struct lhk_flash_strip {
    int32_t rows;                ///< 1 .. kernel's strip_rows
    int32_t begin, end;          ///< columns of the piece; both in [0, block_tokens]
    const void *q;               ///< packed query rows: f32, or what `query_dtype` of the kernel says
    int64_t ldq;                 ///< 4-byte words between rows; channels are zero-padded to whole groups
    const uint8_t *keys;         ///< key panel of the block
    const float *key_scales;     ///< per column, for i8 keys
    const uint8_t *values;       ///< value panel of the block
    int64_t padded_k, padded_v;  ///< channels of the panels
    const int32_t *index;
    int64_t base;
    bool masked;  ///< some (row, column) of the rounded-out piece is not visible
    int32_t low[LHK_FLASH_STRIP], high[LHK_FLASH_STRIP], sink;  ///< visible: x < high and (x >= low or x < sink)
    float scale;        ///< multiplies the raw dot product; the result is in log2 units unless softcap follows
    float softcap;      ///< 0, or cap * log2(e): score = softcap * tanh(score)
    bool biased;        ///< slopes or log_weights are used
    float slope[LHK_FLASH_STRIP];        ///< ALiBi slope * log2(e) per row
    int64_t position[LHK_FLASH_STRIP];   ///< absolute position of the row
    const float *log_weights;            ///< per column, natural log, or null
    bool streamed;  ///< the panels come from memory and serve few rows: reading them in order of address is what counts
    const lhk_panels *panels;   ///< of tokens listed in `index` that are read in place: the store's panels; else null
    const uint8_t *head_base;   ///< and the KV head's part of their first block
    float *o;     ///< unnormalised output rows, row stride padded_v
    float *m, *l;  ///< running maximum (log2 units) and sum per row
} lhk_flash_strip;

/// First column of a piece rounded down to the tile; the scores of a strip start there.
static inline int32_t lhk_flash_first(const lhk_flash_strip *s) { return s->begin & ~15; }
/// Score columns of a piece, a multiple of 16.
static inline int32_t lhk_flash_width(const lhk_flash_strip *s) { return ((s->end + 15) & ~15) - lhk_flash_first(s); }

/// A packed query row of kernels for i8 keys begins with this; codes follow, as the kernel wants them.
typedef struct lhk_flash_query8 {
    float scale;   ///< a channel is code * scale; NaN for a row with a channel that is not finite
    int32_t bias;  ///< 128 * sum of codes: what the offset of the keys' bytes adds to every product
} lhk_flash_query8;

typedef struct lhk_flash_kernel {
    int32_t strip_rows;      ///< query rows per strip
    lhk_dtype query_dtype;   ///< packed queries: F32, BF16 or I8
    lhk_dtype weight_dtype;  ///< probabilities that `softmax` leaves: F32 or BF16
    int32_t query_words;     ///< I8 queries: 4-byte words per four channels
    /// Brings row x [padded], which it may change, into the form of `query_dtype`; channels from `dim` on are zero. I8
    /// queries are rotated where `rotation` says so, and begin with their lhk_flash_query8. Null: F32.
    void (*pack_query)(float *x, int64_t dim, int64_t padded, uint32_t rotation, void *out);
    /// s[r][x - first] = modified and masked scores in log2 units, -inf where masked; row stride lds.
    void (*scores)(const lhk_flash_strip *strip, float *s, int64_t lds);
    /// Applies softcap, biases and masks to raw dot products: for stores that score their own tiles.
    void (*modify)(const lhk_flash_strip *strip, float *s, int64_t lds);
    /// Updates m and l, rescales o where m moved, turns `width` scores into probabilities relative to m: f32 in place,
    /// or, as `weight_dtype` says, bf16 packed at the start of each row's storage.
    void (*softmax)(const lhk_flash_strip *strip, float *s, int64_t lds, int32_t width);
    /// The same, but leaves f32 probabilities whatever the kernel's product takes.
    void (*softmax_f32)(const lhk_flash_strip *strip, float *s, int64_t lds, int32_t width);
    /// o[r] += sum over the piece's columns of p * value. Probabilities as `softmax` left them.
    void (*values)(const lhk_flash_strip *strip, const float *p, int64_t lds);
    /// `scores` and `values` for tokens in place. Null: tokens are gathered into a scratch block.
    void (*token_scores)(const lhk_flash_strip *strip, float *s, int64_t lds);
    void (*token_values)(const lhk_flash_strip *strip, const float *p, int64_t lds);
} lhk_flash_kernel;

#endif
