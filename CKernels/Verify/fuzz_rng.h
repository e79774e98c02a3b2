// SPDX-License-Identifier: Apache-2.0
/// A small generator whose streams are independent for every (seed, index). Source: SplitMix64 (Steele, Lea, Flood 2014).
#ifndef FUZZ_RNG_H
#define FUZZ_RNG_H

#include <stdbool.h>
#include <stdint.h>

typedef struct fuzz_rng {
    uint64_t state;
} fuzz_rng;

static inline uint64_t fuzz_mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint64_t fuzz_next(fuzz_rng *rng) { return fuzz_mix(rng->state += 0x9e3779b97f4a7c15u); }

static inline fuzz_rng fuzz_seeded(uint64_t seed, uint64_t index) {
    return (fuzz_rng){fuzz_mix(seed + 0x9e3779b97f4a7c15u) ^ fuzz_mix(index ^ 0x5851f42d4c957f2du)};
}

/// Uniform in [0, n), n >= 1. The bias of the multiplication is far below what any check could see.
static inline int64_t fuzz_below(fuzz_rng *rng, int64_t n) {
    return (int64_t)(((unsigned __int128)fuzz_next(rng) * (uint64_t)n) >> 64);
}

static inline bool fuzz_chance(fuzz_rng *rng, int percent) { return fuzz_below(rng, 100) < percent; }

/// Uniform in [-1, 1).
static inline float fuzz_uniform(fuzz_rng *rng) { return (float)(int64_t)(fuzz_next(rng) >> 40) * 0x1p-23f - 1.0f; }

/// Close to normal, with mean 0 and variance 1: the sum of four uniform numbers out of one draw.
static inline float fuzz_normal(fuzz_rng *rng) {
    uint64_t bits = fuzz_next(rng);
    float sum = 0;
    for (int i = 0; i < 4; i++) sum += (float)((bits >> (16 * i)) & 0xffff) * 0x1p-15f - 1.0f;
    return sum * 0.8660254f;
}

#define FUZZ_PICK(rng, array) ((array)[fuzz_below(rng, (int64_t)(sizeof(array) / sizeof *(array)))])

#endif
