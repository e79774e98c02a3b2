// SPDX-License-Identifier: Apache-2.0
#include <longhand_layers.h>
#include <longhand_linear.h>

#include "driver.h"

enum { ROWS = 37, INPUTS = 512, M = 11 };

/// Random blocks of a type with f16 scales of 0.01 to 0.03 at their places.
static void fill_rows(int32_t type, uint64_t *seed, uint8_t *source, size_t row_bytes) {
    const size_t elements = type >= 12 ? 256 : 32, block = row_bytes / (INPUTS / elements);
    const bool has_min = type == 3 || type == 7 || type == 12 || type == 13;
    for (size_t i = 0; i < ROWS * row_bytes; i++) source[i] = (uint8_t)(int)(128 + 127.9f * driver_random(seed));
    for (size_t at = 0; at < ROWS * row_bytes; at += block)
        for (size_t place = 0; place < (has_min ? 2 : 1); place++) {
            const uint16_t bits = lhk_f32_to_f16(0.02f + 0.01f * driver_random(seed));
            memcpy(source + at + (type == 14 ? 208 : 2 * place), &bits, 2);
        }
}

/// The sum over the rounded inputs in f64, and what f32 sums may be off by.
static double rounded_product(const float *x, const float *w, float limit, double *allowed) {
    double sum = 0, size = 0;
    for (size_t b = 0; b < INPUTS; b += 32) {
        float most = 0, largest = 0;
        for (size_t c = b; c < b + 32; c++) {
            if (fabsf(x[c]) > most) most = fabsf(x[c]);
            if (fabsf(w[c]) > largest) largest = fabsf(w[c]);
        }
        const float scale = most / limit, inverse = limit / most;
        for (size_t c = b; c < b + 32; c++) {
            const double code = rint((double)(x[c] * inverse));
            sum += (double)scale * code * w[c];
            size += 4 * (double)scale * fabs(code) * largest;
        }
    }
    *allowed = size * 0x1p-24;
    return sum;
}

static double check_type(const driver_level *level, int32_t type, uint64_t *seed, size_t m) {
    static uint8_t source[ROWS * INPUTS * 2];
    static float w[ROWS * INPUTS], x[M * INPUTS], y[M * ROWS];
    const lhk_host host = {.struct_size = sizeof host, .workers = 1, .isa = level->isa};
    size_t row_bytes, packed_bytes, workspace_bytes;
    double worst = NAN;
    if (lhk_layer_row_bytes(type, INPUTS, &row_bytes, NULL) || lhk_packed_bytes(type, ROWS, INPUTS, &packed_bytes, NULL) ||
        lhk_packed_workspace(m, INPUTS, &workspace_bytes, NULL))
        return worst;
    fill_rows(type, seed, source, row_bytes);
    driver_fill(seed, x, M * INPUTS);
    void *packed = malloc(packed_bytes), *lent = aligned_alloc(LHK_ALIGNMENT, workspace_bytes);
    const lhk_packed_rows rows = {type, ROWS, packed};
    const lhk_packed_call call = {.parts = &rows, .part_count = 1, .m = m, .k = INPUTS, .x = x, .ldx = INPUTS, .y = y, .ldy = ROWS};
    const lhk_workspace workspace = {lent, workspace_bytes};
    if (packed && lent && !lhk_layer_dequantize(0, type, source, w, ROWS * INPUTS, NULL) &&
        !lhk_run_pack(&host, type, ROWS, INPUTS, source, packed, NULL) && !lhk_run_linear_packed(&host, &call, &workspace, NULL)) {
        worst = 0;
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < ROWS; j++) {
                double allowed;
                const double want = rounded_product(x + i * INPUTS, w + j * INPUTS,
                                                    m <= LHK_PACKED_FINE_ROWS ? 16319.0f : 127.0f, &allowed);
                const double share = fabs(y[i * ROWS + j] - want) / allowed;
                if (!(share <= worst)) worst = share;
            }
    }
    free(packed);
    free(lent);
    return worst;
}

void driver_check_linear(const driver_level *level, uint64_t seed) {
    static const int32_t types[] = {2, 3, 6, 7, 8, 12, 13, 14};
    double worst = 0;
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++)
        for (size_t m = 1; m <= M; m += 5) {
            const double share = check_type(level, types[t], &seed, m);
            if (!(share <= worst)) worst = share;
        }
    driver_result(worst <= 1, "%s: linear layers on packed weights, error %.2f of what is allowed", level->name, worst);
}
