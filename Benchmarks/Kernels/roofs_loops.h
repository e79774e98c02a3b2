// SPDX-License-Identifier: Apache-2.0
/// The innermost loops of the roofs. Private to `roofs*.c`.
#ifndef LONGHAND_ROOFS_LOOPS_H
#define LONGHAND_ROOFS_LOOPS_H

#include <lhk/support.h>

/// Independent accumulators of a compute loop: more than latency times throughput of any of these instructions, and few
/// enough for the registers.
#define ROOF_CHAINS 12
#define ROOF_WIDE_CHAINS 24
/// Stands before a loop over all chains: unless it is unrolled, gcc keeps the accumulators in memory.
#define ROOF_UNROLL _Pragma("GCC unroll 24")

/// A loop of dot products or multiply-adds in registers.
typedef struct roof_loop {
    const char *instruction;
    lhk_dtype dtype;
    lhk_isa isa_required;
    double operations;  ///< of one round
    float (*run)(int64_t rounds);
} roof_loop;

/// A loop that reads `bytes` (a multiple of 256) as two streams.
typedef struct roof_reader {
    lhk_isa isa_required;
    float (*run)(const uint8_t *data, uint64_t bytes);
} roof_reader;

/// Loops of this architecture, fastest last among those of one element type.
extern const roof_loop roof_arch_loops[];
extern const uint32_t roof_arch_loop_count;
extern const roof_reader roof_arch_readers[];
extern const uint32_t roof_arch_reader_count;

#endif
