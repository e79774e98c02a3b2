// SPDX-License-Identifier: Apache-2.0
/// Discovers plugins, shows what they offer, and runs a key-value cache on methods chosen by name.
///
///     load_plugins [DECODE [FOLDERS]]
///
/// DECODE is the selector for single query rows (default `all`), with options as in `window:size=512`. FOLDERS, separated
/// by ':', are searched before LONGHAND_PLUGIN_PATH and the installed plugin folder.
#include <longhand/longhand.h>
#include <math.h>
#include <stdio.h>

enum { PROMPT = 256, STEPS = 8, QUERY_HEADS = 4, KV_HEADS = 2, DIM = 64 };

static int fail(const char *what, const lhk_error *error) {
    fprintf(stderr, "%s: %s\n", what, error->text);
    return 1;
}

static void print_registry(const lhk_registry *registry) {
    for (uint32_t i = 0; i < lhk_registry_count(registry); i++) {
        lhk_registration entry = {.struct_size = sizeof entry};
        if (lhk_registry_get(registry, i, &entry)) continue;
        printf("%-21s %-8s %s from %s\n", entry.method->role, entry.method->name, entry.method->version, entry.origin);
    }
    for (uint32_t i = 0; i < lhk_registry_rejection_count(registry); i++) {
        lhk_rejection rejection = {.struct_size = sizeof rejection};
        if (lhk_registry_get_rejection(registry, i, &rejection)) continue;
        printf("rejected %s: %s\n", rejection.path, rejection.reason);
    }
}

/// A cache of one layer whose decode selector is `decode`.
static lhk_status create_cache(const lhk_registry *registry, const lhk_host *host, const char *decode, lhk_cache **out,
                               lhk_error *error) {
    const lhk_cache_layer layer = {
        .struct_size = sizeof layer,
        .query_heads = QUERY_HEADS,
        .kv_heads = KV_HEADS,
        .head_dim_k = DIM,
        .head_dim_v = DIM,
        .params = {.struct_size = sizeof layer.params,
                   .flags = LHK_ATTENTION_CAUSAL,
                   .window_left = -1,
                   .window_right = -1},
        .position = {.struct_size = sizeof layer.position},
    };
    const lhk_cache_config config = {
        .struct_size = sizeof config,
        .layer_count = 1,
        .layers = &layer,
        .capacity = PROMPT + STEPS,
        .max_rows = PROMPT,
        .store = "bf16",
        .prefill = "all",
        .decode = decode,
        .attention = "flash",
        .position = "none",
    };
    return lhk_cache_create(&config, registry, host, out, error);
}

static void print_bindings(const lhk_cache *cache) {
    for (uint32_t i = 0; i < 5; i++) {
        lhk_cache_binding binding = {.struct_size = sizeof binding};
        if (lhk_cache_get_binding(cache, i, &binding)) continue;
        printf("%-10s %-16s %s\n", binding.slot, binding.spec, binding.variant);
    }
}

/// Appends `rows` tokens and attends with them. Queries and keys are arbitrary; all value rows are the same, so that
/// whatever the selector picks, the weighted mean must give that row back. Returns the largest deviation from it.
static lhk_status step(lhk_cache *cache, int64_t rows, double *deviation, lhk_error *error) {
    static float q[PROMPT * QUERY_HEADS * DIM], k[PROMPT * KV_HEADS * DIM], v[PROMPT * KV_HEADS * DIM];
    static float out[PROMPT * QUERY_HEADS * DIM];
    for (int64_t i = 0; i < rows * QUERY_HEADS * DIM; i++) q[i] = sinf(0.7f * (float)i);
    for (int64_t i = 0; i < rows * KV_HEADS * DIM; i++) k[i] = cosf(0.3f * (float)i);
    for (int64_t i = 0; i < rows * KV_HEADS * DIM; i++) v[i] = (float)(i % DIM) / 64.0f;

    const lhk_tensor queries = {q, LHK_DTYPE_F32, 3, {rows, QUERY_HEADS, DIM}, {QUERY_HEADS * DIM, DIM, 1}};
    const lhk_tensor keys = {k, LHK_DTYPE_F32, 3, {rows, KV_HEADS, DIM}, {KV_HEADS * DIM, DIM, 1}};
    const lhk_tensor values = {v, LHK_DTYPE_F32, 3, {rows, KV_HEADS, DIM}, {KV_HEADS * DIM, DIM, 1}};
    const lhk_tensor outputs = {out, LHK_DTYPE_F32, 3, {rows, QUERY_HEADS, DIM}, {QUERY_HEADS * DIM, DIM, 1}};
    lhk_status status = lhk_cache_append(cache, 0, &keys, &values, error);
    if (!status) status = lhk_cache_attend(cache, 0, &queries, &outputs, NULL, error);
    if (status) return status;
    for (int64_t i = 0; i < rows * QUERY_HEADS * DIM; i++) {
        const double difference = fabs(out[i] - (double)(i % DIM) / 64.0);
        if (!(difference <= *deviation)) *deviation = difference;  // keeps a NaN
    }
    return LHK_OK;
}

static int run(const lhk_registry *registry, const char *decode, lhk_error *error) {
    lhk_host host = {.struct_size = sizeof host};
    if (lhk_host_openmp(0, &host, error)) return fail("host", error);
    lhk_cache *cache = NULL;
    if (create_cache(registry, &host, decode, &cache, error)) return fail("cache", error);
    print_bindings(cache);

    double deviation = 0;
    lhk_status status = step(cache, PROMPT, &deviation, error);
    for (int i = 0; i < STEPS && !status; i++) status = step(cache, 1, &deviation, error);
    if (status) {
        lhk_cache_destroy(cache);
        return fail("attention", error);
    }
    lhk_cache_stats stats = {.struct_size = sizeof stats};
    lhk_cache_get_stats(cache, &stats);
    printf("held %lld tokens at %.0f bits; decode attended %llu of %llu pairs; deviation %.1e\n",
           (long long)lhk_cache_length(cache, 0), stats.bits_per_token,
           (unsigned long long)stats.decode.pairs_attended, (unsigned long long)stats.decode.pairs_visible, deviation);
    lhk_cache_destroy(cache);
    return deviation <= 1e-2 ? 0 : 1;
}

int main(int argc, char **argv) {
    lhk_error error = {.struct_size = sizeof error};
    lhk_registry *registry = NULL;
    if (lhk_registry_create(&registry, &error)) return fail("registry", &error);
    int code = 1;
    if (lhk_registry_discover(registry, argc > 2 ? argv[2] : NULL, &error)) {
        fail("discovery", &error);
    } else {
        print_registry(registry);
        code = run(registry, argc > 1 ? argv[1] : "all", &error);
    }
    lhk_registry_destroy(registry);
    return code;
}
