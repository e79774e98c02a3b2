// SPDX-License-Identifier: Apache-2.0
/// Stores of rows: whole in f32, or as 8-bit integers with one scale per row, whose scores round queries to 8 bits too.
#include "faulty.h"

#define FAULTS(X)                                                                                            \
    X(none, "sound", LHK_EXACT)                                                                              \
    X(q8, "sound-q8", LHK_BOUNDED)                                                                           \
    X(truncate, "truncate", LHK_EXACT)            /* forgets nothing */                                      \
    X(overfull, "overfull", LHK_EXACT)            /* takes one row more than it has room for */              \
    X(half_append, "half-append", LHK_EXACT)      /* keeps part of what does not fit */                      \
    X(read_begin, "read-begin", LHK_EXACT)        /* reads from token 0 whatever was asked */                \
    X(read_range, "read-range", LHK_EXACT)        /* reads past the length */                                \
    X(list, "list", LHK_EXACT)                    /* scores a range where a list was given */                \
    X(zero_weight, "zero-weight", LHK_EXACT)      /* multiplies values by zero instead of passing over them */ \
    X(overwrite, "overwrite", LHK_EXACT)          /* writes the sum instead of adding it */                  \
    X(stride, "stride", LHK_EXACT)                /* writes scores without their stride */                   \
    X(fork, "fork", LHK_EXACT)                    /* its copy has zeros for the last token */                \
    X(load_short, "load-short", LHK_EXACT)        /* takes bytes that are cut short */                       \
    X(load_dirty, "load-dirty", LHK_EXACT)        /* refuses bytes after it took some */                     \
    X(save_long, "save-long", LHK_EXACT)          /* writes a byte more than it said */                      \
    X(negative_zero, "negative-zero", LHK_EXACT)  /* loses the sign of zero */                               \
    X(workers, "workers", LHK_EXACT)              /* rounds differently for many workers */                  \
    X(units, "units", LHK_EXACT)                  /* counts elements for bytes */                            \
    X(pointer, "pointer", LHK_EXACT)              /* keeps a pointer into itself */                          \
    X(heads, "heads", LHK_EXACT)                  /* reads the rows of the next head */                      \
    X(sum, "sum", LHK_EXACT)                      /* leaves the last channel out of scores */                \
    X(q8_zero, "q8-zero", LHK_BOUNDED)            /* divides by a scale of zero */                           \
    X(q8_heads, "q8-heads", LHK_BOUNDED)          /* writes a row's codes one head further */                \
    X(q8_scale, "q8-scale", LHK_BOUNDED)          /* scores with the scale of the token before */            \
    X(q8_pieces, "q8-pieces", LHK_BOUNDED)        /* codes depend on how many rows came together */
enum {
#define NUMBER(name, word, class) FAULT_##name,
    FAULTS(NUMBER)
};

struct lhk_instance {
    uint32_t fault, heads, dim[2], quantised, reserved;
    int64_t length, capacity;
    const lhk_instance *self;
    uint8_t rows[];  // of a token: for each head the key, then the value, as `width` says
};

static bool is_quantised(uint32_t fault) { return fault == FAULT_q8 || fault >= FAULT_q8_zero; }

/// Bytes of one row of one side: f32, or a scale and codes.
static size_t width(const lhk_instance *s, int side) {
    return s->quantised ? 4 + (size_t)lhk_round_up(s->dim[side], 4) : 4 * (size_t)s->dim[side];
}
static size_t head_bytes(const lhk_instance *s) { return width(s, 0) + width(s, 1); }
static size_t token_bytes(const lhk_instance *s) { return s->heads * head_bytes(s); }
static const uint8_t *row_of(const lhk_instance *s, int64_t token, uint32_t head, int side) {
    if (s->fault == FAULT_pointer) s = s->self;
    return s->rows + (size_t)token * token_bytes(s) + head * head_bytes(s) + (side ? width(s, 0) : 0);
}

static float scale_of(const uint8_t *row) {
    float scale;
    memcpy(&scale, row, 4);
    return scale;
}

static void encode(const lhk_instance *s, const float *x, int side, int64_t rows, uint8_t *row) {
    int64_t dim = s->dim[side];
    if (!s->quantised) {
        memcpy(row, x, 4 * (size_t)dim);
        return;
    }
    float largest = 0;
    for (int64_t c = 0; c < dim; c++) largest = fmaxf(largest, fabsf(x[c]));
    float scale = largest / 127 * (s->fault == FAULT_q8_pieces && rows > 1 ? 1.01f : 1);
    memcpy(row, &scale, 4);
    for (int64_t c = 0; c < dim; c++) {
        float code = scale == 0 && s->fault != FAULT_q8_zero ? 0 : x[c] / scale;
        ((int8_t *)row)[4 + c] = isnan(code) ? -128 : (int8_t)lrintf(fmaxf(-127, fminf(127, code)));
    }
}

static float decode(const lhk_instance *s, const uint8_t *row, int64_t c) {
    if (!s->quantised) return lhk_load_element(row, LHK_DTYPE_F32, c);
    int8_t code = ((const int8_t *)row)[4 + c];
    return code == -128 ? NAN : (float)code * scale_of(row);
}

// ---- life ----

static lhk_status supports(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa, lhk_error *error) {
    (void)self, (void)isa;
    if (problem->head_dim_k > 1024 || problem->head_dim_v > 1024)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, 1, "head dimensions over 1024");
    return lhk_options_known(problem, "store", NULL, 0, error);
}

static lhk_instance shape(const lhk_variant *self, const lhk_problem *problem) {
    uint32_t fault = faulty_number(self);
    return (lhk_instance){.fault = fault, .heads = problem->kv_heads, .dim = {problem->head_dim_k, problem->head_dim_v},
                          .quantised = is_quantised(fault), .capacity = problem->keys};
}

static lhk_status sizes(const lhk_variant *self, const lhk_problem *problem, uint32_t workers, lhk_sizes *out,
                        lhk_error *error) {
    (void)workers;
    lhk_instance s = shape(self, problem);
    uint64_t bytes;
    if (!lhk_multiply(token_bytes(&s), (uint64_t)problem->keys, &bytes) || bytes > INT64_MAX / 2)
        return lhk_fail(error, LHK_ERROR_OVERFLOW, 1, "too many tokens");
    out->state_bytes = sizeof s + bytes;
    return LHK_OK;
}

static lhk_status create(const lhk_variant *self, const lhk_problem *problem, lhk_instance *state, uint64_t bytes,
                         lhk_error *error) {
    (void)bytes, (void)error;
    lhk_instance s = shape(self, problem);
    s.self = state;
    memcpy(state, &s, sizeof s);
    return LHK_OK;
}

static lhk_status forget(lhk_instance *s, int64_t tokens, lhk_error *error) {
    if (tokens < 0 || tokens > s->length) return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "holds fewer tokens");
    if (s->fault != FAULT_truncate) s->length = tokens;
    return LHK_OK;
}

static lhk_status fork_store(const lhk_instance *from, lhk_instance *to, lhk_error *error) {
    (void)error;
    memcpy(to->rows, from->rows, (size_t)from->length * token_bytes(from));
    to->length = from->length;
    if (from->fault == FAULT_fork && to->length)
        memset(to->rows + (size_t)(to->length - 1) * token_bytes(to), 0, token_bytes(to));
    return LHK_OK;
}

static uint64_t save_size(const lhk_instance *s) { return 8 + (uint64_t)s->length * token_bytes(s); }

static void save(const lhk_instance *s, uint8_t *out) {
    memcpy(out, &s->length, 8);
    memcpy(out + 8, s->rows, (size_t)s->length * token_bytes(s));
    if (s->fault == FAULT_save_long) out[save_size(s)] = 0;
}

static lhk_status load(lhk_instance *s, const uint8_t *bytes, uint64_t count, lhk_error *error) {
    int64_t length = -1;
    if (count >= 8) memcpy(&length, bytes, 8);
    if (s->fault == FAULT_load_dirty && length >= 0 && length <= s->capacity) s->length = length;
    uint64_t given = count >= 8 ? count - 8 : 0;
    bool fits = length >= 0 && length <= s->capacity && given == (uint64_t)length * token_bytes(s);
    if (s->fault == FAULT_load_short && length >= 0 && length <= s->capacity) fits = given <= (uint64_t)length * token_bytes(s);
    if (!fits) return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "impossible number of tokens");
    memcpy(s->rows, bytes + 8, (size_t)given);
    s->length = length;
    return LHK_OK;
}

// ---- operations ----

static void append_rows(lhk_instance *s, const lhk_tensor *t, int side, bool many) {
    float x[1024];
    for (int64_t i = 0; i < t->shape[0]; i++)
        for (uint32_t h = 0; h < s->heads; h++) {
            for (int64_t c = 0; c < s->dim[side]; c++) {
                x[c] = lhk_load_element(lhk_row(t, i, h), t->dtype, c);
                if (s->fault == FAULT_negative_zero && x[c] == 0) x[c] = 0;
                if (s->fault == FAULT_workers && many) x[c] *= 1 + 0x1p-23f;
            }
            uint32_t to = s->fault == FAULT_q8_heads && s->heads > 1 ? (h + 1) % s->heads : h;
            encode(s, x, side, t->shape[0], (uint8_t *)row_of(s, s->length + i, to, side));
        }
}

static lhk_status append(lhk_instance *s, const lhk_host *host, const lhk_tensor *k, const lhk_tensor *v, lhk_error *error) {
    int64_t room = s->capacity - s->length + (s->fault == FAULT_overfull);
    if (k->shape[0] > room) {
        if (s->fault == FAULT_half_append) s->length = s->capacity;
        return lhk_fail(error, LHK_ERROR_CAPACITY, 2, "full");
    }
    append_rows(s, k, 0, host->workers > 1);
    append_rows(s, v, 1, host->workers > 1);
    s->length += k->shape[0];
    return LHK_OK;
}

static int64_t length_of(const lhk_instance *s) { return s->length; }

static void bytes_of(const lhk_instance *s, lhk_store_bytes *out) {
    uint64_t unit = s->fault == FAULT_units ? 4 : 1;
    out->in_use = token_bytes(s) * (uint64_t)s->length / unit;
    out->capacity = token_bytes(s) * (uint64_t)s->capacity / unit;
    out->bits_per_token = 8.0 * (double)token_bytes(s);
}

static lhk_status read_rows(const lhk_instance *s, uint32_t head, int64_t begin, int64_t count, float *k, float *v,
                            lhk_error *error) {
    if (s->fault != FAULT_read_range && (begin < 0 || count < 0 || begin + count > s->length))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 2, "tokens past the length");
    if (s->fault == FAULT_read_begin) begin = 0;
    if (s->fault == FAULT_heads) head = (head + 1) % s->heads;
    for (int64_t i = 0; i < count; i++)
        for (int side = 0; side < 2; side++)
            for (int64_t c = 0; c < s->dim[side] && (side ? v : k); c++)
                (side ? v : k)[i * s->dim[side] + c] = decode(s, row_of(s, begin + i, head, side), c);
    return LHK_OK;
}

static int64_t token_of(const lhk_instance *s, const lhk_keys *keys, int64_t j) {
    return keys->tokens ? s->fault == FAULT_list ? keys->tokens[0] + j : keys->tokens[j] : keys->begin + j;
}

/// The product with a quantised key: the query in 8 bits too, the sum in integers.
static float integer_score(const lhk_instance *s, const float *q, int64_t token, uint32_t head) {
    const uint8_t *row = row_of(s, token, head, 0);
    float largest = 0;
    int32_t sum = 0;
    for (int64_t c = 0; c < s->dim[0]; c++) largest = fmaxf(largest, fabsf(q[c]));
    if (!(largest > 0)) return largest;
    for (int64_t c = 0; c < s->dim[0]; c++) sum += (int32_t)lrintf(q[c] / largest * 127) * ((const int8_t *)row)[4 + c];
    if (s->fault == FAULT_q8_scale && token > 0) row = row_of(s, token - 1, head, 0);
    return (float)sum * (largest / 127) * scale_of(row);
}

static void score(const lhk_instance *s, uint32_t head, const float *q, int64_t ldq, int32_t rows, const lhk_keys *keys,
                  float *scores, int64_t lds) {
    if (s->fault == FAULT_stride) lds = keys->count;
    for (int32_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < keys->count; j++) {
            int64_t token = token_of(s, keys, j);
            double sum = 0;
            bool finite = true;
            for (int64_t c = 0; c < s->dim[0]; c++) finite &= isfinite(q[r * ldq + c]) != 0;
            for (int64_t c = 0; c < s->dim[0] - (s->fault == FAULT_sum); c++)
                sum += (double)q[r * ldq + c] * (double)decode(s, row_of(s, token, head, 0), c);
            scores[r * lds + j] = s->quantised && finite ? integer_score(s, q + r * ldq, token, head) : (float)sum;
        }
}

static void accumulate(const lhk_instance *s, uint32_t head, const float *p, int64_t ldp, int32_t rows, const lhk_keys *keys,
                       float *out, int64_t ldo) {
    for (int32_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < s->dim[1]; c++) {
            double sum = s->fault == FAULT_overwrite ? 0 : (double)out[r * ldo + c];
            for (int64_t j = 0; j < keys->count; j++)
                if (p[r * ldp + j] != 0 || s->fault == FAULT_zero_weight)
                    sum += (double)p[r * ldp + j] * (double)decode(s, row_of(s, token_of(s, keys, j), head, 1), c);
            out[r * ldo + c] = (float)sum;
        }
}

static const lhk_life_ops life = {.struct_size = sizeof life, .supports = supports, .cost = faulty_cost, .sizes = sizes,
                                  .create = create, .truncate = forget, .fork = fork_store, .save_size = save_size,
                                  .save = save, .load = load};
static const lhk_store_ops ops = {.struct_size = sizeof ops, .append = append, .length = length_of, .bytes = bytes_of,
                                  .read_rows = read_rows, .score = score, .accumulate = accumulate};

#define METHOD(name, word, class) \
    FAULTY_METHOD(method_##name, "store", LHK_ROLE_STORE, word, FAULT_##name, LHK_ISA_SCALAR, class, life, ops, NULL)
#define ADDRESS(name, word, class) &method_##name,
FAULTS(METHOD)
static const lhk_method *const methods[] = {FAULTS(ADDRESS)};
FAULTY_PLUGIN("store", methods);
