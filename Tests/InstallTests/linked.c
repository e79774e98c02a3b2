// SPDX-License-Identifier: Apache-2.0
/// Links the static library and registers every family's plugin object by hand; no file is loaded.
#include <longhand/adamas.h>
#include <longhand/baselines.h>
#include <longhand/commvq.h>
#include <longhand/dense_store.h>
#include <longhand/flash_attention.h>
#include <longhand/kivi.h>
#include <longhand/longhand.h>
#include <longhand/quant_store.h>
#include <longhand/rope.h>
#include <longhand/sale.h>
#include <longhand/window.h>
#include <stdio.h>

int main(void) {
    lhk_error error = {.struct_size = sizeof error};
    lhk_registry *registry = NULL;
    const lhk_plugin *const linked[] = {
        lhk_adamas_plugin(),          lhk_baselines_plugin(), lhk_commvq_plugin(),      lhk_dense_store_plugin(),
        lhk_flash_attention_plugin(), lhk_kivi_plugin(),      lhk_quant_store_plugin(), lhk_rope_plugin(),
        lhk_sale_plugin(),
        lhk_window_plugin(),
    };
    lhk_status status = lhk_registry_create(&registry, &error);
    for (size_t i = 0; i < sizeof linked / sizeof *linked && !status; i++)
        status = lhk_registry_register(registry, linked[i], "built-in", &error);
    if (status) return fprintf(stderr, "%s\n", error.text), 1;
    for (uint32_t i = 0; i < lhk_registry_count(registry); i++) {
        lhk_registration entry = {.struct_size = sizeof entry};
        if (lhk_registry_get(registry, i, &entry)) return 1;
        printf("%s %s %s\n", entry.method->role, entry.method->name, entry.origin);
    }
    lhk_registry_destroy(registry);
    return 0;
}
