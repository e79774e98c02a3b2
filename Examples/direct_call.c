// SPDX-License-Identifier: Apache-2.0
/// Calls one attention kernel directly on row-major arrays: no registry, no plugins, no global state.
///
/// The last ROWS tokens of a sequence of KEYS tokens attend causally to all of it, QUERY_HEADS query heads sharing
/// KV_HEADS key and value heads. The result is compared with the formula written as plain loops.
#include <longhand/flash_attention.h>
#include <longhand/longhand.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 5, KEYS = 200, QUERY_HEADS = 4, KV_HEADS = 2, DIM = 64 };

/// A contiguous row-major view [rows][heads][dim] of floats; it does not own `data`.
static lhk_tensor view(float *data, int64_t rows, int64_t heads, int64_t dim) {
    return (lhk_tensor){.data = data,
                        .dtype = LHK_DTYPE_F32,
                        .rank = 3,
                        .shape = {rows, heads, dim},
                        .stride = {heads * dim, dim, 1}};
}

/// Fills an array with numbers in [-1, 1) that are the same on every machine.
static void fill(float *data, size_t count, uint32_t seed) {
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        data[i] = (float)(seed >> 8) / 8388608.0f - 1.0f;
    }
}

/// One output row by the formula: softmax(q.k / sqrt(DIM)) over the first `visible` keys, times the values.
static void attend_row(const float *q, const float *k, const float *v, int kv_head, int visible, double *out) {
    double weights[KEYS], largest = -INFINITY, sum = 0;
    for (int j = 0; j < visible; j++) {
        double dot = 0;
        for (int c = 0; c < DIM; c++) dot += (double)q[c] * k[(j * KV_HEADS + kv_head) * DIM + c];
        weights[j] = dot / sqrt((double)DIM);
        if (weights[j] > largest) largest = weights[j];
    }
    for (int j = 0; j < visible; j++) sum += weights[j] = exp(weights[j] - largest);
    for (int c = 0; c < DIM; c++) {
        out[c] = 0;
        for (int j = 0; j < visible; j++) out[c] += weights[j] / sum * v[(j * KV_HEADS + kv_head) * DIM + c];
    }
}

static double largest_difference(const float *q, const float *k, const float *v, const float *out) {
    double worst = 0;
    for (int i = 0; i < ROWS; i++) {
        for (int head = 0; head < QUERY_HEADS; head++) {
            const int row = i * QUERY_HEADS + head;
            double expected[DIM];
            attend_row(q + row * DIM, k, v, head / (QUERY_HEADS / KV_HEADS), KEYS - ROWS + i + 1, expected);
            for (int c = 0; c < DIM; c++) {
                const double difference = fabs(out[row * DIM + c] - expected[c]);
                if (!(difference <= worst)) worst = difference;  // keeps a NaN
            }
        }
    }
    return worst;
}

static int fail(const char *what, const lhk_error *error) {
    fprintf(stderr, "%s: %s\n", what, error->text);
    return 1;
}

int main(void) {
    static float q[ROWS * QUERY_HEADS * DIM], k[KEYS * KV_HEADS * DIM], v[KEYS * KV_HEADS * DIM];
    static float out[ROWS * QUERY_HEADS * DIM];
    fill(q, sizeof q / sizeof *q, 1);
    fill(k, sizeof k / sizeof *k, 2);
    fill(v, sizeof v / sizeof *v, 3);

    lhk_error error = {.struct_size = sizeof error};
    lhk_host host = {.struct_size = sizeof host};
    if (lhk_host_openmp(0, &host, &error)) return fail("host", &error);  // 0: as many workers as there are processors

    const lhk_attention_params causal = {.struct_size = sizeof causal,
                                         .flags = LHK_ATTENTION_CAUSAL,
                                         .window_left = -1,
                                         .window_right = -1};
    const lhk_flash_args args = {.struct_size = sizeof args,
                                 .path = LHK_FLASH_PATH_AUTO,
                                 .q = view(q, ROWS, QUERY_HEADS, DIM),
                                 .k = view(k, KEYS, KV_HEADS, DIM),
                                 .v = view(v, KEYS, KV_HEADS, DIM),
                                 .out = view(out, ROWS, QUERY_HEADS, DIM),
                                 .params = &causal};

    lhk_workspace workspace = {0};
    if (lhk_flash_attention_workspace(&args, &host, &workspace.bytes, &error)) return fail("workspace", &error);
    // aligned_alloc wants a multiple of the alignment
    const uint64_t rounded = (workspace.bytes + LHK_ALIGNMENT - 1) / LHK_ALIGNMENT * LHK_ALIGNMENT;
    if (rounded && !(workspace.data = aligned_alloc(LHK_ALIGNMENT, rounded))) return perror("workspace"), 1;
    if (lhk_flash_attention(&args, &host, &workspace, &error)) return fail("attention", &error);
    free(workspace.data);

    const double difference = largest_difference(q, k, v, out);
    printf("out[0][0][0] = %.6f, largest difference from the formula %.1e\n", out[0], difference);
    return difference <= 1e-5 ? 0 : 1;
}
