// SPDX-License-Identifier: Apache-2.0
/// Fuzz target `cache-file`: a saved cache, damaged. It is rejected and the cache is as it was, or loaded and attended.
/// The mutator repairs the checksums most of the time, so that what lies behind them is reached.
#define _POSIX_C_SOURCE 200809L  // posix_memalign
#include "caches.h"

#include "cache_file.h"
#include "checksum.h"

enum { LAYERS = 2, HEADS = 2, DIM = 24, CAPACITY = 100, TOKENS = 40, CONFIGS = 3 };

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

FUZZ_INITIALIZE

static const char *const stores[CONFIGS] = {"f32", "bf16", "f16"};

static lhk_cache *make_cache(int config, const lhk_host *host) {
    lhk_cache_layer layers[LAYERS];
    for (int i = 0; i < LAYERS; i++)
        layers[i] = (lhk_cache_layer){
            .struct_size = sizeof *layers, .query_heads = HEADS, .kv_heads = HEADS, .head_dim_k = DIM, .head_dim_v = DIM,
            .params = {.struct_size = sizeof layers->params, .flags = LHK_ATTENTION_CAUSAL, .window_left = -1, .window_right = -1},
            .position = {.struct_size = sizeof layers->position, .base = 10000}};
    if (config == CONFIGS - 1) layers[1].store = "f32";  // a file of two stores
    lhk_cache_config options = {.struct_size = sizeof options, .layer_count = LAYERS, .layers = layers, .capacity = CAPACITY,
                                .max_rows = TOKENS, .store = stores[config], .prefill = "all", .decode = "window:size=16",
                                .attention = "flash", .position = config ? "rope" : "none"};
    lhk_cache *cache = NULL;
    lhk_error error = {.struct_size = sizeof error};
    if (lhk_cache_create(&options, linked_registry(), host, &cache, &error)) FUZZ_FOUND("no cache: %s", error.text);
    uint64_t state = (uint64_t)config + 1;
    lhk_tensor k = make_rows(TOKENS, HEADS, DIM, LHK_DTYPE_F32, &state), v = make_rows(TOKENS, HEADS, DIM, LHK_DTYPE_F32, &state);
    for (uint32_t i = 0; i < LAYERS; i++)
        if (lhk_cache_append(cache, i, &k, &v, &error)) FUZZ_FOUND("nothing appended: %s", error.text);
    free(k.data);
    free(v.data);
    return cache;
}

void write_seeds(const char *folder) {
    lhk_host host = {.struct_size = sizeof host, .workers = 1};
    for (int config = 0; config < CONFIGS; config++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/seed-%d", folder, config);
        lhk_cache *cache = make_cache(config, &host);
        lhk_error error = {.struct_size = sizeof error};
        if (lhk_cache_truncate(cache, config ? TOKENS : 3, &error) || lhk_cache_save(cache, path, &error)) {
            fprintf(stderr, "cannot write %s: %s\n", path, error.text);
            exit(2);
        }
        lhk_cache_destroy(cache);
    }
}

// ---- mutation ----

/// Makes all checksums of the file right, as far as its sizes make sense, and its size the one in the header.
static void repair(uint8_t *data, size_t size) {
    lhk_file_header header;
    if (size < sizeof header) return;
    memcpy(&header, data, sizeof header);
    memcpy(header.magic, LHK_FILE_MAGIC, sizeof header.magic);
    header.version = LHK_FILE_VERSION;
    header.byte_order = LHK_FILE_BYTE_ORDER;
    header.file_bytes = size;
    uint64_t rest = size - sizeof header, table_at = header.description_bytes < rest ? lhk_file_padded(header.description_bytes) : rest;
    uint64_t directory = table_at + (uint64_t)header.section_count * sizeof(lhk_file_section);
    uint8_t *table = data + sizeof header + table_at;
    uint64_t at = directory;
    for (uint32_t i = 0; directory <= rest && i < header.section_count; i++) {
        lhk_file_section section;
        memcpy(&section, table + i * sizeof section, sizeof section);
        if (section.bytes > rest - at || lhk_file_padded(section.bytes) > rest - at) break;
        section.checksum = lhk_checksum(data + sizeof header + at, lhk_file_padded(section.bytes));
        memcpy(table + i * sizeof section, &section, sizeof section);
        at += lhk_file_padded(section.bytes);
    }
    if (directory <= rest) header.directory_checksum = lhk_checksum(data + sizeof header, directory);
    header.header_checksum = lhk_file_header_checksum(&header);
    memcpy(data, &header, sizeof header);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed) {
    uint64_t state = seed;
    if (next_random(&state) % 2 && size >= sizeof(lhk_file_header)) {
        // Section contents are most of a file; half of the edits go to the header, the table or a section's beginning.
        size_t reach = size < 1024 ? size : 1024, at = next_random(&state) % reach / 8 * 8;
        fuzz_input bytes = {(const uint8_t *)&state, sizeof state};
        uint64_t value = next_random(&state) % 2 ? (uint64_t)take_extreme(&bytes) : next_random(&state) % 300;
        if (at + sizeof value <= size) memcpy(data + at, &value, next_random(&state) % 2 ? sizeof value : 1);
    } else {
        size = LLVMFuzzerMutate(data, size, max_size);
    }
    if (next_random(&state) % 4) repair(data, size);
    return size;
}

// ---- the check ----

static lhk_status attend(lhk_cache *cache, uint32_t layer, float *out) {
    uint64_t state = 99;
    int64_t rows = lhk_min(2, lhk_cache_length(cache, layer));
    lhk_tensor q = make_rows(rows, HEADS, DIM, LHK_DTYPE_F32, &state);
    lhk_tensor to = {out, LHK_DTYPE_F32, 3, {rows, HEADS, DIM}, {HEADS * DIM, DIM, 1}};
    lhk_error error = {.struct_size = sizeof error};
    lhk_status status = lhk_cache_attend(cache, layer, &q, &to, NULL, &error);
    free(q.data);
    return status;
}

/// What the cache holds, as the numbers it gives: lengths and the attention of its last rows.
typedef struct content {
    int64_t lengths[LAYERS];
    float rows[LAYERS][2 * HEADS * DIM];
} content;

static void look(lhk_cache *cache, content *out) {
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < LAYERS; i++) {
        out->lengths[i] = lhk_cache_length(cache, i);
        if (out->lengths[i] < 0 || out->lengths[i] > CAPACITY) FUZZ_FOUND("a cache of %lld tokens", (long long)out->lengths[i]);
        if (attend(cache, i, out->rows[i])) FUZZ_FOUND("a cache that was loaded cannot be attended");
    }
}

static void check(lhk_cache *cache, const content *before, int config, const lhk_host *host, lhk_cache **fresh) {
    content now;
    lhk_error error = {.struct_size = sizeof error};
    lhk_status status = lhk_cache_load(cache, scratch_path(), &error);
    look(cache, &now);
    if (status) {
        if (!*error.text) FUZZ_FOUND("rejected with status %d and no reason", status);
        if (memcmp(&now, before, sizeof now)) FUZZ_FOUND("rejected, but the cache changed");
        return;
    }
    // One more token goes on top of what was loaded, and what was loaded can be saved.
    uint64_t state = 5;
    lhk_tensor row = make_rows(1, HEADS, DIM, LHK_DTYPE_F32, &state);
    if (now.lengths[0] < CAPACITY && lhk_cache_append(cache, 0, &row, &row, &error)) FUZZ_FOUND("cannot go on: %s", error.text);
    free(row.data);
    look(cache, &now);
    lhk_cache_destroy(cache);
    *fresh = make_cache(config, host);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static lhk_host host = {.struct_size = sizeof host, .workers = 1};
    static lhk_cache *caches[CONFIGS];
    static content before[CONFIGS];
    FILE *file = fopen(scratch_path(), "wb");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file)) FUZZ_FOUND("cannot write %s", scratch_path());
    for (int i = 0; i < CONFIGS; i++) {
        if (!caches[i]) {
            caches[i] = make_cache(i, &host);
            look(caches[i], &before[i]);
        }
        check(caches[i], &before[i], i, &host, &caches[i]);
    }
    unlink(scratch_path());
    return 0;
}
