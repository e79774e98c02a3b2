// SPDX-License-Identifier: Apache-2.0
/// How far a correct kernel may lie from the reference.
///
/// Let s_j be the scores of a row, p_j the probabilities, and let a kernel's weights be p_j (1 + d_j) before division by
/// their sum. To first order its output differs by sum_j p_j d_j v_j - O sum_j p_j d_j, so with |d_j| <= D_j
///     |error of O_c| <= (sum_j p_j D_j |v_jc| + |O_c| sum_j p_j D_j) / (1 - sum_j p_j D_j),   D_j = exp(E_j) - 1 + B.
/// E_j bounds the error of the score and of the exponent's argument, B that of everything else. With u = 2^-24:
///     E_j = 2u [ (2 + sqrt(d)/2) A_j + 2|s_j| + max|s| + 2 |slope| distance_j + |log weight_j| + 4 softcap ]
/// where A_j = scale sum_c |q_c k_jc|: a sum of d rounded products errs like a random walk of d steps. bf16 units add
/// 2^-8 min(A_j, R_j), R_j = 2.5 scale sqrt(sum_c (q_c k_jc)^2) + |scale q.k_j|, unless q is bf16 already: q is rounded
/// to 8 bits, independently per channel (first term) or, where its channels are equal, alike (second).
///     B = 2e-6 (1 + sqrt(keys)/64)  for f32: exp2, sums over keys, rescaling, division;
///     B = that + 2^-8               for bf16 units: probabilities are rounded to 8 bits.
/// Stores that meet their codes with integers ("codes"; bf16 units may join them) round queries to 8 bits of the largest in
/// the row, and probabilities times scales to 15 bits of the largest among at most 256 keys:
///     E_j of bf16, whose term is here for the unpacked keys, plus scale / 254 times max|q| sum_c |k_c|, or |q| |k|
///     where that is more (rotated queries, by 5 deviations);   D_j |v_j| takes 2^-7 max|v_j| more.
/// Kernels on 8-bit keys do so with a rotated row q', whose channels err by up to h = max|q'| / 254; with the rotated key k'
///     E_j of bf16 without the term of q, plus scale h min(sum_c |k'_c|, 3 sqrt(sum_c k'_c^2) + |sum_c k'_c|)
/// (errors of like sign, or independent ones by 5 deviations), plus 2^-20 scale |q'| |k'| for rotating in f32.
/// When sum_j p_j D_j > 1/2 the expansion is void, and the output is only known to lie among the values:
/// |error| <= 2 max_j |v_jc|. Results that underflow may miss FLT_MIN per key (bf16 units flush them).
#ifndef FUZZ_BOUNDS_H
#define FUZZ_BOUNDS_H

#include "fuzz_case.h"

/// Room for one row.
typedef struct fuzz_bounds_row {
    fuzz_entry *entries;
    double *score, *magnitude, *spread;  ///< s_j, A_j, R_j
    double *coarse;  ///< what 8-bit queries add to E_j
} fuzz_bounds_row;

/// Fills the tolerances of one row of one head from `count` entries, and, when the subject has no reference, the expected
/// results.
void fuzz_bound_row(fuzz_case *c, const fuzz_sequence *sequence, int64_t row, int64_t head, fuzz_bounds_row *work,
                    int64_t count);

/// What storing `value` in `dtype` may add to the error.
double fuzz_storage_error(lhk_dtype dtype, double value);

#endif
