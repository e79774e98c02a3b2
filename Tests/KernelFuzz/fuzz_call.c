// SPDX-License-Identifier: Apache-2.0
/// Calls of the subject: host, workspace, protection, and the record of failures.
#include <inttypes.h>
#include <lhk/support.h>

#include "fuzz_check.h"

/// Most failing cases that a report describes.
#define DESCRIBED_FAILURES 8

static const char *isa_text(lhk_isa isa) {
    if (isa & LHK_ISA_AVX512BF16) return "avx512bf16";
    if (isa & LHK_ISA_AVX512VNNI) return "avx512vnni";
    if (isa & LHK_ISA_AVX512) return "avx512";
    if (isa & LHK_ISA_AVX2) return "avx2";
    if (isa & LHK_ISA_NEON_BF16) return "neon_bf16";
    if (isa & LHK_ISA_NEON_I8MM) return "neon_i8mm";
    if (isa & LHK_ISA_NEON_DOTPROD) return "neon_dotprod";
    return isa & LHK_ISA_NEON ? "neon" : "scalar";
}

void fuzz_report(lhk_fuzz_report *report, const char *format, ...) {
    size_t used = report->text_size ? strlen(report->text) : 0;
    if (used + 1 >= report->text_size) return;
    va_list list;
    va_start(list, format);
    vsnprintf(report->text + used, report->text_size - used, format, list);
    va_end(list);
}

void fuzz_fail(fuzz_check *check, const char *what, const char *format, ...) {
    lhk_fuzz_report *report = check->report;
    bool first = !check->failed;
    check->failed = true;
    if (!first || report->failures >= DESCRIBED_FAILURES) return;
    char problem[1024], detail[512];
    fuzz_print(&check->c->problem, problem, sizeof problem);
    va_list list;
    va_start(list, format);
    vsnprintf(detail, sizeof detail, format, list);
    va_end(list);
    fuzz_report(report, "%s %s, %s: %s\n    %s\n", check->options->subject.name, isa_text(check->isa), what, detail,
                problem);
}

/// The harness's own parallel_for: last task first, workers in turn.
typedef struct backward_loop {
    uint32_t workers;
    int depth;
    bool nested;
} backward_loop;

static void run_backward(void *context, int64_t tasks, lhk_task task, void *task_context) {
    backward_loop *loop = context;
    loop->nested |= loop->depth > 0;
    loop->depth++;
    for (int64_t i = tasks - 1; i >= 0; i--) task(task_context, i, (uint32_t)((uint64_t)i % loop->workers));
    loop->depth--;
}

typedef struct guarded_attend {
    fuzz_check *check;
    const lhk_flash_args *args;
    const lhk_host *host;
    lhk_workspace workspace;
    lhk_error *error;
    lhk_status status;
} guarded_attend;

static void attend_body(void *context) {
    guarded_attend *g = context;
    const lhk_fuzz_subject *s = &g->check->options->subject;
    g->status = s->attend(s->context, g->args, g->host, &g->workspace, g->error);
}

static bool size_workspace(fuzz_check *check, const lhk_flash_args *args, const lhk_host *host, fuzz_call call,
                           lhk_workspace *workspace, lhk_error *error, const char *what) {
    const lhk_fuzz_subject *s = &check->options->subject;
    uint64_t bytes = 0, without_data = 0;
    if (s->workspace(s->context, args, host, &bytes, error)) {
        fuzz_fail(check, what, "size of the workspace: status %d, %s", error->status, error->text);
        return false;
    }
    lhk_flash_args sizes = *args;
    sizes.q.data = sizes.k.data = sizes.v.data = sizes.out.data = NULL;
    if (s->workspace(s->context, &sizes, host, &without_data, error) || without_data != bytes) {
        fuzz_fail(check, what, "workspace of %" PRIu64 " bytes with data, %" PRIu64 " without", bytes, without_data);
        return false;
    }
    if (bytes > UINT64_C(1) << 32) {
        fuzz_fail(check, what, "workspace of %" PRIu64 " bytes", bytes);
        return false;
    }
    bytes -= bytes < call.withhold ? bytes : call.withhold;
    fuzz_buffer *buffer = &check->c->arena->workspace;
    if (!fuzz_buffer_prepare(buffer, bytes, LHK_ALIGNMENT, false)) return false;
    fuzz_buffer_set(buffer, call.workspace_byte);
    *workspace = (lhk_workspace){buffer->data, bytes};
    return true;
}

bool fuzz_attend(fuzz_check *check, const lhk_flash_args *args, fuzz_call call, lhk_status expected, const char *what) {
    lhk_error error = {.struct_size = sizeof error};
    backward_loop loop = {.workers = call.workers};
    lhk_host host = {.struct_size = sizeof host, .workers = call.workers, .isa = check->isa, .context = &loop};
    if (call.workers > 1) host.parallel_for = run_backward;
    if (call.use_pool) {
        host = *check->options->pool;
        host.isa = check->isa;
    }
    guarded_attend g = {check, args, &host, {NULL, 0}, &error, LHK_OK};
    if (!size_workspace(check, args, &host, call, &g.workspace, &error, what)) return false;
    check->report->calls++;
    if (!fuzz_guarded(attend_body, &g)) {
        fuzz_fail(check, what, "touched memory outside its operands and workspace, or wrote to an input");
        return false;
    }
    if (g.status != expected)
        fuzz_fail(check, what, "status %d, expected %d: %s", g.status, expected, g.status ? error.text : "");
    else if (g.status && (error.status != g.status || !error.text[0]))
        fuzz_fail(check, what, "status %d, but the error says %d and '%s'", g.status, error.status, error.text);
    else if (loop.nested)
        fuzz_fail(check, what, "a parallel loop within a parallel loop");
    else if (!fuzz_buffer_slack_intact(&check->c->arena->workspace))
        fuzz_fail(check, what, "wrote past its workspace");
    else
        return true;
    return false;
}
