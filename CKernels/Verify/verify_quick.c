// SPDX-License-Identifier: Apache-2.0
#define _DEFAULT_SOURCE
#define _DARWIN_C_SOURCE
/// Whether a variant can be trusted, within a limited time.
#include <inttypes.h>
#include <lhk/support.h>
#include <time.h>

#include "verify.h"

/// Random cases that are run whatever time they take, and at most.
#define QUICK_LEAST 4
#define QUICK_MOST 40

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

lhk_status lhk_verify_find(const lhk_verify *v, const char *id, uint32_t *target) {
    for (uint32_t i = 0; i < v->target_count; i++)
        if (!strcmp(v->targets[i].variant->id, id)) {
            *target = i;
            return LHK_OK;
        }
    return LHK_ERROR_NOT_FOUND;
}

lhk_status lhk_verify_quick(lhk_verify *v, uint32_t target, lhk_isa levels, double seconds, lhk_verify_outcome *outcome,
                            lhk_error *error) {
    lhk_verify_outcome found = {.struct_size = sizeof found};
    double end = seconds_now() + seconds;
    lhk_status status = LHK_OK;
    bool more = true;
    for (uint32_t i = 0; i < QUICK_MOST && more && !status && !found.failures; i++) {
        status = lhk_verify_run(v, target, i, &levels, 1, &found, error);
        more = i + 1 < QUICK_LEAST || seconds_now() < end;
    }
    for (uint32_t i = 0; more && !status && !found.failures; i++) {
        const char *name = lhk_verify_case_name(v, target, i);
        if (!name) break;
        status = lhk_verify_run_named(v, target, name, &levels, 1, &found, error);
        more = seconds_now() < end;
    }
    if (outcome) *outcome = found;
    if (status) return status;
    const char *id = v->targets[target].variant->id;
    if (found.failures)
        return lhk_fail(error, LHK_ERROR_CORRUPT, -1, "%s failed its check, case %s of seed %" PRIu64 ": %.*s", id,
                        found.failed_case, v->seed, (int)strcspn(found.text, "\n"), found.text);
    if (!found.cases) return lhk_fail(error, LHK_ERROR_UNSUPPORTED, -1, "no case could check %s: %s", id, found.reason);
    return LHK_OK;
}
