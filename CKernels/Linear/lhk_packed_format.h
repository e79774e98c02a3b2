// SPDX-License-Identifier: Apache-2.0
/// How weights lie in memory, and what the files of this folder share.
///
/// 16 rows of a matrix make a panel; panels follow each other. A panel is a sequence of groups (one block, or the 8
/// blocks of a K-quant's superblock), a group a head and its blocks, a block the codes of 32 inputs and its scales:
///   codes   8 steps of 4 inputs. Step s is 64 bytes: byte 4 o + i is input 4 s + i of row o. 4-bit codes: 64 bytes hold
///           step 2 j in the low and step 2 j + 1 in the high nibbles. 5-bit codes: four such, then the fifth bits of the
///           eight steps, 64 bits each, bit 4 o + i.
///   scales  values of the 16 rows next to each other: d or d, m as f16; K-quants: the six- or eight-bit scales (and
///           minima) of the block as bytes, d (and dmin) as f16 in the head of the group.
/// A step is what one instruction multiplies on 512-bit registers; narrower ones take it in pieces.
#ifndef LHK_PACKED_FORMAT_H
#define LHK_PACKED_FORMAT_H

#include <lhk/support.h>

#include "longhand_linear.h"

enum { LHK_PANEL_ROWS = 16, LHK_BLOCK = 32, LHK_STEP_BYTES = 64 };

typedef enum lhk_packed_scales {
    LHK_SCALES_F16,      ///< d: value d (q - zero)
    LHK_SCALES_F16_MIN,  ///< d, m: value d q + m
    LHK_SCALES_K_MIN,    ///< bytes s, t with d, dmin in the head: value d s q - dmin t
    LHK_SCALES_K16,      ///< two signed bytes s, each for 16 inputs, with d in the head: value d s (q - zero)
} lhk_packed_scales;

typedef struct lhk_packed_format {
    int32_t type;
    int32_t code_bits;  ///< 4, 5, or 8 in memory
    /// The code of value zero is 1 << zero_shift; -1: codes are signed, or the format has a minimum.
    int32_t zero_shift;
    lhk_packed_scales scales;
    size_t source_block, source_bytes;  ///< elements and bytes of a block in the file
    size_t group_blocks, head_bytes, code_bytes, block_bytes;
} lhk_packed_format;

// name, type, bits, zero shift, scales, block and bytes in the file, blocks per group, head, codes, block
#define LHK_PACKED_FORMATS(X)                                        \
    X(q4_0, 2, 4, 3, LHK_SCALES_F16, 32, 18, 1, 0, 256, 288)         \
    X(q4_1, 3, 4, -1, LHK_SCALES_F16_MIN, 32, 20, 1, 0, 256, 320)    \
    X(q5_0, 6, 5, 4, LHK_SCALES_F16, 32, 22, 1, 0, 320, 352)         \
    X(q5_1, 7, 5, -1, LHK_SCALES_F16_MIN, 32, 24, 1, 0, 320, 384)    \
    X(q8_0, 8, 8, -1, LHK_SCALES_F16, 32, 34, 1, 0, 512, 544)        \
    X(q4_k, 12, 4, -1, LHK_SCALES_K_MIN, 256, 144, 8, 64, 256, 288)  \
    X(q5_k, 13, 5, -1, LHK_SCALES_K_MIN, 256, 176, 8, 64, 320, 352)  \
    X(q6_k, 14, 8, 5, LHK_SCALES_K16, 256, 210, 8, 32, 512, 544)

#define LHK_PACKED_FORMAT(name, number, bits, zero, scale_kind, block, bytes, blocks, head, codes, size)           \
    {.type = number, .code_bits = bits, .zero_shift = zero, .scales = scale_kind, .source_block = block,          \
     .source_bytes = bytes, .group_blocks = blocks, .head_bytes = head, .code_bytes = codes, .block_bytes = size}

/// The format of a GGUF type, or null.
const lhk_packed_format *lhk_packed_find(int32_t type);

static inline size_t lhk_panel_bytes(const lhk_packed_format *f, size_t k) {
    size_t blocks = k / LHK_BLOCK;
    return blocks / f->group_blocks * f->head_bytes + blocks * f->block_bytes;
}

/// Rows of x as integers. A row is `blocks` records one after another: 32 codes (or, where they are fine, 32 high and 32
/// low parts of 7 bits), then the block's scale, scale times sum of codes, the sum of codes, and that of its first half.
typedef struct lhk_activations {
    uint8_t *rows;
    size_t stride, blocks;
    bool fine;
} lhk_activations;

typedef struct lhk_activation_tail {
    float scale, offset;
    int32_t sum, half_sum;
} lhk_activation_tail;

static inline size_t lhk_activation_codes(bool fine) { return fine ? 2 * LHK_BLOCK : LHK_BLOCK; }
static inline size_t lhk_activation_bytes(bool fine) { return lhk_activation_codes(fine) + sizeof(lhk_activation_tail); }

/// What one task computes: `panels` panels from `weights` on, all `m` rows of `x`.
typedef struct lhk_packed_tiles {
    const uint8_t *weights;
    size_t panels;
    size_t columns;  ///< of y, at most 16 per panel
    lhk_activations x;
    size_t m;
    float *y;
    size_t ldy;
} lhk_packed_tiles;

/// The kernels of one ISA.
typedef struct lhk_packed_kernels {
    /// Rounds `m` rows of f32 to the records of `x`.
    void (*quantize)(const float *rows, size_t ldx, size_t m, const lhk_activations *x);
    void (*tiles)(int32_t type, const lhk_packed_tiles *tiles);
} lhk_packed_kernels;

extern const lhk_packed_kernels lhk_packed_scalar;
#if defined(__x86_64__)
extern const lhk_packed_kernels lhk_packed_avx2;
extern const lhk_packed_kernels lhk_packed_avx512vnni;
#elif defined(__aarch64__)
extern const lhk_packed_kernels lhk_packed_neon_dotprod;
extern const lhk_packed_kernels lhk_packed_neon_i8mm;
#endif

#endif
