// SPDX-License-Identifier: Apache-2.0
/// The demonstration kernel of the fuzz harness and its faults as attention methods, over any store: rows are read into
/// the workspace first. Then faults of another kind: in the use of the store, of instruction sets and of threads.
#define _DEFAULT_SOURCE
#include <lhk/panel.h>
#include <pthread.h>
#include <time.h>

#include "faulty.h"
#include "lhk_subjects.h"

/// Beyond the faults of the demonstration kernel.
#define FAULTS(X)                                                                                              \
    X(LHK_FUZZ_FAULT_NONE, sound, "sound", LHK_ISA_SCALAR)                                                     \
    X(LHK_FUZZ_FAULT_LAST_KEY, last_key, "last-key", LHK_ISA_SCALAR)                                           \
    X(LHK_FUZZ_FAULT_CAUSAL, causal, "causal", LHK_ISA_SCALAR)                                                 \
    X(LHK_FUZZ_FAULT_WINDOW, window, "window", LHK_ISA_SCALAR)                                                 \
    X(LHK_FUZZ_FAULT_SOFTCAP, softcap, "softcap", LHK_ISA_SCALAR)                                              \
    X(LHK_FUZZ_FAULT_LEAK, leak, "leak", LHK_ISA_SCALAR)                                                       \
    X(LHK_FUZZ_FAULT_NAN_TO_ZERO, nan_to_zero, "nan-to-zero", LHK_ISA_SCALAR)                                  \
    X(LHK_FUZZ_FAULT_GROUP, group, "group", LHK_ISA_SCALAR)                                                    \
    X(LHK_FUZZ_FAULT_MAXIMUM, maximum, "maximum", LHK_ISA_SCALAR)                                              \
    X(LHK_FUZZ_FAULT_RESCALE, rescale, "rescale", LHK_ISA_SCALAR)                                              \
    X(LHK_FUZZ_FAULT_SINK_TWICE, sink_twice, "sink-twice", LHK_ISA_SCALAR)                                     \
    X(LHK_FUZZ_FAULT_ALIBI, alibi, "alibi", LHK_ISA_SCALAR)                                                    \
    X(LHK_FUZZ_FAULT_WEIGHTS, weights, "weights", LHK_ISA_SCALAR)                                              \
    X(LHK_FUZZ_FAULT_REST, rest, "rest", LHK_ISA_SCALAR)                                                       \
    X(LHK_FUZZ_FAULT_GAP, gap, "gap", LHK_ISA_SCALAR)                                                          \
    X(LHK_FUZZ_FAULT_READ_PAST, read_past, "read-past", LHK_ISA_SCALAR)                                        \
    X(LHK_FUZZ_FAULT_WORKSPACE, workspace, "workspace", LHK_ISA_SCALAR)                                        \
    X(LHK_FUZZ_FAULT_STALE, stale, "stale", LHK_ISA_SCALAR)                                                    \
    X(LHK_FUZZ_FAULT_WORKERS, workers, "workers", LHK_ISA_SCALAR)                                              \
    X(LHK_FUZZ_FAULT_PRECISION, precision, "precision", LHK_ISA_SCALAR)                                        \
    X(LHK_FUZZ_FAULT_LSE, lse, "lse", LHK_ISA_SCALAR)                                                          \
    X(LHK_FUZZ_FAULT_WRITES_INPUT, writes_input, "writes-input", LHK_ISA_SCALAR)                               \
    X(LHK_FUZZ_FAULT_STATS, stats, "stats", LHK_ISA_SCALAR)                                                    \
    X(LHK_FUZZ_FAULT_TILE, tile, "tile", LHK_ISA_SCALAR)                                                       \
    X(FAULT_LENGTH, length, "length", LHK_ISA_SCALAR)             /* takes the capacity for the length */      \
    X(FAULT_SMALL, undersized, "undersized", LHK_ISA_SCALAR)      /* reports one byte too few */               \
    X(FAULT_MAXIMUM_NAN, maximum_nan, "maximum-nan", LHK_ISA_SCALAR)  /* its maximum passes over NaN scores */ \
    X(FAULT_DECODE, decode, "decode", LHK_ISA_SCALAR)             /* shifts the mask of single rows */         \
    X(FAULT_NAN_PAST, past_length, "past-length", LHK_ISA_SCALAR) /* adds panel rows past the length, times zero */ \
    X(FAULT_WIDE, wide, "wide", WIDE)                             /* wrong where it needs an instruction set */ \
    X(FAULT_MASK, mask, "mask", LHK_ISA_SCALAR)                   /* wrong when the host offers any */         \
    X(FAULT_STATE, state, "state", LHK_ISA_SCALAR)                /* writes to its state while it runs */      \
    X(FAULT_CRASH, crash, "crash", LHK_ISA_SCALAR)                /* follows a wild pointer */                 \
    X(FAULT_THREAD, thread, "thread", LHK_ISA_SCALAR)             /* the same, on any thread but the caller's */
enum {
    FAULT_LENGTH = LHK_FUZZ_FAULT_COUNT,
    FAULT_SMALL, FAULT_MAXIMUM_NAN, FAULT_DECODE, FAULT_NAN_PAST, FAULT_WIDE, FAULT_MASK, FAULT_STATE, FAULT_CRASH, FAULT_THREAD
};
#if defined(__x86_64__)
#define WIDE LHK_ISA_AVX2
#else
#define WIDE LHK_ISA_NEON
#endif

struct lhk_instance {
    uint32_t fault, query_heads, kv_heads, dim_k, dim_v, touched;
    int64_t rows, keys;
};

static lhk_status supports(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa, lhk_error *error) {
    (void)self;
    if (WIDE & self->isa_required & ~isa) return lhk_fail(error, LHK_ERROR_UNSUPPORTED, 2, "needs an instruction set");
    if (problem->query_rows * problem->keys > 20000 || problem->keys > 1024 || problem->head_dim_k > 576 || problem->head_dim_v > 576)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, 1, "too slow for that many rows and keys");
    return lhk_options_known(problem, "attention", NULL, 0, error);
}

/// The arguments of the demonstration kernel: shapes, and rows of keys and values at the end of the workspace.
static lhk_fuzz_args arguments(const lhk_instance *s, int64_t keys, uint8_t *rows) {
    int64_t heads = s->kv_heads, dk = s->dim_k, dv = s->dim_v;
    lhk_fuzz_args args = {.struct_size = sizeof args};
    float *v = (float *)rows, *k = rows ? v + s->keys * heads * dv : NULL;
    args.k = (lhk_tensor){k, LHK_DTYPE_F32, 3, {keys, heads, dk}, {heads * dk, dk, 1}};
    args.v = (lhk_tensor){v, LHK_DTYPE_F32, 3, {keys, heads, dv}, {heads * dv, dv, 1}};
    return args;
}

static uint64_t row_bytes(const lhk_instance *s) { return (uint64_t)s->keys * s->kv_heads * (s->dim_k + s->dim_v) * sizeof(float); }

/// Bytes of the kernel's own workspace for as many keys as there is room for.
static uint64_t kernel_bytes(const lhk_instance *s, const lhk_host *host) {
    lhk_fuzz_subject kernel = lhk_fuzz_demonstration(0);
    lhk_fuzz_args args = arguments(s, s->keys, NULL);
    uint64_t bytes = 0;
    kernel.workspace(NULL, &args, host, &bytes, NULL);
    return bytes;
}

static lhk_instance shape(const lhk_variant *self, const lhk_problem *p) {
    return (lhk_instance){faulty_number(self), p->query_heads, p->kv_heads, p->head_dim_k, p->head_dim_v, 0, p->query_rows, p->keys};
}

static lhk_status sizes(const lhk_variant *self, const lhk_problem *problem, uint32_t workers, lhk_sizes *out,
                        lhk_error *error) {
    (void)error;
    lhk_instance s = shape(self, problem);
    lhk_host host = {.struct_size = sizeof host, .workers = workers};
    out->state_bytes = sizeof s;
    out->workspace_bytes = kernel_bytes(&s, &host) + row_bytes(&s) - (s.fault == FAULT_SMALL && s.keys > 0);
    return LHK_OK;
}

static lhk_status create(const lhk_variant *self, const lhk_problem *problem, lhk_instance *state, uint64_t bytes,
                         lhk_error *error) {
    (void)bytes, (void)error;
    *state = shape(self, problem);
    return LHK_OK;
}

/// The caller takes its time, so that others get tasks.
static void crash_elsewhere(void *context, int64_t task, uint32_t worker) {
    (void)task, (void)worker;
    if (!pthread_equal(pthread_self(), *(pthread_t *)context)) *(volatile int *)(uintptr_t)16 = 1;
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

/// Adds rows of the last block that lie past the length to the first output, times zero.
static void add_past(const lhk_attend_args *args, int64_t length) {
    lhk_panels p = {.struct_size = sizeof p};
    if (!args->store.ops->panels || args->q.shape[0] == 0) return;
    args->store.ops->panels(args->store.instance, &p);
    if (p.dtype == LHK_DTYPE_NONE || p.group != 1 || length % p.block_tokens == 0) return;
    const uint8_t *values = p.base + (uint64_t)(length / p.block_tokens) * p.block_stride + p.value_offset;
    float x = lhk_load_element(args->out.data, args->out.dtype, 0);
    x += 0 * lhk_load_element(values, p.dtype, lhk_panel_value_index(&p, length % p.block_tokens, 0));
    lhk_store_element(args->out.data, args->out.dtype, 0, x);
}

/// Zeroes keys that give NaN scores.
static void drop_nan(const lhk_tensor *t) {
    float *x = t->data;
    for (int64_t i = 0; i < t->shape[0] * t->stride[0]; i++)
        if (isnan(x[i])) x[i] = 0;
}

static lhk_status read_store(const lhk_instance *s, const lhk_attend_args *args, int64_t length, const lhk_fuzz_args *a,
                             lhk_error *error) {
    for (uint32_t h = 0; h < s->kv_heads; h++)
        for (int64_t j = 0; j < length; j++) {
            lhk_status status = args->store.ops->read_rows(args->store.instance, h, j, 1, lhk_row(&a->k, j, h),
                                                           lhk_row(&a->v, j, h), error);
            if (status) return status;
        }
    return LHK_OK;
}

static lhk_status attend(const lhk_instance *s, const lhk_host *host, const lhk_attend_args *args,
                         const lhk_workspace *workspace, lhk_error *error) {
    int64_t length = args->store.ops->length(args->store.instance);
    uint64_t own = kernel_bytes(s, host), rows = row_bytes(s);
    if (workspace->bytes + (s->fault == FAULT_SMALL && s->keys > 0) < own + rows)
        return lhk_fail(error, LHK_ERROR_CAPACITY, 4, "the workspace is too small");
    if (s->fault == FAULT_CRASH) *(volatile int *)(uintptr_t)16 = 1;
    if (s->fault == FAULT_STATE) ((lhk_instance *)s)->touched++;
    pthread_t caller = pthread_self();
    if (s->fault == FAULT_THREAD) lhk_parallel_for(host, 20, crash_elsewhere, &caller);
    lhk_fuzz_args a = arguments(s, s->fault == FAULT_LENGTH ? s->keys : length, (uint8_t *)workspace->data + own);
    lhk_status status = read_store(s, args, length, &a, error);
    if (status) return status;
    if (s->fault == FAULT_SMALL && s->keys > 0) ((uint8_t *)workspace->data)[own + rows - 1] = 0;
    if (s->fault == FAULT_MAXIMUM_NAN) drop_nan(&a.k);
    lhk_attention_params params = args->params ? *args->params : (lhk_attention_params){0};
    a.q = args->q;
    a.out = args->out;
    a.lse = args->lse;
    a.selection = args->selection;
    a.params = args->params;
    a.stats = args->stats;
    if (s->fault == FAULT_DECODE && args->params && args->q.shape[0] == 1 && params.flags & LHK_ATTENTION_CAUSAL) {
        params.offset = (params.flags & LHK_ATTENTION_OFFSET ? params.offset : length - 1) - 1;
        params.flags |= LHK_ATTENTION_OFFSET;
        a.params = &params;
    }
    bool imprecise = s->fault == FAULT_WIDE || (s->fault == FAULT_MASK && host->isa);
    lhk_fuzz_subject kernel = lhk_fuzz_demonstration(imprecise                         ? LHK_FUZZ_FAULT_PRECISION
                                                     : s->fault < LHK_FUZZ_FAULT_COUNT ? s->fault
                                                                                       : LHK_FUZZ_FAULT_NONE);
    status = kernel.attend(kernel.context, &a, host, workspace, error);
    if (s->fault == FAULT_NAN_PAST && !status) add_past(args, length);
    return status;
}

static const lhk_life_ops life = {.struct_size = sizeof life, .supports = supports, .cost = faulty_cost, .sizes = sizes, .create = create};
static const lhk_attention_ops ops = {.struct_size = sizeof ops, .attend = attend};

#define METHOD(number, name, word, isa) \
    FAULTY_METHOD(method_##name, "attention", LHK_ROLE_ATTENTION, word, number, isa, LHK_EXACT, life, ops, NULL)
#define ADDRESS(number, name, word, isa) &method_##name,
FAULTS(METHOD)
static const lhk_method *const methods[] = {FAULTS(ADDRESS)};
FAULTY_PLUGIN("attention", methods);
