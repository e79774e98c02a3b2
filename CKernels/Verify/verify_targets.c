// SPDX-License-Identifier: Apache-2.0
/// The list of targets and stores of a registry.
#include <inttypes.h>
#include <lhk/support.h>

#include "verify_store.h"

static const struct {
    const char *id, *word;
} roles[] = {{LHK_ROLE_STORE, "store"}, {LHK_ROLE_SELECTOR, "selector"}, {LHK_ROLE_ATTENTION, "attention"},
             {LHK_ROLE_POSITION, "position"}};

// ---- stores ----

/// Looks at a small instance of a store: its panels and the type it rounds to. False: it does not take that problem.
static bool probe_store(lhk_verify *v, verify_store *out) {
    lhk_problem shape = verify_problem(1, 1, 64, 64, 1, 16), problem = verify_store_problem(out, &shape, 16);
    fuzz_loop loop;
    lhk_host host = fuzz_make_host(&loop, 1, v->pool.isa);
    const lhk_variant *variant;
    lhk_sizes sizes = {.struct_size = sizeof sizes};
    if (lhk_method_resolve(out->method, &problem, &host, &variant, NULL)) return false;
    if (variant->life->sizes(variant, &problem, 1, &sizes, NULL)) return false;
    fuzz_buffer *buffer = &v->buffers[0];
    if (!fuzz_buffer_prepare(buffer, sizes.state_bytes, LHK_ALIGNMENT, false)) return false;
    fuzz_buffer_set(buffer, 0);
    lhk_instance *store = (lhk_instance *)buffer->data;
    if (variant->life->create(variant, &problem, store, sizes.state_bytes, NULL)) return false;
    const lhk_store_ops *ops = variant->ops;
    lhk_panels panels = {.struct_size = sizeof panels, .dtype = LHK_DTYPE_NONE};
    if (ops->panels) ops->panels(store, &panels);
    out->dtype = store_dtype(variant, store);
    out->panels = panels.dtype;
    out->rotation = panels.rotation;
    return true;
}

typedef struct probe {
    lhk_verify *v;
    verify_store *store;
    bool usable;
} probe;

static void probe_body(void *context) {
    probe *p = context;
    p->usable = probe_store(p->v, p->store);
}

/// Lists a store under one of its option sets (0: none), and, when it has panels, a second time without. One that cannot be
/// created even for a small problem is left out here: its own checks say why.
static void list_store(lhk_verify *v, const lhk_method *method, uint32_t set) {
    verify_store *store = &v->stores[v->store_count];
    const char *options = set ? method->reference->option_sets[set - 1] : "";
    *store = (verify_store){.method = method};
    probe p = {v, store, false};
    if (set && !verify_parse_options(options, &store->options)) return;
    if (!fuzz_guarded(probe_body, &p) || !p.usable) return;
    snprintf(store->name, sizeof store->name, "%s%s%.60s", method->name, set ? ":" : "", options);
    v->store_count++;
    if (store->panels == LHK_DTYPE_NONE || !store->dtype) return;
    verify_store *hidden = &v->stores[v->store_count++];
    *hidden = (verify_store){.method = method, .dtype = store->dtype, .panels = LHK_DTYPE_NONE, .hidden = true};
    if (set) verify_parse_options(options, &hidden->options);
    snprintf(hidden->name, sizeof hidden->name, "%.90s without panels", store->name);
}

static lhk_status list_stores(lhk_verify *v, lhk_error *error) {
    for (int pass = 0; pass < 2; pass++) {
        size_t room = 0;
        for (uint32_t i = 0; i < v->target_count; i++) {
            const lhk_method *method = v->targets[i].method;
            if (strcmp(v->targets[i].role, "store") || (i > 0 && v->targets[i - 1].method == method)) continue;
            uint32_t sets = verify_option_sets(method) + 1;
            room += 2 * (size_t)sets;
            for (uint32_t set = 0; set < sets && pass; set++) list_store(v, method, set);
        }
        if (!pass) v->stores = calloc(room + 1, sizeof *v->stores);
        if (!v->stores) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for a list of stores");
    }
    return LHK_OK;
}

// ---- life ----

static lhk_status list_targets(lhk_verify *v, const lhk_registry *registry, lhk_error *error) {
    lhk_registration r = {.struct_size = sizeof r};
    uint32_t room = 0;
    for (uint32_t i = 0; lhk_registry_get(registry, i, &r) == LHK_OK; i++) room += r.method->variant_count;
    v->targets = calloc(room + 1, sizeof *v->targets);
    if (!v->targets) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for %u targets", room);
    for (uint32_t i = 0; lhk_registry_get(registry, i, &r) == LHK_OK; i++)
        for (uint32_t j = 0; j < r.method->variant_count && v->target_count < room; j++) {
            lhk_verify_target *t = &v->targets[v->target_count++];
            *t = (lhk_verify_target){.struct_size = sizeof *t, .role = "", .origin = r.origin, .method = r.method,
                                     .variant = r.method->variants[j]};
            t->has_reference = r.method->reference && r.method->reference->formula;
            for (size_t k = 0; k < sizeof roles / sizeof *roles; k++)
                if (!strcmp(r.method->role, roles[k].id)) t->role = roles[k].word;
        }
    return LHK_OK;
}

lhk_status lhk_verify_create(const lhk_registry *registry, const lhk_host *pool, uint64_t seed, lhk_verify **out,
                             lhk_error *error) {
    lhk_verify *v = calloc(1, sizeof *v);
    if (!v) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory");
    v->pool = *pool;
    v->seed = seed;
    lhk_status status = list_targets(v, registry, error);
    if (!status) status = lhk_verify_set_command(v, "longhand verify", error);
    fuzz_set_last_words("longhand: a store crashed while it was looked at\n");
    if (!status) status = list_stores(v, error);
    if (status) lhk_verify_destroy(v);
    else *out = v;
    return status;
}

void lhk_verify_destroy(lhk_verify *v) {
    if (!v) return;
    fuzz_set_last_words("");
    fuzz_free_arena(&v->arena);
    for (int i = 0; i < VERIFY_BUFFERS; i++) fuzz_buffer_free(&v->buffers[i]);
    free(v->targets);
    free(v->stores);
    free(v->command);
    free(v);
}

uint32_t lhk_verify_count(const lhk_verify *v) { return v->target_count; }

lhk_status lhk_verify_get(const lhk_verify *v, uint32_t target, lhk_verify_target *out) {
    if (target >= v->target_count) return LHK_ERROR_NOT_FOUND;
    *out = v->targets[target];
    return LHK_OK;
}
