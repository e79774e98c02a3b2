// SPDX-License-Identifier: Apache-2.0
/// Timing of single variants: what `longhand bench` runs.
///
/// An instance is created of exactly the variant that is given, not of the one that a registry would choose. Timed loops
/// allocate nothing and read the clock as rarely as can be. Not thread-safe: one call at a time.
#ifndef LONGHAND_BENCH_H
#define LONGHAND_BENCH_H

#include <longhand/registry.h>

#include "roofs.h"

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

/// 1 if this code was compiled with optimisation.
uint32_t lhk_bench_is_optimised(void);
/// Name and version of the C compiler (static storage).
const char *lhk_bench_compiler(void);

/// Approximately normal numbers of variance 1, a function of (seed, index).
void lhk_bench_gaussian(float *out, uint64_t count, uint64_t seed);

/// A variant, created for a problem in memory of its own. Keeps copies of the problem, its parameters and options.
typedef struct lhk_bench_instance lhk_bench_instance;

/// What to create. `spec` is `name[:key=value,...]`; `problem`'s own options are ignored.
typedef struct lhk_bench_subject {
    uint32_t struct_size;
    uint32_t reserved;
    const lhk_method *method;
    const lhk_variant *variant;
    const char *spec;
    const lhk_problem *problem;
} lhk_bench_subject;

/// Whether `subject` can be created on `host`, and its estimated cost. Otherwise the reason, as a registry gives it.
lhk_status lhk_bench_fits(const lhk_bench_subject *subject, const lhk_host *host, lhk_cost *out,
                          lhk_error *LHK_NULLABLE error);
lhk_status lhk_bench_create(const lhk_bench_subject *subject, const lhk_host *host,
                            lhk_bench_instance *LHK_NULLABLE *LHK_NONNULL out, lhk_error *LHK_NULLABLE error);
void lhk_bench_destroy(lhk_bench_instance *LHK_NULLABLE instance);

/// Of a store: element type of its panels, LHK_DTYPE_NONE for one without; and its bytes.
lhk_dtype lhk_bench_panels(const lhk_bench_instance *store);
void lhk_bench_store_bytes(const lhk_bench_instance *store, lhk_store_bytes *out);

/// Appends rows to a store or a selector's index (if it has one), in parts of at most 512.
lhk_status lhk_bench_fill(lhk_bench_instance *instance, const lhk_host *host, const lhk_tensor *k, const lhk_tensor *v,
                          lhk_error *LHK_NULLABLE error);
/// Whether a selector keeps an index.
uint32_t lhk_bench_has_index(const lhk_bench_instance *selector);

/// What timed calls took; added to.
typedef struct lhk_bench_sample {
    uint32_t struct_size;
    uint32_t clock_nanoseconds;  ///< set by the caller: what a reading of the clock costs; it is taken off
    uint64_t calls;
    uint64_t nanoseconds;
    uint64_t select_nanoseconds;  ///< part of them
    lhk_attention_stats stats;
} lhk_bench_sample;

/// One attention over each sequence of a batch, one after another.
typedef struct lhk_bench_attend {
    uint32_t struct_size;
    uint32_t batch;
    lhk_bench_instance *const LHK_NONNULL *LHK_NONNULL stores;  ///< [batch]
    lhk_bench_instance *const LHK_NONNULL *LHK_NULLABLE selectors;  ///< [batch]; null: all keys
    const lhk_bench_instance *attention;
    const lhk_tensor *q;  ///< F32 [query_sets * rows][query_heads][head_dim_k]
    const lhk_tensor *out;  ///< F32 [rows][query_heads][head_dim_v]
    int64_t query_sets;   ///< calls take them in turn
} lhk_bench_attend;

/// Each of these runs `calls` calls and adds what they took to `sample`.
lhk_status lhk_bench_run_attend(const lhk_bench_attend *args, const lhk_host *host, uint64_t calls,
                                lhk_bench_sample *sample, lhk_error *LHK_NULLABLE error);
/// Appends the rows k, v, which a store or selector holds as its last ones, again: they are forgotten before each call,
/// outside the timing. `length`: tokens held.
lhk_status lhk_bench_run_append(lhk_bench_instance *instance, const lhk_host *host, const lhk_tensor *k,
                                const lhk_tensor *v, int64_t length, uint64_t calls, lhk_bench_sample *sample,
                                lhk_error *LHK_NULLABLE error);
/// Scores of all keys of all KV heads for one row of queries q [query_heads][head_dim_k], in tiles of 512 keys spread
/// over the workers; into scores [query_heads][length].
lhk_status lhk_bench_run_score(const lhk_bench_instance *store, const lhk_host *host, const float *q, float *scores,
                               uint64_t calls, lhk_bench_sample *sample, lhk_error *LHK_NULLABLE error);
/// Sums of all values with weights p [query_heads][length], likewise; into out, which has room for
/// [workers][query_heads / kv_heads][head_dim_v].
lhk_status lhk_bench_run_accumulate(const lhk_bench_instance *store, const lhk_host *host, const float *p, float *out,
                                    uint64_t calls, lhk_bench_sample *sample, lhk_error *LHK_NULLABLE error);
/// Applies positions to the rows x.
lhk_status lhk_bench_run_apply(const lhk_bench_instance *position, const lhk_host *host, const lhk_tensor *x,
                               int64_t first, const lhk_tensor *out, uint64_t calls, lhk_bench_sample *sample,
                               lhk_error *LHK_NULLABLE error);

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
