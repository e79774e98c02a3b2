// SPDX-License-Identifier: Apache-2.0
/// The kernels over many rows, spread over the workers of a host.
#include <longhand_layers.h>
#include <lhk/support.h>
#include <stdatomic.h>

/// Rows per task. Few enough to share small batches, many enough to outweigh claiming a task.
#define ROWS_PER_TASK 16

/// Keeps the first failure of a loop: which task reports does not matter, all fail for the same shape.
typedef struct failure {
    _Atomic int32_t status;
    atomic_flag reported;
    lhk_error *error;
} failure;

static void report(failure *f, lhk_status status, const lhk_error *error) {
    if (status == LHK_OK || atomic_flag_test_and_set(&f->reported)) return;
    atomic_store(&f->status, status);
    if (f->error) *f->error = *error;
}

typedef struct linear_job {
    const lhk_host *host;
    const lhk_linear_shape *shape;
    const float *x, *w;
    float *y;
    failure failure;
} linear_job;

static void linear_task(void *context, int64_t part, uint32_t worker) {
    (void)worker;
    linear_job *job = context;
    lhk_error error = {.struct_size = sizeof error};
    lhk_status status = lhk_linear_f32(job->host->isa, job->shape, job->x, job->w, job->y, (size_t)part,
                                       (size_t)part + 1, &error);
    report(&job->failure, status, &error);
}

lhk_status lhk_run_linear(const lhk_host *host, const lhk_linear_shape *shape, const float *x, const float *w, float *y,
                          lhk_error *error) {
    linear_job job = {.host = host, .shape = shape, .x = x, .w = w, .y = y, .failure = {.error = error}};
    lhk_parallel_for(host, (int64_t)lhk_linear_parts(shape), linear_task, &job);
    return atomic_load(&job.failure.status);
}

typedef struct rows_job {
    const lhk_host *host;
    const float *x, *w;
    float *out;
    size_t x_stride, out_stride, rows, cols, heads;
    float eps;
    uint32_t gate;
    const uint8_t *source;
    int32_t type;
    failure failure;
} rows_job;

static size_t rows_of_task(const rows_job *job, int64_t task, size_t *first) {
    *first = (size_t)task * ROWS_PER_TASK;
    return job->rows - *first < ROWS_PER_TASK ? job->rows - *first : ROWS_PER_TASK;
}

static int64_t row_tasks(size_t rows) { return (int64_t)((rows + ROWS_PER_TASK - 1) / ROWS_PER_TASK); }

static void norm_task(void *context, int64_t task, uint32_t worker) {
    (void)worker;
    const rows_job *job = context;
    size_t first, rows = rows_of_task(job, task, &first);
    lhk_layer_rms_norm(job->host->isa, job->x + first * job->x_stride, job->x_stride, job->w, job->eps,
                       job->out + first * job->out_stride, job->out_stride, rows, job->cols);
}

void lhk_run_rms_norm(const lhk_host *host, const float *x, size_t x_stride, const float *w, float eps, float *out,
                      size_t out_stride, size_t rows, size_t cols) {
    rows_job job = {.host = host, .x = x, .w = w, .out = out, .x_stride = x_stride, .out_stride = out_stride,
                    .rows = rows, .cols = cols, .eps = eps};
    lhk_parallel_for(host, row_tasks(rows), norm_task, &job);
}

static void head_norm_task(void *context, int64_t task, uint32_t worker) {
    (void)worker;
    const rows_job *job = context;
    size_t first, rows = rows_of_task(job, task, &first);
    for (size_t r = first; r < first + rows; r++) {
        float *row = job->out + r * job->out_stride;
        lhk_layer_rms_norm(job->host->isa, row, job->cols, job->w, job->eps, row, job->cols, job->heads, job->cols);
    }
}

void lhk_run_head_norm(const lhk_host *host, float *x, size_t stride, const float *w, float eps, size_t rows,
                       size_t heads, size_t dim) {
    rows_job job = {.host = host, .w = w, .out = x, .out_stride = stride, .rows = rows, .cols = dim, .heads = heads,
                    .eps = eps};
    lhk_parallel_for(host, row_tasks(rows), head_norm_task, &job);
}

static void add_task(void *context, int64_t task, uint32_t worker) {
    (void)worker;
    const rows_job *job = context;
    size_t first, rows = rows_of_task(job, task, &first), at = first * job->cols;
    lhk_layer_add(job->host->isa, job->x + at, job->w + at, job->out + at, rows * job->cols);
}

void lhk_run_add(const lhk_host *host, const float *a, const float *b, float *out, size_t rows, size_t cols) {
    rows_job job = {.host = host, .x = a, .w = b, .out = out, .rows = rows, .cols = cols};
    lhk_parallel_for(host, row_tasks(rows), add_task, &job);
}

static void gate_task(void *context, int64_t task, uint32_t worker) {
    (void)worker;
    const rows_job *job = context;
    size_t first, rows = rows_of_task(job, task, &first);
    for (size_t r = first; r < first + rows; r++) {
        const float *gate = job->x + r * 2 * job->cols, *up = gate + job->cols;
        if (job->gate == LHK_GATE_SILU)
            lhk_layer_silu_mul(job->host->isa, gate, up, job->out + r * job->cols, job->cols);
        else
            lhk_layer_gelu_tanh_mul(job->host->isa, gate, up, job->out + r * job->cols, job->cols);
    }
}

void lhk_run_gate(const lhk_host *host, uint32_t gate, const float *gate_up, float *out, size_t rows, size_t cols) {
    rows_job job = {.host = host, .x = gate_up, .out = out, .rows = rows, .cols = cols, .gate = gate};
    lhk_parallel_for(host, row_tasks(rows), gate_task, &job);
}

static void dequantize_task(void *context, int64_t task, uint32_t worker) {
    (void)worker;
    rows_job *job = context;
    lhk_error error = {.struct_size = sizeof error};
    size_t first, rows = rows_of_task(job, task, &first), row_bytes;
    lhk_status status = lhk_layer_row_bytes(job->type, job->cols, &row_bytes, &error);
    if (!status)
        status = lhk_layer_dequantize(job->host->isa, job->type, job->source + first * row_bytes,
                                      job->out + first * job->cols, rows * job->cols, &error);
    report(&job->failure, status, &error);
}

lhk_status lhk_run_dequantize(const lhk_host *host, int32_t type, const void *src, float *dst, size_t rows, size_t cols,
                              lhk_error *error) {
    rows_job job = {.host = host, .out = dst, .rows = rows, .cols = cols, .source = src, .type = type,
                    .failure = {.error = error}};
    lhk_parallel_for(host, row_tasks(rows), dequantize_task, &job);
    return atomic_load(&job.failure.status);
}

typedef struct compare_job {
    const lhk_host *host;
    const float *reference, *other;
    size_t cols;
    lhk_layer_comparison *out;
    failure failure;
} compare_job;

// A row is a whole vocabulary, enough for a task.
static void compare_task(void *context, int64_t row, uint32_t worker) {
    (void)worker;
    compare_job *job = context;
    lhk_error error = {.struct_size = sizeof error};
    const size_t at = (size_t)row * job->cols;
    lhk_status status = lhk_layer_compare_logits(job->host->isa, job->reference + at, job->other + at, job->cols,
                                                 job->out + row, &error);
    report(&job->failure, status, &error);
}

lhk_status lhk_run_compare_logits(const lhk_host *host, const float *reference, const float *other, size_t rows,
                                  size_t cols, lhk_layer_comparison *out, lhk_error *error) {
    compare_job job = {.host = host, .reference = reference, .other = other, .cols = cols, .out = out,
                       .failure = {.error = error}};
    lhk_parallel_for(host, (int64_t)rows, compare_task, &job);
    return atomic_load(&job.failure.status);
}
