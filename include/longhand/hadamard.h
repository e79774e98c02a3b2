// SPDX-License-Identifier: Apache-2.0
/// Multiplication of rows by a Hadamard matrix, plain or with random signs: a direct call, no registry, no global state.
///
/// Rotating queries and keys by one orthogonal matrix leaves their products alone and spreads outliers over all channels,
/// so that few bits hold them ("incoherent processing": QuIP, arXiv 2307.13304; FlashAttention-3, 2407.08608, section 3.3).
#ifndef LONGHAND_HADAMARD_H
#define LONGHAND_HADAMARD_H

#include <longhand/host.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

#define LHK_HADAMARD_SIGNS 0x1u    ///< multiply by D first, random signs that are the same in every call
#define LHK_HADAMARD_INVERSE 0x2u  ///< undo what the call without this flag does
#define LHK_HADAMARD_MOST_DIM 1024

/// Row of out = H D row of x (D only with LHK_HADAMARD_SIGNS). H[i][j] = (-1)^popcount(i & j) / sqrt(dim) where dim is a
/// power of two; other dimensions are cut into the powers of two they are a sum of, largest first (96 = 64 + 32), each of
/// which has a matrix of its own. H is orthogonal and its own inverse; D H is what the store `k8v16` rotates keys by.
/// x [rows][heads][dim] F32, BF16 or F16 with last stride 1 and dim from 1 to 1024; out F32 of the same shape, last stride
/// 1. `out` may be the same view as an F32 x, but not overlap x otherwise. Sums in f32, with the same bits on every
/// processor and for any number of workers; magnitudes over FLT_MAX / dim may overflow. Errors: LHK_ERROR_ARGUMENT,
/// LHK_ERROR_OVERFLOW; then nothing was written. [thread-safe with distinct outputs]
LHK_API lhk_status lhk_hadamard(const lhk_tensor *x, const lhk_tensor *out, uint32_t flags, const lhk_host *host,
                                lhk_error *LHK_NULLABLE error);

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
