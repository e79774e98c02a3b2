// SPDX-License-Identifier: Apache-2.0
/// The run of one case, and the command line that repeats it.
#include <inttypes.h>
#include <lhk/support.h>

#include "verify_named.h"

// ---- replay ----

lhk_status lhk_verify_set_command(lhk_verify *v, const char *command, lhk_error *error) {
    char *copy = malloc(strlen(command) + 1);
    if (!copy) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for the command");
    strcpy(copy, command);
    free(v->command);
    v->command = copy;
    return LHK_OK;
}

void lhk_verify_replay(const lhk_verify *v, uint32_t target, const char *name, char *text, size_t size) {
    const char *id = target < v->target_count ? v->targets[target].variant->id : "";  // no letter that a shell would take
    snprintf(text, size, "%s --seed %" PRIu64 " --filter '^%s$' --case %s", v->command, v->seed, id, name);
}

static void announce(const lhk_verify *v, uint32_t target, const char *name) {
    char line[3072], text[4096];
    lhk_verify_replay(v, target, name, line, sizeof line);
    snprintf(text, sizeof text, "longhand: %s crashed on a thread of the pool, in case %s; replay with\n  %s\n",
             v->targets[target].variant->id, name, line);
    fuzz_set_last_words(text);
}

// ---- roles other than attention ----

typedef struct role_run {
    const char *role;
    void (*run)(verify_check *);
} role_run;

static const role_run roles[] = {
    {"store", verify_store_case}, {"selector", verify_selector_case}, {"position", verify_position_case}};

static void case_body(void *context) {
    verify_check *check = context;
    for (size_t k = 0; k < sizeof roles / sizeof *roles; k++)
        if (!strcmp(check->target->role, roles[k].role)) {
            roles[k].run(check);
            return;
        }
    verify_skip(check, "nothing checks this role");
}

static void report_fault(void *context) {
    verify_fail(context, "touched memory that it must not, or ended in a trap");
}

/// One case under one set of levels.
static void run_guarded(verify_check *check) {
    check->outcome->cases++;
    check->step = "drawing the case";
    if (!fuzz_guarded(case_body, check)) fuzz_guarded(report_fault, check);
    for (fuzz_block *block = check->blocks, *next; block; block = next) {
        next = block->next;
        free(block);
    }
}

/// All parts of a case with a name count as one case.
static void run_parts(lhk_verify *v, const lhk_verify_target *target, const verify_named *named, lhk_isa isa,
                      lhk_verify_outcome *outcome) {
    uint64_t cases = outcome->cases, skipped = outcome->skipped, failures = outcome->failures;
    for (uint32_t part = 0; part < named->parts && outcome->failures == failures; part++) {
        verify_fixed fixed = named->build(part);
        verify_check check = {.v = v, .target = target, .outcome = outcome, .isa = isa, .index = part, .name = named->name,
                              .fixed = &fixed, .rng = fuzz_seeded(v->seed ^ fuzz_mix(named->number), part)};
        run_guarded(&check);
    }
    bool ran = outcome->cases > cases;
    outcome->cases = cases + ran;
    outcome->skipped = skipped + !ran;
}

// ---- cases ----

/// The corpus entry that is case `index` of attention; UINT32_MAX past the end.
static uint32_t corpus_index(uint32_t index) {
    for (uint32_t i = 0; i < lhk_fuzz_corpus_count(); i++)
        if (!lhk_fuzz_corpus_get(i).elsewhere && index-- == 0) return i;
    return UINT32_MAX;
}

const char *lhk_verify_case_name(const lhk_verify *v, uint32_t target, uint32_t index) {
    if (target >= v->target_count) return NULL;
    if (strcmp(v->targets[target].role, "attention")) {
        const verify_named *named = verify_named_case(v->targets[target].role, index);
        return named ? named->name : NULL;
    }
    uint32_t entry = corpus_index(index);
    return entry == UINT32_MAX ? NULL : lhk_fuzz_corpus_get(entry).name;
}

static lhk_status check_levels(const lhk_verify *v, uint32_t target, const lhk_isa *levels, uint32_t count, lhk_error *error) {
    if (target >= v->target_count) return lhk_fail(error, LHK_ERROR_NOT_FOUND, 1, "there is no target %u", target);
    for (uint32_t i = 0; i < count; i++)
        if (levels[i] & ~v->pool.isa || v->targets[target].variant->isa_required & ~levels[i])
            return lhk_fail(error, LHK_ERROR_ARGUMENT, 3, "level %s does not fit variant %s on this host",
                            fuzz_level_name(levels[i]), v->targets[target].variant->id);
    return LHK_OK;
}

lhk_status lhk_verify_run(lhk_verify *v, uint32_t target, uint64_t index, const lhk_isa *levels, uint32_t level_count,
                          lhk_verify_outcome *outcomes, lhk_error *error) {
    lhk_status status = check_levels(v, target, levels, level_count, error);
    if (status) return status;
    const lhk_verify_target *t = &v->targets[target];
    char name[24];
    snprintf(name, sizeof name, "%" PRIu64, index);
    announce(v, target, name);
    if (!strcmp(t->role, "attention"))
        return verify_attention_case(v, t, index, UINT32_MAX, levels, level_count, outcomes, error);
    for (uint32_t i = 0; i < level_count; i++) {
        verify_check check = {.v = v, .target = t, .outcome = &outcomes[i], .isa = levels[i], .index = index,
                              .rng = fuzz_seeded(v->seed, index)};
        run_guarded(&check);
    }
    return LHK_OK;
}

lhk_status lhk_verify_run_named(lhk_verify *v, uint32_t target, const char *name, const lhk_isa *levels,
                                uint32_t level_count, lhk_verify_outcome *outcomes, lhk_error *error) {
    lhk_status status = check_levels(v, target, levels, level_count, error);
    if (status) return status;
    const lhk_verify_target *t = &v->targets[target];
    const char *known;
    for (uint32_t i = 0; (known = lhk_verify_case_name(v, target, i)); i++) {
        if (strcmp(known, name)) continue;
        announce(v, target, name);
        if (!strcmp(t->role, "attention"))
            return verify_attention_case(v, t, 0, corpus_index(i), levels, level_count, outcomes, error);
        for (uint32_t l = 0; l < level_count; l++)
            run_parts(v, t, verify_named_case(t->role, i), levels[l], &outcomes[l]);
        return LHK_OK;
    }
    return lhk_fail(error, LHK_ERROR_NOT_FOUND, 2, "%s has no case called '%s'", t->variant->id, name);
}
