// SPDX-License-Identifier: Apache-2.0
/// Links the static library and registers every family's plugin object by hand; no file is loaded. run.sh includes the headers
/// of the families and defines LINKED_FAMILIES(F) as F(adamas) F(baselines) and so on.
#include <longhand/longhand.h>
#include <stdio.h>

#define CALLED(family) lhk_##family##_plugin(),

int main(void) {
    lhk_error error = {.struct_size = sizeof error};
    lhk_registry *registry = NULL;
    const lhk_plugin *const linked[] = {LINKED_FAMILIES(CALLED)};
    lhk_status status = lhk_registry_create(&registry, &error);
    for (size_t i = 0; i < sizeof linked / sizeof *linked && !status; i++)
        status = lhk_registry_register(registry, linked[i], "built-in", &error);
    if (status) return fprintf(stderr, "%s\n", error.text), 1;
    for (uint32_t i = 0; i < lhk_registry_count(registry); i++) {
        lhk_registration entry = {.struct_size = sizeof entry};
        if (lhk_registry_get(registry, i, &entry)) return 1;
        printf("%s %s %s\n", entry.method->role, entry.method->name, entry.origin);
    }
    printf("%zu families\n", sizeof linked / sizeof *linked);
    lhk_registry_destroy(registry);
    return 0;
}
