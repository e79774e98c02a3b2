// SPDX-License-Identifier: Apache-2.0
/// The list of targets and stores of a registry, and the run of one case.
#include <inttypes.h>
#include <lhk/support.h>

#include "verify_store.h"

static const struct {
    const char *id, *word;
    void (*run)(verify_check *);
} roles[] = {{LHK_ROLE_STORE, "store", verify_store_case},
             {LHK_ROLE_SELECTOR, "selector", verify_selector_case},
             {LHK_ROLE_ATTENTION, "attention", NULL},
             {LHK_ROLE_POSITION, "position", verify_position_case}};
#define ROLES (sizeof roles / sizeof *roles)

// ---- stores ----

/// Looks at a small instance of a store: its panels and the type it rounds to. False: it does not take that problem.
static bool probe_store(lhk_verify *v, const lhk_method *method, verify_store *out) {
    lhk_problem problem = verify_problem(1, 1, 64, 64, 1, 16);
    fuzz_loop loop;
    lhk_host host = fuzz_make_host(&loop, 1, v->pool.isa);
    const lhk_variant *variant;
    lhk_sizes sizes = {.struct_size = sizeof sizes};
    if (lhk_method_resolve(method, &problem, &host, &variant, NULL)) return false;
    if (variant->life->sizes(variant, &problem, 1, &sizes, NULL)) return false;
    fuzz_buffer *buffer = &v->buffers[0];
    if (!fuzz_buffer_prepare(buffer, sizes.state_bytes, LHK_ALIGNMENT, false)) return false;
    fuzz_buffer_set(buffer, 0);
    lhk_instance *store = (lhk_instance *)buffer->data;
    if (variant->life->create(variant, &problem, store, sizes.state_bytes, NULL)) return false;
    const lhk_store_ops *ops = variant->ops;
    lhk_panels panels = {.struct_size = sizeof panels, .dtype = LHK_DTYPE_NONE};
    if (ops->panels) ops->panels(store, &panels);
    *out = (verify_store){.method = method, .dtype = store_dtype(variant, store), .panels = panels.dtype, .rotation = panels.rotation};
    return true;
}

typedef struct probe {
    lhk_verify *v;
    const lhk_method *method;
    verify_store *store;
    bool usable;
} probe;

static void probe_body(void *context) {
    probe *p = context;
    p->usable = probe_store(p->v, p->method, p->store);
}

/// Lists the stores, those with panels a second time without. One that cannot be created even for a small problem is left
/// out here: its own checks say why.
static void list_stores(lhk_verify *v) {
    for (uint32_t i = 0; i < v->target_count; i++) {
        const lhk_method *method = v->targets[i].method;
        bool seen = i > 0 && v->targets[i - 1].method == method;
        verify_store store;
        probe p = {v, method, &store, false};
        if (seen || strcmp(v->targets[i].role, "store") || !fuzz_guarded(probe_body, &p) || !p.usable) continue;
        v->stores[v->store_count++] = store;
        if (store.panels == LHK_DTYPE_NONE || !store.dtype) continue;
        store.panels = LHK_DTYPE_NONE;
        store.hidden = true;
        v->stores[v->store_count++] = store;
    }
}

// ---- life ----

static lhk_status list_targets(lhk_verify *v, const lhk_registry *registry, lhk_error *error) {
    lhk_registration r = {.struct_size = sizeof r};
    uint32_t room = 0;
    for (uint32_t i = 0; lhk_registry_get(registry, i, &r) == LHK_OK; i++) room += r.method->variant_count;
    v->targets = calloc(room + 1, sizeof *v->targets);
    v->stores = calloc(2 * (size_t)room + 1, sizeof *v->stores);
    if (!v->targets || !v->stores) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for %u targets", room);
    for (uint32_t i = 0; lhk_registry_get(registry, i, &r) == LHK_OK; i++)
        for (uint32_t j = 0; j < r.method->variant_count && v->target_count < room; j++) {
            lhk_verify_target *t = &v->targets[v->target_count++];
            *t = (lhk_verify_target){.struct_size = sizeof *t, .role = "", .origin = r.origin, .method = r.method,
                                     .variant = r.method->variants[j]};
            t->has_reference = r.method->reference && r.method->reference->formula;
            for (size_t k = 0; k < ROLES; k++)
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
    if (status) {
        lhk_verify_destroy(v);
        return status;
    }
    fuzz_set_last_words("longhand: a store crashed while it was looked at\n");
    list_stores(v);
    *out = v;
    return LHK_OK;
}

void lhk_verify_destroy(lhk_verify *v) {
    if (!v) return;
    fuzz_set_last_words("");
    fuzz_free_arena(&v->arena);
    for (int i = 0; i < VERIFY_BUFFERS; i++) fuzz_buffer_free(&v->buffers[i]);
    free(v->targets);
    free(v->stores);
    free(v);
}

uint32_t lhk_verify_count(const lhk_verify *v) { return v->target_count; }

lhk_status lhk_verify_get(const lhk_verify *v, uint32_t target, lhk_verify_target *out) {
    if (target >= v->target_count) return LHK_ERROR_NOT_FOUND;
    *out = v->targets[target];
    return LHK_OK;
}

// ---- cases ----

/// The corpus entry that is case `index` of the attention role; UINT32_MAX past the end.
static uint32_t corpus_index(uint32_t index) {
    for (uint32_t i = 0; i < lhk_fuzz_corpus_count(); i++)
        if (!lhk_fuzz_corpus_get(i).elsewhere && index-- == 0) return i;
    return UINT32_MAX;
}

const char *lhk_verify_case_name(const lhk_verify *v, uint32_t target, uint32_t index) {
    if (target >= v->target_count || strcmp(v->targets[target].role, "attention")) return NULL;
    uint32_t entry = corpus_index(index);
    return entry == UINT32_MAX ? NULL : lhk_fuzz_corpus_get(entry).name;
}

static void announce(const lhk_verify *v, const lhk_verify_target *target, const char *name) {
    char text[512];
    snprintf(text, sizeof text,
             "longhand: crashed on a worker thread; replay with\n"
             "  longhand verify --filter '^%s$' --seed %" PRIu64 " --case %s\n",
             target->variant->id, v->seed, name);
    fuzz_set_last_words(text);
}

typedef struct guarded_case {
    void (*run)(verify_check *);
    verify_check *check;
} guarded_case;

static void case_body(void *context) {
    guarded_case *g = context;
    g->run(g->check);
}

static void report_fault(void *context) {
    verify_fail(context, "touched memory that it must not, or ended in a trap");
}

/// One case under one set of levels, for all roles but attention.
static void run_guarded(void (*run)(verify_check *), verify_check *check) {
    check->outcome->cases++;
    check->step = "drawing the case";
    guarded_case body = {run, check};
    if (!fuzz_guarded(case_body, &body)) fuzz_guarded(report_fault, check);
    for (fuzz_block *block = check->blocks, *next; block; block = next) {
        next = block->next;
        free(block);
    }
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
    announce(v, t, name);
    for (size_t k = 0; k < ROLES; k++) {
        if (strcmp(t->role, roles[k].word)) continue;
        if (!roles[k].run) return verify_attention_case(v, t, index, UINT32_MAX, levels, level_count, outcomes, error);
        for (uint32_t i = 0; i < level_count; i++) {
            verify_check check = {.v = v, .target = t, .outcome = &outcomes[i], .isa = levels[i], .index = index,
                                  .rng = fuzz_seeded(v->seed, index)};
            run_guarded(roles[k].run, &check);
        }
    }
    return LHK_OK;
}

lhk_status lhk_verify_run_named(lhk_verify *v, uint32_t target, const char *name, const lhk_isa *levels,
                                uint32_t level_count, lhk_verify_outcome *outcomes, lhk_error *error) {
    lhk_status status = check_levels(v, target, levels, level_count, error);
    if (status) return status;
    const char *known;
    for (uint32_t i = 0; (known = lhk_verify_case_name(v, target, i)); i++) {
        if (strcmp(known, name)) continue;
        announce(v, &v->targets[target], name);
        return verify_attention_case(v, &v->targets[target], 0, corpus_index(i), levels, level_count, outcomes, error);
    }
    return lhk_fail(error, LHK_ERROR_NOT_FOUND, 2, "%s has no case called '%s'", v->targets[target].variant->id, name);
}
