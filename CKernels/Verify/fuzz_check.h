// SPDX-License-Identifier: Apache-2.0
/// Running a subject on a case and judging what it did.
#ifndef FUZZ_CHECK_H
#define FUZZ_CHECK_H

#include <lhk_fuzz.h>

#include "fuzz_case.h"

/// A case under one set of instruction levels.
typedef struct fuzz_check {
    const lhk_fuzz_options *options;
    lhk_fuzz_report *report;
    fuzz_case *c;
    lhk_isa isa;
    int arithmetic;
    bool refused;   ///< the last call was valid, but the subject does not support it
    bool thorough;  ///< all laws, not a drawn part of them
    bool failed;
} fuzz_check;

/// How to make a call.
typedef struct fuzz_call {
    uint32_t workers;
    bool use_pool;       ///< the options' pool instead of the harness's own loop
    int workspace_byte;  ///< what the workspace holds
    uint64_t withhold;   ///< bytes of workspace to hold back
    bool may_succeed;    ///< a failure is expected, but success (false, nothing recorded) is no fault
} fuzz_call;

/// Appends to the report's text.
__attribute__((format(printf, 2, 3))) void fuzz_report(lhk_fuzz_report *report, const char *format, ...);

/// Records a failure: "<what>: <text>".
__attribute__((format(printf, 3, 4))) void fuzz_fail(fuzz_check *check, const char *what, const char *format, ...);

/// Calls the subject with a fresh workspace. True when `expected` came back. False when the call failed, which is
/// recorded, and when the subject may and did refuse it, which sets `check->refused`.
bool fuzz_attend(fuzz_check *check, const lhk_fuzz_args *args, fuzz_call call, lhk_status expected, const char *what);

/// Compares rows [0, args->out.shape[0]) with expected rows from `first_row` on.
bool fuzz_compare(fuzz_check *check, const lhk_fuzz_args *args, int64_t first_row, const char *what);

/// Compares with the expected results of the whole call, and looks at gaps and statistics.
bool fuzz_compare_all(fuzz_check *check, const lhk_attention_stats *stats, const char *what);

/// Whether all memory between the rows of an output is untouched.
bool fuzz_gaps_intact(const fuzz_buffer *buffer, const uint8_t *owned, size_t *where);

/// Runs a problem under every level of the options. `reports` has one entry for each of them, or, when `shared`, one for
/// all, and then the levels after a failing one are left out. LHK_OK: the problem ran, whatever came of it.
lhk_status fuzz_run_problem(const fuzz_problem *problem, const lhk_fuzz_options *options, fuzz_arena *arena,
                            bool thorough, lhk_fuzz_report *reports, bool shared);
void fuzz_free_arena(fuzz_arena *arena);

/// The laws that need no oracle, or the oracle of another arrangement of the same call.
void fuzz_check_laws(fuzz_check *check);

#endif
