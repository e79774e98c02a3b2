// SPDX-License-Identifier: Apache-2.0
/// What the parts of the AArch64 test program share.
#ifndef LHK_ARM_DRIVER_H
#define LHK_ARM_DRIVER_H

#include <lhk/support.h>
#include <longhand/host.h>

/// An instruction level that the processor has: all sets up to it.
typedef struct arm_level {
    const char *name;
    lhk_isa isa;
} arm_level;

/// Prints "PASS ..." or "FAIL ..." and remembers failures. Returns `passed`.
__attribute__((format(printf, 2, 3))) bool arm_result(bool passed, const char *format, ...);

/// Uniform numbers in [-1, 1), the same on every machine.
static inline float arm_random(uint64_t *state) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (float)(int32_t)(*state >> 32) * 0x1p-31f;
}

static inline void arm_fill(uint64_t *state, float *data, int64_t count) {
    for (int64_t i = 0; i < count; i++) data[i] = arm_random(state);
}

/// A contiguous view [rows][heads][dim] of floats.
static inline lhk_tensor arm_view(float *data, int64_t rows, int64_t heads, int64_t dim) {
    return (lhk_tensor){data, LHK_DTYPE_F32, 3, {rows, heads, dim}, {heads * dim, dim, 1}};
}

/// The families registered, and a cache of each store: append, prefill, decode, save, load, truncate.
void arm_check_cache(const arm_level *level, uint64_t seed);

/// Cases [first, first + count) of every variant of the registered families, under each level that it can run with.
void arm_check_registry(const lhk_host *pool, const arm_level *levels, uint32_t level_count, uint64_t seed, uint64_t first,
                        uint64_t count);

/// Rotary positions against the reference.
void arm_check_rope(const arm_level *level, uint64_t seed);

/// The runner's layers against formulas in double precision, dequantisation against the file of expected values.
void arm_check_layers(const arm_level *level, uint64_t seed, const char *golden);

/// Linear layers on packed weights of every type against sums in double precision.
void arm_check_linear(const arm_level *level, uint64_t seed);

#endif
