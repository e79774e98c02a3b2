// SPDX-License-Identifier: Apache-2.0
#include "fuzz_host.h"

#include <stddef.h>

#include "fuzz_guard.h"

static void run_backward(void *context, int64_t tasks, lhk_task task, void *task_context) {
    fuzz_loop *loop = context;
    loop->nested |= loop->depth > 0;
    loop->depth++;
    for (int64_t i = tasks - 1; i >= 0; i--) task(task_context, i, (uint32_t)((uint64_t)i % loop->workers));
    loop->depth--;
}

lhk_host fuzz_make_host(fuzz_loop *loop, uint32_t workers, lhk_isa isa) {
    *loop = (fuzz_loop){.workers = workers};
    return (lhk_host){.struct_size = sizeof(lhk_host), .workers = workers, .isa = isa, .context = loop,
                      .parallel_for = workers > 1 ? run_backward : NULL};
}

static void run_on_pool(void *context, int64_t tasks, lhk_task task, void *task_context) {
    const lhk_host *pool = ((fuzz_loop *)context)->pool;
    fuzz_set_on_pool(true);
    pool->parallel_for(pool->context, tasks, task, task_context);
    fuzz_set_on_pool(false);
}

lhk_host fuzz_make_pool_host(fuzz_loop *loop, const lhk_host *pool, lhk_isa isa) {
    *loop = (fuzz_loop){.workers = pool->workers, .pool = pool};
    lhk_host host = *pool;
    host.isa = isa;
    if (!pool->parallel_for) return host;
    host.context = loop;
    host.parallel_for = run_on_pool;
    return host;
}

const char *fuzz_level_name(lhk_isa isa) {
    lhk_isa highest = 0;
    if (isa & LHK_ISA_AVX512BF16) return lhk_isa_name(LHK_ISA_AVX512BF16);  // the highest by name, not by bit
    for (int bit = 0; bit < 64; bit++)
        if (isa >> bit & 1) highest = (lhk_isa)1 << bit;
    return lhk_isa_name(highest);
}
