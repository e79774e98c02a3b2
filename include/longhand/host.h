// SPDX-License-Identifier: Apache-2.0
/// Services that the host lends to kernels: worker threads, the allowed instruction sets, a log.
#ifndef LONGHAND_HOST_H
#define LONGHAND_HOST_H

#include <longhand/types.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

/// One task of a parallel loop. `worker < lhk_host.workers` names the slice of workspace that the task may use; no two
/// tasks run with the same worker at the same time.
typedef void (*lhk_task)(void *LHK_NULLABLE context, int64_t task, uint32_t worker);

#define LHK_LOG_DEBUG 0
#define LHK_LOG_INFO 1
#define LHK_LOG_WARNING 2

/// What a kernel may use of the process it runs in. Must outlive every call it is passed to. Plain data: a caller with
/// its own thread pool fills it in by hand. Kernels never start threads, never nest `parallel_for`, and their results
/// do not depend on `workers`, bit for bit.
typedef struct lhk_host {
    uint32_t struct_size;
    uint32_t workers;  ///< at least 1
    lhk_isa isa;       ///< levels that kernels may use: detected, saved by the operating system, and not masked
    void *LHK_NULLABLE context;
    /// Runs `task(task_context, i, worker)` for all i in [0, tasks) and returns when all are done. Tasks may run in any
    /// order; lower indices should begin first, and a task of the same index had best be the same worker's in call after
    /// call, which then finds its data in its caches. Null runs them serially on the caller's thread as worker 0.
    void (*LHK_NULLABLE parallel_for)(void *LHK_NULLABLE context, int64_t tasks, lhk_task task,
                                      void *LHK_NULLABLE task_context);
    /// Takes one line without a newline: which variants were weighed, and anything unusual. Null drops it.
    void (*LHK_NULLABLE log)(void *LHK_NULLABLE log_context, int32_t level, const char *text);
    void *LHK_NULLABLE log_context;
} lhk_host;

/// Instruction-set levels of this CPU that the operating system supports too (CPUID and XCR0 on x86). Ignores masks.
/// Thread-safe.
LHK_API lhk_isa lhk_isa_detect(void);

/// Reads a level name as used by `LONGHAND_ISA` and in variant ids (`scalar`, `avx2`, `avx512`, `avx512vnni`,
/// `avx512popcnt`, `avx512bf16`, `neon`, `neon_dotprod`, `neon_i8mm`, `neon_bf16`) and gives the set of all levels up to and
/// including it (x86: avx512bf16 implies avx512vnni and avx512popcnt in this order, as far as the processor has them; ARM
/// likewise). LHK_ERROR_ARGUMENT for an unknown name.
LHK_API lhk_status lhk_isa_parse(const char *name, lhk_isa *out, lhk_error *LHK_NULLABLE error);

/// Name of one level (a single bit, or 0 for `scalar`); "unknown" for anything else. Static storage.
LHK_API const char *lhk_isa_name(lhk_isa level);

/// Fills `host` with the OpenMP runtime as its pool. `workers` 0 takes the number of processors available to this
/// process. `isa` is the detected set masked by the environment variable LONGHAND_ISA (a level name); an unknown name or
/// one that this CPU lacks is an error, never ignored. Values of `workers` over 1024 are an error.
LHK_API lhk_status lhk_host_openmp(uint32_t workers, lhk_host *host, lhk_error *LHK_NULLABLE error);

/// The same without threads: everything runs on the caller's thread.
LHK_API lhk_status lhk_host_serial(lhk_host *host, lhk_error *LHK_NULLABLE error);

/// Runs a loop through `host`, or serially when it has no pool.
static inline void lhk_parallel_for(const lhk_host *host, int64_t tasks, lhk_task task, void *LHK_NULLABLE context) {
    if (tasks > 1 && host->parallel_for) {
        host->parallel_for(host->context, tasks, task, context);
        return;
    }
    for (int64_t i = 0; i < tasks; i++) task(context, i, 0);
}

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
