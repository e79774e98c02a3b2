// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <inttypes.h>
#include <sys/mman.h>
#include <time.h>

#include "include/roofs.h"
#include "roofs_loops.h"

uint64_t lhk_roof_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t lhk_roof_clock_cost(void) {
    uint64_t least = UINT64_MAX, last = lhk_roof_clock();
    for (int i = 0; i < 10000; i++) {
        const uint64_t now = lhk_roof_clock();
        if (now - last < least) least = now - last;
        last = now;
    }
    return least;
}

// ---- arithmetic ----

typedef float lanes __attribute__((vector_size(16)));

static float multiply_add_portable(int64_t rounds) {
    lanes a[ROOF_CHAINS], x = {1.0000001f, 1.0000001f, 1.0000001f, 1.0000001f}, y = {1e-9f, 1e-9f, 1e-9f, 1e-9f};
    for (int i = 0; i < ROOF_CHAINS; i++) a[i] = y * (float)i;
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < ROOF_CHAINS; i++) a[i] = a[i] * x + y;
    for (int i = 1; i < ROOF_CHAINS; i++) a[0] += a[i];
    return a[0][0] + a[0][3];
}

static const roof_loop portable_loop = {"multiply and add, 4 lanes", LHK_DTYPE_F32, LHK_ISA_SCALAR, ROOF_CHAINS * 4 * 2,
                                        multiply_add_portable};

/// The last loop that fits, so the fastest.
static const roof_loop *find_loop(lhk_isa isa, lhk_dtype dtype) {
    const roof_loop *found = dtype == LHK_DTYPE_F32 ? &portable_loop : NULL;
    for (uint32_t i = 0; i < roof_arch_loop_count; i++) {
        const roof_loop *loop = &roof_arch_loops[i];
        if (loop->dtype == dtype && (isa & loop->isa_required) == loop->isa_required) found = loop;
    }
    return found;
}

typedef struct compute_job {
    const roof_loop *loop;
    int64_t rounds;
} compute_job;

/// A result that is written to a volatile cannot be left out.
static void compute_task(void *context, int64_t task, uint32_t worker) {
    (void)task, (void)worker;
    const compute_job *job = context;
    volatile float sink = job->loop->run(job->rounds);
    (void)sink;
}

/// Nanoseconds of one run on all workers.
static double time_compute(const lhk_host *host, compute_job *job) {
    const uint64_t start = lhk_roof_clock();
    lhk_parallel_for(host, host->workers, compute_task, job);
    const uint64_t time = lhk_roof_clock() - start;
    return time ? (double)time : 1;
}

double lhk_roof_compute(const lhk_host *host, lhk_dtype dtype, const char **instruction) {
    const roof_loop *loop = find_loop(host->isa, dtype);
    if (instruction) *instruction = loop ? loop->instruction : "none";
    if (!loop) return 0;
    compute_job job = {loop, 50000};
    time_compute(host, &job);  // starts the workers and wakes wide registers
    job.rounds = (int64_t)(50000 * 1e7 / time_compute(host, &job)) + 1;  // some 10 ms
    double best = 0;
    for (int i = 0; i < 7; i++) {
        const double rate = loop->operations * (double)job.rounds * host->workers / time_compute(host, &job);
        best = rate > best ? rate : best;
    }
    return best;
}

// ---- memory ----

static float read_portable(const uint8_t *data, uint64_t bytes) {
    uint64_t a = 0, b = 0, word;
    for (uint64_t i = 0; i < bytes / 2; i += 8) {
        memcpy(&word, data + i, 8);
        a |= word;
        memcpy(&word, data + bytes / 2 + i, 8);
        b |= word;
    }
    return (float)(a | b);
}

typedef struct memory_job {
    float (*run)(const uint8_t *data, uint64_t bytes);
    uint8_t *data;
    uint64_t share;  ///< of one worker, a multiple of 256
    int64_t repeats;
} memory_job;

static void touch_task(void *context, int64_t task, uint32_t worker) {
    (void)worker;
    const memory_job *job = context;
    memset(job->data + (uint64_t)task * job->share, 1, job->share);
}

static void read_task(void *context, int64_t task, uint32_t worker) {
    (void)worker;
    const memory_job *job = context;
    for (int64_t i = 0; i < job->repeats; i++) {
        volatile float sink = job->run(job->data + (uint64_t)task * job->share, job->share);
        (void)sink;
    }
}

static uint64_t worker_share(const lhk_host *host, uint64_t bytes) { return bytes / host->workers / 256 * 256; }

/// AnonHugePages of the mapping that begins at `data`, from the kernel's own account.
static uint64_t huge_bytes_at(const void *data) {
    FILE *file = fopen("/proc/self/smaps", "re");
    if (!file) return 0;
    char line[512];
    bool inside = false;
    uint64_t kilobytes = 0;
    while (fgets(line, sizeof line, file)) {
        uintptr_t begin, end;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &begin, &end) == 2) {
            inside = begin <= (uintptr_t)data && (uintptr_t)data < end;
        } else if (inside && sscanf(line, "AnonHugePages: %" SCNu64, &kilobytes) == 1) {
            break;
        }
    }
    fclose(file);
    return kilobytes << 10;
}

lhk_status lhk_roof_memory_create(const lhk_host *host, uint64_t bytes, uint32_t huge, lhk_roof_memory *out,
                                  lhk_error *error) {
    const uint64_t page = UINT64_C(2) << 20;
    uint64_t mapped;
    if (__builtin_add_overflow(bytes, 2 * page - 1, &mapped))
        return lhk_fail(error, LHK_ERROR_OVERFLOW, 1, "the memory to read is too large");
    mapped = mapped / page * page;
    uint8_t *base = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return lhk_fail(error, LHK_ERROR_MEMORY, 1, "no memory for a buffer of %llu bytes", (unsigned long long)bytes);
    uint8_t *data = (uint8_t *)(((uintptr_t)base + page - 1) / page * page);
    if (data > base) munmap(base, (size_t)(data - base));
    mapped -= (uint64_t)(data - base);
    madvise(data, mapped, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    memory_job job = {.data = data, .share = worker_share(host, bytes)};
    lhk_parallel_for(host, host->workers, touch_task, &job);
    *out = (lhk_roof_memory){data, bytes, mapped, huge_bytes_at(data)};
    return LHK_OK;
}

void lhk_roof_memory_destroy(lhk_roof_memory *memory) {
    if (memory->data) munmap(memory->data, memory->mapped);
    *memory = (lhk_roof_memory){0};
}

double lhk_roof_read(const lhk_host *host, const lhk_roof_memory *memory, uint32_t tries) {
    memory_job job = {read_portable, memory->data, worker_share(host, memory->bytes), 1};
    for (uint32_t i = 0; i < roof_arch_reader_count; i++) {
        const lhk_isa needed = roof_arch_readers[i].isa_required;
        if ((host->isa & needed) == needed) job.run = roof_arch_readers[i].run;
    }
    const double bytes = (double)job.share * host->workers;
    if (!bytes) return 0;
    job.repeats = (int64_t)(2e8 / bytes) + 1;  // some milliseconds at least
    double best = 0;
    for (uint32_t i = 0; i < tries; i++) {
        const uint64_t start = lhk_roof_clock();
        lhk_parallel_for(host, host->workers, read_task, &job);
        const double rate = bytes * (double)job.repeats / (double)(lhk_roof_clock() - start);
        best = rate > best ? rate : best;
    }
    return best;
}
