// SPDX-License-Identifier: Apache-2.0
/// Selectors of the first and the last 32 keys, as lists of tokens, which count in an index of their own how many there are.
#include "faulty.h"

#define FAULTS(X)                                                                 \
    X(none, "sound")                                                              \
    X(unsorted, "unsorted")              /* the last two tokens change places */  \
    X(repeated, "repeated")              /* names a token twice */                \
    X(off_by_one, "off-by-one")          /* lacks the oldest of the last keys */  \
    X(workers, "workers")                /* lacks a key with many workers */      \
    X(overrun, "overrun")                /* writes one byte past the workspace */ \
    X(undersized, "undersized")          /* reports one byte too few */           \
    X(stale, "stale")                    /* reads what the workspace held */      \
    X(truncate, "truncate")              /* its index forgets to forget */        \
    X(fork, "fork")                      /* its copy lacks the last key */        \
    X(load, "load")                      /* takes bytes that are cut short */     \
    X(offsets, "offsets")                /* the first list begins below 0 */      \
    X(weight, "weight")                  /* a weight that is no number */         \
    X(rest, "rest")                      /* a remainder without its mean */       \
    X(writes_store, "writes-store")      /* changes the store it was lent */      \
    X(crash, "crash")                    /* follows a wild pointer */
enum {
#define NUMBER(name, word) FAULT_##name,
    FAULTS(NUMBER)
};
#define WINDOW 32
#define MOST (2 * WINDOW)

struct lhk_instance {
    uint32_t fault, kv_heads;
    int64_t count;
};

static lhk_status supports(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa, lhk_error *error) {
    (void)self, (void)isa;
    return lhk_options_known(problem, "selector", NULL, 0, error);
}

/// Offsets, tokens and weights of all lists.
static uint64_t workspace_bytes(uint32_t heads) {
    return (uint64_t)(heads + 1) * sizeof(int64_t) + (uint64_t)heads * MOST * (sizeof(int32_t) + sizeof(float));
}

static lhk_status sizes(const lhk_variant *self, const lhk_problem *problem, uint32_t workers, lhk_sizes *out,
                        lhk_error *error) {
    (void)workers, (void)error;
    out->state_bytes = sizeof(lhk_instance);
    out->workspace_bytes = workspace_bytes(problem->kv_heads) - (faulty_number(self) == FAULT_undersized);
    return LHK_OK;
}

static lhk_status create(const lhk_variant *self, const lhk_problem *problem, lhk_instance *state, uint64_t bytes,
                         lhk_error *error) {
    (void)bytes, (void)error;
    *state = (lhk_instance){.fault = faulty_number(self), .kv_heads = problem->kv_heads};
    return LHK_OK;
}

static lhk_status forget(lhk_instance *state, int64_t tokens, lhk_error *error) {
    if (tokens < 0 || tokens > state->count) return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "holds fewer tokens");
    if (state->fault != FAULT_truncate) state->count = tokens;
    return LHK_OK;
}

static lhk_status fork_index(const lhk_instance *source, lhk_instance *destination, lhk_error *error) {
    (void)error;
    destination->count = source->count - (source->fault == FAULT_fork && source->count > 0);
    return LHK_OK;
}

static uint64_t save_size(const lhk_instance *state) {
    (void)state;
    return sizeof(int64_t);
}

static void save(const lhk_instance *state, uint8_t *out) { memcpy(out, &state->count, sizeof state->count); }

static lhk_status load(lhk_instance *state, const uint8_t *bytes, uint64_t count, lhk_error *error) {
    int64_t tokens = 0;
    if (count > sizeof tokens || (count < sizeof tokens && state->fault != FAULT_load))
        return lhk_fail(error, LHK_ERROR_CORRUPT, -1, "not eight bytes");
    if (count) memcpy(&tokens, bytes, (size_t)count);
    if (tokens < 0 || tokens > INT32_MAX) return lhk_fail(error, LHK_ERROR_CORRUPT, -1, "impossible number of tokens");
    state->count = tokens;
    return LHK_OK;
}

static lhk_status append(lhk_instance *selector, const lhk_host *host, const lhk_tensor *k, const lhk_tensor *v,
                         lhk_error *error) {
    (void)host, (void)v, (void)error;
    selector->count += k->shape[0];
    return LHK_OK;
}

/// Writes the tokens of one list; returns their number.
static int64_t list_tokens(const lhk_instance *s, bool many, int32_t *tokens) {
    int64_t used = 0, last = lhk_max(s->count - WINDOW, WINDOW);
    for (int64_t j = 0; j < lhk_min(s->count, WINDOW); j++) tokens[used++] = (int32_t)j;
    for (int64_t j = last + (s->fault == FAULT_off_by_one); j < s->count; j++) tokens[used++] = (int32_t)j;
    if (s->fault == FAULT_workers && many && used > 0) used--;
    if (used < 2) return used;
    if (s->fault == FAULT_repeated) tokens[used - 1] = tokens[used - 2];
    if (s->fault == FAULT_unsorted) {
        int32_t token = tokens[used - 1];
        tokens[used - 1] = tokens[used - 2];
        tokens[used - 2] = token;
    }
    return used;
}

static lhk_status select_keys(lhk_instance *s, const lhk_host *host, const lhk_tensor *q, lhk_store_ref store,
                              const lhk_attention_params *params, const lhk_workspace *workspace, lhk_selection *out,
                              lhk_error *error) {
    (void)q, (void)params;
    uint64_t bytes = workspace_bytes(s->kv_heads);
    if (workspace->bytes < bytes - (s->fault == FAULT_undersized)) return lhk_fail(error, LHK_ERROR_CAPACITY, 5, "the workspace is too small");
    int64_t *offsets = workspace->data;
    float *weights = (float *)(offsets + s->kv_heads + 1);
    int32_t *tokens = (int32_t *)(weights + s->kv_heads * MOST);
    int64_t used = s->fault == FAULT_stale && offsets[0] < 0 && s->count ? 1 : 0;
    offsets[0] = s->fault == FAULT_offsets ? -1 : used;
    for (uint32_t head = 0; head < s->kv_heads; head++) {
        int64_t more = list_tokens(s, host->workers > 1, tokens + used);
        used += more - (s->fault == FAULT_stale && used == 1);
        offsets[head + 1] = used;
    }
    for (int64_t i = 0; i < used; i++) weights[i] = s->fault == FAULT_weight ? NAN : 0;
    if (s->fault == FAULT_overrun) ((uint8_t *)workspace->data)[workspace->bytes] = 0;
    if (s->fault == FAULT_undersized) ((uint8_t *)workspace->data)[bytes - 1] = 0;
    if (s->fault == FAULT_writes_store) *(volatile uint8_t *)store.instance = 0;
    if (s->fault == FAULT_crash) *(volatile int *)(uintptr_t)16 = 1;
    *out = (lhk_selection){.struct_size = sizeof *out, .kind = LHK_SELECTION_TOKENS, .list_count = s->kv_heads,
                           .list_offsets = offsets, .tokens = tokens, .log_weights = weights,
                           .rest_lse = s->fault == FAULT_rest ? weights : NULL};
    return LHK_OK;
}

static lhk_status formula(const lhk_problem *problem, const lhk_tensor *q, const lhk_tensor *k, const lhk_tensor *v,
                          const lhk_attention_params *params, uint8_t *chosen, lhk_error *error) {
    (void)problem, (void)v, (void)params, (void)error;
    int64_t keys = k->shape[0];
    for (int64_t i = 0; i < q->shape[0] * q->shape[1]; i++)
        for (int64_t j = 0; j < keys; j++) *chosen++ = j < WINDOW || j >= keys - WINDOW ? LHK_CHOSEN_YES : LHK_CHOSEN_NO;
    return LHK_OK;
}

static const lhk_selector_reference selector_reference = {.struct_size = sizeof selector_reference, .select = formula};
static const lhk_reference reference = {.struct_size = sizeof reference, .formula = &selector_reference};
static const lhk_life_ops life = {.struct_size = sizeof life, .supports = supports, .cost = faulty_cost, .sizes = sizes,
                                  .create = create, .truncate = forget, .fork = fork_index, .save_size = save_size,
                                  .save = save, .load = load};
static const lhk_selector_ops ops = {.struct_size = sizeof ops, .append = append, .select = select_keys};

#define METHOD(name, word)                                                                                             \
    FAULTY_METHOD(method_##name, "selector", LHK_ROLE_SELECTOR, word, FAULT_##name, LHK_ISA_SCALAR, LHK_HEURISTIC, life, ops,    \
                  &reference)
#define ADDRESS(name, word) &method_##name,
FAULTS(METHOD)
static const lhk_method *const methods[] = {FAULTS(ADDRESS)};
FAULTY_PLUGIN("selector", methods);
