// SPDX-License-Identifier: Apache-2.0
/// The rotation of 8-bit keys and their queries by its definition, in double precision.
#include <lhk/hadamard.h>

#include "fuzz_case.h"

void fuzz_rotate(const float *x, int64_t dim, uint32_t rotation, double *work, float *out) {
    for (int64_t c = 0; c < dim; c++) {
        bool negative = rotation && lhk_hadamard_signs[c / 32] >> (c % 32) & 1;
        work[c] = negative ? -(double)x[c] : (double)x[c];
    }
    for (int64_t base = 0, size; rotation && base < dim; base += size) {
        for (size = 1; 2 * size <= dim - base; size *= 2) {}
        for (int64_t stride = 1; stride < size; stride *= 2)
            for (int64_t i = base; i < base + size; i++) {
                if ((i - base) & stride) continue;
                double a = work[i], b = work[i + stride];
                work[i] = (a + b) / sqrt(2.0);
                work[i + stride] = (a - b) / sqrt(2.0);
            }
    }
    for (int64_t c = 0; c < dim; c++) out[c] = (float)work[c];
}
