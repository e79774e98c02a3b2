// SPDX-License-Identifier: Apache-2.0
/// Cases of attention: which store, which options, which problem.
#include <inttypes.h>
#include <lhk/support.h>

#include "fuzz_corpus.h"
#include "verify_attention.h"

static bool reads(const lhk_variant *variant, const verify_store *store) {
    return !variant->kv_dtypes || variant->kv_dtypes & LHK_DTYPE_BIT(store->panels);
}

static uint32_t count_stores(const lhk_verify *v, const lhk_variant *variant) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < v->store_count; i++) count += reads(variant, &v->stores[i]);
    return count;
}

/// One of the stores that the variant reads, of which there must be some.
static const verify_store *choose_store(const lhk_verify *v, const lhk_variant *variant, uint64_t number) {
    const verify_store *store = v->stores;
    for (uint64_t skip = number % count_stores(v, variant);; store++)
        if (reads(variant, store) && skip-- == 0) return store;
}

/// Brings a problem within what the variant and the store take.
static void adapt(fuzz_problem *p, const lhk_variant *variant, const verify_store *store) {
    p->dim_k = verify_fit_dim(variant, p->dim_k);
    p->dim_v = verify_fit_dim(variant, p->dim_v);
    p->query_dtype = verify_fit_dtype(variant->query_dtypes, p->query_dtype);
    p->out_dtype = verify_fit_dtype(variant->output_dtypes, p->out_dtype);
    p->kv_dtype = store->dtype ? store->dtype : LHK_DTYPE_F32;
    if (store->dtype) return;
    if (store->panels == LHK_DTYPE_I8) {  // an infinite channel makes all of a row NaN
        p->specials_nan_only = true;
        return;
    }
    p->poison_hidden = p->has_lengths = false;  // what an approximation makes of NaN is its own affair
    p->specials = 0;
    p->nan_key = p->nan_value = -1;
    if (p->values == FUZZ_BEYOND_F16 || p->values == FUZZ_SUBNORMAL) p->values = FUZZ_NORMAL;
}

/// Makes the problem plainer, for variants that lack some modifiers.
static void simplify(fuzz_problem *p, int step) {
    if (step >= 1) p->softcap = 0;
    if (step >= 1) p->slopes = p->sinks = 0;
    if (step >= 2) p->selection = FUZZ_SELECT_NONE;
    if (step >= 3) p->left = p->right = -1, p->sink_tokens = 0;
    if (step >= 3 && !(p->flags & LHK_ATTENTION_CAUSAL)) p->flags &= ~LHK_ATTENTION_OFFSET;
}

static void name_subject(attention_subject *s, const lhk_verify_target *target, uint32_t option_set) {
    const char *options = option_set ? target->method->reference->option_sets[option_set - 1] : "";
    snprintf(s->name, sizeof s->name, "%s%s%.60s over store %s", target->variant->id, *options ? " with " : "", options,
             s->store->name);
}

static lhk_fuzz_subject make_subject(attention_subject *s, const lhk_verify_target *target, const fuzz_problem *p) {
    const lhk_reference *reference = target->method->reference;
    bool bf16 = s->variant->isa_required & (LHK_ISA_AVX512BF16 | LHK_ISA_NEON_BF16), i8 = s->store->panels == LHK_DTYPE_I8;
    bool codes = !s->store->dtype && s->store->panels == LHK_DTYPE_NONE;
    s->shape = verify_problem(p->query_heads, p->kv_heads, p->dim_k, p->dim_v, 0, 0);
    s->shape.query_dtype = p->query_dtype;
    s->shape.kv_dtype = s->store->panels;
    s->shape.output_dtype = p->out_dtype;
    s->shape.options = s->options.options;
    s->shape.option_count = s->options.count;
    return (lhk_fuzz_subject){.name = s->name, .context = s, .attend = verify_attention_attend,
                              .workspace = verify_attention_workspace, .held = s->store->dtype ? NULL : verify_attention_held,
                              .reference = reference ? reference->formula : NULL, .problem = &s->shape, .modes = 1,
                              .arithmetic = codes  ? LHK_FUZZ_ARITHMETIC_CODES
                                            : i8   ? LHK_FUZZ_ARITHMETIC_I8
                                            : bf16 ? LHK_FUZZ_ARITHMETIC_BF16
                                                   : LHK_FUZZ_ARITHMETIC_F32,
                              .rotation = s->store->rotation, .partial = true, .loose_workspace = true,
                              .unbounded = target->variant->exactness != LHK_EXACT && !i8};
}

/// One problem of a case with one set of options. Adds to `reports`; false: every level refused it.
typedef struct attempt {
    lhk_verify *v;
    const lhk_verify_target *target;
    const lhk_isa *levels;
    uint32_t level_count;
    lhk_fuzz_report *reports;
    bool thorough;
} attempt;

static lhk_status try_problem(const attempt *a, const fuzz_problem *drawn, const verify_store *store, uint32_t option_set,
                              int step, bool *taken) {
    attention_subject s = {.v = a->v, .variant = a->target->variant, .store = store, .isa = a->v->pool.isa,
                           .spare = (int64_t)(fuzz_mix(drawn->index + 3) % 3), .store_state = &a->v->buffers[0],
                           .attention_state = &a->v->buffers[1], .other_state = &a->v->buffers[2]};
    fuzz_problem p = *drawn;
    adapt(&p, s.variant, store);
    simplify(&p, step);
    if (option_set) verify_parse_options(a->target->method->reference->option_sets[option_set - 1], &s.options);
    name_subject(&s, a->target, option_set);
    lhk_fuzz_options options = {.struct_size = sizeof options, .isa_count = a->level_count, .seed = a->v->seed,
                                .isas = a->levels, .pool = &a->v->pool, .subject = make_subject(&s, a->target, &p)};
    uint64_t before = 0, after = 0;
    for (uint32_t i = 0; i < a->level_count; i++) before += a->reports[i].cases;
    lhk_status status = fuzz_run_problem(&p, &options, &a->v->arena, a->thorough, a->reports, false);
    for (uint32_t i = 0; i < a->level_count; i++) after += a->reports[i].cases;
    *taken = after > before;
    return status;
}

/// Tries the problem as drawn, without options, and ever plainer; if all is refused, over the other stores.
static lhk_status run_problem(const attempt *a, const fuzz_problem *drawn) {
    uint32_t sets = verify_option_sets(a->target->method) + 1, stores = count_stores(a->v, a->target->variant);
    uint32_t set = drawn->name && !drawn->mode ? (uint32_t)(drawn->index % sets) : fuzz_mode(drawn, sets);
    uint64_t first = fuzz_mix(drawn->index + 1);
    bool taken = false;
    lhk_status status = LHK_OK;
    int steps = fuzz_work(drawn) < 1e9 ? 4 : 3;  // the last step would let all rows see all keys
    for (uint32_t i = 0; i < a->level_count; i++) a->reports[i].skipped++;
    for (uint32_t n = 0; n < stores; n++) {
        const verify_store *store = choose_store(a->v, a->target->variant, first + n);
        for (int step = 0; step < steps; step++)
            for (uint32_t plain = 0; plain <= (set > 0); plain++) {
                for (uint32_t i = 0; i < a->level_count; i++) a->reports[i].skipped--;  // another try is counted anew
                status = try_problem(a, drawn, store, plain ? 0 : set, step, &taken);
                if (taken || status) return status;
            }
    }
    return status;
}

/// Adds what a case came to: it failed when any of its problems did.
static void add_report(lhk_verify_outcome *o, const lhk_fuzz_report *r, const char *name, uint64_t index, bool no_store) {
    o->cases += r->cases > 0;
    o->skipped += r->cases == 0;
    o->calls += r->calls;
    o->worst = fmax(o->worst, r->worst);
    if (r->cases == 0)
        snprintf(o->reason, sizeof o->reason, no_store ? "no store was found whose panels it reads" : "refuses every drawn problem");
    if (r->failures && o->failures++ == 0) {
        snprintf(o->text, sizeof o->text, "%s", r->text);
        if (name) snprintf(o->failed_case, sizeof o->failed_case, "%s", name);
        else snprintf(o->failed_case, sizeof o->failed_case, "%" PRIu64, index);
    }
}

lhk_status verify_attention_case(lhk_verify *v, const lhk_verify_target *target, uint64_t index, uint32_t name_index,
                                 const lhk_isa *levels, uint32_t level_count, lhk_verify_outcome *outcomes,
                                 lhk_error *error) {
    bool named = name_index != UINT32_MAX;
    enum { text_size = 2000 };
    lhk_fuzz_report *reports = calloc(level_count, sizeof *reports);
    char *texts = calloc(level_count, text_size);
    if (!reports || !texts) {
        free(reports);
        free(texts);
        return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for reports");
    }
    for (uint32_t i = 0; i < level_count; i++)
        reports[i] = (lhk_fuzz_report){.struct_size = sizeof *reports, .text = texts + i * text_size, .text_size = text_size};
    attempt a = {v, target, levels, level_count, reports, named};
    lhk_status status = LHK_OK;
    fuzz_problem problem;
    if (named) {
        for (uint32_t part = 0; !status && fuzz_corpus_problem(name_index, part, v->seed, &problem); part++)
            status = run_problem(&a, &problem);
    } else {
        problem = fuzz_generate(v->seed, index);
        status = run_problem(&a, &problem);
    }
    bool no_store = !count_stores(v, target->variant);
    for (uint32_t i = 0; i < level_count; i++)
        add_report(&outcomes[i], &reports[i], named ? lhk_fuzz_corpus_get(name_index).name : NULL, index, no_store);
    if (status) lhk_fail(error, status, -1, "%.400s", reports[0].text);
    free(reports);
    free(texts);
    return status;
}
