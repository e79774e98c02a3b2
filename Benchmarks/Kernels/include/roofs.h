// SPDX-License-Identifier: Apache-2.0
/// What this machine can do at most, measured: the denominators of "% of roof".
///
/// Depends on `longhand/` headers and `lhk/support.h` alone; compile `Benchmarks/Kernels/roofs*.c` into any program.
/// Everything runs on the workers of the host that is passed and with the instruction sets that its `isa` allows, so a
/// narrower roof is that of a copy of the host with fewer bits. One call at a time; nothing is kept between calls.
#ifndef LONGHAND_ROOFS_H
#define LONGHAND_ROOFS_H

#include <longhand/host.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

/// Nanoseconds on a monotonic clock.
uint64_t lhk_roof_clock(void);

/// What one reading of the clock adds to a time, in nanoseconds: the least difference of two readings in a row.
uint64_t lhk_roof_clock_cost(void);

/// 10^9 operations per second (a multiplication and an addition are two) of the fastest dot or multiply-add instruction on
/// elements of `dtype` (F32: into f32; BF16: into f32; I8: into i32) that `host->isa` allows, on all workers, the best of
/// several tries. 0 where there is no such instruction: bf16 without a bf16 dot product, i8 in portable code. Portable f32
/// is a multiplication and an addition of four lanes, which every baseline has.
/// `instruction` receives its name (static storage).
double lhk_roof_compute(const lhk_host *host, lhk_dtype dtype, const char *LHK_NONNULL *LHK_NULLABLE instruction);

/// Touched memory for reading.
typedef struct lhk_roof_memory {
    uint8_t *LHK_NULLABLE data;
    uint64_t bytes;
    uint64_t mapped;      ///< bytes of the whole mapping
    uint64_t huge_bytes;  ///< how much of it the kernel says it backs with huge pages (Linux: AnonHugePages)
} lhk_roof_memory;

/// Maps and touches `bytes` of memory, each part by the worker that `lhk_roof_read` reads it with. `huge` 1 asks for 2 MiB
/// pages, 0 for none; `huge_bytes` tells what came of it. LHK_ERROR_MEMORY when there is not enough.
lhk_status lhk_roof_memory_create(const lhk_host *host, uint64_t bytes, uint32_t huge, lhk_roof_memory *out,
                                  lhk_error *LHK_NULLABLE error);
void lhk_roof_memory_destroy(lhk_roof_memory *memory);

/// GB/s (10^9 bytes) of reading the memory once or, when it is small, again and again for some milliseconds: each worker
/// its own part, as two sequential streams. The best of `tries`. Memory that fits a cache level gives that level's roof.
double lhk_roof_read(const lhk_host *host, const lhk_roof_memory *memory, uint32_t tries);

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
