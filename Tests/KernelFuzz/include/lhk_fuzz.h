// SPDX-License-Identifier: Apache-2.0
/// Randomised and regression checks of attention kernels against the reference in double precision.
///
/// A problem is a pure function of (seed, index), so that one failing case can be replayed alone. Operands end (or
/// begin) at an inaccessible page and are read-only during a call, outputs begin as a pattern that must survive in the
/// gaps between rows, the workspace has exactly the reported size and is filled with NaN. An access beyond them on the
/// calling thread is caught and reported like any other failure.
#ifndef LHK_FUZZ_H
#define LHK_FUZZ_H

#include <longhand/flash_attention.h>
#include <stdbool.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

/// A kernel under test, with the contract of `lhk_flash_attention`.
typedef struct lhk_fuzz_subject {
    const char *name;
    void *LHK_NULLABLE context;
    lhk_status (*attend)(void *LHK_NULLABLE context, const lhk_flash_args *args, const lhk_host *host,
                         const lhk_workspace *workspace, lhk_error *LHK_NULLABLE error);
    lhk_status (*workspace)(void *LHK_NULLABLE context, const lhk_flash_args *args, const lhk_host *host,
                            uint64_t *bytes, lhk_error *LHK_NULLABLE error);
} lhk_fuzz_subject;

/// What to run. Zeroed members have the stated meaning.
typedef struct lhk_fuzz_options {
    uint32_t struct_size;
    uint32_t isa_count;          ///< 0: scalar only
    uint64_t seed;
    uint64_t first_case;
    uint64_t case_count;
    double seconds;              ///< stop after this time; 0: no limit
    const lhk_isa *LHK_NULLABLE isas;   ///< [isa_count] level sets; every case runs under each
    const lhk_host *LHK_NULLABLE pool;  ///< a host with real threads to compare with, or null; its isa is replaced
    lhk_fuzz_subject subject;
} lhk_fuzz_options;

/// What happened. Set by a run, apart from text and text_size.
typedef struct lhk_fuzz_report {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t cases;     ///< problems run
    uint64_t calls;     ///< calls of the subject
    uint64_t failures;  ///< cases with at least one failure
    uint64_t first_failure;  ///< index of the first failing case
    double worst;       ///< largest ratio of error to bound in f32 outputs of f32 arithmetic, passing elements only
    char *LHK_NULLABLE text;  ///< of the caller: a paragraph for each of the first failures; always terminated
    size_t text_size;         ///< bytes of text; 0: not wanted
} lhk_fuzz_report;

/// Runs cases [first_case, first_case + case_count) of the seed. LHK_OK when all passed; LHK_ERROR_CORRUPT when one
/// failed (the report says which); another status when the harness itself could not run.
lhk_status lhk_fuzz_run(const lhk_fuzz_options *options, lhk_fuzz_report *report);

/// Describes problem `index` of `seed` in one line; always terminated.
void lhk_fuzz_describe(uint64_t seed, uint64_t index, char *text, size_t size);

/// A bug that some attention kernel once had, as a case.
typedef struct lhk_fuzz_corpus_entry {
    uint32_t number;   ///< of the list in the project's documentation
    uint32_t reserved;
    const char *name;
    const char *LHK_NULLABLE elsewhere;  ///< null: a case here; else why it is none, and where it is tested
} lhk_fuzz_corpus_entry;

uint32_t lhk_fuzz_corpus_count(void);
/// Entry `index` < count.
lhk_fuzz_corpus_entry lhk_fuzz_corpus_get(uint32_t index);
/// Runs one case of the corpus, as `lhk_fuzz_run` does; its first_case, case_count and seconds are ignored.
lhk_status lhk_fuzz_corpus_run(uint32_t index, const lhk_fuzz_options *options, lhk_fuzz_report *report);

/// `lhk_flash_attention`.
lhk_fuzz_subject lhk_fuzz_flash_attention(void);

/// The attention `flash` over a dense store to which keys and values were appended: over its panels, or, when they are
/// hidden, over its own tile operations.
lhk_fuzz_subject lhk_fuzz_store_attention(bool hide_panels);

/// The reference as a subject.
lhk_fuzz_subject lhk_fuzz_reference(void);

/// Faults of the demonstration kernel: what a checker must find.
#define LHK_FUZZ_FAULT_NONE 0u
#define LHK_FUZZ_FAULT_LAST_KEY 1u         ///< drops the last visible key
#define LHK_FUZZ_FAULT_CAUSAL 2u           ///< shows one key too many on the right
#define LHK_FUZZ_FAULT_WINDOW 3u           ///< shows one key too many on the left
#define LHK_FUZZ_FAULT_SOFTCAP 4u          ///< ignores the softcap
#define LHK_FUZZ_FAULT_LEAK 5u             ///< multiplies hidden values by zero instead of skipping them
#define LHK_FUZZ_FAULT_NAN_TO_ZERO 6u      ///< gives 0 for rows that should be NaN
#define LHK_FUZZ_FAULT_GROUP 7u            ///< reads a wrong KV head
#define LHK_FUZZ_FAULT_MAXIMUM 8u          ///< starts the running maximum at 0
#define LHK_FUZZ_FAULT_RESCALE 9u          ///< forgets to rescale the sum of values when the maximum grows
#define LHK_FUZZ_FAULT_SINK_TWICE 10u      ///< adds the sink logit twice
#define LHK_FUZZ_FAULT_ALIBI 11u           ///< uses the signed distance
#define LHK_FUZZ_FAULT_WEIGHTS 12u         ///< ignores the log weights of a selection
#define LHK_FUZZ_FAULT_REST 13u            ///< ignores the remainder of a selection
#define LHK_FUZZ_FAULT_LENGTH 14u          ///< ignores kv_lengths
#define LHK_FUZZ_FAULT_GAP 15u             ///< writes one element past a row
#define LHK_FUZZ_FAULT_READ_PAST 16u       ///< reads 64 bytes past the last key
#define LHK_FUZZ_FAULT_WORKSPACE 17u       ///< uses more workspace than it reports
#define LHK_FUZZ_FAULT_STALE 18u           ///< adds what it found in the workspace
#define LHK_FUZZ_FAULT_WORKERS 19u         ///< rounds differently for other numbers of workers
#define LHK_FUZZ_FAULT_PRECISION 20u       ///< results are off by 1 part in 10,000
#define LHK_FUZZ_FAULT_LSE 21u             ///< log-sum-exp without the maximum
#define LHK_FUZZ_FAULT_WRITES_INPUT 22u    ///< scales q in place
#define LHK_FUZZ_FAULT_STATS 23u           ///< counts one pair too few
#define LHK_FUZZ_FAULT_TILE 24u            ///< takes the run list of the wrong query tile
#define LHK_FUZZ_FAULT_COUNT 25u

/// A plain f32 kernel with one fault, and arithmetic rounded as bf16 units do when the host offers them.
lhk_fuzz_subject lhk_fuzz_demonstration(uint32_t fault);

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
