// SPDX-License-Identifier: Apache-2.0
/// The rotation x -> H D x of a row: D = random signs, H = Hadamard matrix / sqrt(n). It is orthogonal, so dot products
/// stay what they are, and an outlier in one channel is spread over all (FlashAttention-3, arXiv 2407.08608, section 3.3).
///
/// The row is padded with zeros to a multiple of 32. Where that is no power of two, its largest powers of two are rotated
/// apart: 96 = 64 + 32. Sums are taken in one order on every processor, so codes do not depend on it.
#ifndef LHK_QUANT_ROTATE_H
#define LHK_QUANT_ROTATE_H

#include <lhk/support.h>

typedef float lhk_quant_floats __attribute__((vector_size(64)));  // 16 lanes, whatever the registers
typedef int32_t lhk_quant_ints __attribute__((vector_size(64), may_alias));

#if defined(__clang__)
#define LHK_UNROLL _Pragma("clang loop unroll(full)")
#define LHK_QUANT_PERMUTE(x, ...) __builtin_shufflevector(x, x, __VA_ARGS__)
#else
#define LHK_UNROLL _Pragma("GCC unroll 16")
#define LHK_QUANT_PERMUTE(x, ...) __builtin_shuffle(x, (lhk_quant_ints){__VA_ARGS__})
#endif

/// Sign of channel c: bits drawn once (the binary digits of pi).
LHK_ALWAYS_INLINE uint32_t lhk_quant_signs(int64_t word) {
    static const uint32_t signs[32] = {
        0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0x082efa98, 0xec4e6c89,
        0x452821e6, 0x38d01377, 0xbe5466cf, 0x34e90c6c, 0xc0ac29b7, 0xc97c50dd, 0x3f84d5b5, 0xb5470917,
        0x9216d5d9, 0x8979fb1b, 0xd1310ba6, 0x98dfb5ac, 0x2ffd72db, 0xd01adfb7, 0xb8e1afed, 0x6a267e96,
        0xba7c9045, 0xf12c7f99, 0x24a19947, 0xb3916cf7, 0x0801f2e2, 0x858efc16, 0x636920d8, 0x71574e69};
    return signs[word];
}

/// The stages of the transform within 16 channels, in one register: x'[i] = x[i^h] + x[i] or x[i^h] - x[i].
LHK_ALWAYS_INLINE void lhk_quant_rotate_lanes(float *at) {
    lhk_quant_floats x, swapped;
    memcpy(&x, at, sizeof x);
    swapped = LHK_QUANT_PERMUTE(x, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    x = swapped + x * (lhk_quant_floats){1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1};
    swapped = LHK_QUANT_PERMUTE(x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    x = swapped + x * (lhk_quant_floats){1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1};
    swapped = LHK_QUANT_PERMUTE(x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    x = swapped + x * (lhk_quant_floats){1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1};
    swapped = LHK_QUANT_PERMUTE(x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    x = swapped + x * (lhk_quant_floats){1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1};
    memcpy(at, &x, sizeof x);
}

/// Hadamard transform of n floats `lanes` apart in groups of `lanes`, from distance `from` on, times 1/sqrt(n).
LHK_ALWAYS_INLINE void lhk_quant_butterflies(float *x, int64_t n, int64_t from, int64_t lanes) {
    for (int64_t h = from; h < n; h *= 2)
        for (int64_t i = 0; i < n; i += 2 * h) {
            float *a = x + i * lanes, *b = a + h * lanes;
            for (int64_t j = 0; j < h * lanes; j++) {
                float sum = a[j] + b[j], difference = a[j] - b[j];
                a[j] = sum;
                b[j] = difference;
            }
        }
    float norm = sqrtf(1.0f / (float)n);
    for (int64_t j = 0; j < n * lanes; j++) x[j] *= norm;
}

LHK_ALWAYS_INLINE int64_t lhk_quant_power(int64_t n) {
    int64_t power = 32;
    while (power * 2 <= n) power *= 2;
    return power;
}

LHK_ALWAYS_INLINE void lhk_quant_flip(float *x, int64_t padded) {
    for (int64_t c = 0; c < padded; c++) {
        uint32_t bits;
        memcpy(&bits, x + c, 4);
        bits ^= (lhk_quant_signs(c / 32) >> (c % 32) & 1u) << 31;
        memcpy(x + c, &bits, 4);
    }
}

/// Rotates one row of `padded` (a multiple of 32) floats in place.
LHK_ALWAYS_INLINE void lhk_quant_rotate(float *x, int64_t padded) {
    lhk_quant_flip(x, padded);
    for (int64_t done = 0; done < padded;) {
        int64_t n = lhk_quant_power(padded - done);
        for (int64_t c = 0; c < n; c += 16) lhk_quant_rotate_lanes(x + done + c);
        lhk_quant_butterflies(x + done, n, 16, 1);
        done += n;
    }
}

/// The inverse, for `lanes` rows at once: x is [padded][lanes]. The same sums in the same order for any number of lanes.
LHK_ALWAYS_INLINE void lhk_quant_rotate_back(float *x, int64_t padded, int64_t lanes) {
    for (int64_t done = 0; done < padded;) {
        int64_t n = lhk_quant_power(padded - done);
        lhk_quant_butterflies(x + done * lanes, n, 1, lanes);
        done += n;
    }
    for (int64_t c = 0; c < padded; c++)
        if (lhk_quant_signs(c / 32) >> (c % 32) & 1u)
            for (int64_t j = 0; j < lanes; j++) x[c * lanes + j] = -x[c * lanes + j];
}

#endif
