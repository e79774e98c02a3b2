// SPDX-License-Identifier: Apache-2.0
/// Every variant of the registered families, checked as `longhand verify` does.
#include <inttypes.h>
#include <longhand/registry.h>
#include <longhand_verify.h>

#include "driver.h"

// LINKED_FAMILIES(F) is F(adamas) F(baselines) and so on: the build lists the folders.
#define DECLARED(family) LHK_API const lhk_plugin *lhk_##family##_plugin(void);
#define CALLED(family) lhk_##family##_plugin(),
LINKED_FAMILIES(DECLARED)

/// False when the target is of another role.
static bool check_target(lhk_verify *verify, uint32_t index, const driver_levels *levels, const char *role, uint64_t first,
                         uint64_t count) {
    lhk_verify_target target = {.struct_size = sizeof target};
    static lhk_verify_outcome outcomes[MOST_LEVELS];
    lhk_isa sets[MOST_LEVELS];
    const char *names[MOST_LEVELS];
    uint32_t usable = 0;
    lhk_error error = {.struct_size = sizeof error};
    if (lhk_verify_get(verify, index, &target) || (role && strcmp(target.role, role))) return false;
    for (uint32_t i = 0; i < levels->count && usable < MOST_LEVELS; i++) {
        if (target.variant->isa_required & ~levels->levels[i].isa) continue;
        outcomes[usable] = (lhk_verify_outcome){.struct_size = sizeof(lhk_verify_outcome)};
        sets[usable] = levels->levels[i].isa;
        names[usable++] = levels->levels[i].name;
    }
    lhk_status status = LHK_OK;
    for (uint64_t c = first; usable && c < first + count && !status; c++)
        status = lhk_verify_run(verify, index, c, sets, usable, outcomes, &error);
    for (uint32_t i = 0; i < usable; i++) {
        const lhk_verify_outcome *o = &outcomes[i];
        bool passed = driver_result(!status && o->cases && !o->failures, "%s %s under %s: %" PRIu64 " cases, %" PRIu64 " calls",
                                 target.role, target.variant->id, names[i], o->cases, o->calls);
        if (!passed) printf("    case %s: %s %s\n", o->failed_case, status ? error.text : "", o->text);
    }
    return true;
}

void driver_check_registry(const lhk_host *pool, const driver_levels *levels, const char *role, uint64_t seed, uint64_t first,
                           uint64_t count) {
    const lhk_plugin *const plugins[] = {LINKED_FAMILIES(CALLED)};
    lhk_error error = {.struct_size = sizeof error};
    lhk_registry *registry = NULL;
    lhk_verify *verify = NULL;
    lhk_status status = lhk_registry_create(&registry, &error);
    for (size_t i = 0; i < sizeof plugins / sizeof *plugins && !status; i++)
        status = lhk_registry_register(registry, plugins[i], "built-in", &error);
    if (!status) status = lhk_verify_create(registry, pool, seed, &verify, &error);
    if (!driver_result(!status, "a checker of all registered variants%s%s", status ? ": " : "", status ? error.text : "")) return;
    uint32_t checked = 0;
    for (uint32_t i = 0; i < lhk_verify_count(verify); i++) checked += check_target(verify, i, levels, role, first, count);
    if (role) driver_result(checked > 0, "%u variants of role %s", checked, role);
    lhk_verify_destroy(verify);
    lhk_registry_destroy(registry);
}
