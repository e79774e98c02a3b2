// SPDX-License-Identifier: Apache-2.0
#include "test_parts.h"

typedef struct test_store {
    int64_t length, capacity, fail_at;
    uint32_t heads, dim_k, dim_v, reserved;
    float rows[];  // keys [capacity][heads][dim_k], then values [capacity][heads][dim_v]
} test_store;

static int64_t key_width(const test_store *store) { return (int64_t)store->heads * store->dim_k; }
static int64_t value_width(const test_store *store) { return (int64_t)store->heads * store->dim_v; }
static float *keys_of(const test_store *store) { return (float *)store->rows; }
static float *values_of(const test_store *store) { return keys_of(store) + store->capacity * key_width(store); }

static lhk_status supports(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa, lhk_error *error) {
    (void)self, (void)isa;
    static const char *const names[] = {"fail_at"};
    return lhk_options_known(problem, "plain", names, 1, error);
}

static lhk_status sizes(const lhk_variant *self, const lhk_problem *problem, uint32_t workers, lhk_sizes *out,
                        lhk_error *error) {
    (void)self, (void)workers;
    uint64_t floats;
    if (!lhk_multiply((uint64_t)problem->kv_heads * ((uint64_t)problem->head_dim_k + problem->head_dim_v),
                      (uint64_t)problem->keys, &floats) ||
        floats > UINT64_MAX / 8)
        return lhk_fail(error, LHK_ERROR_OVERFLOW, -1, "too many tokens");
    out->state_bytes = sizeof(test_store) + floats * sizeof(float);
    return LHK_OK;
}

static lhk_status create(const lhk_variant *self, const lhk_problem *problem, lhk_instance *state, uint64_t bytes,
                         lhk_error *error) {
    (void)self, (void)bytes;
    test_store *store = (test_store *)state;
    store->capacity = problem->keys;
    store->fail_at = INT64_MAX;
    store->heads = problem->kv_heads;
    store->dim_k = problem->head_dim_k;
    store->dim_v = problem->head_dim_v;
    return lhk_option_int(problem, "plain", "fail_at", 0, INT64_MAX, &store->fail_at, error);
}

static lhk_status truncate_store(lhk_instance *state, int64_t tokens, lhk_error *error) {
    test_store *store = (test_store *)state;
    if (tokens < 0 || tokens > store->length) return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "holds fewer tokens");
    store->length = tokens;
    return LHK_OK;
}

static uint64_t save_size(const lhk_instance *state) {
    const test_store *store = (const test_store *)state;
    return 8 + (uint64_t)(store->length * (key_width(store) + value_width(store))) * sizeof(float);
}

static void save(const lhk_instance *state, uint8_t *out) {
    const test_store *store = (const test_store *)state;
    size_t keys = (size_t)(store->length * key_width(store)) * 4, values = (size_t)(store->length * value_width(store)) * 4;
    memcpy(out, &store->length, 8);
    memcpy(out + 8, keys_of(store), keys);
    memcpy(out + 8 + keys, values_of(store), values);
}

static lhk_status load(lhk_instance *state, const uint8_t *bytes, uint64_t count, lhk_error *error) {
    test_store *store = (test_store *)state;
    int64_t length;
    if (count < 8) return lhk_fail(error, LHK_ERROR_CORRUPT, -1, "too short");
    memcpy(&length, bytes, 8);
    uint64_t width = (uint64_t)(key_width(store) + value_width(store)) * 4;
    if (length < 0 || length > store->capacity || count - 8 != (uint64_t)length * width)
        return lhk_fail(error, LHK_ERROR_CORRUPT, -1, "impossible number of tokens");
    size_t keys = (size_t)(length * key_width(store)) * 4;
    memcpy(keys_of(store), bytes + 8, keys);
    memcpy(values_of(store), bytes + 8 + keys, (size_t)(length * value_width(store)) * 4);
    store->length = length;
    return LHK_OK;
}

static lhk_status fork_store(const lhk_instance *source, lhk_instance *destination, lhk_error *error) {
    (void)error;
    const test_store *from = (const test_store *)source;
    test_store *to = (test_store *)destination;
    memcpy(keys_of(to), keys_of(from), (size_t)(from->length * key_width(from)) * 4);
    memcpy(values_of(to), values_of(from), (size_t)(from->length * value_width(from)) * 4);
    to->length = from->length;
    return LHK_OK;
}

static void copy_rows(const lhk_tensor *from, float *to) {
    for (int64_t i = 0; i < from->shape[0]; i++)
        for (int64_t h = 0; h < from->shape[1]; h++)
            for (int64_t c = 0; c < from->shape[2]; c++) *to++ = lhk_load_element(lhk_row(from, i, h), from->dtype, c);
}

static lhk_status append(lhk_instance *state, const lhk_host *host, const lhk_tensor *k, const lhk_tensor *v,
                         lhk_error *error) {
    (void)host;
    test_store *store = (test_store *)state;
    if (store->length + k->shape[0] > store->capacity) return lhk_fail(error, LHK_ERROR_CAPACITY, 2, "full");
    if (store->length + k->shape[0] >= store->fail_at) return lhk_fail(error, LHK_ERROR_IO, 2, "fails as asked");
    copy_rows(k, keys_of(store) + store->length * key_width(store));
    copy_rows(v, values_of(store) + store->length * value_width(store));
    store->length += k->shape[0];
    return LHK_OK;
}

static int64_t length(const lhk_instance *state) { return ((const test_store *)state)->length; }

static void bytes_of(const lhk_instance *state, lhk_store_bytes *out) {
    const test_store *store = (const test_store *)state;
    uint64_t width = (uint64_t)(key_width(store) + value_width(store)) * 4;
    out->in_use = width * (uint64_t)store->length;
    out->capacity = width * (uint64_t)store->capacity;
    out->bits_per_token = (double)width * 8;
}

static lhk_status read_rows(const lhk_instance *state, uint32_t head, int64_t begin, int64_t count, float *k, float *v,
                            lhk_error *error) {
    const test_store *store = (const test_store *)state;
    if (begin < 0 || count < 0 || begin + count > store->length)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 2, "tokens past the length");
    for (int64_t i = 0; i < count; i++) {
        int64_t row = begin + i;
        if (k) memcpy(k + i * store->dim_k, keys_of(store) + (row * store->heads + head) * store->dim_k, store->dim_k * 4u);
        if (v)
            memcpy(v + i * store->dim_v, values_of(store) + (row * store->heads + head) * store->dim_v, store->dim_v * 4u);
    }
    return LHK_OK;
}

static int64_t token_of(const lhk_keys *keys, int64_t j) { return keys->tokens ? keys->tokens[j] : keys->begin + j; }

static void score(const lhk_instance *state, uint32_t head, const float *q, int64_t ldq, int32_t rows,
                  const lhk_keys *keys, float *scores, int64_t lds) {
    const test_store *store = (const test_store *)state;
    for (int32_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < keys->count; j++) {
            const float *key = keys_of(store) + (token_of(keys, j) * store->heads + head) * store->dim_k;
            double sum = 0;
            for (uint32_t c = 0; c < store->dim_k; c++) sum += (double)q[r * ldq + c] * key[c];
            scores[r * lds + j] = (float)sum;
        }
}

static void accumulate(const lhk_instance *state, uint32_t head, const float *p, int64_t ldp, int32_t rows,
                       const lhk_keys *keys, float *out, int64_t ldo) {
    const test_store *store = (const test_store *)state;
    for (int32_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < keys->count; j++) {
            if (p[r * ldp + j] == 0) continue;
            const float *value = values_of(store) + (token_of(keys, j) * store->heads + head) * store->dim_v;
            for (uint32_t c = 0; c < store->dim_v; c++) out[r * ldo + c] += p[r * ldp + j] * value[c];
        }
}

static const lhk_life_ops life = {.struct_size = sizeof life,
                                  .supports = supports,
                                  .cost = lhk_test_cost,
                                  .sizes = sizes,
                                  .create = create,
                                  .truncate = truncate_store,
                                  .fork = fork_store,
                                  .save_size = save_size,
                                  .save = save,
                                  .load = load};
static const lhk_store_ops ops = {.struct_size = sizeof ops,
                                  .append = append,
                                  .length = length,
                                  .bytes = bytes_of,
                                  .read_rows = read_rows,
                                  .score = score,
                                  .accumulate = accumulate};
LHK_TEST_METHOD(lhk_test_store, LHK_ROLE_STORE, "plain", life, ops);
