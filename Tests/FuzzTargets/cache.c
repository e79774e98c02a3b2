// SPDX-License-Identifier: Apache-2.0
/// Fuzz target `cache`: a configuration, sane or hostile, and a life of the cache it makes: every call gives a status, an
/// append that failed leaves the length, and a fork attends as its origin does.
#define _POSIX_C_SOURCE 200809L  // posix_memalign
#include "caches.h"

#define MOST_LAYERS 3
#define MOST_TOKENS 200
/// Of a cache that is used: what hostile configurations may reserve, but not touch.
#define MOST_ROWS 40

FUZZ_INITIALIZE

void write_seeds(const char *folder) { write_random_seeds(folder, 300); }

typedef struct session {
    fuzz_input in;
    uint64_t state;
    lhk_host host;
    uint32_t layers;
    lhk_cache_layer *shapes;  ///< [layers], of exactly that size
    char specs[5][300];
    float *floats[3 * MOST_LAYERS];
    uint32_t float_count;
    lhk_cache *cache;
    lhk_error error;
} session;

/// One of the usual specifications, with an option of any value, or any text.
static const char *take_spec(session *s, int slot) {
    static const char *const usual[5][6] = {{"f32", "bf16", "f16", "f32", "bf16", "f16"},
                                            {"all", "window:size=16,sinks=2", "window:size=7,exact=1", "all", "all", "all"},
                                            {"all", "window:size=16,sinks=2", "window:size=7,sinks=300", "all", "all", "all"},
                                            {"flash", "flash:path=direct", "flash:path=blockwise", "flash", "flash", "flash"},
                                            {"none", "rope", "rope", "none", "rope", "none"}};
    char *spec = s->specs[slot];
    uint64_t choice = take(&s->in, 1);
    if (choice < 200) return strcpy(spec, usual[slot][choice % 6]);
    if (choice < 240) {
        static const char *const options[] = {"window:size=", "window:sinks=", "window:exact=", "flash:path=", "window:size=8,sinks="};
        snprintf(spec, sizeof s->specs[slot], "%s%lld", options[choice % 5], (long long)take_extreme(&s->in));
        return spec;
    }
    size_t length = (size_t)take_upto(&s->in, 40);
    for (size_t i = 0; i < length; i++) spec[i] = (char)take(&s->in, 1);
    spec[length] = 0;
    return spec;
}

static const float *take_array(session *s, int64_t count, bool any_bits) {
    if (count < 1 || count > 65536) return NULL;
    float *floats = s->floats[s->float_count++] = exact((size_t)count * sizeof *floats, 16);
    for (int64_t i = 0; i < count; i++) floats[i] = any_bits ? take_float(&s->in) : 1 + fabsf(next_uniform(&s->state));
    return floats;
}

static void take_layer(session *s, lhk_cache_layer *layer, bool hostile) {
    fuzz_input *in = &s->in;
    uint32_t kv_heads = 1 + (uint32_t)take_upto(in, 2), dim = 2 * (1 + (uint32_t)take_upto(in, 40));
    *layer = (lhk_cache_layer){.struct_size = sizeof *layer, .query_heads = kv_heads * (1 + (uint32_t)take_upto(in, 2)),
                               .kv_heads = kv_heads, .head_dim_k = dim, .head_dim_v = 1 + (uint32_t)take_upto(in, 80)};
    layer->params = (lhk_attention_params){.struct_size = sizeof layer->params, .flags = (uint32_t)take(in, 1) & 1,
                                           .window_left = take_rarely(in, 3) ? take_upto(in, 60) : -1, .window_right = -1};
    layer->position = (lhk_position_params){.struct_size = sizeof layer->position, .base = 10000, .factor = 2,
                                            .scaling = (uint32_t)take_upto(in, 3), .interleaved = (uint32_t)take_upto(in, 1),
                                            .original_context = 64};
    if (hostile) {
        uint32_t *const words[] = {&layer->query_heads, &layer->kv_heads, &layer->head_dim_k, &layer->head_dim_v,
                                   &layer->params.flags, &layer->position.dims, &layer->position.scaling,
                                   &layer->position.factor_count, &layer->params.struct_size, &layer->position.struct_size};
        int64_t *const wides[] = {&layer->params.offset, &layer->params.window_left, &layer->params.window_right,
                                  &layer->params.sink_tokens, &layer->position.original_context};
        float *const reals[] = {&layer->params.scale, &layer->params.softcap, &layer->position.base, &layer->position.factor,
                                &layer->position.attention_factor, &layer->position.beta_fast, &layer->position.beta_slow};
        *words[take_upto(in, 9)] = (uint32_t)take_extreme(in);
        if (take(in, 1) & 1) *wides[take_upto(in, 4)] = take_extreme(in);
        if (take(in, 1) & 1) *reals[take_upto(in, 6)] = take_float(in);
    }
    if (take_rarely(in, 4)) layer->params.alibi_slopes = take_array(s, layer->query_heads, hostile);
    if (take_rarely(in, 4)) layer->params.sink_logits = take_array(s, layer->query_heads, hostile);
    if (!take_rarely(in, 4)) return;
    if (!hostile) layer->position.factor_count = layer->head_dim_k / 2;
    layer->position.factors = take_array(s, layer->position.factor_count, hostile);
}

static bool create(session *s) {
    fuzz_input *in = &s->in;
    bool hostile = take_rarely(in, 3);
    s->layers = 1 + (uint32_t)take_upto(in, MOST_LAYERS - 1);
    s->shapes = exact(s->layers * sizeof *s->shapes, 16);
    for (uint32_t i = 0; i < s->layers; i++) take_layer(s, &s->shapes[i], hostile);
    lhk_cache_config config = {.struct_size = sizeof config, .layer_count = s->layers, .layers = s->shapes,
                               .capacity = 1 + take_upto(in, MOST_TOKENS - 1), .max_rows = 1 + take_upto(in, MOST_ROWS - 1)};
    if (hostile && take_rarely(in, 4)) config.capacity = take_extreme(in);
    if (hostile && take_rarely(in, 4)) config.max_rows = take_extreme(in);
    config.store = take_spec(s, 0);
    config.prefill = take_spec(s, 1);
    config.decode = take_spec(s, 2);
    config.attention = take_spec(s, 3);
    config.position = take_spec(s, 4);
    static const char *const own[] = {"f32", "bf16", "f16", "f16:group=3", "flash", ""};
    for (uint32_t i = 0; i < s->layers; i++)
        if (take_rarely(in, 3)) s->shapes[i].store = own[take_upto(in, hostile ? 5 : 2)];
    lhk_status status = lhk_cache_create(&config, linked_registry(), &s->host, &s->cache, &s->error);
    if (status && (!*s->error.text || s->cache)) FUZZ_FOUND("status %d without a reason, or with a cache", status);
    return !status;
}

/// Work of one call that is affordable here.
static bool is_small(const lhk_cache_layer *l, int64_t rows) {
    return (double)l->query_heads * (l->head_dim_k + l->head_dim_v) * (double)rows < 1e5;
}

static void append(session *s, uint32_t layer) {
    const lhk_cache_layer *l = &s->shapes[layer];
    int64_t rows = take_upto(&s->in, MOST_ROWS + 2), before = lhk_cache_length(s->cache, layer);
    lhk_dtype dtype = 1 + (lhk_dtype)take_upto(&s->in, 2);
    if (!is_small(l, rows)) return;
    lhk_tensor k = make_rows(rows, l->kv_heads, l->head_dim_k, dtype, &s->state);
    lhk_tensor v = make_rows(rows, l->kv_heads, l->head_dim_v, dtype, &s->state), given = v;
    if (take_rarely(&s->in, 16)) given.shape[take_upto(&s->in, 2)] = take_extreme(&s->in);
    bool changed = memcmp(given.shape, v.shape, sizeof v.shape) != 0;
    lhk_status status = lhk_cache_append(s->cache, layer, &k, &given, &s->error);
    if (!status && changed && rows) FUZZ_FOUND("keys and values of different shapes were appended");
    int64_t after = lhk_cache_length(s->cache, layer);
    if (after != before + (status ? 0 : rows)) FUZZ_FOUND("%lld tokens after %lld and %lld", (long long)after, (long long)before, (long long)rows);
    free(k.data);
    free(v.data);
}

static lhk_status attend_with(session *s, lhk_cache *cache, uint32_t layer, int64_t rows, float *out) {
    const lhk_cache_layer *l = &s->shapes[layer];
    uint64_t state = 7;
    lhk_tensor q = make_rows(rows, l->query_heads, l->head_dim_k, LHK_DTYPE_F32, &state);
    int64_t width = (int64_t)l->query_heads * l->head_dim_v;
    lhk_tensor to = {out, LHK_DTYPE_F32, 3, {rows, l->query_heads, l->head_dim_v}, {width, l->head_dim_v, 1}};
    lhk_status status = lhk_cache_attend(cache, layer, &q, &to, NULL, &s->error);
    free(q.data);
    return status;
}

/// Attends, and again in `other`, if any, which holds the same.
static void attend(session *s, uint32_t layer, lhk_cache *other) {
    const lhk_cache_layer *l = &s->shapes[layer];
    int64_t rows = take_upto(&s->in, MOST_ROWS + 2);
    if (!is_small(l, rows)) return;
    size_t bytes = (size_t)rows * l->query_heads * l->head_dim_v * sizeof(float);
    float *out = exact(bytes, 16), *again = exact(bytes, 16);
    lhk_status status = attend_with(s, s->cache, layer, rows, out);
    if (!status && rows > lhk_cache_length(s->cache, layer)) FUZZ_FOUND("more rows attended than there are tokens");
    if (other) {
        if (attend_with(s, other, layer, rows, again) != status) FUZZ_FOUND("a copy refuses what its origin does: %s", s->error.text);
        if (!status && memcmp(out, again, bytes)) FUZZ_FOUND("a copy attends differently");
    }
    free(out);
    free(again);
}

static void truncate_to(session *s) {
    int64_t tokens = take_rarely(&s->in, 4) ? take_extreme(&s->in) : take_upto(&s->in, MOST_TOKENS);
    if (!lhk_cache_truncate(s->cache, tokens, &s->error))
        for (uint32_t i = 0; i < s->layers; i++)
            if (lhk_cache_length(s->cache, i) > tokens) FUZZ_FOUND("truncated, but longer");
}

static void copy(session *s, bool through_file) {
    lhk_cache *other = NULL;
    if (through_file) {
        int64_t length = lhk_cache_length(s->cache, 0);
        if (lhk_cache_save(s->cache, scratch_path(), &s->error)) FUZZ_FOUND("not saved: %s", s->error.text);
        if (lhk_cache_fork(s->cache, &other, &s->error) || lhk_cache_truncate(other, 0, &s->error) ||
            lhk_cache_load(other, scratch_path(), &s->error))
            FUZZ_FOUND("not loaded: %s", s->error.text);
        if (lhk_cache_length(other, 0) != length) FUZZ_FOUND("loaded %lld tokens", (long long)lhk_cache_length(other, 0));
        unlink(scratch_path());
    } else if (lhk_cache_fork(s->cache, &other, &s->error)) {
        return;
    }
    attend(s, (uint32_t)take_upto(&s->in, s->layers - 1), other);
    bool swap = take(&s->in, 1) & 1;
    lhk_cache_destroy(swap ? s->cache : other);
    if (swap) s->cache = other;
}

static void live(session *s) {
    lhk_cache_stats stats = {.struct_size = sizeof stats};
    for (int steps = 0; steps < 24 && s->in.size; steps++) {
        uint32_t layer = (uint32_t)take_upto(&s->in, s->layers - 1);
        switch (take(&s->in, 1) % 8) {
            case 0: case 1: case 2: append(s, layer); break;
            case 3: case 4: attend(s, layer, NULL); break;
            case 5: truncate_to(s); break;
            case 6: copy(s, false); break;
            default: copy(s, steps % 8 == 0); break;
        }
        lhk_cache_get_stats(s->cache, &stats);
        if (stats.bytes_in_use > stats.bytes_capacity) FUZZ_FOUND("more bytes in use than there are");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    session s = {.in = {data, size}, .error.struct_size = sizeof s.error};
    s.host = take_host(&s.in);
    s.state = take(&s.in, 1);
    if (create(&s)) live(&s);
    lhk_cache_destroy(s.cache);
    while (s.float_count) free(s.floats[--s.float_count]);
    free(s.shapes);
    return 0;
}
