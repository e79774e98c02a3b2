// SPDX-License-Identifier: Apache-2.0
/// What this machine can do at most, measured: the denominators of "% of roof".
#ifndef BENCH_ROOFS_H
#define BENCH_ROOFS_H

#include <longhand/host.h>

/// Seconds on a monotonic clock.
double bench_seconds(void);

/// GFLOP/s of fused multiply-adds on f32 with all workers, with the widest registers that the host allows; 0 without FMA.
double bench_fma_roof(const lhk_host *host);

/// GFLOP/s of the bf16 dot product into f32, 0 if the host has none.
double bench_bf16_roof(const lhk_host *host);

/// GB/s of reading `bytes` of memory at `data`, twice unrolled sequential streams, all workers.
double bench_read_roof(const lhk_host *host, const void *data, uint64_t bytes);

#endif
