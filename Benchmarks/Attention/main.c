// SPDX-License-Identifier: Apache-2.0
/// Times the attention that plugins offer at model shapes, in % of this machine's roofs measured in the same run.
///
///   swift run -c release attention-bench [workers [filter]]
///
/// Causal prefill counts 2 N^2 d query_heads flops (half of the full matrix); decode counts the bytes of K and V once.
/// Inputs are Gaussian. Every row is the median of at least five calls. `filter` is a word that a row must contain.
#define _GNU_SOURCE
#include <longhand/longhand.h>
#include <lhk/support.h>
#include <sys/mman.h>

#include "roofs.h"

typedef struct shape {
    const char *name;
    uint32_t query_heads, kv_heads, dim;
} shape;

static const shape llama = {"llama-3.1-8b 32/8 d128", 32, 8, 128}, llama_part = {"llama-3.1-8b 4/1 d128", 4, 1, 128};
static const shape smollm = {"smollm2 9/3 d64", 9, 3, 64}, gemma = {"gemma-3-270m 4/1 d256", 4, 1, 256};

static void fail(const char *what, const lhk_error *error) {
    fprintf(stderr, "attention-bench: %s: %s\n", what, error->text);
    exit(2);
}

static float *gaussian(int64_t count) {
    float *x = malloc((size_t)count * sizeof *x);
    if (!x) fail("memory", &(lhk_error){.text = "not enough"});
    uint64_t state = 1;
    for (int64_t i = 0; i < count; i++) {
        float sum = 0;
        for (int j = 0; j < 4; j++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            sum += (float)(state >> 40) * 0x1p-24f - 0.5f;
        }
        x[i] = sum * 1.7320508f;
    }
    return x;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct roofs {
    double fma, bf16, read;
} roofs;

/// One row: `rows` queries against `keys` keys of a store, the queries being the last rows.
static void measure(const lhk_registry *registry, const lhk_host *host, const shape *s, const char *store, int64_t rows,
                    int64_t keys, const char *attention, const roofs *roof, const char *filter) {
    char title[128];
    snprintf(title, sizeof title, "%s %s %s N %lld %s", rows > 1 ? "prefill" : "decode", s->name, store, (long long)keys,
             attention);
    if (filter && !strstr(title, filter)) return;
    lhk_error error = {.struct_size = sizeof error};
    lhk_cache_layer layer = {.struct_size = sizeof layer, .query_heads = s->query_heads, .kv_heads = s->kv_heads,
                             .head_dim_k = s->dim, .head_dim_v = s->dim};
    layer.params = (lhk_attention_params){.struct_size = sizeof layer.params, .flags = LHK_ATTENTION_CAUSAL,
                                          .window_left = -1, .window_right = -1};
    layer.position.struct_size = sizeof layer.position;
    lhk_cache_config config = {.struct_size = sizeof config, .layer_count = 1, .layers = &layer, .capacity = keys,
                               .max_rows = keys, .store = store, .prefill = "all", .decode = "all",
                               .attention = attention, .position = "none"};
    lhk_cache *cache;
    if (lhk_cache_create(&config, registry, host, &cache, &error)) fail(title, &error);
    float *k = gaussian(keys * s->kv_heads * s->dim), *v = gaussian(keys * s->kv_heads * s->dim);
    float *q = gaussian(rows * s->query_heads * s->dim), *out = gaussian(rows * s->query_heads * s->dim);
    int64_t kv_row = (int64_t)s->kv_heads * s->dim, q_row = (int64_t)s->query_heads * s->dim;
    lhk_tensor kt = {k, LHK_DTYPE_F32, 3, {keys, s->kv_heads, s->dim, 0}, {kv_row, s->dim, 1, 0}}, vt = kt;
    lhk_tensor qt = {q, LHK_DTYPE_F32, 3, {rows, s->query_heads, s->dim, 0}, {q_row, s->dim, 1, 0}}, ot = qt;
    vt.data = v;
    ot.data = out;
    if (lhk_cache_append(cache, 0, &kt, &vt, &error)) fail(title, &error);
    double times[101], total = 0;
    int count = 0;
    for (int i = 0; i < 101 && (i < 6 || total < 1.0); i++) {
        double start = bench_seconds();
        if (lhk_cache_attend(cache, 0, &qt, &ot, NULL, &error)) fail(title, &error);
        double time = bench_seconds() - start;
        if (i == 0) continue;  // warms up
        times[count++] = time;
        total += time;
    }
    qsort(times, (size_t)count, sizeof *times, compare);
    double median = times[count / 2], best = times[0];
    double flops = 2.0 * (double)rows * (double)keys * s->dim * s->query_heads * (rows > 1 ? 1 : 2);
    double bytes = 2.0 * (double)keys * (double)kv_row * (strcmp(store, "f32") ? 2 : 4);
    double rate = flops / median * 1e-9, gigabytes = bytes / median * 1e-9;
    double limit = rows == 1 ? 100 * gigabytes / roof->read
                             : 100 * rate / (!strcmp(store, "bf16") && roof->bf16 > 0 ? roof->bf16 : roof->fma);
    lhk_cache_stats stats = {.struct_size = sizeof stats};
    lhk_cache_get_stats(cache, &stats);
    const char *path = rows > 1 ? stats.prefill.path : stats.decode.path;
    printf("| %s | %s | %s | %s | %lld | %s | %.3f | %.3f | %.1f | %.1f | %.0f |\n", rows > 1 ? "prefill" : "decode", s->name,
           store, attention, (long long)keys, path, median * 1e3, best * 1e3, rate, gigabytes, limit);
    fflush(stdout);
    lhk_cache_destroy(cache);
    free(k);
    free(v);
    free(q);
    free(out);
}

static roofs measure_roofs(const lhk_host *host) {
    roofs roof = {.fma = bench_fma_roof(host), .bf16 = bench_bf16_roof(host)};
    uint64_t bytes = UINT64_C(512) << 20;
    uint8_t *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) fail("memory", &(lhk_error){.text = "not enough"});
    madvise(data, bytes, MADV_HUGEPAGE);
    memset(data, 1, bytes);
    roof.read = bench_read_roof(host, data, bytes);
    munmap(data, bytes);
    printf("roofs with %u workers: f32 FMA %.0f GFLOP/s, bf16 dot %.0f GFLOP/s, DRAM read %.1f GB/s (huge pages advised)\n\n",
           host->workers, roof.fma, roof.bf16, roof.read);
    return roof;
}

int main(int argc, char **argv) {
#if !defined(__OPTIMIZE__)
    fprintf(stderr, "attention-bench: built without optimisation; use -c release\n");
    return 2;
#endif
    lhk_error error = {.struct_size = sizeof error};
    lhk_host host;
    lhk_registry *registry;
    const char *filter = argc > 2 ? argv[2] : NULL;
    if (lhk_host_openmp(argc > 1 ? (uint32_t)atoi(argv[1]) : 0, &host, &error)) fail("host", &error);
    if (lhk_registry_create(&registry, &error) || lhk_registry_discover(registry, NULL, &error)) fail("plugins", &error);
    roofs roof = measure_roofs(&host);
    printf("| phase | shape | store | attention | N | path | ms median | ms min | GFLOP/s | GB/s | %% of roof |\n");
    printf("|---|---|---|---|---|---|---|---|---|---|---|\n");
    static const char *const stores[] = {"f32", "bf16", "f16"};
    for (int i = 0; i < 3; i++) {
        for (int64_t n = 1024; n <= 4096; n *= 2) measure(registry, &host, &llama, stores[i], n, n, "flash", &roof, filter);
        measure(registry, &host, &llama_part, stores[i], 8192, 8192, "flash", &roof, filter);
        measure(registry, &host, &llama_part, stores[i], 16384, 16384, "flash", &roof, filter);
        measure(registry, &host, &smollm, stores[i], 8192, 8192, "flash", &roof, filter);
        measure(registry, &host, &gemma, stores[i], 8192, 8192, "flash", &roof, filter);
        for (int64_t n = 8192; n <= 131072; n *= 4) measure(registry, &host, &llama, stores[i], 1, n, "flash", &roof, filter);
        measure(registry, &host, &smollm, stores[i], 1, 8192, "flash", &roof, filter);
        for (int64_t n = 128; n <= 2048; n *= 2)
            for (int path = 0; path < 2; path++) {
                const char *attention = path ? "flash:path=direct" : "flash:path=blockwise";
                measure(registry, &host, &smollm, stores[i], n, n, attention, &roof, filter);
                measure(registry, &host, &smollm, stores[i], 1, n, attention, &roof, filter);
            }
    }
    lhk_registry_destroy(registry);
    return 0;
}
