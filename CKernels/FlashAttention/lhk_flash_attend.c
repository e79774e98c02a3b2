// SPDX-License-Identifier: Apache-2.0
/// The attention role: life cycle and `attend` over a store.
#include "lhk_flash_attend.h"

#include "lhk_flash_variants.h"

typedef struct flash_state {
    const lhk_variant *variant;
    uint32_t path;
    uint32_t query_heads, kv_heads, dim_k, dim_v;
} flash_state;

static lhk_status read_path(const lhk_problem *problem, uint32_t *path, lhk_error *error) {
    static const char *const names[] = {"path"};
    lhk_status status = lhk_options_known(problem, "flash", names, 1, error);
    if (status) return status;
    const char *value = lhk_option_value(problem, "path");
    *path = LHK_FLASH_PATH_AUTO;
    if (!value || !strcmp(value, "auto")) return LHK_OK;
    *path = !strcmp(value, "blockwise") ? LHK_FLASH_PATH_BLOCKWISE : LHK_FLASH_PATH_DIRECT;
    if (*path == LHK_FLASH_PATH_DIRECT && strcmp(value, "direct"))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "flash: path=%s is not auto, blockwise or direct", value);
    return LHK_OK;
}

static lhk_status supports(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa, lhk_error *error) {
    (void)isa;
    if (problem->kv_heads == 0 || problem->query_heads == 0 || problem->query_heads % problem->kv_heads ||
        problem->query_heads > LHK_FLASH_MAX_HEADS)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "flash: %u query heads are not a multiple of %u KV heads (at most %d)",
                        problem->query_heads, problem->kv_heads, LHK_FLASH_MAX_HEADS);
    if (problem->head_dim_k < 1 || problem->head_dim_k > self->head_dim_max || problem->head_dim_v < 1 ||
        problem->head_dim_v > self->head_dim_max)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, 1, "flash: head dimensions %u/%u are not 1 to %u",
                        problem->head_dim_k, problem->head_dim_v, self->head_dim_max);
    if (problem->query_rows < 0 || problem->query_rows > LHK_FLASH_MAX_LENGTH || problem->keys < 0 ||
        problem->keys > LHK_FLASH_MAX_LENGTH)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "flash: query rows or keys are not 0 to 2^31-1");
    uint32_t path;
    lhk_status status = read_path(problem, &path, error);
    if (status) return status;
    if (path == LHK_FLASH_PATH_DIRECT && problem->keys > LHK_FLASH_DIRECT_KEYS)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, -1, "flash: path=direct takes at most %d keys, the capacity is %lld",
                        LHK_FLASH_DIRECT_KEYS, (long long)problem->keys);
    return lhk_flash_validate_params(problem->params, problem->query_heads, 1, error);
}

static lhk_status cost(const lhk_variant *self, const lhk_problem *problem, lhk_cost *out) {
    const lhk_flash_variant *v = self->data;
    double keys = (double)problem->keys, dims = (double)problem->head_dim_k + problem->head_dim_v;
    out->time = 2 * (double)problem->query_rows * problem->query_heads * keys * dims / v->gigaflops;
    out->bytes = keys * problem->kv_heads *
                 ((double)problem->head_dim_k * (double)lhk_dtype_size(v->dtype) +
                  (double)problem->head_dim_v * (double)lhk_dtype_size(lhk_panel_value_dtype(v->dtype)));
    return LHK_OK;
}

static lhk_status sizes(const lhk_variant *self, const lhk_problem *problem, uint32_t workers, lhk_sizes *out,
                        lhk_error *error) {
    const lhk_flash_variant *v = self->data;
    lhk_flash_call call = {.kv_heads = problem->kv_heads, .group = problem->query_heads / problem->kv_heads};
    lhk_flash_plan plan = {.call = &call, .kernel = v->kernel};
    plan.source.kind = problem->kv_dtype == LHK_DTYPE_NONE ? LHK_FLASH_TILES : LHK_FLASH_PANELS;
    lhk_panel_layout(&plan.source.panels, v->dtype, problem->head_dim_k, problem->head_dim_v, LHK_BLOCK_TOKENS);
    out->state_bytes = sizeof(flash_state);
    if (!lhk_flash_plan_bound(&plan, problem->query_rows, workers, &out->workspace_bytes))
        return lhk_fail(error, LHK_ERROR_OVERFLOW, 1, "flash: workspace size overflows");
    return LHK_OK;
}

static lhk_status create(const lhk_variant *self, const lhk_problem *problem, lhk_instance *state, uint64_t bytes,
                         lhk_error *error) {
    if (bytes < sizeof(flash_state)) return lhk_fail(error, LHK_ERROR_CAPACITY, 3, "flash: state is too small");
    flash_state *s = (flash_state *)state;
    s->variant = self;
    s->query_heads = problem->query_heads;
    s->kv_heads = problem->kv_heads;
    s->dim_k = problem->head_dim_k;
    s->dim_v = problem->head_dim_v;
    return read_path(problem, &s->path, error);
}

static lhk_status check_args(const flash_state *s, const lhk_attend_args *args, lhk_error *error) {
    lhk_status status = lhk_check_rows(&args->q, s->query_heads, s->dim_k, "q", LHK_FLASH_ARG_Q, error);
    if (!status) status = lhk_check_rows(&args->out, s->query_heads, s->dim_v, "out", LHK_FLASH_ARG_OUT, error);
    if (status) return status;
    if (args->out.shape[0] != args->q.shape[0])
        return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_OUT, "out: rows differ from those of q");
    const lhk_tensor *lse = &args->lse;
    if (lse->data && (lse->rank != 2 || lse->dtype != LHK_DTYPE_F32 || lse->shape[0] != args->q.shape[0] ||
                      lse->shape[1] != s->query_heads || lse->stride[0] < 0 || lse->stride[1] < 0))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_LSE, "lse: not f32 [rows of q][query heads]");
    if (!args->store.ops || !args->store.instance)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_K, "store is null");
    status = lhk_flash_validate_params(args->params, s->query_heads, LHK_FLASH_ARG_PARAMS, error);
    if (!status)
        status = lhk_flash_validate_selection(args->selection, args->q.shape[0], s->query_heads, s->kv_heads,
                                              LHK_FLASH_ARG_SELECTION, error);
    return status;
}

/// Points `source` at the store's panels, or at its own tile operations.
static lhk_status bind_source(const flash_state *s, const lhk_store_ref *store, lhk_flash_source *source,
                              lhk_error *error) {
    const lhk_flash_variant *v = s->variant->data;
    source->store = *store;
    if (!store->ops->panels) {
        source->kind = LHK_FLASH_TILES;
        source->panels.struct_size = sizeof source->panels;
        lhk_panel_layout(&source->panels, v->dtype, s->dim_k, s->dim_v, LHK_BLOCK_TOKENS);
        if (s->variant->kv_dtypes & LHK_DTYPE_BIT(LHK_DTYPE_NONE)) return LHK_OK;
        return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_K, "store has no panels, this variant reads %s panels",
                        lhk_dtype_name(v->dtype));
    }
    source->kind = LHK_FLASH_PANELS;
    source->panels = lhk_panel_of(store->ops, store->instance);
    const lhk_panels *p = &source->panels;
    lhk_dtype value_dtype = lhk_panel_value_dtype(v->dtype);
    if (p->dtype != v->dtype || p->group != lhk_panel_group(v->dtype) || p->value_dtype != value_dtype ||
        p->value_group != lhk_panel_group(value_dtype) || p->rotation > LHK_ROTATION_HADAMARD ||
        (p->rotation && v->dtype != LHK_DTYPE_I8) ||
        p->padded_dim_k != lhk_round_up(s->dim_k, p->group) || p->padded_dim_v != lhk_round_up(s->dim_v, 16) ||
        p->block_tokens == 0 || p->block_tokens % LHK_PANEL_TOKENS || (uintptr_t)p->base % LHK_ALIGNMENT ||
        (p->block_stride | p->head_stride | p->value_offset | p->key_scale_offset) % LHK_ALIGNMENT)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, LHK_FLASH_ARG_K, "store's panels are %s and not of the shape this variant (%s) reads",
                        lhk_dtype_name(p->dtype), s->variant->id);
    return LHK_OK;
}

static lhk_status attend(const lhk_instance *attention, const lhk_host *host, const lhk_attend_args *args,
                         const lhk_workspace *workspace, lhk_error *error) {
    const flash_state *s = (const flash_state *)attention;
    lhk_status status = check_args(s, args, error);
    if (status) return status;
    lhk_flash_call call = {.query_heads = s->query_heads, .kv_heads = s->kv_heads, .group = s->query_heads / s->kv_heads,
                           .dim_k = s->dim_k, .dim_v = s->dim_v, .total_q = args->q.shape[0], .sequences = 1};
    call.total_k = args->store.ops->length(args->store.instance);
    call.args.q = args->q;
    call.args.out = args->out;
    call.args.lse = args->lse;
    call.args.selection = args->selection;
    lhk_flash_normalise_params(args->params, s->dim_k, &call);
    lhk_flash_plan plan = {.call = &call, .kernel = ((const lhk_flash_variant *)s->variant->data)->kernel};
    if ((status = bind_source(s, &args->store, &plan.source, error))) return status;
    if (plan.source.kind == LHK_FLASH_TILES && call.total_q * call.group >= LHK_FLASH_UNPACK_ROWS &&
        lhk_store_get_unpack(args->store.ops))
        plan.source.kind = LHK_FLASH_UNPACKED;
    bool can = plan.source.kind == LHK_FLASH_PANELS && plan.source.panels.block_tokens % LHK_BLOCK_TOKENS == 0 &&
               call.total_k <= LHK_FLASH_DIRECT_KEYS && !args->selection;
    if (s->path == LHK_FLASH_PATH_DIRECT && !can)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, LHK_FLASH_ARG_PATH,
                        "path=direct needs a dense store of at most %d keys and no selection", LHK_FLASH_DIRECT_KEYS);
    plan.direct = can && (s->path == LHK_FLASH_PATH_DIRECT ||
                          (s->path == LHK_FLASH_PATH_AUTO && lhk_flash_prefers_direct(call.total_q * call.group, call.total_k)));
    uint64_t bytes;
    if (!lhk_flash_plan_make(&plan, host->workers, NULL, &bytes))
        return lhk_fail(error, LHK_ERROR_OVERFLOW, -1, "workspace size overflows");
    if (bytes > workspace->bytes || (bytes && (!workspace->data || (uintptr_t)workspace->data % LHK_ALIGNMENT)))
        return lhk_fail(error, LHK_ERROR_CAPACITY, -1, "workspace of %llu bytes given, %llu aligned to %u needed",
                        (unsigned long long)workspace->bytes, (unsigned long long)bytes, LHK_ALIGNMENT);
    lhk_flash_plan_make(&plan, host->workers, workspace->data, &bytes);
    lhk_flash_run(&plan, host, args->stats);
    return LHK_OK;
}

const lhk_life_ops lhk_flash_life_ops = {.struct_size = sizeof(lhk_life_ops), .supports = supports, .cost = cost,
                                         .sizes = sizes, .create = create};
const lhk_attention_ops lhk_flash_attention_ops = {.struct_size = sizeof(lhk_attention_ops), .attend = attend};
