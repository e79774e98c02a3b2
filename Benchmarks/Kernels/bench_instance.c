// SPDX-License-Identifier: Apache-2.0
// Life of an instance under measurement.
#include <lhk/support.h>

#include "bench_instance.h"

uint32_t lhk_bench_is_optimised(void) {
#if defined(__OPTIMIZE__)
    return 1;
#else
    return 0;
#endif
}

const char *lhk_bench_compiler(void) {
#if defined(__clang__)
    return "clang " __clang_version__;
#else
    return "gcc " __VERSION__;
#endif
}

void lhk_bench_gaussian(float *out, uint64_t count, uint64_t seed) {
    for (uint64_t i = 0; i < count; i++) {
        uint64_t z = (i + 1) * 0x9e3779b97f4a7c15u + seed * 0xd1342543de82ef95u;  // SplitMix64
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        z ^= z >> 31;
        const uint64_t sum = (z & 0xffff) + (z >> 16 & 0xffff) + (z >> 32 & 0xffff) + (z >> 48);
        out[i] = ((float)sum * 0x1p-16f - 2.0f) * 1.7320508f;
    }
}

/// Copies what `subject` says, so that nothing of it need live on.
static lhk_status describe(const lhk_bench_subject *subject, lhk_bench_instance *out, lhk_error *error) {
    out->variant = subject->variant;
    out->is_selector = !strcmp(subject->method->role, LHK_ROLE_SELECTOR);
    out->problem = *subject->problem;
    const lhk_status status = lhk_spec_parse(subject->spec, &out->spec, error);
    out->problem.option_count = out->spec.option_count;
    out->problem.options = out->spec.option_count ? out->spec.options : NULL;
    if (out->problem.params) {
        out->params = *out->problem.params;
        out->problem.params = &out->params;
    }
    if (out->problem.position) {
        out->position = *out->problem.position;
        out->problem.position = &out->position;
    }
    return status;
}

/// A registry's choice among this one variant, with its checks and reasons.
static lhk_status resolve(const lhk_bench_subject *subject, const lhk_bench_instance *instance, const lhk_host *host,
                          lhk_error *error) {
    const lhk_variant *const variants[] = {subject->variant}, *chosen;
    lhk_method alone = *subject->method;
    alone.variant_count = 1;
    alone.variants = variants;
    return lhk_method_resolve(&alone, &instance->problem, host, &chosen, error);
}

lhk_status lhk_bench_fits(const lhk_bench_subject *subject, const lhk_host *host, lhk_cost *out, lhk_error *error) {
    lhk_bench_instance instance = {0};
    lhk_status status = describe(subject, &instance, error);
    if (!status) status = resolve(subject, &instance, host, error);
    *out = (lhk_cost){.struct_size = sizeof *out};
    return status ? status : subject->variant->life->cost(subject->variant, &instance.problem, out);
}

lhk_status lhk_bench_create(const lhk_bench_subject *subject, const lhk_host *host, lhk_bench_instance **out,
                            lhk_error *error) {
    lhk_bench_instance *instance = calloc(1, sizeof *instance);
    if (!instance) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for an instance");
    const lhk_life_ops *life = subject->variant->life;
    lhk_sizes sizes = {.struct_size = sizeof sizes};
    lhk_status status = describe(subject, instance, error);
    if (!status) status = resolve(subject, instance, host, error);
    if (!status) status = life->sizes(instance->variant, &instance->problem, host->workers, &sizes, error);
    if (!status) status = lhk_pages_map(sizes.state_bytes, &instance->state, error);
    if (!status) status = lhk_pages_map(sizes.workspace_bytes, &instance->workspace, error);
    instance->workspace_bytes = sizes.workspace_bytes;
    if (!status)
        status = life->create(instance->variant, &instance->problem, bench_state(instance), sizes.state_bytes, error);
    instance->created = !status;
    if (status) {
        lhk_bench_destroy(instance);
        return status;
    }
    *out = instance;
    return LHK_OK;
}

void lhk_bench_destroy(lhk_bench_instance *instance) {
    if (!instance) return;
    if (instance->created && instance->variant->life->destroy) instance->variant->life->destroy(bench_state(instance));
    lhk_pages_unmap(&instance->state);
    lhk_pages_unmap(&instance->workspace);
    free(instance);
}

lhk_dtype lhk_bench_panels(const lhk_bench_instance *store) {
    const lhk_store_ops *ops = store->variant->ops;
    lhk_panels panels = {.struct_size = sizeof panels, .dtype = LHK_DTYPE_NONE};
    if (ops->panels) ops->panels(bench_state(store), &panels);
    return panels.dtype;
}

void lhk_bench_store_bytes(const lhk_bench_instance *store, lhk_store_bytes *out) {
    *out = (lhk_store_bytes){.struct_size = sizeof *out};
    ((const lhk_store_ops *)store->variant->ops)->bytes(bench_state(store), out);
}

uint32_t lhk_bench_has_index(const lhk_bench_instance *selector) {
    return ((const lhk_selector_ops *)selector->variant->ops)->append != NULL;
}
