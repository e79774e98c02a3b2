// SPDX-License-Identifier: Apache-2.0
/// A complete plugin outside the Longhand tree: the selector `stride`, which lets a decoding step see every n-th key and
/// the most recent ones. Meant to be copied: what a method author has to supply is in this one file, in reading order:
/// the options, the life cycle, the role's operation, and the tables that end in the exported entry.
///
///     stride:every=8,recent=64
///
/// A selector answers "which keys matter to these queries?" and nothing else; the attention method then works on the keys
/// named here, in whatever store they are kept. This one needs neither the queries nor the keys to answer.
#include <errno.h>
#include <longhand/longhand.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/// Fills the caller's error text, if there is one, and returns `status`. Kernels never print or abort.
__attribute__((format(printf, 3, 4))) static lhk_status fail(lhk_error *error, lhk_status status, const char *format,
                                                             ...) {
    if (error) {
        error->status = status;
        error->argument = -1;
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(error->text, sizeof error->text, format, arguments);
        va_end(arguments);
    }
    return status;
}

// ---- options ----

typedef struct stride_options {
    int64_t every;   ///< keys 0, every, 2*every, ... stay
    int64_t recent;  ///< and so do the last `recent` keys
} stride_options;

/// Reads the options of `stride:key=value,...`. What is unknown or out of range is an error, never ignored.
static lhk_status stride_read_options(const lhk_problem *problem, stride_options *out, lhk_error *error) {
    *out = (stride_options){.every = 8, .recent = 64};
    for (uint32_t i = 0; i < problem->option_count; i++) {
        const lhk_option *option = &problem->options[i];
        const int is_every = !strcmp(option->key, "every");
        if (!is_every && strcmp(option->key, "recent"))
            return fail(error, LHK_ERROR_ARGUMENT, "stride has no option '%s'; it has every and recent", option->key);
        const int least = is_every ? 1 : 0;
        char *end;
        errno = 0;
        const long long value = strtoll(option->value, &end, 10);
        if (end == option->value || *end || errno || value < least || value > INT32_MAX)
            return fail(error, LHK_ERROR_ARGUMENT, "stride: option %s=%s is not an integer from %d to %d", option->key,
                        option->value, least, INT32_MAX);
        *(is_every ? &out->every : &out->recent) = value;
    }
    return LHK_OK;
}

// ---- life cycle ----

/// The state of an instance: no pointers into itself, so that it can be copied. This method keeps nothing per token,
/// so `truncate`, `fork`, `save` and `load` stay null below.
typedef struct stride_state {
    stride_options options;
    uint32_t kv_heads;
} stride_state;

/// The most keys one list can hold.
static int64_t stride_most_tokens(const stride_options *options, int64_t keys) {
    const int64_t recent = options->recent < keys ? options->recent : keys;
    return recent + (keys - recent + options->every - 1) / options->every;
}

static lhk_status stride_supports(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa, lhk_error *error) {
    (void)self, (void)isa;
    stride_options options;
    const lhk_status status = stride_read_options(problem, &options, error);
    if (status) return status;
    if (problem->query_rows > 1)
        return fail(error, LHK_ERROR_UNSUPPORTED,
                    "stride gives one list of keys to all rows of a call; use it for decoding, one row at a time");
    if (problem->keys > INT32_MAX)
        return fail(error, LHK_ERROR_UNSUPPORTED, "stride numbers keys with 32 bits; %lld are too many",
                    (long long)problem->keys);
    return LHK_OK;
}

/// Estimates are only compared among variants of one method; this one has a single variant.
static lhk_status stride_cost(const lhk_variant *self, const lhk_problem *problem, lhk_cost *out) {
    (void)self;
    stride_options options;
    const lhk_status status = stride_read_options(problem, &options, NULL);
    if (status) return status;
    out->bytes = 4.0 * (double)stride_most_tokens(&options, problem->keys) * problem->kv_heads;
    out->time = out->bytes / 8;
    return LHK_OK;
}

static lhk_status stride_sizes(const lhk_variant *self, const lhk_problem *problem, uint32_t workers, lhk_sizes *out,
                               lhk_error *error) {
    (void)self, (void)workers;
    stride_options options;
    const lhk_status status = stride_read_options(problem, &options, error);
    if (status) return status;
    const uint64_t offsets = ((uint64_t)problem->kv_heads + 1) * sizeof(int64_t);
    uint64_t tokens;
    if (__builtin_mul_overflow((uint64_t)stride_most_tokens(&options, problem->keys) * sizeof(int32_t),
                               (uint64_t)problem->kv_heads, &tokens) ||
        __builtin_add_overflow(tokens, offsets, &out->workspace_bytes))
        return fail(error, LHK_ERROR_OVERFLOW, "stride: the lists of all heads do not fit 64 bits");
    out->state_bytes = sizeof(stride_state);
    return LHK_OK;
}

static lhk_status stride_create(const lhk_variant *self, const lhk_problem *problem, lhk_instance *state, uint64_t bytes,
                                lhk_error *error) {
    (void)self;
    if (bytes < sizeof(stride_state)) return fail(error, LHK_ERROR_CAPACITY, "stride: the state is too small");
    stride_state *stride = (stride_state *)state;
    stride->kv_heads = problem->kv_heads;
    return stride_read_options(problem, &stride->options, error);
}

// ---- the role's operation ----

/// Fills one ascending list of keys per KV head; they are all alike here, and lie in the workspace after their offsets.
static lhk_status stride_select(lhk_instance *selector, const lhk_host *host, const lhk_tensor *q, lhk_store_ref store,
                                const lhk_attention_params *params, const lhk_workspace *workspace, lhk_selection *out,
                                lhk_error *error) {
    (void)host, (void)params;  // the attention applies its mask on top of the selection
    const stride_state *stride = (const stride_state *)selector;
    if (q->shape[0] > 1)
        return fail(error, LHK_ERROR_ARGUMENT, "stride selects for one query row, not for %lld", (long long)q->shape[0]);

    const int64_t keys = store.ops->length(store.instance), heads = stride->kv_heads;
    const int64_t count = stride_most_tokens(&stride->options, keys);
    if (workspace->bytes < (uint64_t)((heads + 1) * (int64_t)sizeof(int64_t) + heads * count * (int64_t)sizeof(int32_t)))
        return fail(error, LHK_ERROR_CAPACITY, "stride: the workspace is too small for %lld keys", (long long)keys);
    int64_t *offsets = workspace->data;
    int32_t *tokens = (int32_t *)(offsets + heads + 1);

    const int64_t recent = stride->options.recent < keys ? stride->options.recent : keys;
    int64_t used = 0;
    for (int64_t j = 0; j < keys - recent; j += stride->options.every) tokens[used++] = (int32_t)j;
    for (int64_t j = keys - recent; j < keys; j++) tokens[used++] = (int32_t)j;
    offsets[0] = 0;
    for (int64_t head = 0; head < heads; head++) {
        if (head) memcpy(tokens + head * count, tokens, (size_t)count * sizeof *tokens);
        offsets[head + 1] = (head + 1) * count;
    }
    *out = (lhk_selection){.struct_size = sizeof *out,
                           .kind = LHK_SELECTION_TOKENS,
                           .list_count = heads,
                           .list_offsets = offsets,
                           .tokens = tokens};
    return LHK_OK;
}

// ---- tables ----

static const lhk_life_ops stride_life = {.struct_size = sizeof stride_life,
                                         .supports = stride_supports,
                                         .cost = stride_cost,
                                         .sizes = stride_sizes,
                                         .create = stride_create};

static const lhk_selector_ops stride_ops = {.struct_size = sizeof stride_ops, .select = stride_select};

static const lhk_variant stride_variant = {
    .struct_size = sizeof stride_variant,
    .exactness = LHK_HEURISTIC,  // keys are left out, and nothing bounds what that changes
    .isa_required = LHK_ISA_SCALAR,
    .head_dim_min = 1,
    .head_dim_max = 65536,
    .head_dim_multiple = 1,
    .id = "example.stride.any.scalar/1",
    .summary = "scalar, any element types",
    .life = &stride_life,
    .ops = &stride_ops,
};
static const lhk_variant *const stride_variants[] = {&stride_variant};

static const lhk_method stride_method = {
    .struct_size = sizeof stride_method,
    .variant_count = 1,
    .role = LHK_ROLE_SELECTOR,
    .name = "stride",
    .version = "1.0.0",
    .summary = "every n-th key and the last ones, for decoding; options every (8), recent (64)",
    .variants = stride_variants,
};
static const lhk_method *const stride_methods[] = {&stride_method};

static const lhk_plugin stride_plugin = {
    .struct_size = sizeof stride_plugin,
    .method_count = 1,
    .id = "example.stride",
    .version = "1.0.0",
    .methods = stride_methods,
};

LHK_DEFINE_PLUGIN_ENTRY(stride_plugin);
