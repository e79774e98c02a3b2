// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "roofs.h"

#include <lhk/support.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

double bench_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

typedef struct roof_job {
    void (*loop)(int64_t rounds, float *sink);
    int64_t rounds;
    const uint8_t *data;
    uint64_t bytes;
    float sinks[1024][16];
} roof_job;

#if defined(__x86_64__)
LHK_TARGET_BEGIN(LHK_FEATURES_AVX2)
static void fma_avx2(int64_t rounds, float *sink) {
    __m256 a[12], x = _mm256_set1_ps(1.0000001f), y = _mm256_set1_ps(1e-9f);
    for (int i = 0; i < 12; i++) a[i] = _mm256_set1_ps((float)i);
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < 12; i++) a[i] = _mm256_fmadd_ps(a[i], x, y);
    for (int i = 1; i < 12; i++) a[0] = _mm256_add_ps(a[0], a[i]);
    _mm256_storeu_ps(sink, a[0]);
}
LHK_TARGET_END
LHK_TARGET_BEGIN(LHK_FEATURES_AVX512)
static void fma_avx512(int64_t rounds, float *sink) {
    __m512 a[24], x = _mm512_set1_ps(1.0000001f), y = _mm512_set1_ps(1e-9f);
    for (int i = 0; i < 24; i++) a[i] = _mm512_set1_ps((float)i);
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < 24; i++) a[i] = _mm512_fmadd_ps(a[i], x, y);
    for (int i = 1; i < 24; i++) a[0] = _mm512_add_ps(a[0], a[i]);
    _mm512_storeu_ps(sink, a[0]);
}

static void read_avx512(const uint8_t *data, uint64_t bytes, float *sink) {
    __m512i a = _mm512_setzero_si512(), b = a;
    const uint8_t *second = data + bytes / 2 / 64 * 64;
    for (uint64_t i = 0; i + 64 <= bytes / 2; i += 64) {
        a = _mm512_or_si512(a, _mm512_loadu_si512(data + i));
        b = _mm512_or_si512(b, _mm512_loadu_si512(second + i));
    }
    _mm512_storeu_si512(sink, _mm512_or_si512(a, b));
}
LHK_TARGET_END
LHK_TARGET_BEGIN(LHK_FEATURES_AVX512BF16)
static void dot_bf16(int64_t rounds, float *sink) {
    __m512 a[24];
    __m512bh x = (__m512bh)_mm512_set1_epi32(0x3f803f80);
    for (int i = 0; i < 24; i++) a[i] = _mm512_set1_ps((float)i);
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < 24; i++) a[i] = _mm512_dpbf16_ps(a[i], x, x);
    for (int i = 1; i < 24; i++) a[0] = _mm512_add_ps(a[0], a[i]);
    _mm512_storeu_ps(sink, a[0]);
}
LHK_TARGET_END
#endif

static void compute_task(void *context, int64_t task, uint32_t worker) {
    (void)task;
    roof_job *job = context;
    job->loop(job->rounds, job->sinks[worker % 1024]);
}

/// Best of five: a roof is what the machine does when nothing disturbs it.
static double compute_roof(const lhk_host *host, void (*loop)(int64_t, float *), double flops_per_round) {
    static roof_job job;
    job = (roof_job){.loop = loop, .rounds = 4000000};
    double best = 0;
    for (int i = 0; i < 5; i++) {
        double start = bench_seconds();
        lhk_parallel_for(host, host->workers, compute_task, &job);
        double rate = flops_per_round * (double)job.rounds * host->workers / (bench_seconds() - start) * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}

double bench_fma_roof(const lhk_host *host) {
#if defined(__x86_64__)
    if (host->isa & LHK_ISA_AVX512) return compute_roof(host, fma_avx512, 24 * 16 * 2);
    if (host->isa & LHK_ISA_AVX2) return compute_roof(host, fma_avx2, 12 * 8 * 2);
#endif
    (void)host;
    return 0;
}

double bench_bf16_roof(const lhk_host *host) {
#if defined(__x86_64__)
    if (host->isa & LHK_ISA_AVX512BF16) return compute_roof(host, dot_bf16, 24 * 32 * 2);
#endif
    (void)host;
    return 0;
}

static void read_portable(const uint8_t *data, uint64_t bytes, float *sink) {
    uint64_t found = 0, word;
    for (uint64_t i = 0; i + 8 <= bytes; i += 8) {
        memcpy(&word, data + i, 8);
        found |= word;
    }
    sink[0] = (float)found;
}

static void read_task(void *context, int64_t task, uint32_t worker) {
    roof_job *job = context;
    uint64_t share = job->bytes / 64 / 64 * 64;
    const uint8_t *data = job->data + (uint64_t)task * share;
#if defined(__x86_64__)
    if (job->rounds) {
        read_avx512(data, share, job->sinks[worker % 1024]);
        return;
    }
#endif
    read_portable(data, share, job->sinks[worker % 1024]);
}

double bench_read_roof(const lhk_host *host, const void *data, uint64_t bytes) {
    static roof_job job;
    job = (roof_job){.rounds = (host->isa & LHK_ISA_AVX512) != 0, .data = data, .bytes = bytes};
    double best = 0;
    for (int i = 0; i < 5; i++) {
        double start = bench_seconds();
        lhk_parallel_for(host, 64, read_task, &job);
        double rate = (double)bytes / (bench_seconds() - start) * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}
