// SPDX-License-Identifier: Apache-2.0
/// The reference: the formula as it stands, in double precision with the C library's sin and cos.
#include "lhk_rope_internal.h"

static void lhk_rope_reference_head(const lhk_rope_table *table, const void *x, lhk_dtype dtype, int64_t head_dim,
                                    double position, double *out) {
    const int64_t dims = table->dims, pairs = dims / 2;
    for (int64_t t = 0; t < pairs; t++) {
        int64_t first = table->interleaved ? 2 * t : t, second = table->interleaved ? 2 * t + 1 : t + pairs;
        double a = lhk_load_element(x, dtype, first), b = lhk_load_element(x, dtype, second);
        double angle = position * table->frequencies[t];
        out[first] = table->magnitude * (a * cos(angle) - b * sin(angle));
        out[second] = table->magnitude * (b * cos(angle) + a * sin(angle));
    }
    for (int64_t i = dims; i < head_dim; i++) out[i] = lhk_load_element(x, dtype, i);
}

lhk_status lhk_rope_reference(const lhk_rope_table *table, const lhk_tensor *x, int64_t first, double *out,
                              lhk_error *error) {
    lhk_status status = lhk_rope_check(table, x, first, NULL, error);
    if (status) return status;
    for (int64_t i = 0; i < x->shape[0]; i++)
        for (int64_t h = 0; h < x->shape[1]; h++)
            lhk_rope_reference_head(table, lhk_row(x, i, h), x->dtype, x->shape[2], (double)(first + i),
                                    out + (i * x->shape[1] + h) * x->shape[2]);
    return LHK_OK;
}
