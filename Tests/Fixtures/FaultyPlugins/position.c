// SPDX-License-Identifier: Apache-2.0
/// Position methods: channel 0 gets the position added, the last two channels change places.
#include "faulty.h"

#define FAULTS(X)                                                        \
    X(none, "sound")                                                     \
    X(off_by_one, "off-by-one")           /* the first token sits at first + 1 */ \
    X(in_place, "in-place")               /* reads x after it wrote out */ \
    X(gap, "gap")                         /* writes behind each row */   \
    X(workers, "workers")                 /* rounds differently for many workers */ \
    X(strides, "strides")                 /* takes x to be contiguous */ \
    X(nan_to_zero, "nan-to-zero")         /* loses NaN */                \
    X(second_call, "second-call")         /* counts positions from 0 when few tokens come */ \
    X(writes_x, "writes-input")           /* changes x */                \
    X(precision, "precision")             /* off by 1 part in 100,000 */
enum {
#define NUMBER(name, word) FAULT_##name,
    FAULTS(NUMBER)
};

struct lhk_instance {
    uint32_t fault, dim;
};

static lhk_status supports(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa, lhk_error *error) {
    (void)self, (void)isa;
    return lhk_options_known(problem, "position", NULL, 0, error);
}

static lhk_status sizes(const lhk_variant *self, const lhk_problem *problem, uint32_t workers, lhk_sizes *out,
                        lhk_error *error) {
    (void)self, (void)problem, (void)workers, (void)error;
    out->state_bytes = sizeof(lhk_instance);
    return LHK_OK;
}

static lhk_status create(const lhk_variant *self, const lhk_problem *problem, lhk_instance *state, uint64_t bytes,
                         lhk_error *error) {
    (void)bytes, (void)error;
    *state = (lhk_instance){faulty_number(self), problem->head_dim_k};
    return LHK_OK;
}

/// Channel that channel c takes its value from.
static int64_t source(int64_t c, int64_t dim) { return dim < 2 || c < dim - 2 ? c : c == dim - 1 ? dim - 2 : dim - 1; }

static float moved(float x, int64_t c, int64_t position, uint32_t fault, bool many) {
    if (c == 0) x += (float)position;
    if (fault == FAULT_nan_to_zero && isnan(x)) x = 0;
    if (fault == FAULT_precision) x *= 1.00001f;
    if (fault == FAULT_workers && many) x *= 1 + 0x1p-23f;
    return x;
}

static lhk_status apply(const lhk_instance *position, const lhk_host *host, const lhk_tensor *x, int64_t first,
                        const lhk_tensor *out, lhk_error *error) {
    (void)error;
    int64_t dim = x->shape[2], heads = x->shape[1];
    uint32_t fault = position->fault;
    if (fault == FAULT_off_by_one) first++;
    if (fault == FAULT_second_call && x->shape[0] < 4) first = 0;
    for (int64_t i = 0; i < x->shape[0]; i++)
        for (int64_t h = 0; h < heads; h++) {
            const void *from = lhk_row(x, i, h);
            if (fault == FAULT_strides) from = (const uint8_t *)x->data + (size_t)((i * heads + h) * dim) * lhk_dtype_size(x->dtype);
            float row[4096], *to = lhk_row(out, i, h);
            for (int64_t c = 0; c < dim; c++) row[c] = lhk_load_element(from, x->dtype, c);
            for (int64_t c = 0; c < dim; c++) {
                float value = fault == FAULT_in_place ? lhk_load_element(from, x->dtype, source(c, dim)) : row[source(c, dim)];
                to[c] = moved(value, c, first + i, fault, host->workers > 1);
            }
            if (fault == FAULT_gap) to[dim] = 0;
            if (fault == FAULT_writes_x) lhk_store_element(lhk_row(x, i, h), x->dtype, 0, 1);
        }
    return LHK_OK;
}

static lhk_status formula(const lhk_problem *problem, const lhk_tensor *x, int64_t first, double *out, lhk_error *error) {
    (void)problem, (void)error;
    int64_t dim = x->shape[2];
    for (int64_t i = 0; i < x->shape[0]; i++)
        for (int64_t h = 0; h < x->shape[1]; h++)
            for (int64_t c = 0; c < dim; c++)
                *out++ = (double)lhk_load_element(lhk_row(x, i, h), x->dtype, source(c, dim)) + (c == 0 ? (double)(first + i) : 0);
    return LHK_OK;
}

static const lhk_position_reference position_reference = {.struct_size = sizeof position_reference, .apply = formula};
static const lhk_reference reference = {.struct_size = sizeof reference, .formula = &position_reference};
static const lhk_life_ops life = {.struct_size = sizeof life, .supports = supports, .cost = faulty_cost, .sizes = sizes, .create = create};
static const lhk_position_ops ops = {.struct_size = sizeof ops, .apply = apply};

#define METHOD(name, word) \
    FAULTY_METHOD(method_##name, "position", LHK_ROLE_POSITION, word, FAULT_##name, LHK_ISA_SCALAR, LHK_EXACT, life, ops, &reference)
#define ADDRESS(name, word) &method_##name,
FAULTS(METHOD)
static const lhk_method *const methods[] = {FAULTS(ADDRESS)};
FAULTY_PLUGIN("position", methods);
