// SPDX-License-Identifier: Apache-2.0
/// The rotation M = D H that spreads outliers over all channels ("incoherent processing", FlashAttention-3, arXiv
/// 2407.08608, section 3.3): what does not depend on an instruction set. `lhk/hadamard_body.inc` computes it.
///
/// D is a diagonal of signs, drawn once and fixed here, since whoever rotates keys and whoever rotates queries must agree.
/// H is block-diagonal: dimensions are cut into the powers of two they are a sum of, largest first (96 = 64 + 32), and each
/// block is the Hadamard matrix H[i][j] = (-1)^popcount(i & j) / sqrt(size). M is orthogonal: (qM).(kM) = q.k.
#ifndef LHK_HADAMARD_H
#define LHK_HADAMARD_H

#include <lhk/support.h>

#define LHK_HADAMARD_MAX_DIM 1024

/// Bit c % 32 of word c / 32 set: D negates channel c. The words are outputs of SplitMix64.
static const uint32_t lhk_hadamard_signs[LHK_HADAMARD_MAX_DIM / 32] = {
    0x027e5481u, 0x793611f1u, 0x5f8ba79bu, 0xc35bc3feu, 0xc0d2aa5cu, 0x461c4b46u, 0x1d9a84efu, 0xe9682e0fu,
    0xeccc6e30u, 0xf9f27066u, 0x1b5d52bdu, 0x1bd63637u, 0x0deef3eau, 0x686f564eu, 0xe360451au, 0x987ebcb3u,
    0x4a934644u, 0xfb5e8c6fu, 0xa6bb7322u, 0xa33bdb6au, 0x45c9a9a9u, 0x532be9d6u, 0xa2354c8du, 0x38ff742fu,
    0xafed8f49u, 0xd7b20d3au, 0x38172ccau, 0x34ff07a2u, 0x567babe5u, 0x5867c1a0u, 0x4224fa21u, 0x929f0b9fu};

/// Largest power of two that is at most n > 0: the size of the first block of n channels.
static inline int64_t lhk_hadamard_block(int64_t n) { return INT64_C(1) << (63 - __builtin_clzll((unsigned long long)n)); }

#endif
