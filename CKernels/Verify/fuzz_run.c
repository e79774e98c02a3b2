// SPDX-License-Identifier: Apache-2.0
#define _DEFAULT_SOURCE
#define _DARWIN_C_SOURCE
/// Runs cases under all instruction levels and gathers the report.
#include <float.h>
#include <lhk/support.h>
#include <time.h>

#include "fuzz_check.h"
#include "fuzz_corpus.h"
#include "fuzz_host.h"

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int arithmetic_of(const lhk_fuzz_subject *subject, const fuzz_problem *problem, lhk_isa isa) {
    if (subject->arithmetic == LHK_FUZZ_ARITHMETIC_CODES) return FUZZ_ARITHMETIC_CODES;
    if (subject->arithmetic == LHK_FUZZ_ARITHMETIC_I8) return FUZZ_ARITHMETIC_I8;
    bool bf16 = isa & (LHK_ISA_AVX512BF16 | LHK_ISA_NEON_BF16) || subject->arithmetic == LHK_FUZZ_ARITHMETIC_BF16;
    if (subject->arithmetic == LHK_FUZZ_ARITHMETIC_F32 || problem->kv_dtype != LHK_DTYPE_BF16) bf16 = false;
    return bf16 ? FUZZ_ARITHMETIC_BF16 : FUZZ_ARITHMETIC_F32;
}

/// True when the subject took the problem; false when it refused in the mode asked for.
static bool check_once(fuzz_check *check) {
    fuzz_case *c = check->c;
    lhk_attention_stats stats = {.struct_size = sizeof stats};
    lhk_fuzz_args args = c->args;
    args.stats = &stats;
    fuzz_reset_outputs(c, &c->arena->out, &c->arena->lse);
    const char *what = "1 worker";
    if (fuzz_attend(check, &args, (fuzz_call){.workers = 1, .workspace_byte = 0xff}, LHK_OK, what) &&
        fuzz_compare_all(check, &stats, what))
        fuzz_check_laws(check);
    else
        return !check->refused;
    return true;
}

static bool check_under(fuzz_case *c, const lhk_fuzz_options *options, lhk_fuzz_report *report, lhk_isa isa, bool thorough) {
    fuzz_check check = {.options = options, .report = report, .c = c, .isa = isa, .thorough = thorough};
    check.arithmetic = arithmetic_of(&options->subject, &c->problem, isa);
    c->args.mode = fuzz_mode(&c->problem, options->subject.modes);
    bool taken = check_once(&check);
    if (!taken && c->args.mode) {
        c->args.mode = 0;
        taken = check_once(&check);
    }
    report->skipped += !taken;
    report->cases += taken;
    return check.failed;
}

typedef struct preparation {
    fuzz_case *c;
    const fuzz_problem *problem;
    const lhk_fuzz_options *options;
    fuzz_arena *arena;
    lhk_error error;
    bool done;
} preparation;

/// Whether the subject does not take the problem under any level, so that nobody needs to know its results.
static bool is_refused(const preparation *p, lhk_error *error) {
    const lhk_fuzz_subject *s = &p->options->subject;
    bool refused = s->partial && p->options->isa_count;
    for (uint32_t i = 0; i < p->options->isa_count && refused; i++) {
        uint64_t bytes;
        fuzz_loop loop;
        lhk_host host = fuzz_make_host(&loop, 1, p->options->isas[i]);
        refused = s->workspace(s->context, &p->c->args, &host, &bytes, error) == LHK_ERROR_UNSUPPORTED;
    }
    if (refused) error->status = LHK_ERROR_UNSUPPORTED;
    return refused;
}

static void prepare(void *context) {
    preparation *p = context;
    if (!fuzz_case_build(p->c, p->problem, &p->options->subject, p->arena))
        lhk_fail(&p->error, LHK_ERROR_MEMORY, -1, "no memory");
    else
        p->done = !is_refused(p, &p->error) && fuzz_case_solve(p->c, &p->error);
}

/// Builds a case and its expected results, with a kernel's own code in part. LHK_ERROR_CORRUPT when that faulted.
static lhk_status prepare_case(fuzz_case *c, const fuzz_problem *problem, const lhk_fuzz_options *options,
                               fuzz_arena *arena, lhk_fuzz_report *report) {
    preparation p = {c, problem, options, arena, {.struct_size = sizeof p.error}, false};
    *c = (fuzz_case){0};
    if (!fuzz_guarded(prepare, &p)) lhk_fail(&p.error, LHK_ERROR_CORRUPT, -1, "it touched memory that it must not");
    if (p.done) return LHK_OK;
    char text[1024];
    fuzz_print(problem, text, sizeof text);
    if (p.error.status != LHK_ERROR_UNSUPPORTED && p.error.status != LHK_ERROR_ARGUMENT)
        fuzz_report(report, "%s, reference or store: %s\n    %s\n", options->subject.name, p.error.text, text);
    fuzz_case_free(c);
    return p.error.status ? p.error.status : LHK_ERROR_CORRUPT;
}

/// What a case that could not be prepared is for a subject that may refuse problems: refused, or a failure.
static lhk_status count_unprepared(lhk_status status, const fuzz_problem *problem, uint32_t levels,
                                   lhk_fuzz_report *reports) {
    if (status == LHK_ERROR_MEMORY) return status;
    bool refused = status == LHK_ERROR_UNSUPPORTED || status == LHK_ERROR_ARGUMENT;
    for (uint32_t i = 0; i < levels; i++) {
        reports[i].skipped += refused;
        reports[i].cases += !refused;
        if (!refused && reports[i].failures++ == 0) reports[i].first_failure = problem->index;
        if (i && !refused) fuzz_report(&reports[i], "%s", reports[0].text);
    }
    return LHK_OK;
}

lhk_status fuzz_run_problem(const fuzz_problem *problem, const lhk_fuzz_options *options, fuzz_arena *arena,
                            bool thorough, lhk_fuzz_report *reports, bool shared) {
    static const lhk_isa scalar = LHK_ISA_SCALAR;
    fuzz_case c;
    lhk_status status = prepare_case(&c, problem, options, arena, reports);
    if (status) return options->subject.partial ? count_unprepared(status, problem, options->isa_count, reports) : status;
    const lhk_isa *isas = options->isa_count ? options->isas : &scalar;
    uint64_t cases = reports->cases, skipped = reports->skipped;
    for (uint32_t i = 0; i < (options->isa_count ? options->isa_count : 1); i++) {
        lhk_fuzz_report *report = shared ? reports : &reports[i];
        if (!check_under(&c, options, report, isas[i], thorough)) continue;
        if (report->failures++ == 0) report->first_failure = problem->index;
        if (shared) break;
    }
    if (shared) {  // one problem, however many levels it ran under
        reports->cases = cases + (reports->cases > cases);
        reports->skipped = skipped + (reports->cases == cases);
    }
    fuzz_case_free(&c);
    return LHK_OK;
}

void fuzz_free_arena(fuzz_arena *arena) {
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
        status = fuzz_run_problem(&problem, options, &arena, false, report, true);
    }
    fuzz_free_arena(&arena);
    return status ? status : report->failures ? LHK_ERROR_CORRUPT : LHK_OK;
}

lhk_status lhk_fuzz_corpus_run(uint32_t index, const lhk_fuzz_options *options, lhk_fuzz_report *report) {
    begin_report(report);
    fuzz_arena arena = {0};
    lhk_status status = LHK_OK;
    for (uint32_t part = 0; !status; part++) {
        fuzz_problem problem;
        if (!fuzz_corpus_problem(index, part, options->seed, &problem)) break;
        status = fuzz_run_problem(&problem, options, &arena, true, report, true);
    }
    fuzz_free_arena(&arena);
    return status ? status : report->failures ? LHK_ERROR_CORRUPT : LHK_OK;
}

void lhk_fuzz_describe(uint64_t seed, uint64_t index, char *text, size_t size) {
    fuzz_problem problem = fuzz_generate(seed, index);
    fuzz_print(&problem, text, size);
}
