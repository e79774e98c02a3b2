// SPDX-License-Identifier: Apache-2.0
// The default hosts: the OpenMP runtime as a pool, and no threads at all.
#define _GNU_SOURCE
#include <lhk/support.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "isa_detect.h"

// Entry points that both libgomp and libomp export. Calling them needs no -fopenmp, so every compiler builds this file
// the same way and the loop below is all that there is to the scheduling.
extern void GOMP_parallel(void (*body)(void *), void *data, unsigned threads, unsigned flags);
extern int omp_get_thread_num(void);

#define MAX_WORKERS 1024u
#define MOST_SHARES 64u

/// The tasks of a worker: its number, and on in steps of the number of shares; `next` of them are claimed. On a line of its
/// own. Beyond MOST_SHARES workers some have the same one.
typedef struct task_share {
    _Alignas(64) atomic_uint_fast64_t next;
} task_share;

/// One loop in flight. Lives on the stack of its caller, so loops of several user threads do not meet.
typedef struct parallel_loop {
    task_share share[MOST_SHARES];
    uint64_t tasks, shares;  ///< how many
    lhk_task task;
    void *context;
    uint32_t workers;
} parallel_loop;

/// A worker begins with its own share, so that in call after call it finds in its caches what it read and wrote before: a
/// KV head, say. Then it helps the next ones.
static void run_member(void *data) {
    parallel_loop *loop = data;
    uint32_t worker = (uint32_t)omp_get_thread_num();
    // The slice of workspace named by `worker` must exist; the other members do the work of one that has none.
    if (worker >= loop->workers) return;
    for (uint64_t i = 0; i < loop->shares; i++) {
        uint64_t share = (worker + i) % loop->shares, tasks = (loop->tasks - share + loop->shares - 1) / loop->shares, at;
        atomic_uint_fast64_t *next = &loop->share[share].next;
        // Looking first costs less than claiming where nothing is left.
        while (atomic_load_explicit(next, memory_order_relaxed) < tasks &&
               (at = atomic_fetch_add_explicit(next, 1, memory_order_relaxed)) < tasks)
            loop->task(loop->context, (int64_t)(at * loop->shares + share), worker);
    }
}

/// The team may come out smaller than asked: thread limits, or a call from inside a parallel region, where it has one
/// member with number 0. Members help each other until no task is left, so every task runs whatever the size. The end of the
/// region is a barrier with acquire and release, which orders the tasks before the return.
static void openmp_parallel_for(void *context, int64_t tasks, lhk_task task, void *task_context) {
    if (tasks <= 0) return;
    uint32_t workers = (uint32_t)lhk_min(tasks, (int64_t)(uintptr_t)context);
    parallel_loop loop;
    loop.tasks = (uint64_t)tasks;
    loop.shares = workers < MOST_SHARES ? workers : MOST_SHARES;
    loop.task = task;
    loop.context = task_context;
    loop.workers = workers;
    for (uint64_t i = 0; i < loop.shares; i++) atomic_init(&loop.share[i].next, 0);
    GOMP_parallel(run_member, &loop, workers, 0);
}

/// Processors that this process may run on, at least 1.
static uint32_t available_processors(void) {
#if defined(__linux__)
    for (size_t limit = 1024; limit <= (1u << 20); limit *= 4) {
        cpu_set_t *set = CPU_ALLOC(limit);
        if (!set) break;
        size_t bytes = CPU_ALLOC_SIZE(limit);
        int failed = sched_getaffinity(0, bytes, set), reason = errno, count = failed ? 0 : CPU_COUNT_S(bytes, set);
        CPU_FREE(set);
        if (count > 0) return (uint32_t)count;
        if (reason != EINVAL) break;  // EINVAL: the kernel has more processors than `limit`
    }
#endif
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (uint32_t)online : 1;
}

static lhk_status make_host(lhk_host *host, uint32_t workers, lhk_error *error) {
    lhk_isa isa;
    lhk_error inner = {.struct_size = sizeof inner};
    lhk_status status = lhk_isa_apply_mask(getenv("LONGHAND_ISA"), lhk_isa_detect(), &isa, &inner);
    if (status) return lhk_fail(error, status, -1, "LONGHAND_ISA: %s", inner.text);
    *host = (lhk_host){.struct_size = sizeof *host, .workers = workers, .isa = isa};
    return LHK_OK;
}

lhk_status lhk_host_openmp(uint32_t workers, lhk_host *host, lhk_error *error) {
    if (workers > MAX_WORKERS)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "%u workers: at most %u", workers, MAX_WORKERS);
    if (!workers) workers = (uint32_t)lhk_min(available_processors(), MAX_WORKERS);
    lhk_status status = make_host(host, workers, error);
    if (status) return status;
    host->context = (void *)(uintptr_t)workers;
    host->parallel_for = openmp_parallel_for;
    return LHK_OK;
}

lhk_status lhk_host_serial(lhk_host *host, lhk_error *error) { return make_host(host, 1, error); }
