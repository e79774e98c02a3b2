// SPDX-License-Identifier: Apache-2.0
/// One case of a selector over a store: well-formed, reproducible, in step with what was appended, and as its reference.
#include <inttypes.h>
#include <lhk/support.h>

#include "verify_selection.h"

typedef struct selector_case {
    verify_check *check;
    const lhk_variant *variant;
    const lhk_selector_ops *ops;
    verify_options options;
    lhk_problem problem;
    lhk_attention_params params;
    verify_shape shape;
    lhk_tensor q, k, v;
    const verify_store *store_kind;
    lhk_store_ops store_ops;  ///< panels may be hidden
    verify_instance store;
} selector_case;

static void draw_params(selector_case *s) {
    static const int64_t windows[] = {0, 1, 2, 15, 16, 31, 64, 65, 200};
    fuzz_rng *rng = &s->check->rng;
    s->params = (lhk_attention_params){.struct_size = sizeof s->params, .window_left = -1, .window_right = -1};
    if (fuzz_chance(rng, 75)) s->params.flags |= LHK_ATTENTION_CAUSAL;
    if (fuzz_chance(rng, 30)) s->params.window_left = FUZZ_PICK(rng, windows);
    if (fuzz_chance(rng, 8)) s->params.window_right = FUZZ_PICK(rng, windows);
    if (s->params.window_left >= 0 && fuzz_chance(rng, 50)) s->params.sink_tokens = 1 + fuzz_below(rng, 20);
    if (fuzz_chance(rng, 10)) {
        s->params.flags |= LHK_ATTENTION_OFFSET;
        s->params.offset = fuzz_below(rng, 2 * s->shape.keys + 1) - s->shape.keys / 2;
    }
    if (fuzz_chance(rng, 10)) s->params.softcap = 30;
    if (fuzz_chance(rng, 90)) s->problem.params = &s->params;
}

/// Rows of keys and values that the store holds as they are.
static lhk_tensor draw_rows(selector_case *s, lhk_dtype dtype, int64_t dim) {
    return verify_rows(s->check, dtype ? dtype : LHK_DTYPE_F32, s->shape.keys, s->shape.kv_heads, dim, VERIFY_NORMAL);
}

static const lhk_variant *resolve_store(selector_case *s, const lhk_problem *problem) {
    const lhk_variant *variant = NULL;
    fuzz_loop loop;
    lhk_host host = fuzz_make_host(&loop, 1, s->check->isa);
    if (lhk_method_resolve(s->store_kind->method, problem, &host, &variant, verify_error(s->check)))
        verify_skip(s->check, s->check->error.text);
    return variant;
}

static void draw(selector_case *s) {
    verify_check *check = s->check;
    fuzz_rng *rng = &check->rng;
    const verify_store *store = s->store_kind = &check->v->stores[check->index % check->v->store_count];
    verify_fixed fixed = check->fixed ? *check->fixed : (verify_fixed){0};
    int64_t kv_heads = verify_size(fixed.kv_heads, 1 + fuzz_below(rng, 3)), heads = kv_heads * (1 + fuzz_below(rng, 4));
    int64_t dim_k = verify_fit_dim(s->variant, verify_size(fixed.dim_k, verify_draw_dim(check, s->variant)));
    int64_t dim_v = fuzz_chance(rng, 70) ? dim_k : verify_draw_dim(check, s->variant);
    int64_t keys = verify_size(fixed.tokens, verify_draw_length(check, 120000 / kv_heads / (dim_k + dim_v) + 16));
    int64_t rows = fuzz_chance(rng, 50) ? lhk_min(keys, 1) : lhk_min(keys, verify_draw_length(check, 300));
    rows = lhk_min(keys, verify_size(fixed.rows, rows));
    s->shape = (verify_shape){rows, heads, kv_heads, dim_v, keys};
    s->problem = verify_problem(heads, kv_heads, dim_k, dim_v, rows > 1 ? rows + fuzz_below(rng, 4) : 1, keys + fuzz_below(rng, 4));
    s->problem.query_dtype = verify_fit_dtype(s->variant->query_dtypes, LHK_DTYPE_F32);
    s->problem.kv_dtype = store->panels;
    draw_params(s);
    snprintf(check->problem, sizeof check->problem,
             "seed %" PRIu64 " case %" PRIu64 ": %" PRId64 " rows of %" PRId64 " keys, heads %" PRId64 "/%" PRId64 ", dims %" PRId64
             "/%" PRId64 ", store %s%s, left %" PRId64 " right %" PRId64 "%s",
             check->v->seed, check->index, rows, keys, heads, kv_heads, dim_k, dim_v, store->name,
             s->params.flags & LHK_ATTENTION_CAUSAL ? ", causal" : "", s->params.window_left, s->params.window_right,
             s->params.flags & LHK_ATTENTION_OFFSET ? ", offset" : "");
    uint32_t sets = verify_option_sets(check->target->method) + 1;
    verify_use_options(check, check->index / check->v->store_count % sets, &s->options, &s->problem);
    if (s->variant->kv_dtypes && !(s->variant->kv_dtypes & LHK_DTYPE_BIT(store->panels)))
        verify_skip(check, "does not read this store's panels");
    verify_support(check, s->variant, &s->problem);
    lhk_problem store_problem = verify_store_problem(store, &s->problem, s->problem.keys);
    const lhk_variant *store_variant = resolve_store(s, &store_problem);
    s->store_ops = verify_store_ops(store_variant);
    if (store->hidden) s->store_ops.panels = NULL;
    s->store = verify_create(check, store_variant, &store_problem, 1);
    s->q = verify_rows(check, s->problem.query_dtype, rows, heads, dim_k, VERIFY_NORMAL);
    s->k = draw_rows(s, store->dtype, dim_k);
    s->v = draw_rows(s, store->dtype, dim_v);
}

/// Appends rows [first, first + count) to the store, unless null, and to the selector's index.
static void append(selector_case *s, verify_instance *store, verify_instance *selector, int64_t first, int64_t count,
                   uint32_t workers) {
    lhk_tensor k = verify_slice(&s->k, first, count), v = verify_slice(&s->v, first, count);
    lhk_host host = verify_host(s->check, workers);
    s->check->step = "append";
    if (store) verify_ok(s->check, s->store_ops.append(store->state, &host, &k, &v, verify_error(s->check)));
    if (s->ops->append) verify_ok(s->check, s->ops->append(selector->state, &host, &k, &v, verify_error(s->check)));
    verify_intact(s->check, selector);
}

/// How to call: `withhold` bytes of workspace are held back.
typedef struct select_call {
    const char *step;
    uint32_t workers;
    bool pool;
    int workspace_byte;
    uint64_t withhold;
} select_call;

/// False: refused for want of workspace, which is right when some was held back.
static bool run_select(selector_case *s, verify_instance *selector, select_call call, verify_chosen *out) {
    verify_check *check = s->check;
    lhk_host host = call.pool ? verify_pool(check) : verify_host(check, call.workers);
    lhk_sizes sizes = {.struct_size = sizeof sizes};
    check->step = "sizes";
    verify_ok(check, s->variant->life->sizes(s->variant, &s->problem, host.workers, &sizes, verify_error(check)));
    check->step = call.step;
    uint32_t used = check->buffers;
    uint64_t bytes = sizes.workspace_bytes - lhk_min((int64_t)sizes.workspace_bytes, (int64_t)call.withhold);
    fuzz_buffer *memory = verify_buffer(check, bytes, LHK_ALIGNMENT);
    fuzz_buffer_set(memory, call.workspace_byte);
    fuzz_buffer_forget(memory);
    lhk_workspace workspace = {memory->data, bytes};
    lhk_store_ref store = {&s->store_ops, s->store.state};
    lhk_selection selection = {.struct_size = sizeof selection};
    fuzz_buffer_protect(s->store.buffer, false);
    lhk_status status = s->ops->select(selector->state, &host, &s->q, store, s->problem.params, &workspace, &selection,
                                       verify_error(check));
    fuzz_buffer_protect(s->store.buffer, true);
    if (status == LHK_ERROR_UNSUPPORTED) verify_skip(check, check->error.text);
    if (status && call.withhold && sizes.workspace_bytes) {
        verify_refused(check, status, LHK_ERROR_CAPACITY);
        check->buffers = used;
        return false;
    }
    verify_ok(check, status);
    verify_intact(check, selector);
    if (!fuzz_buffer_slack_intact(memory)) verify_fail(check, "wrote past its workspace");
    *out = verify_spell_out(check, &selection, &s->shape);
    check->buffers = used;
    return true;
}

static void expect_same(selector_case *s, verify_instance *selector, select_call call, const verify_chosen *expected) {
    verify_chosen again;
    if (run_select(s, selector, call, &again)) verify_same_selection(s->check, &again, expected, &s->shape);
}

/// Loads damaged bytes into a fresh index. It may take them, but must then work; refused, it must be as new.
static void load_damaged(selector_case *s, const fuzz_buffer *bytes, bool must_refuse, const verify_chosen *expected) {
    verify_check *check = s->check;
    uint32_t used = check->buffers;
    verify_chosen any;
    verify_instance victim = verify_create(check, s->variant, &s->problem, 1);
    check->step = must_refuse ? "load of bytes cut short" : "load of damaged bytes";
    lhk_status status = s->variant->life->load(victim.state, bytes->data, bytes->bytes, verify_error(check));
    verify_intact(check, &victim);
    if (status == LHK_OK && must_refuse) verify_fail(check, "was accepted");
    if (status == LHK_OK) {
        run_select(s, &victim, (select_call){.step = "an index of damaged bytes", .workers = 1}, &any);
    } else {
        append(s, NULL, &victim, 0, s->shape.keys, 1);
        expect_same(s, &victim, (select_call){.step = "an index that refused bytes", .workers = 1}, expected);
    }
    check->buffers = used;
}

static void check_bad_bytes(selector_case *s, const fuzz_buffer *saved, const verify_chosen *expected) {
    verify_check *check = s->check;
    bool every = check->fixed && check->fixed->every_byte;
    fuzz_buffer *damaged = verify_buffer(check, saved->bytes, 1);
    uint64_t step = every || saved->bytes < 3 ? 1 : (saved->bytes - 1) / 2;
    for (uint64_t i = 0; i < saved->bytes; i += i < VERIFY_EVERY_BYTE ? step : saved->bytes / 64 + 1) {
        memcpy(damaged->data, saved->data, saved->bytes);
        damaged->data[i] ^= (uint8_t)(1 + fuzz_below(&check->rng, 255));
        load_damaged(s, damaged, false, expected);
        uint32_t used = check->buffers;
        fuzz_buffer *part = verify_buffer(check, i, 1);
        if (i) memcpy(part->data, saved->data, i);
        load_damaged(s, part, true, expected);
        check->buffers = used;
    }
}

/// The index must not depend on how it came about.
static void check_life(selector_case *s, verify_instance *selector, const verify_chosen *expected) {
    verify_check *check = s->check;
    const lhk_life_ops *life = s->variant->life;
    int64_t keys = s->shape.keys;
    if (!s->ops->append) return;
    verify_instance other = verify_create(check, s->variant, &s->problem, 1);
    append(s, NULL, &other, 0, keys, 5);
    expect_same(s, &other, (select_call){.step = "an index appended whole by 5 workers", .workers = 1}, expected);
    check->step = "truncate to more than there is";
    verify_refused(check, life->truncate(other.state, keys + 1, verify_error(check)), LHK_ERROR_ARGUMENT);
    int64_t kept = fuzz_below(&check->rng, keys + 1), junk = fuzz_below(&check->rng, lhk_min(kept, keys - kept) + 1);
    check->step = "truncate";
    verify_ok(check, life->truncate(other.state, kept, verify_error(check)));
    append(s, NULL, &other, 0, junk, 1);  // other rows, which must be forgotten
    check->step = "truncate again";
    verify_ok(check, life->truncate(other.state, kept, verify_error(check)));
    append(s, NULL, &other, kept, keys - kept, 1);
    expect_same(s, &other, (select_call){.step = "an index truncated and appended to", .workers = 1}, expected);
    verify_instance fork = verify_create(check, s->variant, &s->problem, 1);
    check->step = "fork";
    verify_ok(check, life->fork(other.state, fork.state, verify_error(check)));
    verify_ok(check, life->truncate(other.state, 0, verify_error(check)));
    append(s, NULL, &other, keys - kept, kept, 1);
    expect_same(s, &fork, (select_call){.step = "a fork after its source was changed", .workers = 1}, expected);
    check->step = "save";
    uint64_t bytes = life->save_size(selector->state);
    fuzz_buffer *saved = verify_buffer(check, bytes, 1), *again = verify_buffer(check, bytes, 1);
    life->save(selector->state, saved->data);
    check->step = "load";
    verify_instance loaded = verify_create(check, s->variant, &s->problem, 1);
    verify_ok(check, life->load(loaded.state, saved->data, bytes, verify_error(check)));
    expect_same(s, &loaded, (select_call){.step = "an index that was loaded", .workers = 1}, expected);
    check->step = "save what was loaded";
    if (life->save_size(loaded.state) != bytes) verify_fail(check, "its size is another");
    life->save(loaded.state, again->data);
    if (bytes && memcmp(saved->data, again->data, bytes)) verify_fail(check, "its bytes are others");
    check_bad_bytes(s, saved, expected);
    verify_destroy(check, &other);
}

/// Compares with the reference, and with what the exactness class promises, on keys that the mask shows.
static void check_choice(selector_case *s, const verify_chosen *chosen) {
    verify_check *check = s->check;
    const lhk_reference *reference = check->target->method->reference;
    // A selector may look at its own copy of a key or at what the store made of it: over a store that approximates, no
    // formula can tell.
    const lhk_selector_reference *formula = reference && s->store_kind->dtype ? reference->formula : NULL;
    bool exact = s->variant->exactness == LHK_EXACT;
    uint64_t count = (uint64_t)(s->shape.rows * s->shape.query_heads * s->shape.keys);
    uint8_t *expected = verify_alloc(check, count, 1);
    check->step = "the reference";
    if (formula)
        verify_ok(check, formula->select(&s->problem, &s->q, &s->k, &s->v, s->problem.params, expected, verify_error(check)));
    check->step = formula ? "comparison with the reference" : "all visible keys, as the class exact promises";
    if (!formula && !exact) return;
    lhk_fuzz_args view = {.struct_size = sizeof view, .q = s->q, .k = s->k, .v = s->v, .params = s->problem.params};
    fuzz_sequence sequence = fuzz_get_sequence(&view, 0);
    for (uint64_t i = 0; i < count; i++) {
        int64_t key = (int64_t)i % s->shape.keys, row = (int64_t)i / s->shape.keys / s->shape.query_heads;
        int64_t head = (int64_t)i / s->shape.keys % s->shape.query_heads;
        bool wrong = formula ? expected[i] != LHK_CHOSEN_EITHER && chosen->taken[i] != expected[i] : !chosen->taken[i];
        if (wrong && fuzz_visible(&view, &sequence, row, key))
            verify_fail(check, "key %" PRId64 " of row %" PRId64 " head %" PRId64 " is %s", key, row, head,
                        chosen->taken[i] ? "chosen, but should not be" : "not chosen, but should be");
    }
}

void verify_selector_case(verify_check *check) {
    selector_case s = {.check = check, .variant = check->target->variant, .ops = check->target->variant->ops};
    if (check->v->store_count == 0) verify_skip(check, "no store was found to select from");
    draw(&s);
    verify_instance selector = verify_create(check, s.variant, &s.problem, 1);
    for (int64_t done = 0; done < s.shape.keys;) {
        int64_t n = 1 + fuzz_below(&check->rng, fuzz_chance(&check->rng, 50) ? 3 : s.shape.keys - done);
        n = lhk_min(n, s.shape.keys - done);
        append(&s, &s.store, &selector, done, n, 1);
        done += n;
    }
    verify_move(check, &selector);
    verify_chosen chosen = {0};
    run_select(&s, &selector, (select_call){.step = "select", .workers = 1, .workspace_byte = 0xff}, &chosen);
    check_choice(&s, &chosen);
    expect_same(&s, &selector, (select_call){.step = "select again", .workers = 1}, &chosen);
    expect_same(&s, &selector, (select_call){.step = "5 workers", .workers = 5, .workspace_byte = 0x7f}, &chosen);
    if (check->index % 4 == 0)
        expect_same(&s, &selector, (select_call){.step = "thread pool", .workers = 1, .pool = true}, &chosen);
    expect_same(&s, &selector, (select_call){.step = "workspace one byte short", .workers = 1, .withhold = 1}, &chosen);
    check_life(&s, &selector, &chosen);
    verify_destroy(check, &selector);
}
