// SPDX-License-Identifier: Apache-2.0
/// What one instruction set provides. Whatever decides which keys are chosen gives the same bits everywhere.
///
/// Codes of 256 tokens of one KV head form a block, in one of two layouts of 2 bits per channel:
///   planes  [2 planes: high, low][ceil(dim/64) words][256 tokens] uint64   Manhattan distance: population counts
///   tiles   [4 tiles of 64 tokens]([ceil(dim/4) rows][64] bytes, f16 scales [64])   dot product: bytes look up tables
/// In `tiles`, token t of a tile is byte 2 (t % 32) + t / 32 of each row: the even and the odd bytes of a vector, as 16-bit
/// lanes, are then tokens in a row. Three rows (at the end one or two) hold a group of 12 channels, four times as many as
/// rows: of row b, bits 0 to 5 are channels 3 b, 3 b + 1 and 3 b + 2 of the group, bits 6 and 7 channel 3 rows + b. So a
/// table of 64 bytes takes the lower bits as they are, and a fourth one the upper bits of all three; and tables of 16
/// bytes take the nibbles.
#ifndef LHK_ADAMAS_KERNEL_H
#define LHK_ADAMAS_KERNEL_H

#include <lhk/hadamard.h>
#include <lhk/support.h>

#define LHK_ADAMAS_BLOCK 256  ///< tokens
#define LHK_ADAMAS_TILE 64    ///< tokens
#define LHK_ADAMAS_GROUP 12   ///< channels
#define LHK_ADAMAS_VALUES_AHEAD 8  ///< tokens whose values are fetched before they are needed

typedef float lhk_adamas_floats __attribute__((vector_size(64)));
typedef int32_t lhk_adamas_ints __attribute__((vector_size(64)));
typedef uint32_t lhk_adamas_uints __attribute__((vector_size(64)));

/// The tokens [0, tokens) of one block against some queries that share its KV head.
typedef struct lhk_adamas_scan {
    const uint8_t *block;
    int64_t tokens;  ///< a multiple of 16; in tiles, scores may be written up to the next multiple of 128
    int64_t dim;
    int64_t rows;    ///< queries
    const uint64_t *planes;   ///< planes: thermometer codes [rows][3: >= 1, >= 2, 3][words]
    const uint8_t *tables;    ///< tiles: as `tables` below writes them, [rows][lhk_adamas_table_bytes(dim)]
    const float *factor, *offset;  ///< tiles, [rows]: score = scale of token * (factor * sum of weights + offset) + base
    const float *queries, *mean;   ///< tiles: base = query . mean, [rows][ldq] and [dim]; mean null: base = 0
    int64_t ldq;                   ///< dim rounded up to 16; what is past dim is zero
    const uint8_t *ahead;  ///< the block that will be scanned next, to be fetched meanwhile, or null; [ahead_bytes]
    int64_t ahead_bytes;
    float *scores;  ///< [rows][lds]; the greater the nearer. planes: minus the distance
    int64_t lds;
    float *crests;  ///< tiles: as `crests` below has them, [rows][ldc]
    int64_t ldc;
    float *peaks;   ///< tiles, [rows]: the greatest score
    float *lanes;   ///< tiles, [rows][32], or null: where the peak does not exceed number 16, `mass` is done as well, for this
                    ///< `most`
} lhk_adamas_scan;

/// Values of some tokens of one KV head, in blocks of `block_tokens` that lie `block_stride` bytes apart, as in panels:
/// rows of `width` floats, or of `width` words that hold the bf16 of an even token below that of the next, odd one. Of them
/// the channels [begin, end), multiples of 16.
typedef struct lhk_adamas_gather {
    const uint8_t *values;  ///< of the first block
    const int32_t *tokens;  ///< [count]
    int64_t count, rows, width, begin, end;  ///< width: a multiple of 16
    const float *weights;   ///< [rows][count]
    int64_t block_tokens;
    uint64_t block_stride;
    bool pairs;
    float *out;  ///< [rows][width]: their weighted sums are added
} lhk_adamas_gather;

typedef struct lhk_adamas_parting {
    int64_t count;
    float least_above, most_below;  ///< infinities where there are none
} lhk_adamas_parting;

typedef struct lhk_adamas_kernel {
    const char *word;
    lhk_isa isa;
    double speed;  ///< scores per nanosecond of one worker at 128 channels
    /// x = H x.
    void (*hadamard)(float *x, int64_t dim);
    /// Subtracts `mean` unless null, then, unless `scale` is null, divides by the root of the mean square, kept in f16 as
    /// `scale` (0 where it is not finite), and codes. y is changed; it has room for `dim` rounded up to 16.
    /// Bit c of high[g], low[g]: the two bits of channel 16 g + c; zero from `dim` on.
    void (*code)(float *y, const float *mean, int64_t dim, const float *thresholds, uint16_t *scale, uint16_t *high,
                 uint16_t *low);
    void (*distances)(const lhk_adamas_scan *scan);
    /// What the tables of `scan` are made of: `weights` [rows of codes][4: channels as a byte has them][4: codes].
    void (*tables)(const uint8_t *weights, int64_t dim, uint8_t *tables);
    void (*estimates)(const lhk_adamas_scan *scan);
    /// Of the scores of a block: crests[16 t + i] = greatest of scores 64 t + i + 16 j, j from 0 to 3. Returns the greatest.
    float (*crests)(const float *scores, float *crests);
    /// marks[t] |= whether one of crests [16 t, 16 t + 16) is >= least.
    void (*mark)(const float *crests, int64_t tiles, float least, uint8_t *marks);
    /// Adds about 2^(score - most) of `count` scores, a multiple of 32, to lanes [16]: each is up to 4 % off, on average
    /// right.
    void (*mass)(const float *scores, int64_t count, float most, float *lanes);
    /// Sum of lanes [16].
    float (*sum)(const float *lanes);
    /// Of `count` values, a multiple of 16: how many are >= least, the least of these, the greatest of the others.
    lhk_adamas_parting (*part)(const float *values, int64_t count, float least);
    /// The i of scores[i] >= least, 0 <= i < count, a multiple of 16, with their scores; ascending. Up to 16 entries past
    /// the last one may be written.
    int64_t (*above)(const float *scores, int64_t count, float least, int32_t *which, float *kept);
    /// Bit i: scores[i] >= least, of 64.
    uint64_t (*reaching)(const float *scores, float least);
    /// Those of 64 scores whose bit is set. Up to 16 floats past the last one may be written.
    void (*take)(const float *scores, uint64_t bits, float *out);
    void (*gather)(const lhk_adamas_gather *gather);
    /// mean = before + the mean of what the codes of a whole block stand for, both [dim]; code i is floor + unit * step[i].
    void (*mean)(const uint8_t *block, int64_t dim, const uint8_t *step, float floor, float unit, const float *before,
                 float *mean);
} lhk_adamas_kernel;

/// The four steps as the bytes of a word.
static inline uint32_t lhk_adamas_four_steps(const uint8_t *step) {
    return step[0] | (uint32_t)step[1] << 8 | (uint32_t)step[2] << 16 | (uint32_t)step[3] << 24;
}

static inline int64_t lhk_adamas_words(int64_t dim) { return (dim + 63) / 64; }
/// Rows of codes of a tile, four channels each, and groups of three rows.
static inline int64_t lhk_adamas_rows(int64_t dim) { return (dim + 3) / 4; }
static inline int64_t lhk_adamas_groups(int64_t dim) { return (lhk_adamas_rows(dim) + 2) / 3; }
/// Rows of group g.
static inline int64_t lhk_adamas_group_rows(int64_t dim, int64_t g) { return lhk_min(3, lhk_adamas_rows(dim) - 3 * g); }
/// The channel at bits 2 s of row 3 g + b.
static inline int64_t lhk_adamas_channel(int64_t dim, int64_t g, int64_t b, int64_t s) {
    return LHK_ADAMAS_GROUP * g + (s < 3 ? 3 * b + s : 3 * lhk_adamas_group_rows(dim, g) + b);
}
static inline int64_t lhk_adamas_tile_bytes(int64_t dim) { return LHK_ADAMAS_TILE * (lhk_adamas_rows(dim) + 2); }
/// The byte of token t in a row of its tile.
static inline int64_t lhk_adamas_byte(int64_t t) { return t % 32 * 2 + t % LHK_ADAMAS_TILE / 32; }
/// Where token t has its byte of row 0, and its scale.
static inline int64_t lhk_adamas_place(int64_t dim, int64_t t) {
    return t / LHK_ADAMAS_TILE * lhk_adamas_tile_bytes(dim) + lhk_adamas_byte(t);
}
static inline int64_t lhk_adamas_scale_place(int64_t dim, int64_t t) {
    return (t / LHK_ADAMAS_TILE + 1) * lhk_adamas_tile_bytes(dim) - 2 * LHK_ADAMAS_TILE + t % LHK_ADAMAS_TILE * 2;
}
/// Room for the tables of a query at any level.
static inline int64_t lhk_adamas_table_bytes(int64_t dim) { return 64 * (lhk_adamas_rows(dim) + lhk_adamas_groups(dim)); }

/// 2^(x - most) for x <= most as `mass` has it: the exponent is exact and the mantissa a straight line, shifted to be right
/// on average. `shift` is what follows from `most`, a whole number.
static inline float lhk_adamas_power_shift(float most) { return (127 * 0x1p23f - 482000.0f) - most * 0x1p23f; }
LHK_ALWAYS_INLINE float lhk_adamas_power(float x, float shift) {
    float bits = x * 0x1p23f + shift;
    int32_t integer = (int32_t)(bits > 0 ? bits : 0);
    float out;
    memcpy(&out, &integer, 4);
    return out;
}

#endif
