// SPDX-License-Identifier: Apache-2.0
#define _DEFAULT_SOURCE
#define _DARWIN_C_SOURCE
/// Runs cases under all instruction levels and gathers the report.
#include <float.h>
#include <lhk/support.h>
#include <time.h>

#include "fuzz_check.h"
#include "fuzz_corpus.h"

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check_under(fuzz_case *c, const lhk_fuzz_options *options, lhk_fuzz_report *report, lhk_isa isa, bool thorough,
                        bool *failed) {
    bool bf16 = c->problem.kv_dtype == LHK_DTYPE_BF16 && isa & (LHK_ISA_AVX512BF16 | LHK_ISA_NEON_BF16);
    fuzz_check check = {options, report, c, isa, bf16 ? FUZZ_ARITHMETIC_BF16 : FUZZ_ARITHMETIC_F32, thorough, *failed};
    lhk_attention_stats stats = {.struct_size = sizeof stats};
    lhk_flash_args args = c->args;
    args.stats = &stats;
    fuzz_reset_outputs(c, &c->arena->out, &c->arena->lse);
    const char *what = "1 worker";
    if (fuzz_attend(&check, &args, (fuzz_call){.workers = 1, .workspace_byte = 0xff}, LHK_OK, what) &&
        fuzz_compare_all(&check, &stats, what))
        fuzz_check_laws(&check);
    *failed = check.failed;
}

/// LHK_OK: the case ran, whatever came of it.
static lhk_status run_case(const fuzz_problem *problem, const lhk_fuzz_options *options, lhk_fuzz_report *report,
                           fuzz_arena *arena, bool thorough) {
    static const lhk_isa scalar = LHK_ISA_SCALAR;
    lhk_error error = {.struct_size = sizeof error};
    fuzz_case c;
    bool built = fuzz_case_build(&c, problem, arena), failed = false;
    if (!built || !fuzz_case_solve(&c, &error)) {
        char text[1024];
        fuzz_print(problem, text, sizeof text);
        fuzz_report(report, "the harness could not build a case: %s\n    %s\n", built ? error.text : "no memory", text);
        fuzz_case_free(&c);
        return built ? error.status : LHK_ERROR_MEMORY;
    }
    const lhk_isa *isas = options->isa_count ? options->isas : &scalar;
    for (uint32_t i = 0; i < (options->isa_count ? options->isa_count : 1) && !failed; i++)
        check_under(&c, options, report, isas[i], thorough, &failed);
    report->cases++;
    if (failed && report->failures++ == 0) report->first_failure = problem->index;
    fuzz_case_free(&c);
    return LHK_OK;
}

static void free_arena(fuzz_arena *arena) {
    fuzz_buffer *buffers[] = {&arena->q,   &arena->k,          &arena->v,          &arena->out,
                              &arena->lse, &arena->second_out, &arena->second_lse, &arena->workspace};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) fuzz_buffer_free(buffers[i]);
}

static void begin_report(lhk_fuzz_report *report) {
    *report = (lhk_fuzz_report){.struct_size = sizeof *report, .text = report->text, .text_size = report->text_size};
    if (!report->text) report->text_size = 0;
    if (report->text_size) report->text[0] = 0;
}

lhk_status lhk_fuzz_run(const lhk_fuzz_options *options, lhk_fuzz_report *report) {
    begin_report(report);
    fuzz_arena arena = {0};
    lhk_status status = LHK_OK;
    double start = seconds_now();
    for (uint64_t i = 0; i < options->case_count && !status; i++) {
        if (options->seconds > 0 && seconds_now() - start > options->seconds) break;
        fuzz_problem problem = fuzz_generate(options->seed, options->first_case + i);
        status = run_case(&problem, options, report, &arena, false);
    }
    free_arena(&arena);
    return status ? status : report->failures ? LHK_ERROR_CORRUPT : LHK_OK;
}

lhk_status lhk_fuzz_corpus_run(uint32_t index, const lhk_fuzz_options *options, lhk_fuzz_report *report) {
    begin_report(report);
    fuzz_arena arena = {0};
    lhk_status status = LHK_OK;
    for (uint32_t part = 0; !status; part++) {
        fuzz_problem problem;
        if (!fuzz_corpus_problem(index, part, options->seed, &problem)) break;
        status = run_case(&problem, options, report, &arena, true);
    }
    free_arena(&arena);
    return status ? status : report->failures ? LHK_ERROR_CORRUPT : LHK_OK;
}

void lhk_fuzz_describe(uint64_t seed, uint64_t index, char *text, size_t size) {
    fuzz_problem problem = fuzz_generate(seed, index);
    fuzz_print(&problem, text, size);
}

static lhk_status reference_attend(void *context, const lhk_flash_args *args, const lhk_host *host,
                                   const lhk_workspace *workspace, lhk_error *error) {
    (void)context, (void)host, (void)workspace;
    return lhk_flash_attention_reference(args, error);
}

static lhk_status reference_workspace(void *context, const lhk_flash_args *args, const lhk_host *host, uint64_t *bytes,
                                      lhk_error *error) {
    (void)context, (void)args, (void)host, (void)error;
    *bytes = 0;
    return LHK_OK;
}

lhk_fuzz_subject lhk_fuzz_reference(void) {
    return (lhk_fuzz_subject){"reference", NULL, reference_attend, reference_workspace};
}

static lhk_status flash_attend(void *context, const lhk_flash_args *args, const lhk_host *host,
                               const lhk_workspace *workspace, lhk_error *error) {
    (void)context;
    return lhk_flash_attention(args, host, workspace, error);
}

static lhk_status flash_workspace(void *context, const lhk_flash_args *args, const lhk_host *host, uint64_t *bytes,
                                  lhk_error *error) {
    (void)context;
    return lhk_flash_attention_workspace(args, host, bytes, error);
}

lhk_fuzz_subject lhk_fuzz_flash_attention(void) {
    return (lhk_fuzz_subject){"lhk_flash_attention", NULL, flash_attend, flash_workspace};
}
