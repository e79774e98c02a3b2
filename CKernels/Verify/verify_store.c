// SPDX-License-Identifier: Apache-2.0
/// One case of a store: its shape, its content, and the order of the checks.
#include <inttypes.h>
#include <lhk/support.h>

#include "verify_store.h"

lhk_dtype store_dtype(const lhk_variant *variant, const lhk_instance *instance) {
    const lhk_store_ops *ops = variant->ops;
    if (variant->exactness != LHK_EXACT) return LHK_DTYPE_NONE;
    if (ops->panels && instance) {
        lhk_panels panels = {.struct_size = sizeof panels};
        ops->panels(instance, &panels);
        return panels.dtype;
    }
    for (lhk_dtype dtype = LHK_DTYPE_F32; dtype <= LHK_DTYPE_F16; dtype++)
        if (variant->kv_dtypes == LHK_DTYPE_BIT(dtype)) return dtype;
    return LHK_DTYPE_F32;  // exact, and rounding to no smaller type
}

verify_instance store_new(store_case *s) {
    const char *step = s->check->step;
    verify_instance store = verify_create(s->check, s->variant, &s->problem, 1);
    s->check->step = "length of a new store";
    if (s->ops->length(store.state) != 0) verify_fail(s->check, "%" PRId64 ", not 0", s->ops->length(store.state));
    s->check->step = step;
    return store;
}

int64_t store_length(store_case *s, const verify_instance *store) {
    s->check->outcome->calls++;
    return s->ops->length(store->state);
}

void store_append(store_case *s, verify_instance *store, int64_t first, int64_t count, const lhk_host *many) {
    lhk_tensor k = verify_slice(&s->k, first, count), v = verify_slice(&s->v, first, count);
    lhk_host host = many ? *many : verify_host(s->check, 1);
    int64_t before = store_length(s, store);
    verify_ok(s->check, s->ops->append(store->state, &host, &k, &v, verify_error(s->check)));
    verify_intact(s->check, store);
    int64_t after = store_length(s, store);
    if (after != before + count)
        verify_fail(s->check, "length %" PRId64 " after %" PRId64 " and %" PRId64 " more rows", after, before, count);
}

void store_append_pieces(store_case *s, verify_instance *store, int64_t first, int64_t count) {
    for (int64_t done = 0; done < count;) {
        int64_t n = lhk_min(count - done, fuzz_below(&s->check->rng, 3) ? 1 + fuzz_below(&s->check->rng, 40) : 1);
        store_append(s, store, first + done, n, NULL);
        done += n;
        if (fuzz_chance(&s->check->rng, 5)) store_append(s, store, first + done, 0, NULL);
    }
}

store_content store_read(store_case *s, const verify_instance *store, int64_t expected) {
    int64_t heads = s->problem.kv_heads, dk = s->problem.head_dim_k, dv = s->problem.head_dim_v;
    int64_t count = store_length(s, store);
    if (count != expected) verify_fail(s->check, "holds %" PRId64 " rows, not %" PRId64, count, expected);
    store_content content = {.count = count};
    content.k = verify_alloc(s->check, (uint64_t)(heads * count * dk), sizeof(float));
    content.v = verify_alloc(s->check, (uint64_t)(heads * count * dv), sizeof(float));
    for (int64_t h = 0; h < heads; h++) {
        for (int64_t begin = 0; begin < count;) {
            int64_t n = fuzz_chance(&s->check->rng, 70) ? count - begin : 1 + fuzz_below(&s->check->rng, count - begin);
            uint32_t used = s->check->buffers;
            fuzz_buffer *k = verify_buffer(s->check, (uint64_t)(n * dk) * sizeof(float), sizeof(float));
            fuzz_buffer *v = verify_buffer(s->check, (uint64_t)(n * dv) * sizeof(float), sizeof(float));
            bool both = fuzz_chance(&s->check->rng, 60);
            verify_ok(s->check, s->ops->read_rows(store->state, (uint32_t)h, begin, n, (float *)k->data,
                                                  both ? (float *)v->data : NULL, verify_error(s->check)));
            if (!both)
                verify_ok(s->check, s->ops->read_rows(store->state, (uint32_t)h, begin, n, NULL, (float *)v->data,
                                                      verify_error(s->check)));
            memcpy(content.k + (h * count + begin) * dk, k->data, k->bytes);
            memcpy(content.v + (h * count + begin) * dv, v->data, v->bytes);
            s->check->buffers = used;
            begin += n;
        }
    }
    return content;
}

static void compare_rows(store_case *s, const char *name, const float *a, int64_t stride_a, const float *b, int64_t stride_b,
                         int64_t count, int64_t dim) {
    for (int64_t h = 0; h < s->problem.kv_heads; h++)
        for (int64_t i = 0; i < count; i++)
            for (int64_t c = 0; c < dim; c++) {
                float x = a[(h * stride_a + i) * dim + c], y = b[(h * stride_b + i) * dim + c];
                if (!verify_same_float(x, y))
                    verify_fail(s->check, "%s of token %" PRId64 " head %" PRId64 " dim %" PRId64 ": %.9g, expected %.9g", name,
                                i, h, c, (double)x, (double)y);
            }
}

void store_compare(store_case *s, const store_content *a, const store_content *b, int64_t count) {
    compare_rows(s, "key", a->k, a->count, b->k, b->count, count, s->problem.head_dim_k);
    compare_rows(s, "value", a->v, a->count, b->v, b->count, count, s->problem.head_dim_v);
}

fuzz_buffer *store_save(store_case *s, const verify_instance *store) {
    const lhk_life_ops *life = s->variant->life;
    uint64_t bytes = life->save_size(store->state);
    fuzz_buffer *saved = verify_buffer(s->check, bytes, 1);
    s->check->outcome->calls += 2;
    life->save(store->state, saved->data);
    if (life->save_size(store->state) != bytes) verify_fail(s->check, "the size changed while saving");
    return saved;
}

// ---- the case ----

static void draw(store_case *s) {
    verify_check *check = s->check;
    fuzz_rng *rng = &check->rng;
    static const lhk_dtype types[] = {LHK_DTYPE_F32, LHK_DTYPE_F32, LHK_DTYPE_BF16, LHK_DTYPE_F16};
    verify_fixed fixed = check->fixed ? *check->fixed : (verify_fixed){.values = fuzz_below(rng, VERIFY_VALUE_CLASSES)};
    int64_t kv_heads = verify_size(fixed.kv_heads, 1 + fuzz_below(rng, 3));
    int64_t dim_k = verify_fit_dim(s->variant, verify_size(fixed.dim_k, verify_draw_dim(check, s->variant)));
    int64_t dim_v = fuzz_chance(rng, 60) ? dim_k : verify_draw_dim(check, s->variant);
    dim_v = verify_fit_dim(s->variant, verify_size(fixed.dim_v, dim_v));
    int64_t capacity = verify_size(fixed.tokens, verify_draw_length(check, 60000 / (dim_k + dim_v) / kv_heads + 4));
    lhk_dtype k = FUZZ_PICK(rng, types), v = fuzz_chance(rng, 70) ? k : FUZZ_PICK(rng, types);
    verify_values values = fixed.values;
    s->problem = verify_problem(kv_heads * (1 + fuzz_below(rng, 3)), kv_heads, dim_k, dim_v, 1, capacity);
    s->problem.kv_dtype = k;
    s->count = fixed.tokens || fuzz_chance(rng, 60) ? capacity : fuzz_below(rng, capacity + 1);
    s->values = values;
    snprintf(check->problem, sizeof check->problem,
             "seed %" PRIu64 " case %" PRIu64 ": %" PRId64 " of %" PRId64 " tokens, %" PRId64 " KV heads, dims %" PRId64 "/%" PRId64
             ", from %s/%s, values %d",
             check->v->seed, check->index, s->count, capacity, kv_heads, dim_k, dim_v, lhk_dtype_name(k), lhk_dtype_name(v),
             (int)values);
    verify_use_options(check, check->index % (verify_option_sets(check->target->method) + 1), &s->options, &s->problem);
    verify_support(check, s->variant, &s->problem);
    check->step = "create";
    verify_instance probe = verify_create(check, s->variant, &s->problem, 1);
    s->dtype = store_dtype(s->variant, probe.state);
    // Nothing says what an approximation makes of numbers that are none, or too large for a scale in half precision.
    if (!s->dtype && (values == VERIFY_SPECIAL || values == VERIFY_WIDE)) s->values = values = VERIFY_OUTLIER;
    s->k = verify_rows(check, k, s->count, kv_heads, dim_k, values);
    s->v = verify_rows(check, v, s->count, kv_heads, dim_v, values);
}

/// A store that is full takes no more and loses nothing.
static void check_capacity(store_case *s, verify_instance *store, const store_content *content) {
    int64_t more = s->problem.keys - s->count + 1;
    verify_check *check = s->check;
    check->step = "append past the capacity";
    lhk_tensor k = verify_rows(check, LHK_DTYPE_F32, more, s->problem.kv_heads, s->problem.head_dim_k, VERIFY_NORMAL);
    lhk_tensor v = verify_rows(check, LHK_DTYPE_F32, more, s->problem.kv_heads, s->problem.head_dim_v, VERIFY_NORMAL);
    lhk_host host = verify_host(check, 1);
    verify_refused(check, s->ops->append(store->state, &host, &k, &v, verify_error(check)), LHK_ERROR_CAPACITY);
    verify_intact(check, store);
    store_content after = store_read(s, store, s->count);
    store_compare(s, &after, content, s->count);
}

/// Rows that are not held cannot be read.
static void check_range(store_case *s, const verify_instance *store) {
    float unused[1];
    s->check->step = "read_rows past the length";
    const int64_t begins[] = {s->count, -1, 0}, counts[] = {1, 1, s->count + 1};
    for (int i = 0; i < 3; i++)
        if (s->ops->read_rows(store->state, 0, begins[i], counts[i], NULL, NULL, verify_error(s->check)) == LHK_OK)
            verify_fail(s->check, "%" PRId64 " rows from %" PRId64 " on were read, of %" PRId64, counts[i], begins[i], s->count);
    s->check->step = "read_rows of no row";
    verify_ok(s->check, s->ops->read_rows(store->state, 0, s->count, 0, unused, unused, verify_error(s->check)));
}

/// The same content whatever the number of workers, and for every variant that the host admits.
static void check_same(store_case *s, const fuzz_buffer *saved, const store_content *content) {
    verify_check *check = s->check;
    check->step = "saved bytes after an append by many workers";
    verify_instance many = store_new(s);
    lhk_host host = check->index % 4 ? verify_host(check, 5) : verify_pool(check);
    store_append(s, &many, 0, s->count, &host);
    const fuzz_buffer *again = store_save(s, &many);
    if (again->bytes != saved->bytes || memcmp(again->data, saved->data, saved->bytes))
        verify_fail(check, "%zu bytes, different from those after an append by 1 worker", again->bytes);
    const lhk_method *method = check->target->method;
    for (uint32_t i = 0; i < method->variant_count; i++) {
        const lhk_variant *other = method->variants[i];
        if (other == s->variant || other->isa_required & ~check->isa) continue;
        if (other->life->supports(other, &s->problem, check->isa, NULL)) continue;
        store_case theirs = *s;
        theirs.variant = other;
        theirs.ops = other->ops;
        check->step = "saved bytes of another variant";
        verify_instance store = store_new(&theirs);
        store_append(&theirs, &store, 0, s->count, NULL);
        again = store_save(&theirs, &store);
        if (again->bytes != saved->bytes || memcmp(again->data, saved->data, saved->bytes))
            verify_fail(check, "%s writes other bytes", other->id);
        check->step = "read_rows of another variant";
        store_content rows = store_read(&theirs, &store, s->count);
        store_compare(&theirs, &rows, content, s->count);
    }
}

void verify_store_case(verify_check *check) {
    store_case s = {.check = check, .variant = check->target->variant, .ops = check->target->variant->ops};
    draw(&s);
    check->step = "append of all rows";
    verify_instance whole = store_new(&s);
    store_append(&s, &whole, 0, s.count, NULL);
    store_content content = store_read(&s, &whole, s.count);
    if (s.dtype) store_check_rounding(&s, &content);
    else store_check_approximation(&s, &content);
    check->step = "append in pieces";
    verify_instance store = store_new(&s);
    store_append_pieces(&s, &store, 0, s.count);
    store_content pieces = store_read(&s, &store, s.count);
    store_compare(&s, &pieces, &content, s.count);
    check->step = "a state that was moved";
    verify_move(check, &store);
    pieces = store_read(&s, &store, s.count);
    store_compare(&s, &pieces, &content, s.count);
    check_range(&s, &store);
    store_check_bytes(&s, &store);
    if (s.ops->panels) store_check_panels(&s, &store, &content);
    if (lhk_store_get_unpack(s.ops)) store_check_unpack(&s, &store, &content);
    store_check_score(&s, &store, &content);
    store_check_accumulate(&s, &store, &content);
    check_capacity(&s, &store, &content);
    check->step = "save";
    check_same(&s, store_save(&s, &whole), &content);
    store_check_fork(&s, &store, &content);
    store_check_saving(&s, &store, &content);
    store_check_truncate(&s, &store, &content);
    verify_destroy(check, &store);
    verify_destroy(check, &whole);
}
