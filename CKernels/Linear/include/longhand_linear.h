// SPDX-License-Identifier: Apache-2.0
/// Linear layers on quantised GGUF weights as they are: codes, scales and minima of the file, in another order.
///
/// `y[m][n] = x[m][k] * w[n][k]^T` with f32 x and y. A row of x is cut into blocks of 32 inputs, each rounded to integers
/// of a scale of its own, so that the products of codes are sums of integers:
/// - 15 bits: an error of at most 3.1e-5 of the block's largest input, in two products of bytes;
/// - 8 bits: an error of at most 3.9e-3 of it, in one.
/// Up to `LHK_PACKED_FEW_ROWS` rows are bound by reading weights, and 15 bits cost nothing.
/// Weights lose nothing. Sums over a block are exact; scales, and sums over blocks, are f32.
///
/// A row of y depends on its row of x and on the rounding, but not on other rows, workers, or the split. Instruction sets
/// differ in the last bits of the f32 sums. A block with a NaN or an infinity makes its whole row of y NaN; blocks whose inputs
/// are all below 2^-100 count as zeros.
///
/// Nothing here allocates, prints or keeps state. All functions are reentrant. No pointer may be null unless marked so.
#ifndef LONGHAND_LINEAR_H
#define LONGHAND_LINEAR_H

#include <longhand/host.h>
#include <longhand/types.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

/// Most rows of x that are worked on as few.
#define LHK_PACKED_FEW_ROWS 8

/// Bytes of n rows of k weights of GGUF tensor type `type`, packed: 2 Q4_0, 3 Q4_1, 6 Q5_0, 7 Q5_1, 8 Q8_0, 12 Q4_K,
/// 13 Q5_K, 14 Q6_K. With n rounded up to 16, as many as in the file, except that Q4_K and Q5_K take 0.13 bits per weight
/// more (scales are whole bytes) and Q6_K 8.6 instead of 6.6 (codes are).
/// Errors: unsupported (another type); argument (k is not whole blocks); overflow.
lhk_status lhk_packed_bytes(int32_t type, size_t n, size_t k, size_t *bytes, lhk_error *LHK_NULLABLE error);

/// Packs n rows of k weights of a GGUF tensor on the workers of `host`. Neither array needs alignment, though
/// `packed` reads fastest on 64 bytes; they must not overlap. The same bytes for every ISA and number of workers. Errors: as `lhk_packed_bytes`.
lhk_status lhk_run_pack(const lhk_host *host, int32_t type, size_t n, size_t k, const void *source, void *packed,
                        lhk_error *LHK_NULLABLE error);

/// Some rows of a weight matrix, all of one type.
typedef struct lhk_packed_rows {
    int32_t type;  ///< GGUF tensor type
    size_t n;      ///< rows, which are columns of y
    const void *weights;  ///< from `lhk_run_pack`
} lhk_packed_rows;

/// `y = x * w^T` where w is made of `part_count` parts on top of each other, so that matrices of different types read x
/// together.
typedef struct lhk_packed_call {
    const lhk_packed_rows *parts;
    size_t part_count;
    size_t m, k;
    int32_t bits;    ///< rounding of x: 8 or 15
    const float *x;  ///< [m][k], rows `ldx` elements apart
    size_t ldx;
    float *y;  ///< [m][sum of n], rows `ldy` elements apart; must not overlap x
    size_t ldy;
} lhk_packed_call;

/// Bytes of workspace for m rows of k inputs rounded to `bits` bits; grows with all three. Errors: overflow.
lhk_status lhk_packed_workspace(size_t m, size_t k, int32_t bits, size_t *bytes, lhk_error *LHK_NULLABLE error);

/// Runs a call on the workers of `host`, with its ISA. `workspace` holds at least what `lhk_packed_workspace` says,
/// 64-byte aligned, its contents do not matter. Errors: argument (strides shorter than rows, k that is no multiple of
/// 32, other `bits`, a workspace that is too small or not aligned), unsupported (type), overflow. Then y is not touched.
lhk_status lhk_run_linear_packed(const lhk_host *host, const lhk_packed_call *call, const lhk_workspace *workspace,
                                 lhk_error *LHK_NULLABLE error);

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
