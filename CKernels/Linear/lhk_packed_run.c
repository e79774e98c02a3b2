// SPDX-License-Identifier: Apache-2.0
// Checks of a call, rounding of its rows, and the split among workers.
#include "lhk_packed_format.h"

enum {
    // Rows whose codes stay in the L2 cache while all panels of a task pass over them.
    TASK_ROWS = 512,
    QUANTIZE_ROWS = 16,
    // A few-row product is bound by reading weights: long runs, but enough of them to even out workers.
    FEW_ROWS_TASKS_PER_WORKER = 4,
};

static const lhk_packed_kernels *kernels_for(lhk_isa isa) {
#if defined(__x86_64__)
    if (isa & LHK_ISA_AVX512VNNI) return &lhk_packed_avx512vnni;
    if (isa & LHK_ISA_AVX2) return &lhk_packed_avx2;
#elif defined(__aarch64__)
    if ((isa & LHK_ISA_NEON_I8MM) && (isa & LHK_ISA_NEON_DOTPROD)) return &lhk_packed_neon_i8mm;
    if (isa & LHK_ISA_NEON_DOTPROD) return &lhk_packed_neon_dotprod;
#endif
    (void)isa;
    return &lhk_packed_scalar;
}

static lhk_activations activation_layout(size_t k, int32_t bits) {
    lhk_activations a = {.blocks = k / LHK_BLOCK, .fine = bits == 15};
    a.stride = (size_t)lhk_round_up((int64_t)(a.blocks * lhk_activation_bytes(a.fine)), LHK_ALIGNMENT);
    return a;
}

lhk_status lhk_packed_workspace(size_t m, size_t k, int32_t bits, size_t *bytes, lhk_error *error) {
    if (k > INT32_MAX || __builtin_mul_overflow(m, activation_layout(k, bits).stride, bytes))
        return lhk_fail(error, LHK_ERROR_OVERFLOW, k > INT32_MAX ? 1 : 0, "%zu rows of %zu inputs are too many", m, k);
    return LHK_OK;
}

static lhk_status check_call(const lhk_packed_call *c, const lhk_workspace *workspace, lhk_error *error) {
    size_t n = 0, needed = 0;
    const size_t sizes[] = {c->m, c->k, c->ldx, c->ldy, c->part_count};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i] > INT32_MAX) return lhk_fail(error, LHK_ERROR_OVERFLOW, 1, "a linear layer has a size of %zu", sizes[i]);
    for (size_t i = 0; i < c->part_count; i++) {
        const lhk_packed_format *f = lhk_packed_find(c->parts[i].type);
        if (!f) return lhk_fail(error, LHK_ERROR_UNSUPPORTED, 1, "tensor type %d is not packed", c->parts[i].type);
        if (c->k % f->source_block)
            return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "%zu inputs are not whole blocks of %zu", c->k, f->source_block);
        if (c->parts[i].n > INT32_MAX || n + c->parts[i].n > INT32_MAX)
            return lhk_fail(error, LHK_ERROR_OVERFLOW, 1, "a linear layer has a size of %zu", c->parts[i].n);
        n += c->parts[i].n;
    }
    if (c->bits != 8 && c->bits != 15)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "activations are rounded to 8 or 15 bits, not %d", c->bits);
    if (c->k % LHK_BLOCK) return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "%zu inputs are not whole blocks of 32", c->k);
    if (c->ldx < c->k || c->ldy < n)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "row strides %zu and %zu are shorter than rows of %zu and %zu", c->ldx,
                        c->ldy, c->k, n);
    lhk_status status = lhk_packed_workspace(c->m, c->k, c->bits, &needed, error);
    if (status) return status;
    if (workspace->bytes < needed || (uintptr_t)workspace->data % LHK_ALIGNMENT)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 2, "the workspace has %llu bytes, not %zu, or is not aligned to %d",
                        (unsigned long long)workspace->bytes, needed, LHK_ALIGNMENT);
    return LHK_OK;
}

typedef struct linear_job {
    const lhk_packed_call *call;
    const lhk_packed_kernels *kernels;
    lhk_activations x;
    size_t panels;       ///< of all parts
    size_t task_panels;  ///< at most, per task
    size_t panel_tasks;
} linear_job;

static void quantize_task(void *context, int64_t task, uint32_t worker) {
    (void)worker;
    const linear_job *job = context;
    const size_t first = (size_t)task * QUANTIZE_ROWS;
    lhk_activations x = job->x;
    x.rows += first * x.stride;
    job->kernels->quantize(job->call->x + first * job->call->ldx, job->call->ldx,
                           (size_t)lhk_min((int64_t)(job->call->m - first), QUANTIZE_ROWS), &x);
}

static size_t panels_of(const lhk_packed_rows *part) { return (part->n + LHK_PANEL_ROWS - 1) / LHK_PANEL_ROWS; }

/// Panels [first, end) of all parts together, which may cross from part to part.
static void tiles_task(void *context, int64_t task, uint32_t worker) {
    (void)worker;
    const linear_job *job = context;
    const lhk_packed_call *c = job->call;
    const size_t row = (size_t)task / job->panel_tasks * TASK_ROWS;
    size_t first = (size_t)task % job->panel_tasks * job->task_panels, column = 0;
    const size_t end = (size_t)lhk_min((int64_t)(first + job->task_panels), (int64_t)job->panels);
    lhk_activations x = job->x;
    x.rows += row * x.stride;
    size_t begin = 0;  // first panel of the part
    for (size_t i = 0; i < c->part_count && first < end; i++) {
        const lhk_packed_rows *part = &c->parts[i];
        const size_t panels = panels_of(part), stop = (size_t)lhk_min((int64_t)end, (int64_t)(begin + panels));
        if (first < stop) {
            const size_t local = first - begin, start = local * LHK_PANEL_ROWS;
            const lhk_packed_tiles tiles = {
                .weights = (const uint8_t *)part->weights + local * lhk_panel_bytes(lhk_packed_find(part->type), c->k),
                .panels = stop - first,
                .columns = (size_t)lhk_min((int64_t)(part->n - start), (int64_t)((stop - first) * LHK_PANEL_ROWS)),
                .x = x,
                .m = (size_t)lhk_min((int64_t)(c->m - row), TASK_ROWS),
                .y = c->y + row * c->ldy + column + start,
                .ldy = c->ldy,
            };
            job->kernels->tiles(part->type, &tiles);
            first = stop;
        }
        begin += panels;
        column += part->n;
    }
}

lhk_status lhk_run_linear_packed(const lhk_host *host, const lhk_packed_call *call, const lhk_workspace *workspace,
                                 lhk_error *error) {
    lhk_status status = check_call(call, workspace, error);
    if (status || call->m == 0) return status;
    linear_job job = {.call = call, .kernels = kernels_for(host->isa), .x = activation_layout(call->k, call->bits)};
    job.x.rows = workspace->data;
    for (size_t i = 0; i < call->part_count; i++) job.panels += panels_of(&call->parts[i]);
    if (job.panels == 0) return LHK_OK;
    const size_t few_tasks = FEW_ROWS_TASKS_PER_WORKER * (size_t)host->workers;
    job.task_panels = call->m <= LHK_PACKED_FEW_ROWS ? (job.panels + few_tasks - 1) / few_tasks : 2;
    job.panel_tasks = (job.panels + job.task_panels - 1) / job.task_panels;
    lhk_parallel_for(host, (int64_t)((call->m + QUANTIZE_ROWS - 1) / QUANTIZE_ROWS), quantize_task, &job);
    lhk_parallel_for(host, (int64_t)(job.panel_tasks * ((call->m + TASK_ROWS - 1) / TASK_ROWS)), tiles_task, &job);
    return LHK_OK;
}
