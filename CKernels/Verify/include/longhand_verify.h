// SPDX-License-Identifier: Apache-2.0
/// Checks of every variant that a registry holds: what `longhand verify` runs.
///
/// A case is a pure function of (seed, index), the plugins found and the levels, so that it can be replayed alone. The
/// caller decides which cases run when. Not thread-safe: one call at a time in the process, since faults of kernels are
/// caught by signal handlers. A fault in a loop of the pool of threads cannot be survived: the process then names the case
/// and the line that replays it on stderr, and ends with exit code 1.
#ifndef LONGHAND_VERIFY_H
#define LONGHAND_VERIFY_H

#include <longhand/reference.h>
#include <longhand/registry.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

typedef struct lhk_verify lhk_verify;

/// A variant to check. Strings and tables live as long as the registry.
typedef struct lhk_verify_target {
    uint32_t struct_size;
    uint32_t has_reference;  ///< 1: results are compared with a formula; 0: laws and contracts only
    const char *role;        ///< "store", "selector", "attention" or "position"
    const char *origin;
    const lhk_method *method;
    const lhk_variant *variant;
} lhk_verify_target;

/// What was found about a target under one set of levels. Zeroed by the caller (struct_size set), then added to.
typedef struct lhk_verify_outcome {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t cases;     ///< run
    uint64_t skipped;   ///< not supported by the variant
    uint64_t calls;     ///< of the variant's operations
    uint64_t failures;  ///< failing cases
    double worst;       ///< largest ratio of error to bound; 0: nothing was compared within a bound
    char reason[200];   ///< why the last skipped case was, in one line
    char text[2000];    ///< of the first failure, a few lines
    char failed_case[64];  ///< its index or name
} lhk_verify_outcome;

/// Lists the targets of `registry`, which must outlive the result. `pool` is a host with real threads, against which
/// results are compared too, and whose levels are the most that a target can be run with.
lhk_status lhk_verify_create(const lhk_registry *registry, const lhk_host *pool, uint64_t seed,
                             lhk_verify *LHK_NULLABLE *LHK_NONNULL out, lhk_error *LHK_NULLABLE error);
void lhk_verify_destroy(lhk_verify *LHK_NULLABLE verify);

/// How a command line begins that finds the same plugins and levels, `longhand verify` until this is called. Copied.
lhk_status lhk_verify_set_command(lhk_verify *verify, const char *command, lhk_error *LHK_NULLABLE error);
/// Writes the command line that runs one case of a target again, by the index or name of the case; always terminated.
void lhk_verify_replay(const lhk_verify *verify, uint32_t target, const char *name, char *text, size_t size);

/// Targets in the order of role, method and variant.
uint32_t lhk_verify_count(const lhk_verify *verify);
/// LHK_ERROR_NOT_FOUND past the end.
lhk_status lhk_verify_get(const lhk_verify *verify, uint32_t target, lhk_verify_target *out);

/// The target whose variant is called `id`. LHK_ERROR_NOT_FOUND when there is none.
lhk_status lhk_verify_find(const lhk_verify *verify, const char *id, uint32_t *target);

/// Name of a target's case `index` that is not random, or null past the end. They are bugs that were once made somewhere:
/// those of `lhk_fuzz_corpus_get` that concern the target's role.
const char *LHK_NULLABLE lhk_verify_case_name(const lhk_verify *verify, uint32_t target, uint32_t index);

/// Runs random case `index` under each of the level sets, each of which must offer what the variant requires, and adds
/// to outcomes[level_count]. LHK_OK however it came out; another status when the harness itself could not run.
lhk_status lhk_verify_run(lhk_verify *verify, uint32_t target, uint64_t index, const lhk_isa *levels,
                          uint32_t level_count, lhk_verify_outcome *outcomes, lhk_error *LHK_NULLABLE error);
/// The same for the case called `name`. LHK_ERROR_NOT_FOUND when there is none of that name.
lhk_status lhk_verify_run_named(lhk_verify *verify, uint32_t target, const char *name, const lhk_isa *levels,
                                uint32_t level_count, lhk_verify_outcome *outcomes, lhk_error *LHK_NULLABLE error);

/// Checks a target under one set of levels for about `seconds`, for those who use a variant only when it is sound: random
/// cases first, at least four, then those with names, until one fails. LHK_OK: all passed. LHK_ERROR_CORRUPT: one failed;
/// `error` says in one line what was wrong. LHK_ERROR_UNSUPPORTED: none could be run. `outcome` is overwritten.
lhk_status lhk_verify_quick(lhk_verify *verify, uint32_t target, lhk_isa levels, double seconds,
                            lhk_verify_outcome *LHK_NULLABLE outcome, lhk_error *LHK_NULLABLE error);

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
