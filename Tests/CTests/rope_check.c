// SPDX-License-Identifier: Apache-2.0
#include <longhand/rope.h>

#include "driver.h"

enum { TOKENS = 3, HEADS = 2, MOST_DIM = 160 };

/// One random rotation. Returns the largest error as a share of what is allowed, a NaN or more than 1 when it is wrong.
static double check_one(const driver_level *level, int number, uint64_t *state, lhk_error *error) {
    static const int64_t positions[] = {0, 1, 37, 8191, 1000000};
    static const uint32_t scalings[] = {LHK_SCALING_NONE, LHK_SCALING_LINEAR, LHK_SCALING_NTK, LHK_SCALING_YARN};
    static const lhk_dtype dtypes[] = {LHK_DTYPE_F32, LHK_DTYPE_BF16, LHK_DTYPE_F16};
    float values[TOKENS * HEADS * MOST_DIM], out[TOKENS * HEADS * MOST_DIM];
    uint16_t halves[TOKENS * HEADS * MOST_DIM];
    double expected[TOKENS * HEADS * MOST_DIM];
    uint32_t dims = 4 + 2 * (uint32_t)(fabsf(driver_random(state)) * 70), dim = dims + (uint32_t)(number % 3) * 5;
    int64_t first = positions[number % 5], count = TOKENS * HEADS * (int64_t)dim;
    const lhk_position_params params = {.struct_size = sizeof params, .dims = dims, .interleaved = number / 2 % 2,
                                        .scaling = scalings[number % 4], .base = 10000, .factor = 4, .original_context = 2048};
    lhk_rope_table table;
    if (lhk_rope_table_init(&params, dim, &table, error)) return NAN;
    driver_fill(state, values, count);
    lhk_tensor x = driver_view(values, TOKENS, HEADS, dim), to = driver_view(out, TOKENS, HEADS, dim);
    x.dtype = dtypes[number % 3];
    for (int64_t i = 0; x.dtype != LHK_DTYPE_F32 && i < count; i++) lhk_store_element(halves, x.dtype, i, values[i]);
    if (x.dtype != LHK_DTYPE_F32) x.data = halves;
    const lhk_host host = {.struct_size = sizeof host, .workers = 1, .isa = level->isa};
    if (lhk_rope_reference(&table, &x, first, expected, error) || lhk_rope_apply(&table, &host, &x, first, &to, error))
        return NAN;
    // A cosine, a product and a sum are rounded to float, each by half a unit; the angle is off by 4e-16 per position.
    double worst = 0, allowed = 2 * table.magnitude * (2.5 * 0x1p-24 + 2e-12 + 4e-16 * (double)(first + TOKENS));
    for (int64_t i = 0; i < count; i++) {
        double share = fabs(out[i] - expected[i]) / allowed;
        if (!(share <= worst)) worst = share;
    }
    return worst;
}

void driver_check_rope(const driver_level *level, uint64_t seed) {
    lhk_error error = {.struct_size = sizeof error};
    double worst = 0;
    for (int number = 0; number < 60 && worst <= 1; number++) {
        double share = check_one(level, number, &seed, &error);
        if (!(share <= worst)) worst = share;
    }
    driver_result(worst <= 1, "%s: 60 rotations are the reference's, error at most %.2f of what is allowed%s%s", level->name,
               worst, *error.text ? ": " : "", error.text);
}
