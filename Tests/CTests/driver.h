// SPDX-License-Identifier: Apache-2.0
/// What the parts of the test program in plain C share.
#ifndef LHK_TEST_DRIVER_H
#define LHK_TEST_DRIVER_H

#include <lhk/support.h>
#include <longhand/host.h>

/// An instruction level that the processor has: all sets up to it.
typedef struct driver_level {
    const char *name;
    lhk_isa isa;
} driver_level;

/// The levels to test: scalar and each one with kernels of its own that the processor has. The fuzz harness wants their
/// sets as an array.
#define MOST_LEVELS 8
typedef struct driver_levels {
    uint32_t count;
    driver_level levels[MOST_LEVELS];
    lhk_isa isas[MOST_LEVELS];
    char text[64];
} driver_levels;

/// Prints "PASS ..." or "FAIL ..." and remembers failures. Returns `passed`.
__attribute__((format(printf, 2, 3))) bool driver_result(bool passed, const char *format, ...);

/// A host of `workers` workers: threads of its own for every loop, task i on worker i modulo `workers`, so that
/// neighbouring tasks never share a thread. The thread sanitizer follows it, unlike the OpenMP runtime.
lhk_host driver_thread_host(uint32_t workers);

/// Uniform numbers in [-1, 1), the same on every machine.
static inline float driver_random(uint64_t *state) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (float)(int32_t)(*state >> 32) * 0x1p-31f;
}

static inline void driver_fill(uint64_t *state, float *data, int64_t count) {
    for (int64_t i = 0; i < count; i++) data[i] = driver_random(state);
}

/// A contiguous view [rows][heads][dim] of floats.
static inline lhk_tensor driver_view(float *data, int64_t rows, int64_t heads, int64_t dim) {
    return (lhk_tensor){data, LHK_DTYPE_F32, 3, {rows, heads, dim}, {heads * dim, dim, 1}};
}

/// The families registered, and a cache of each store: append, prefill, decode, save, load, truncate.
void driver_check_cache(const driver_level *level, uint64_t seed);

/// Cases [first, first + count) of every variant of the registered families, under each level that it can run with. Of one
/// role, unless `role` is null; one without variants is a failed check.
void driver_check_registry(const lhk_host *pool, const driver_levels *levels, const char *role, uint64_t seed, uint64_t first,
                           uint64_t count);

/// Rotary positions against the reference.
void driver_check_rope(const driver_level *level, uint64_t seed);

/// The runner's layers against formulas in double precision, dequantisation against the file of expected values.
void driver_check_layers(const driver_level *level, uint64_t seed, const char *golden);

/// Linear layers on packed weights of every type against sums in double precision.
void driver_check_linear(const driver_level *level, uint64_t seed);

/// The measurements that benchmarks are compared with.
void driver_check_roofs(const driver_level *level);

#endif
