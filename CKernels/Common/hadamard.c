// SPDX-License-Identifier: Apache-2.0
// The direct call lhk_hadamard. Families that rotate rows inside their own kernels include lhk/hadamard_body.inc themselves.
#include <lhk/hadamard.h>
#include <longhand/hadamard.h>

#define LHK_HADAMARD(x) hadamard_portable_##x
#define LHK_HADAMARD_LANES 4
#include <lhk/hadamard_body.inc>

#if defined(__x86_64__)
#undef LHK_HADAMARD
#undef LHK_HADAMARD_LANES
#define LHK_HADAMARD(x) hadamard_avx2_##x
#define LHK_HADAMARD_LANES 8
LHK_TARGET_BEGIN(LHK_FEATURES_AVX2)
#include <lhk/hadamard_body.inc>
LHK_TARGET_END

#undef LHK_HADAMARD
#undef LHK_HADAMARD_LANES
#define LHK_HADAMARD(x) hadamard_avx512_##x
#define LHK_HADAMARD_LANES 16
LHK_TARGET_BEGIN(LHK_FEATURES_AVX512)
#include <lhk/hadamard_body.inc>
LHK_TARGET_END
#endif

_Static_assert(LHK_HADAMARD_MOST_DIM == LHK_HADAMARD_MAX_DIM, "the table of signs covers what the call promises");

/// Elements of one task: large enough to pay for waking a worker.
#define TASK_ELEMENTS 16384

typedef void (*row_function)(float *x, int64_t dim);

typedef struct hadamard_call {
    const lhk_tensor *x, *out;
    row_function multiply;
    int64_t task_rows;
} hadamard_call;

static void load_row(const void *from, lhk_dtype dtype, float *to, int64_t dim) {
    if (dtype == LHK_DTYPE_F32) memmove(to, from, (size_t)dim * sizeof *to);
    else for (int64_t c = 0; c < dim; c++) to[c] = lhk_load_element(from, dtype, c);
}

static void multiply_rows(void *context, int64_t task, uint32_t worker) {
    const hadamard_call *call = context;
    (void)worker;
    int64_t dim = call->x->shape[2], end = lhk_min((task + 1) * call->task_rows, call->x->shape[0]);
    for (int64_t i = task * call->task_rows; i < end; i++)
        for (int64_t h = 0; h < call->x->shape[1]; h++) {
            float *row = lhk_row(call->out, i, h);
            load_row(lhk_row(call->x, i, h), call->x->dtype, row, dim);
            call->multiply(row, dim);
        }
}

/// The function of one instruction set that does what `flags` ask for.
static row_function choose(uint32_t flags, lhk_isa isa) {
#define CHOOSE(word)                                                            \
    return !(flags & LHK_HADAMARD_SIGNS)   ? hadamard_##word##_blocks           \
           : flags & LHK_HADAMARD_INVERSE ? hadamard_##word##_unrotate          \
                                          : hadamard_##word##_rotate
#if defined(__x86_64__)
    if (isa & LHK_ISA_AVX512) CHOOSE(avx512);
    if (isa & LHK_ISA_AVX2) CHOOSE(avx2);
#endif
    (void)isa;
    CHOOSE(portable);
#undef CHOOSE
}

lhk_status lhk_hadamard(const lhk_tensor *x, const lhk_tensor *out, uint32_t flags, const lhk_host *host,
                        lhk_error *error) {
    if (flags & ~(LHK_HADAMARD_SIGNS | LHK_HADAMARD_INVERSE))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 2, "hadamard: unknown flags 0x%x", flags);
    if (x->rank != 3 || x->shape[1] < 0 || x->shape[2] < 1 || x->shape[2] > LHK_HADAMARD_MAX_DIM)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "hadamard x: shape is not [rows][heads][1 to %d]", LHK_HADAMARD_MAX_DIM);
    lhk_status status = lhk_check_rows(x, x->shape[1], x->shape[2], "hadamard x", 0, error);
    if (status || x->shape[0] == 0 || x->shape[1] == 0) return status;
    if ((status = lhk_check_output(x, out, "hadamard out", 1, error))) return status;
    hadamard_call call = {x, out, choose(flags, host->isa), lhk_max(TASK_ELEMENTS / x->shape[1] / x->shape[2], 1)};
    lhk_parallel_for(host, (x->shape[0] - 1) / call.task_rows + 1, multiply_rows, &call);
    return LHK_OK;
}
