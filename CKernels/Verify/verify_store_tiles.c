// SPDX-License-Identifier: Apache-2.0
/// What a store returns and computes, against what it holds: rounding, panels, bytes, tile operations.
#include <float.h>
#include <inttypes.h>
#include <lhk/panel.h>

#include "verify_store.h"

void store_check_rounding(store_case *s, const store_content *content) {
    s->check->step = "read_rows";
    const struct {
        const char *name;
        const lhk_tensor *rows;
        const float *held;
    } sides[] = {{"key", &s->k, content->k}, {"value", &s->v, content->v}};
    for (int side = 0; side < 2; side++) {
        const lhk_tensor *t = sides[side].rows;
        for (int64_t h = 0; h < t->shape[1]; h++)
            for (int64_t i = 0; i < s->count; i++)
                for (int64_t c = 0; c < t->shape[2]; c++) {
                    float given = lhk_load_element(lhk_row(t, i, h), t->dtype, c);
                    float got = sides[side].held[(h * s->count + i) * t->shape[2] + c];
                    if (!verify_same_float(got, verify_round(s->dtype, given)))
                        verify_fail(s->check,
                                    "%s of token %" PRId64 " head %" PRId64 " dim %" PRId64 ": %.9g, expected %.9g rounded to %s",
                                    sides[side].name, i, h, c, (double)got, (double)given, lhk_dtype_name(s->dtype));
                }
    }
}

/// One head of one side: energies of what was given and of the errors.
static void add_errors(store_case *s, const char *name, const lhk_tensor *given, const float *held, int64_t head,
                       double *energy, double *errors) {
    for (int64_t i = 0; i < s->count; i++)
        for (int64_t c = 0; c < given->shape[2]; c++) {
            double x = (double)lhk_load_element(lhk_row(given, i, head), given->dtype, c);
            double got = (double)held[(head * s->count + i) * given->shape[2] + c];
            if (!isfinite(got))
                verify_fail(s->check, "%s of token %" PRId64 " head %" PRId64 " dim %" PRId64 " is %g, of finite %.9g", name, i,
                            head, c, got, x);
            *energy += x * x;
            *errors += (got - x) * (got - x);
        }
}

void store_check_approximation(store_case *s, const store_content *content) {
    s->check->step = "read_rows";
    const lhk_tensor *given[] = {&s->k, &s->v};
    const float *held[] = {content->k, content->v};
    for (int side = 0; side < 2; side++)
        for (int64_t h = 0; h < given[side]->shape[1]; h++) {
            const char *name = side ? "value" : "key";
            double energy = 0, errors = 0;
            add_errors(s, name, given[side], held[side], h, &energy, &errors);
            bool judged = s->variant->exactness == LHK_BOUNDED && s->values != VERIFY_TINY;
            if (judged && s->count * given[side]->shape[2] >= 256 && errors > energy / 2)
                verify_fail(s->check, "errors of head %" PRId64 "'s %ss have %.3g of the energy of what was given, limit 0.5", h,
                            name, errors / energy);
        }
}

void store_check_bytes(store_case *s, const verify_instance *store) {
    s->check->step = "bytes";
    lhk_store_bytes now = {.struct_size = sizeof now}, empty = now;
    verify_instance fresh = store_new(s);
    s->ops->bytes(store->state, &now);
    s->ops->bytes(fresh.state, &empty);
    s->check->outcome->calls += 2;
    if (now.struct_size != sizeof now) verify_fail(s->check, "struct_size was changed");
    if (empty.in_use != 0) verify_fail(s->check, "%" PRIu64 " in use when empty", empty.in_use);
    if (now.in_use > now.capacity || now.capacity > store->buffer->bytes)
        verify_fail(s->check, "%" PRIu64 " in use, capacity %" PRIu64 ", the state has %zu", now.in_use, now.capacity,
                    store->buffer->bytes);
    if ((now.in_use == 0) != (s->count == 0)) verify_fail(s->check, "%" PRIu64 " in use for %" PRId64 " rows", now.in_use, s->count);
    if (now.capacity != empty.capacity) verify_fail(s->check, "the capacity depends on the content");
    if (!(now.bits_per_token > 0 && now.bits_per_token <= DBL_MAX))
        verify_fail(s->check, "%g bits per token", now.bits_per_token);
    // A guard against units mixed up. Of few channels, codes padded to whole words may be more than the 16 bits that rows have
    // before they are encoded, so no more than 32 bits are asked of a channel.
    double channels = (double)s->problem.kv_heads * (s->problem.head_dim_k + s->problem.head_dim_v);
    double least = fmin(now.bits_per_token, 32 * channels) / 8 * (double)s->count * 0.5;
    if ((double)now.in_use < least)
        verify_fail(s->check, "%" PRIu64 " in use for %" PRId64 " rows of %g bits", now.in_use, s->count, now.bits_per_token);
}

static void check_layout(store_case *s, const lhk_panels *p) {
    uint32_t group = lhk_panel_group(p->dtype);
    if (p->struct_size != sizeof *p) verify_fail(s->check, "struct_size was changed");
    if (p->dtype < LHK_DTYPE_F32 || p->dtype > LHK_DTYPE_I8 || p->group != group)
        verify_fail(s->check, "element type %u in groups of %u", p->dtype, p->group);
    if (p->value_dtype != lhk_panel_value_dtype(p->dtype) || p->value_group != lhk_panel_group(p->value_dtype))
        verify_fail(s->check, "values of element type %u in groups of %u", p->value_dtype, p->value_group);
    if (p->rotation > LHK_ROTATION_HADAMARD || (p->rotation && p->dtype != LHK_DTYPE_I8))
        verify_fail(s->check, "%s panels with rotation %u", lhk_dtype_name(p->dtype), p->rotation);
    if (p->block_tokens == 0 || p->block_tokens % 16) verify_fail(s->check, "blocks of %u tokens", p->block_tokens);
    if (p->padded_dim_k != (uint32_t)lhk_round_up(s->problem.head_dim_k, group) ||
        p->padded_dim_v != (uint32_t)lhk_round_up(s->problem.head_dim_v, 16))
        verify_fail(s->check, "padded dimensions %u/%u", p->padded_dim_k, p->padded_dim_v);
    if (((uintptr_t)p->base | p->block_stride | p->head_stride | p->value_offset | p->key_scale_offset) % LHK_ALIGNMENT)
        verify_fail(s->check, "base, strides or value_offset are not aligned to %u", LHK_ALIGNMENT);
}

static void check_element(store_case *s, lhk_dtype dtype, const uint8_t *at, int64_t index, float expected,
                          const char *what, int64_t token, int64_t channel) {
    float got = lhk_load_element(at, dtype, index);
    if (!verify_same_float(got, expected))
        verify_fail(s->check, "%s of token %" PRId64 " channel %" PRId64 " is %.9g, expected %.9g", what, token, channel,
                    (double)got, (double)expected);
}

/// Codes and scale of a key against the row that was read back, both rotated.
static void check_key8(store_case *s, const lhk_panels *p, const uint8_t *block, int64_t within, const float *key,
                       int64_t token) {
    int64_t dim = s->problem.head_dim_k;
    float *rotated = verify_alloc(s->check, (uint64_t)dim, sizeof *rotated);
    double *work = verify_alloc(s->check, (uint64_t)dim, sizeof *work), norm = 0;
    fuzz_rotate(key, dim, p->rotation, work, rotated);
    for (int64_t c = 0; c < dim; c++) norm += (double)key[c] * (double)key[c];
    float scale = ((const float *)(block + p->key_scale_offset))[within];
    for (int64_t c = 0; c < dim; c++) {
        double held = (block[lhk_panel_key_index(p, within, c)] - 128) * (double)scale, read = (double)rotated[c];
        if (isnan(held) ? isnan(read) : fabs(held - read) <= 2e-6 * sqrt(norm)) continue;
        verify_fail(s->check, "code of key of token %" PRId64 " channel %" PRId64 " is worth %.9g, what was read is %.9g", token,
                    c, held, read);
    }
}

void store_check_panels(store_case *s, const verify_instance *store, const store_content *content) {
    s->check->step = "panels";
    lhk_panels p = lhk_panel_of(s->ops, store->state);
    s->check->outcome->calls++;
    check_layout(s, &p);
    int64_t dim_k = s->problem.head_dim_k, dim_v = s->problem.head_dim_v, count = content->count;
    bool nonfinite = false;
    for (int64_t h = 0; h < s->problem.kv_heads; h++)
        for (int64_t t = 0; t < lhk_round_up(count, p.value_group); t++) {
            const uint8_t *block = p.base + (uint64_t)(t / p.block_tokens) * p.block_stride + (uint64_t)h * p.head_stride;
            int64_t within = t % p.block_tokens;
            bool codes = p.dtype == LHK_DTYPE_I8;
            if (codes && t < count) check_key8(s, &p, block, within, content->k + (h * count + t) * dim_k, t);
            for (int64_t c = 0; c < p.padded_dim_k && t < count && !codes; c++)
                check_element(s, p.dtype, block, lhk_panel_key_index(&p, within, c),
                              c < dim_k ? content->k[(h * count + t) * dim_k + c] : 0, "key", t, c);
            for (int64_t c = 0; c < p.padded_dim_v; c++) {
                float value = t < count && c < dim_v ? content->v[(h * count + t) * dim_v + c] : 0;
                nonfinite |= !isfinite(value);
                check_element(s, p.value_dtype, block + p.value_offset, lhk_panel_value_index(&p, within, c), value, "value", t, c);
            }
        }
    if (nonfinite && !p.values_nonfinite) verify_fail(s->check, "holds values that are not finite, but does not say so");
}

// ---- tile operations ----

/// Keys of a tile: a range or a list in any order.
static lhk_keys draw_keys(store_case *s, int64_t held) {
    fuzz_rng *rng = &s->check->rng;
    lhk_keys keys = {.begin = fuzz_below(rng, held + 1)};
    keys.count = fuzz_below(rng, held - keys.begin + 1);
    if (held == 0 || fuzz_chance(rng, 50)) return keys;
    keys = (lhk_keys){.count = fuzz_below(rng, lhk_min(held, 80) + 1)};
    fuzz_buffer *list = verify_buffer(s->check, (uint64_t)keys.count * sizeof(int32_t), sizeof(int32_t));
    for (int64_t j = 0; j < keys.count; j++) ((int32_t *)list->data)[j] = (int32_t)fuzz_below(rng, held);
    keys.tokens = (const int32_t *)list->data;
    return keys;
}

static int64_t key_at(const lhk_keys *keys, int64_t j) { return keys->tokens ? keys->tokens[j] : keys->begin + j; }

/// What is unpacked equals what is read, rounded once, with zeros where lhk_panels demands them.
void store_check_unpack(store_case *s, const verify_instance *store, const store_content *content) {
    s->check->step = "unpack";
    uint32_t used = s->check->buffers;
    int64_t dim_k = s->problem.head_dim_k, dim_v = s->problem.head_dim_v;
    lhk_keys keys = draw_keys(s, s->count);
    keys.count = lhk_min(keys.count, LHK_BLOCK_TOKENS);
    int64_t head = fuzz_below(&s->check->rng, s->problem.kv_heads);
    lhk_panels p = {.struct_size = sizeof p};
    lhk_panel_layout(&p, fuzz_chance(&s->check->rng, 50) ? LHK_DTYPE_BF16 : LHK_DTYPE_F32, (uint32_t)dim_k, (uint32_t)dim_v,
                     LHK_BLOCK_TOKENS);
    uint8_t *block = verify_buffer(s->check, lhk_panel_block_bytes(&p), LHK_ALIGNMENT)->data;
    s->check->outcome->calls++;
    uint32_t nonfinite = lhk_store_get_unpack(s->ops)(store->state, (uint32_t)head, &keys, &p, block);
    for (int64_t t = 0; t < lhk_round_up(keys.count, p.group); t++) {
        bool held = t < keys.count;
        int64_t row = head * s->count + (held ? key_at(&keys, t) : 0);
        for (int64_t c = 0; c < p.padded_dim_k && held; c++)
            check_element(s, p.dtype, block, lhk_panel_key_index(&p, t, c),
                          c < dim_k ? verify_round(p.dtype, content->k[row * dim_k + c]) : 0, "key", t, c);
        for (int64_t c = 0; c < p.padded_dim_v; c++) {
            float value = held && c < dim_v ? content->v[row * dim_v + c] : 0;
            if (!isfinite(value) && !nonfinite) verify_fail(s->check, "holds a value of %g, but does not say so", (double)value);
            check_element(s, p.value_dtype, block + p.value_offset, lhk_panel_value_index(&p, t, c), verify_round(p.dtype, value), "value",
                          t, c);
        }
    }
    s->check->buffers = used;
}

/// Floats [rows][count] with a row stride, before an inaccessible page.
static float *matrix(store_case *s, int64_t rows, int64_t count, int64_t stride) {
    uint64_t floats = rows ? (uint64_t)((rows - 1) * stride + count) : 0;
    return (float *)verify_buffer(s->check, floats * sizeof(float), sizeof(float))->data;
}

/// Judges a sum of `n` products whose finite magnitudes sum to `magnitude`. Stores that approximate may round operands to 8
/// bits of the largest in their row: for them `magnitude` takes each row's `largest` in place of its elements.
static void judge(store_case *s, double got, double expected, int64_t n, double magnitude, int64_t row, int64_t column) {
    double relative = s->dtype ? 0x1p-24 * (double)(n + 2) : 0.02;
    double bound = relative * magnitude + (double)(n + 1) * 0x1p-140;
    if (magnitude > (double)FLT_MAX / 4) return;  // an intermediate sum may overflow
    bool fine = isnan(expected) ? isnan(got) : isinf(expected) ? got == expected : fabs(got - expected) <= bound;
    if (!fine)
        verify_fail(s->check, "row %" PRId64 " column %" PRId64 ": %.9g, expected %.9g, tolerance %.3g", row, column, got,
                    expected, bound);
    if (isfinite(expected)) s->check->outcome->worst = fmax(s->check->outcome->worst, fabs(got - expected) / bound);
}

/// Largest finite magnitude of a row.
static double largest(const float *row, int64_t dim) {
    double most = 0;
    for (int64_t c = 0; c < dim; c++)
        if (isfinite(row[c])) most = fmax(most, fabs((double)row[c]));
    return most;
}

void store_check_score(store_case *s, const verify_instance *store, const store_content *content) {
    fuzz_rng *rng = &s->check->rng;
    s->check->step = "score";
    uint32_t used = s->check->buffers;
    lhk_keys keys = draw_keys(s, content->count);
    int64_t rows = 1 + fuzz_below(rng, 6), dim = s->problem.head_dim_k, head = fuzz_below(rng, s->problem.kv_heads);
    int64_t ldq = dim + fuzz_below(rng, 5), lds = keys.count + fuzz_below(rng, 5);
    float *q = matrix(s, rows, dim, ldq), *scores = matrix(s, rows, keys.count, lds);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < dim; c++) q[r * ldq + c] = fuzz_normal(rng);
    s->check->outcome->calls++;
    s->ops->score(store->state, (uint32_t)head, q, ldq, (int32_t)rows, &keys, scores, lds);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t j = 0; j < keys.count; j++) {
            const float *key = content->k + (head * content->count + key_at(&keys, j)) * dim;
            double sum = 0, magnitude = 0;
            for (int64_t c = 0; c < dim; c++) {
                double product = (double)q[r * ldq + c] * (double)key[c];
                sum += product;
                if (isfinite(product)) magnitude += s->dtype ? fabs(product) : fabs((double)key[c]) * largest(q + r * ldq, dim);
            }
            judge(s, (double)scores[r * lds + j], sum, dim, magnitude, r, j);
        }
        for (int64_t j = keys.count; j < lds && r + 1 < rows; j++)
            if (!isnan(scores[r * lds + j])) verify_fail(s->check, "wrote between the rows of scores");
    }
    s->check->buffers = used;
}

void store_check_accumulate(store_case *s, const verify_instance *store, const store_content *content) {
    fuzz_rng *rng = &s->check->rng;
    s->check->step = "accumulate";
    uint32_t used = s->check->buffers;
    lhk_keys keys = draw_keys(s, content->count);
    int64_t rows = 1 + fuzz_below(rng, 6), dim = s->problem.head_dim_v, head = fuzz_below(rng, s->problem.kv_heads);
    int64_t ldp = keys.count + fuzz_below(rng, 5), ldo = dim + fuzz_below(rng, 5);
    float *p = matrix(s, rows, keys.count, ldp), *out = matrix(s, rows, dim, ldo);
    double *expected = verify_alloc(s->check, (uint64_t)(rows * dim), sizeof *expected);
    double *magnitude = verify_alloc(s->check, (uint64_t)(rows * dim), sizeof *magnitude);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < dim; c++) {
            out[r * ldo + c] = fuzz_normal(rng);
            expected[r * dim + c] = (double)out[r * ldo + c];
            magnitude[r * dim + c] = fabs(expected[r * dim + c]);
        }
        for (int64_t j = 0; j < keys.count; j++) {
            const float *value = content->v + (head * content->count + key_at(&keys, j)) * dim;
            bool finite = true;
            double most = largest(value, dim);
            for (int64_t c = 0; c < dim; c++) finite &= isfinite(value[c]);
            float weight = fuzz_chance(rng, finite ? 30 : 90) ? 0 : fuzz_uniform(rng);
            p[r * ldp + j] = weight;
            for (int64_t c = 0; c < dim && weight != 0; c++) {
                expected[r * dim + c] += (double)weight * (double)value[c];
                if (isfinite(value[c])) magnitude[r * dim + c] += fabs((double)weight) * (s->dtype ? fabs((double)value[c]) : most);
            }
        }
    }
    s->check->outcome->calls++;
    s->ops->accumulate(store->state, (uint32_t)head, p, ldp, (int32_t)rows, &keys, out, ldo);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < dim; c++)
            judge(s, (double)out[r * ldo + c], expected[r * dim + c], keys.count, magnitude[r * dim + c], r, c);
        for (int64_t c = dim; c < ldo && r + 1 < rows; c++)
            if (!isnan(out[r * ldo + c])) verify_fail(s->check, "wrote between the rows of out");
    }
    s->check->buffers = used;
}
