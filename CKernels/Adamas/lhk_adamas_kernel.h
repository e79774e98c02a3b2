// SPDX-License-Identifier: Apache-2.0
/// What one instruction set provides. Whatever decides which keys are chosen gives the same bits everywhere.
///
/// Codes of 256 tokens of one KV head form a block, in one of two layouts of 2 bits per channel:
///   planes  [2 planes: high, low][ceil(dim/64) words][256 tokens] uint64    Manhattan distance: population counts
///   lanes   [ceil(dim/16) groups][256 tokens] uint32, then f16 scales [256]  dot product: bytes of a token's 32-bit lane
/// In `lanes`, channel 16 g + 4 b + s is bits 8 b + 2 s and 8 b + 2 s + 1 of group g's word.
#ifndef LHK_ADAMAS_KERNEL_H
#define LHK_ADAMAS_KERNEL_H

#include <lhk/hadamard.h>
#include <lhk/support.h>

#define LHK_ADAMAS_BLOCK 256  ///< tokens
#define LHK_ADAMAS_PEAK 64    ///< scores per peak
#define LHK_ADAMAS_CHANNELS 16
#define LHK_ADAMAS_VALUES_AHEAD 8  ///< tokens whose values are fetched before they are needed

typedef float lhk_adamas_floats __attribute__((vector_size(64)));
typedef int32_t lhk_adamas_ints __attribute__((vector_size(64)));
typedef uint32_t lhk_adamas_uints __attribute__((vector_size(64)));

/// The tokens [0, tokens) of one block against some queries that share its KV head.
typedef struct lhk_adamas_scan {
    const uint8_t *block;
    int64_t tokens;  ///< a multiple of 16
    int64_t dim;
    int64_t rows;    ///< queries
    const uint64_t *planes;   ///< planes: thermometer codes [rows][3: >= 1, >= 2, 3][words]
    const int32_t *weights;   ///< lanes: int8 codes of the queries, four to a word [rows][groups][4: s][4: b]
    const float *factor, *offset;  ///< lanes, [rows]: score = scale of token * (factor * sum of weight * step + offset) + base
    const float *queries, *mean;   ///< lanes: base = query . mean, [rows][ldq] and [dim]; mean null: base = 0
    int64_t ldq;                   ///< dim rounded up to 16; what is past dim is zero
    const uint8_t *step;           ///< lanes, [4]
    const uint8_t *ahead;  ///< the block that will be scanned next, to be fetched meanwhile, or null; [ahead_bytes]
    int64_t ahead_bytes;
    float *scores;  ///< [rows][lds]; the greater the nearer. planes: minus the distance
    int64_t lds;
} lhk_adamas_scan;

/// Values of some tokens of one KV head, in blocks of `block_tokens` that lie `block_stride` bytes apart, as in panels:
/// rows of `width` floats, or of `width` words that hold the bf16 of an even token below that of the next, odd one.
typedef struct lhk_adamas_gather {
    const uint8_t *values;  ///< of the first block
    const int32_t *tokens;  ///< [count]
    int64_t count, rows, width;  ///< width: a multiple of 16
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
    void (*estimates)(const lhk_adamas_scan *scan);
    /// peaks[i] = greatest of scores [64 i, 64 i + 64). `count` is a multiple of 64.
    void (*peaks)(const float *scores, int64_t count, float *peaks);
    /// lanes[16 b + i] = greatest of scores [256 b + i + 16 j], j from 0 to 15. `count` is a multiple of 256.
    void (*lanes)(const float *scores, int64_t count, float *lanes);
    /// Sum of about 2^(score - most) over `count` scores, a multiple of 16: each is up to 4 % off, on average right.
    float (*mass)(const float *scores, int64_t count, float most);
    /// Of `count` values, a multiple of 16: how many are >= least, the least of these, the greatest of the others.
    lhk_adamas_parting (*part)(const float *values, int64_t count, float least);
    /// The j of scores[begin + j] >= least, 0 <= j < count, a multiple of 16, as begin + j, with their scores; ascending.
    /// Up to 16 entries past the last one may be written.
    int64_t (*above)(const float *scores, int64_t begin, int64_t count, float least, int32_t *tokens, float *kept);
    /// The same for tokens that reach `least` in one of several rows: least [rows], scores [rows][lds]; `kept` has room for
    /// 32 entries and is of no meaning.
    int64_t (*reaching)(const float *scores, int64_t lds, int64_t rows, const float *least, int64_t begin, int64_t count,
                        int32_t *tokens, float *kept);
    void (*gather)(const lhk_adamas_gather *gather);
    /// mean = before + the mean of what the codes of a whole block stand for, both [dim]; code i is floor + unit * step[i].
    void (*mean)(const uint8_t *block, int64_t dim, const uint8_t *step, float floor, float unit, const float *before,
                 float *mean);
} lhk_adamas_kernel;

/// Tables of the steps of the low and of the high of two codes, by the nibble that holds them.
static inline void lhk_adamas_nibbles(const uint8_t *step, uint8_t *low, uint8_t *high) {
    for (int i = 0; i < 16; i++) {
        low[i] = step[i & 3];
        high[i] = step[i >> 2];
    }
}

/// The four steps as the bytes of a word.
static inline uint32_t lhk_adamas_four_steps(const uint8_t *step) {
    return step[0] | (uint32_t)step[1] << 8 | (uint32_t)step[2] << 16 | (uint32_t)step[3] << 24;
}

static inline int64_t lhk_adamas_words(int64_t dim) { return (dim + 63) / 64; }
static inline int64_t lhk_adamas_groups(int64_t dim) { return (dim + LHK_ADAMAS_CHANNELS - 1) / LHK_ADAMAS_CHANNELS; }

/// 2^x for x <= 0 as `mass` has it: the exponent is exact and the mantissa a straight line, shifted to be right on average.
LHK_ALWAYS_INLINE float lhk_adamas_power(float x) {
    float bits = x * 0x1p23f + (127 * 0x1p23f - 482000.0f);
    int32_t integer = (int32_t)(bits > 0 ? bits : 0);
    float out;
    memcpy(&out, &integer, 4);
    return out;
}

#endif
