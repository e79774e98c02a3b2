// SPDX-License-Identifier: Apache-2.0
/// The tile operations, written once and included by every ISA file inside its target region.
///
/// Both products meet codes with *weights*: a block of query channels, or of probabilities times scales, as integers with one
/// factor, so that sums of codes times weights are exact integers. Weights of values have 15 bits, and the rounding of all of
/// them is far below that of the codes. Queries have 8 bits where dot products are of bytes, else 15: README.md, "Weights".
/// The including file defines
///   LHK_NAME(x)            a name per ISA; LHK_HADAMARD(x), see lhk/hadamard_body.inc, which it has included
///   LHK_QUANT_PLANES       1: weights lie as bytes in one plane, or two with w = 128 hi + lo, hi signed and lo < 128;
///                          0: as int16
///   LHK_QUANT_BIAS(bits)   what `dot` leaves in codes as an offset: 128 where it takes q8 codes as unsigned bytes
///   LHK_NAME(halves)(from, to)   16 half-precision numbers to floats
///   LHK_NAME(dot)(bits, planes, rows, codes, steps, w, ldw, plane, acc)   acc[r][x / 16][x % 16] += sum over steps s and
///       places i of code(s, x, i) * w_r[4 s + i], x < 32; w is the first row's hi bytes (int16), ldw bytes between rows,
///       `plane` bytes from hi to lo.
///   LHK_NAME(fma)(a, b, sum)     *sum += *a * b of 16 floats, rounded once or twice
/// and, or LHK_QUANT_PLAIN_WEIGHTS for the plain code in lhk_quant_weights.h,
///   LHK_NAME(spread)(p, scales, x, n)    x = p * scale, 0 where p is; returns the bits of the largest magnitude
///   LHK_NAME(round)(x, n, inverse, planes, w, plane)   n (a multiple of 32) weights x * inverse at w; returns their sum
///   LHK_NAME(weigh_256)(p, scales, w, plane, &sum)   `weigh` of 256 products p * scale, all scales finite, in two planes

#define LHK_QUANT_ROWS 4  ///< rows that meet a step of codes together
#define LHK_QUANT_PLACE(i) ((i) * (LHK_QUANT_PLANES ? 1 : 2))  ///< byte offset of weight i
#define LHK_QUANT_KEY_PLANES (LHK_QUANT_PLANES ? 1 : 2)


#define LHK_QUANT_CASE(BITS, R, CALL) case (BITS) * 8 + (R): CALL(BITS, R); break;
#define LHK_QUANT_CASES(CALL)                                                                                        \
    LHK_QUANT_CASE(8, 1, CALL) LHK_QUANT_CASE(8, 2, CALL) LHK_QUANT_CASE(8, 3, CALL) LHK_QUANT_CASE(8, 4, CALL) \
    LHK_QUANT_CASE(4, 1, CALL) LHK_QUANT_CASE(4, 2, CALL) LHK_QUANT_CASE(4, 3, CALL) LHK_QUANT_CASE(4, 4, CALL)

#include "lhk_quant_weights.h"
#include "lhk_quant_scores.h"
#include "lhk_quant_sums.h"
