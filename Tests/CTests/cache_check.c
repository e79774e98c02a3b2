// SPDX-License-Identifier: Apache-2.0
#define _POSIX_C_SOURCE 200809L  // getpid
#include <longhand/cache.h>
#include <longhand/dense_store.h>
#include <longhand/flash_attention.h>
#include <longhand/rope.h>
#include <longhand/window.h>
#include <unistd.h>

#include "driver.h"

enum { PROMPT = 150, TOKENS = PROMPT + 2, QUERY_HEADS = 6, KV_HEADS = 2, DIM = 80, WINDOW = 48, SINKS = 4 };
enum { Q_ROW = QUERY_HEADS * DIM, K_ROW = KV_HEADS * DIM };

/// One run over one store; large, so static.
typedef struct cache_test {
    const driver_level *level;
    const char *store;
    lhk_dtype dtype;
    lhk_registry *registry;
    lhk_host host;
    lhk_cache *cache, *second;
    float q[TOKENS * Q_ROW], k[TOKENS * K_ROW], v[TOKENS * K_ROW];
    float out[TOKENS * Q_ROW], again[Q_ROW], expected[TOKENS * Q_ROW];
    char path[4096];
    lhk_error error;
} cache_test;

static lhk_status create(cache_test *t, lhk_cache **cache) {
    const lhk_cache_layer layer = {
        .struct_size = sizeof layer, .query_heads = QUERY_HEADS, .kv_heads = KV_HEADS, .head_dim_k = DIM, .head_dim_v = DIM,
        .params = {.struct_size = sizeof layer.params, .flags = LHK_ATTENTION_CAUSAL, .window_left = -1, .window_right = -1},
        .position = {.struct_size = sizeof layer.position, .base = 10000}};
    const lhk_cache_config config = {.struct_size = sizeof config, .layer_count = 1, .layers = &layer, .capacity = TOKENS,
                                     .max_rows = PROMPT, .store = t->store, .prefill = "all",
                                     .decode = "window:size=48,sinks=4", .attention = "flash", .position = "rope"};
    return lhk_cache_create(&config, t->registry, &t->host, cache, &t->error);
}

/// Appends tokens [first, first + rows) and attends with them.
static lhk_status step(cache_test *t, lhk_cache *cache, int64_t first, int64_t rows, float *out) {
    const lhk_tensor q = driver_view(t->q + first * Q_ROW, rows, QUERY_HEADS, DIM), to = driver_view(out, rows, QUERY_HEADS, DIM);
    const lhk_tensor k = driver_view(t->k + first * K_ROW, rows, KV_HEADS, DIM);
    const lhk_tensor v = driver_view(t->v + first * K_ROW, rows, KV_HEADS, DIM);
    lhk_status status = lhk_cache_append(cache, 0, &k, &v, &t->error);
    return status ? status : lhk_cache_attend(cache, 0, &q, &to, NULL, &t->error);
}

static lhk_status rotate(cache_test *t, const float *x, int64_t heads, float *out) {
    static double rotated[TOKENS * Q_ROW];
    const lhk_position_params params = {.struct_size = sizeof params, .base = 10000};
    const lhk_tensor from = driver_view((float *)x, TOKENS, heads, DIM);
    lhk_rope_table table;
    lhk_status status = lhk_rope_table_init(&params, DIM, &table, &t->error);
    if (!status) status = lhk_rope_reference(&table, &from, 0, rotated, &t->error);
    for (int64_t i = 0; i < TOKENS * heads * DIM && !status; i++) out[i] = (float)rotated[i];
    return status;
}

/// As the store keeps it.
static void round_to(lhk_dtype dtype, float *x, int64_t count) {
    for (int64_t i = 0; i < count && (dtype == LHK_DTYPE_BF16 || dtype == LHK_DTYPE_F16); i++)
        x[i] = dtype == LHK_DTYPE_BF16 ? lhk_bf16_to_f32(lhk_f32_to_bf16(x[i])) : lhk_f16_to_f32(lhk_f32_to_f16(x[i]));
}

/// What all rows should be, by the references: causal over all keys for the prompt, window and sinks for each decode row.
static lhk_status expect(cache_test *t) {
    static float q[TOKENS * Q_ROW], k[TOKENS * K_ROW], v[TOKENS * K_ROW];
    lhk_status status = rotate(t, t->q, QUERY_HEADS, q);
    if (!status) status = rotate(t, t->k, KV_HEADS, k);
    memcpy(v, t->v, sizeof v);
    round_to(t->dtype, k, TOKENS * K_ROW);
    round_to(t->dtype, v, TOKENS * K_ROW);
    for (int part = 0; part < 2 && !status; part++) {
        int64_t first = part ? PROMPT : 0, rows = part ? TOKENS - PROMPT : PROMPT;
        const lhk_attention_params params = {.struct_size = sizeof params, .flags = LHK_ATTENTION_CAUSAL,
                                             .window_left = part ? WINDOW - 1 : -1, .window_right = -1,
                                             .sink_tokens = part ? SINKS : 0};
        const lhk_flash_args args = {.struct_size = sizeof args, .q = driver_view(q + first * Q_ROW, rows, QUERY_HEADS, DIM),
                                     .k = driver_view(k, first + rows, KV_HEADS, DIM),
                                     .v = driver_view(v, first + rows, KV_HEADS, DIM),
                                     .out = driver_view(t->expected + first * Q_ROW, rows, QUERY_HEADS, DIM), .params = &params};
        status = lhk_flash_attention_reference(&args, &t->error);
    }
    return status;
}

static lhk_status register_families(cache_test *t) {
    const lhk_plugin *const plugins[] = {lhk_dense_store_plugin(), lhk_flash_attention_plugin(), lhk_rope_plugin(),
                                         lhk_window_plugin()};
    lhk_status status = lhk_registry_create(&t->registry, &t->error);
    for (int i = 0; i < 4 && !status; i++) status = lhk_registry_register(t->registry, plugins[i], "built-in", &t->error);
    return status;
}

/// Prefill, one decode row, save, load into a second cache; both then give the same next row, and so after a truncation.
static lhk_status run(cache_test *t) {
    lhk_status status = register_families(t);
    if (!status) status = create(t, &t->cache);
    if (!status) status = create(t, &t->second);
    if (!status) status = step(t, t->cache, 0, PROMPT, t->out);
    if (!status) status = step(t, t->cache, PROMPT, 1, t->out + PROMPT * Q_ROW);
    if (!status) status = lhk_cache_save(t->cache, t->path, &t->error);
    if (!status) status = lhk_cache_load(t->second, t->path, &t->error);
    if (!status) status = step(t, t->cache, PROMPT + 1, 1, t->out + (PROMPT + 1) * Q_ROW);
    if (!status) status = step(t, t->second, PROMPT + 1, 1, t->again);
    return status ? status : expect(t);
}

static void judge(cache_test *t) {
    double worst = 0, allowed = t->dtype == LHK_DTYPE_F32 ? 1e-5 : t->dtype == LHK_DTYPE_F16 ? 2e-3 : t->dtype == LHK_DTYPE_BF16 ? 1e-2 : 3e-2;
    for (int64_t i = 0; i < TOKENS * Q_ROW; i++) {
        double difference = fabs((double)t->out[i] - t->expected[i]);
        if (!(difference <= worst)) worst = difference;
    }
    const float *last = t->out + (TOKENS - 1) * Q_ROW;
    driver_result(worst <= allowed, "%s: a cache on %s attends as the reference does, off by %.1e", t->level->name, t->store,
               worst);
    driver_result(!memcmp(t->again, last, sizeof t->again), "%s: saved and loaded, %s gives the same bits", t->level->name,
               t->store);
    bool same = lhk_cache_length(t->second, 0) == TOKENS && !lhk_cache_truncate(t->second, TOKENS - 1, &t->error) &&
                !step(t, t->second, TOKENS - 1, 1, t->again) && !memcmp(t->again, last, sizeof t->again);
    driver_result(same, "%s: truncated and appended again, %s gives the same bits", t->level->name, t->store);
}

void driver_check_cache(const driver_level *level, uint64_t seed) {
    static const char *const stores[] = {"f32", "f16", "bf16", "k8v16"};
    static const lhk_dtype dtypes[] = {LHK_DTYPE_F32, LHK_DTYPE_F16, LHK_DTYPE_BF16, LHK_DTYPE_I8};
    static cache_test t;
    const char *folder = getenv("TMPDIR");
    for (int i = 0; i < 4; i++) {
        memset(&t, 0, sizeof t);
        t.level = level;
        t.store = stores[i];
        t.dtype = dtypes[i];
        t.host = (lhk_host){.struct_size = sizeof t.host, .workers = 1, .isa = level->isa};
        t.error.struct_size = sizeof t.error;
        snprintf(t.path, sizeof t.path, "%s/longhand-driver-%ld.kv", folder ? folder : "/tmp", (long)getpid());
        driver_fill(&seed, t.q, TOKENS * Q_ROW);
        driver_fill(&seed, t.k, TOKENS * K_ROW);
        driver_fill(&seed, t.v, TOKENS * K_ROW);
        if (driver_result(!run(&t), "%s: a cache on %s runs%s%s", level->name, t.store, *t.error.text ? ": " : "", t.error.text))
            judge(&t);
        unlink(t.path);
        lhk_cache_destroy(t.cache);
        lhk_cache_destroy(t.second);
        lhk_registry_destroy(t.registry);
    }
}
