// SPDX-License-Identifier: Apache-2.0
/// The harness's own hosts: one thread, every order and number of workers.
#ifndef FUZZ_HOST_H
#define FUZZ_HOST_H

#include <longhand/host.h>
#include <stdbool.h>

/// A parallel loop on the calling thread, last task first, workers in turn; or that of a pool.
typedef struct fuzz_loop {
    uint32_t workers;
    int depth;
    bool nested;  ///< a loop was started within a loop; not seen on a pool
    const lhk_host *pool;
} fuzz_loop;

/// A host of `workers` workers that runs on `loop`, or without a loop for one worker.
lhk_host fuzz_make_host(fuzz_loop *loop, uint32_t workers, lhk_isa isa);

/// `pool` with the levels `isa`, as a host whose loops cannot be left by a fault. `loop` keeps a pointer to `pool`.
lhk_host fuzz_make_pool_host(fuzz_loop *loop, const lhk_host *pool, lhk_isa isa);

/// Name of the highest level in `isa`.
const char *fuzz_level_name(lhk_isa isa);

#endif
