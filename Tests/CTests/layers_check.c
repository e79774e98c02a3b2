// SPDX-License-Identifier: Apache-2.0
#include <longhand_layers.h>

#include "driver.h"

enum { MOST = 1000 };

/// Keeps the largest |got - want| / allowed; a NaN stays.
static void compare(double *worst, double got, double want, double allowed) {
    double share = fabs(got - want) / allowed;
    if (!(share <= *worst)) *worst = share;
}

static uint32_t read_word(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }

/// All records of the file (its format: generate_golden.py of the tests of the layers), bit for bit.
static void check_dequantize(const driver_level *level, const char *golden) {
    static uint8_t file[1 << 18];
    FILE *from = fopen(golden, "rb");
    size_t size = from ? fread(file, 1, sizeof file, from) : 0;
    if (from) fclose(from);
    int records = 0, wrong = 0;
    for (size_t at = 0; at + 12 <= size; records++) {
        int32_t type = (int32_t)read_word(file + at);
        size_t count = read_word(file + at + 4), bytes = read_word(file + at + 8);
        const uint8_t *source = file + at + 12, *expected = source + bytes;
        at = (size_t)(expected - file) + 4 * count;
        float *out = at <= size ? malloc(count * sizeof *out) : NULL;
        bool same = out && !lhk_layer_dequantize(level->isa, type, source, out, count, NULL);
        for (size_t i = 0; same && i < count; i++) {
            uint32_t bits;
            memcpy(&bits, out + i, 4);
            same = bits == read_word(expected + 4 * i) || (isnan(out[i]) && (read_word(expected + 4 * i) & 0x7fffffffu) > 0x7f800000u);
        }
        wrong += !same;
        free(out);
    }
    driver_result(records == 11 && !wrong, "%s: %d of %d formats are dequantised as expected", level->name, records - wrong, records);
}

static void check_elementwise(const driver_level *level, uint64_t seed) {
    static float x[MOST], y[MOST], w[MOST], out[MOST];
    double worst = 0;
    for (int64_t n = 1; n <= MOST; n = n * 3 + 1) {
        driver_fill(&seed, x, n);
        driver_fill(&seed, y, n);
        driver_fill(&seed, w, n);
        for (int64_t i = 0; i < n; i++) x[i] *= 20;
        lhk_layer_exp(level->isa, x, out, (size_t)n);
        for (int64_t i = 0; i < n; i++) compare(&worst, out[i], exp(x[i]), 2e-7 * exp(x[i]));
        lhk_layer_silu_mul(level->isa, x, y, out, (size_t)n);
        for (int64_t i = 0; i < n; i++) {
            double want = x[i] / (1 + exp(-(double)x[i])) * y[i];
            compare(&worst, out[i], want, 1e-6 * fabs(want) + 1e-30);
        }
        lhk_layer_gelu_tanh_mul(level->isa, x, y, out, (size_t)n);
        for (int64_t i = 0; i < n; i++) {  // off in proportion to the exponent, which is rounded before exp
            double u = 2 * 0.7978845608028654 * (x[i] + 0.044715 * pow(x[i], 3)), want = x[i] / (1 + exp(-u)) * y[i];
            compare(&worst, out[i], want, (1e-6 + 4e-7 * fabs(u)) * fabs(want) + 1e-30);
        }
        lhk_layer_rms_norm(level->isa, x, (size_t)n, w, 1e-5f, out, (size_t)n, 1, (size_t)n);
        double squares = 0;
        for (int64_t i = 0; i < n; i++) squares += (double)x[i] * x[i];
        for (int64_t i = 0; i < n; i++) {
            double want = x[i] / sqrt(squares / (double)n + 1e-5) * w[i];
            compare(&worst, out[i], want, 4e-6 * fabs(want) + 1e-30);
        }
        lhk_layer_logit_stats stats;
        double sum = 0;
        int64_t top = 0;
        lhk_layer_logit_statistics(level->isa, x, (size_t)n, &stats, NULL);
        for (int64_t i = 0; i < n; i++) {
            sum += exp(x[i]);
            if (x[i] > x[top]) top = i;
        }
        compare(&worst, stats.log_sum_exp, log(sum), 1e-6);
        compare(&worst, (double)stats.argmax, (double)top, 0.5);
    }
    driver_result(worst <= 1, "%s: gates, norm, exp and logits are the formulas', error %.2f of what is allowed", level->name, worst);
}

/// Few rows, which need no BLAS.
static void check_linear(const driver_level *level, uint64_t seed) {
    static float x[8 * 203], w[37 * 203], y[8 * 37];
    double worst = 0;
    for (size_t m = 1; m <= 8; m++) {
        const lhk_linear_shape shape = {.m = m, .n = 37, .k = 197 + m % 7, .ldx = 203, .ldy = 37};
        driver_fill(&seed, x, 8 * 203);
        driver_fill(&seed, w, 37 * 203);
        lhk_error error = {.struct_size = sizeof error};
        if (lhk_linear_f32(level->isa, &shape, x, w, y, 0, lhk_linear_parts(&shape), &error)) worst = NAN;
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < 37; j++) {
                double want = 0, size = 0;
                for (size_t c = 0; c < shape.k; c++) {
                    double product = (double)x[i * 203 + c] * w[j * shape.k + c];
                    want += product;
                    size += fabs(product);
                }
                compare(&worst, y[i * 37 + j], want, 0x1p-24 * 16 * size);
            }
    }
    driver_result(worst <= 1, "%s: linear layers of few rows, error %.2f of what is allowed", level->name, worst);
}

void driver_check_layers(const driver_level *level, uint64_t seed, const char *golden) {
    check_dequantize(level, golden);
    check_elementwise(level, seed);
    check_linear(level, seed);
}
