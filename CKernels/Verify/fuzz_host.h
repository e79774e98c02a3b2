// SPDX-License-Identifier: Apache-2.0
/// The harness's own hosts: one thread, every order and number of workers.
#ifndef FUZZ_HOST_H
#define FUZZ_HOST_H

#include <longhand/host.h>
#include <stdbool.h>

/// A parallel loop on the calling thread: last task first, workers in turn.
typedef struct fuzz_loop {
    uint32_t workers;
    int depth;
    bool nested;  ///< a loop was started within a loop
} fuzz_loop;

/// A host of `workers` workers that runs on `loop`, or without a loop for one worker.
lhk_host fuzz_make_host(fuzz_loop *loop, uint32_t workers, lhk_isa isa);

/// Name of the highest level in `isa`.
const char *fuzz_level_name(lhk_isa isa);

#endif
