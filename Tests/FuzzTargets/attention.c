// SPDX-License-Identifier: Apache-2.0
/// Fuzz target `attention`: the direct call. Whatever the arguments, a status comes back; what is computed from operands
/// of exactly the described extents is near the reference and the same for other numbers of workers.
#define _POSIX_C_SOURCE 200809L  // posix_memalign
#include "problem.h"

/// Multiplications of a call that is run, and of one that the reference repeats.
#define MOST_WORK 3e6
#define MOST_COMPARED_WORK 5e5
#define MOST_WORKSPACE (UINT64_C(64) << 20)

FUZZ_INITIALIZE

void write_seeds(const char *folder) { write_random_seeds(folder, 400); }

/// A copy of the arguments with outputs of its own.
static lhk_flash_args *with_outputs(decoded_problem *p) {
    uint32_t size = p->args->struct_size;
    lhk_flash_args *copy = problem_memory(p, size, 16);
    memcpy(copy, p->args, size);
    copy->out.data = problem_memory(p, (size_t)view_extent(&copy->out) * lhk_dtype_size(copy->out.dtype), 64);
    if (size >= offsetof(lhk_flash_args, sequences) && copy->lse.data)
        copy->lse.data = problem_memory(p, (size_t)view_extent(&copy->lse) * sizeof(float), 64);
    return copy;
}

static lhk_status call(const lhk_flash_args *args, const lhk_host *host, lhk_error *error) {
    uint64_t bytes = 0;
    lhk_status status = lhk_flash_attention_workspace(args, host, &bytes, error);
    if (status) return status;
    if (bytes > MOST_WORKSPACE) return LHK_ERROR_MEMORY;
#if defined(PLANTED_FAULT)
    size_t given = bytes - bytes / 2;  // what the checks of the fuzzer itself must find
#else
    size_t given = bytes;
#endif
    lhk_workspace workspace = {exact(given, LHK_ALIGNMENT), bytes};
    memset(workspace.data, 0xff, given);  // NaN
    if (bytes) {
        lhk_workspace less = {workspace.data, bytes - 1};
        if (!lhk_flash_attention(args, host, &less, error)) FUZZ_FOUND("less workspace than needed was taken");
    }
    status = lhk_flash_attention(args, host, &workspace, error);
    free(workspace.data);
    return status;
}

/// How far an output may be from the reference: errors of scores, which are rounded to `unit`, as a factor of the weights.
static double tolerance(const decoded_problem *p, const lhk_host *host) {
    const lhk_flash_args *a = p->args;
    bool short_params = a->struct_size < sizeof *a || !a->params;
    double scale = short_params || !(a->params->scale > 0) ? 1 / sqrt((double)a->q.shape[2]) : a->params->scale;
    double products = scale * (double)a->q.shape[2];
    bool bf16 = a->k.dtype == LHK_DTYPE_BF16 && host->isa & (LHK_ISA_AVX512BF16 | LHK_ISA_NEON_BF16);
    double score_error = products * (bf16 ? 0x1p-7 : 0x1p-20) + p->spread * 0x1p-21;
    // Values of the remainder reach 8.
    return 8 * (2 * expm1(2 * score_error) + (bf16 ? 0x1p-7 : 0x1p-18) + (a->out.dtype == LHK_DTYPE_F32 ? 0 : 0x1p-8));
}

/// Compares the rows of two outputs; with a tolerance below 0, bit for bit.
static void compare(const lhk_tensor *got, const lhk_tensor *want, double allowed, const char *what) {
    for (int64_t i = 0; i < got->shape[0]; i++)
        for (int64_t h = 0; h < got->shape[1]; h++)
            for (int64_t c = 0; c < got->shape[2]; c++) {
                float a = lhk_load_element(lhk_row(got, i, h), got->dtype, c);
                float b = lhk_load_element(lhk_row(want, i, h), want->dtype, c);
                bool same = memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
                if (same || fabs((double)a - b) <= allowed) continue;
                FUZZ_FOUND("%s: row %lld, head %lld, channel %lld: %g, not %g; allowed %g", what, (long long)i, (long long)h,
                           (long long)c, a, b, allowed);
            }
}

/// Rows of a packed batch that belong to no sequence stay as they were, so outputs begin alike.
static void clear(const lhk_tensor *t) { memset(t->data, 0, (size_t)view_extent(t) * lhk_dtype_size(t->dtype)); }

static void check(decoded_problem *p, const lhk_host *host, lhk_error *error) {
    lhk_flash_args *args = p->args;
    if (args->struct_size >= offsetof(lhk_flash_args, lse)) clear(&args->out);
    lhk_status status = call(args, host, error);
    if (status == LHK_ERROR_CAPACITY) FUZZ_FOUND("the workspace asked for was too small: %s", error->text);
    if (status) return;
    lhk_flash_args *again = with_outputs(p);
    clear(&again->out);
    lhk_host serial = {.struct_size = sizeof serial, .workers = 1, .isa = host->isa};
    if (call(again, &serial, error)) FUZZ_FOUND("refused with one worker: %s", error->text);
    compare(&args->out, &again->out, -1, "one worker");
    double allowed = tolerance(p, host);
    if (p->work > MOST_COMPARED_WORK) return;
    clear(&again->out);
    if (lhk_flash_attention_reference(again, error)) FUZZ_FOUND("refused by the reference: %s", error->text);
    if (p->comparable && allowed < 0.5) compare(&args->out, &again->out, allowed, "reference");
}

/// Arguments that describe no memory are refused, or need none.
static void check_wild(const decoded_problem *p, const lhk_host *host, lhk_error *error) {
    uint64_t bytes = 0;
    const lhk_workspace none = {NULL, 0};
    lhk_status sized = lhk_flash_attention_workspace(p->args, host, &bytes, error);
    if (!sized && !bytes) return;
    if (!lhk_flash_attention(p->args, host, &none, error)) FUZZ_FOUND("%llu bytes of workspace were not missed", (unsigned long long)bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, size};
    lhk_host host = take_host(&in);
    decoded_problem problem;
    decode_problem(&in, &problem);
    lhk_error error = {.struct_size = sizeof error};
    if (problem.in_memory && problem.work <= MOST_WORK) check(&problem, &host, &error);
    else check_wild(&problem, &host, &error);
    free_problem(&problem);
    return 0;
}
