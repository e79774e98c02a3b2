// SPDX-License-Identifier: Apache-2.0
/// Direct calls of the steps, on codes of rows rather than blocks.
#include "lhk_adamas_index.h"

#define ROWS_PER_TASK 64

typedef struct encode_call {
    const lhk_tensor *x;
    const float *mean, *thresholds;
    uint64_t *codes;
    const lhk_adamas_kernel *kernel;
} encode_call;

static void encode_task(void *context, int64_t task, uint32_t worker) {
    (void)worker;
    const encode_call *call = context;
    int64_t dim = call->x->shape[2], words = lhk_adamas_words(dim);
    float y[LHK_ADAMAS_MOST_DIM + 16] __attribute__((aligned(64)));
    for (int64_t row = task * ROWS_PER_TASK; row < lhk_min((task + 1) * ROWS_PER_TASK, call->x->shape[0]); row++) {
        uint16_t high[LHK_ADAMAS_MOST_DIM / 16 + 3] = {0}, low[LHK_ADAMAS_MOST_DIM / 16 + 3] = {0};
        const void *from = lhk_row(call->x, row, 0);
        for (int64_t c = 0; c < dim; c++) y[c] = lhk_load_element(from, call->x->dtype, c);
        call->kernel->hadamard(y, dim);
        call->kernel->code(y, call->mean, dim, call->thresholds, NULL, high, low);
        memcpy(call->codes + row * 2 * words, high, (size_t)words * 8);
        memcpy(call->codes + (row * 2 + 1) * words, low, (size_t)words * 8);
    }
}

lhk_status lhk_adamas_encode(const lhk_tensor *x, const float *mean, const float *thresholds, uint64_t *codes,
                             const lhk_host *host, lhk_error *error) {
    if (x->rank != 3 || x->shape[2] < 1 || x->shape[2] > LHK_ADAMAS_MOST_DIM)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "adamas encode: x is not [rows][1][1 to %d]", LHK_ADAMAS_MOST_DIM);
    lhk_status status = lhk_check_rows(x, 1, x->shape[2], "adamas encode: x", 0, error);
    if (status) return status;
    if (!(thresholds[0] <= thresholds[1] && thresholds[1] <= thresholds[2]))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 2, "adamas encode: thresholds do not ascend");
    encode_call call = {x, mean, thresholds, codes, lhk_adamas_best_kernel(host->isa)};
    lhk_parallel_for(host, (x->shape[0] + ROWS_PER_TASK - 1) / ROWS_PER_TASK, encode_task, &call);
    return LHK_OK;
}

/// One block of rows at a time, brought into the layout of the index.
lhk_status lhk_adamas_distances(const uint64_t *query, const uint64_t *codes, int64_t rows, int64_t dim,
                                uint16_t *distances, const lhk_host *host, lhk_error *error) {
    if (rows < 0 || dim < 1 || dim > LHK_ADAMAS_MOST_DIM)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 3, "adamas distances: %lld rows of %lld channels", (long long)rows,
                        (long long)dim);
    const lhk_adamas_kernel *kernel = lhk_adamas_best_kernel(host->isa);
    int64_t words = lhk_adamas_words(dim);
    uint64_t planes[3 * LHK_ADAMAS_MOST_DIM / 64], block[2 * LHK_ADAMAS_MOST_DIM / 64 * LHK_ADAMAS_BLOCK];
    float scores[LHK_ADAMAS_BLOCK];
    for (int64_t w = 0; w < words; w++) {
        planes[w] = query[w] | query[words + w];
        planes[words + w] = query[w];
        planes[2 * words + w] = query[w] & query[words + w];
    }
    for (int64_t first = 0; first < rows; first += LHK_ADAMAS_BLOCK) {
        int64_t n = lhk_min(LHK_ADAMAS_BLOCK, rows - first);
        memset(block, 0, sizeof block);
        for (int64_t t = 0; t < n; t++)
            for (int64_t w = 0; w < 2 * words; w++) block[w * LHK_ADAMAS_BLOCK + t] = codes[(first + t) * 2 * words + w];
        lhk_adamas_scan scan = {.block = (const uint8_t *)block, .tokens = lhk_round_up(n, 16), .dim = dim, .rows = 1,
                                .planes = planes, .scores = scores, .lds = LHK_ADAMAS_BLOCK};
        kernel->distances(&scan);
        for (int64_t t = 0; t < n; t++) distances[first + t] = (uint16_t)-scores[t];
    }
    return LHK_OK;
}
