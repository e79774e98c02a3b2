// SPDX-License-Identifier: Apache-2.0
/// Calls of the subject: host, workspace, protection, and the record of failures.
#include <inttypes.h>
#include <lhk/support.h>

#include "fuzz_check.h"
#include "fuzz_host.h"

/// Most failing cases that a report describes.
#define DESCRIBED_FAILURES 8

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
    fuzz_report(report, "%s %s, %s: %s\n    %s\n", check->options->subject.name, fuzz_level_name(check->isa), what, detail,
                problem);
}

typedef struct guarded_attend {
    fuzz_check *check;
    const lhk_fuzz_args *args;
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

/// Whether `status` is a refusal that the subject is free to give.
static bool may_refuse(const lhk_fuzz_subject *s, const lhk_fuzz_args *args, lhk_status status) {
    return status == LHK_ERROR_UNSUPPORTED && (s->partial || args->mode);
}

static bool size_workspace(fuzz_check *check, const lhk_fuzz_args *args, const lhk_host *host, fuzz_call call,
                           lhk_workspace *workspace, lhk_error *error, const char *what) {
    const lhk_fuzz_subject *s = &check->options->subject;
    uint64_t bytes = 0, without_data = 0;
    lhk_status status = s->workspace(s->context, args, host, &bytes, error);
    if (may_refuse(s, args, status)) {
        check->refused = true;
        return false;
    }
    if (status) {
        fuzz_fail(check, what, "size of the workspace: status %d, %s", error->status, error->text);
        return false;
    }
    lhk_fuzz_args sizes = *args;
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
    fuzz_buffer_forget(buffer);
    *workspace = (lhk_workspace){buffer->data, bytes};
    return true;
}

bool fuzz_attend(fuzz_check *check, const lhk_fuzz_args *args, fuzz_call call, lhk_status expected, const char *what) {
    lhk_error error = {.struct_size = sizeof error};
    fuzz_loop loop;
    lhk_host host = fuzz_make_host(&loop, call.workers, check->isa);
    if (call.use_pool) host = fuzz_make_pool_host(&loop, check->options->pool, check->isa);
    guarded_attend g = {check, args, &host, {NULL, 0}, &error, LHK_OK};
    check->refused = false;
    if (!size_workspace(check, args, &host, call, &g.workspace, &error, what)) return false;
    check->report->calls++;
    if (!fuzz_guarded(attend_body, &g)) {
        fuzz_fail(check, what, "touched memory outside its operands and workspace, or wrote to an input");
        return false;
    }
    if (may_refuse(&check->options->subject, args, g.status)) {
        check->refused = true;
        return false;
    }
    if (call.may_succeed && g.status == LHK_OK) return false;
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
