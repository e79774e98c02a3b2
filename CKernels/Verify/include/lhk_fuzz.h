// SPDX-License-Identifier: Apache-2.0
/// Randomised and regression checks of attention kernels against a reference in double precision.
///
/// A problem is a pure function of (seed, index), so that one failing case can be replayed alone. Operands end (or
/// begin) at an inaccessible page and are read-only during a call, outputs begin as a pattern that must survive in the
/// gaps between rows, the workspace has exactly the reported size and is filled with NaN. An access beyond them on the
/// calling thread is caught and reported like any other failure.
#ifndef LHK_FUZZ_H
#define LHK_FUZZ_H

#include <longhand/reference.h>
#include <stdbool.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

/// Operands of one call. One sequence, or a packed batch without padding when `sequences` > 0.
typedef struct lhk_fuzz_args {
    uint32_t struct_size;
    uint32_t mode;     ///< below the subject's modes; 0: its default
    lhk_tensor q;      ///< [total_q][query_heads][head_dim_k], F32, BF16 or F16, last stride 1
    lhk_tensor k;      ///< [total_k][kv_heads][head_dim_k], likewise
    lhk_tensor v;      ///< [total_k][kv_heads][head_dim_v], same type as k
    lhk_tensor out;    ///< [total_q][query_heads][head_dim_v], last stride 1
    lhk_tensor lse;    ///< F32 [total_q][query_heads]; data null: not wanted
    int64_t sequences;  ///< 0: one sequence
    const int64_t *LHK_NULLABLE cu_q;        ///< [sequences + 1] ascending first rows of q, from 0 to at most total_q
    const int64_t *LHK_NULLABLE cu_k;        ///< [sequences + 1] ascending first rows of k and v
    const int64_t *LHK_NULLABLE kv_lengths;  ///< [max(sequences, 1)] valid keys, <= rows of k; null: all
    const lhk_attention_params *LHK_NULLABLE params;  ///< null: full attention. Offsets are per sequence.
    const lhk_selection *LHK_NULLABLE selection;      ///< null: all. Only with one sequence.
    lhk_attention_stats *LHK_NULLABLE stats;
} lhk_fuzz_args;

#define LHK_FUZZ_ARITHMETIC_LEVEL 0u  ///< bf16 units for bf16 keys when the host offers them, else f32
#define LHK_FUZZ_ARITHMETIC_F32 1u
#define LHK_FUZZ_ARITHMETIC_BF16 2u
#define LHK_FUZZ_ARITHMETIC_CODES 3u  ///< a store's integer tiles, or bf16 units on what it unpacks: see fuzz_bounds.h
#define LHK_FUZZ_ARITHMETIC_I8 4u  ///< query rows in 8 bits with a scale each, after `rotation`; products as in BF16

/// A kernel under test.
typedef struct lhk_fuzz_subject {
    const char *name;
    void *LHK_NULLABLE context;
    lhk_status (*attend)(void *LHK_NULLABLE context, const lhk_fuzz_args *args, const lhk_host *host,
                         const lhk_workspace *workspace, lhk_error *LHK_NULLABLE error);
    lhk_status (*workspace)(void *LHK_NULLABLE context, const lhk_fuzz_args *args, const lhk_host *host,
                            uint64_t *bytes, lhk_error *LHK_NULLABLE error);
    /// What the kernel reads instead of k and v of `args`, as [total_k][kv_heads][dim]: for a store that approximates.
    /// Null: exactly those.
    lhk_status (*LHK_NULLABLE held)(void *LHK_NULLABLE context, const lhk_fuzz_args *args, float *k, float *v,
                                    lhk_error *LHK_NULLABLE error);
    /// The formula; null: the softmax that `lhk_attention_params` describes.
    const lhk_attention_reference *LHK_NULLABLE reference;
    const lhk_problem *LHK_NULLABLE problem;  ///< for the reference
    uint32_t modes;       ///< ways to do the same, at least 1; a mode may answer LHK_ERROR_UNSUPPORTED
    uint32_t arithmetic;  ///< LHK_FUZZ_ARITHMETIC_*: decides the bound
    uint32_t rotation;    ///< LHK_ROTATION_*, of ARITHMETIC_I8
    bool partial;         ///< mode 0 may answer LHK_ERROR_UNSUPPORTED too
    bool loose_workspace;  ///< a call may need less workspace than reported
    bool unbounded;       ///< no bound holds: results are not compared, the laws of bits are
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
    uint64_t skipped;   ///< problems that the subject does not support
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

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
