// SPDX-License-Identifier: Apache-2.0
/// One case of a position method: against its reference, in place, by any number of workers, row by row.
#include <float.h>
#include <inttypes.h>
#include <lhk/support.h>

#include "verify.h"

typedef struct position_case {
    verify_check *check;
    const lhk_variant *variant;
    const lhk_position_ops *ops;
    verify_options options;
    lhk_position_params params;
    lhk_problem problem;
    lhk_tensor x;
    int64_t first;
    verify_instance instance;
} position_case;

static void draw_params(position_case *s, int64_t dim) {
    static const float bases[] = {10000, 10000, 500000, 1000000, 1.5f};
    fuzz_rng *rng = &s->check->rng;
    s->params = (lhk_position_params){.struct_size = sizeof s->params, .base = FUZZ_PICK(rng, bases)};
    s->params.interleaved = fuzz_chance(rng, 30);
    if (dim >= 4 && fuzz_chance(rng, 30)) s->params.dims = (uint32_t)(2 + fuzz_below(rng, dim / 2) * 2);
    if (s->params.dims > dim) s->params.dims = 0;
    s->problem.position = &s->params;
}

static void draw(position_case *s) {
    static const lhk_dtype types[] = {LHK_DTYPE_F32, LHK_DTYPE_F32, LHK_DTYPE_BF16, LHK_DTYPE_F16};
    static const int64_t firsts[] = {0, 0, 1, 2, 1000, 4095, 8192, 65535, 131072, 999000};
    verify_check *check = s->check;
    fuzz_rng *rng = &check->rng;
    verify_fixed fixed = check->fixed ? *check->fixed : (verify_fixed){0};
    int64_t dim = verify_fit_dim(s->variant, verify_size(fixed.dim_k, verify_draw_dim(check, s->variant)));
    int64_t heads = 1 + fuzz_below(rng, 5), tokens = verify_size(fixed.tokens, verify_draw_length(check, 60000 / dim / heads + 3));
    lhk_dtype dtype = verify_fit_dtype(s->variant->query_dtypes, FUZZ_PICK(rng, types));
    verify_values values = fuzz_chance(rng, 70) ? VERIFY_NORMAL : VERIFY_WIDE;
    if (dim % 2 && fuzz_chance(rng, 80)) dim = verify_fit_dim(s->variant, dim + 1);
    s->first = fuzz_chance(rng, 60) ? FUZZ_PICK(rng, firsts) : fuzz_below(rng, 1000000);
    if (fixed.has_first) s->first = fixed.first;
    s->problem = verify_problem(heads, 1, dim, dim, tokens, 1 << 20);
    s->problem.query_dtype = dtype;
    draw_params(s, dim);
    snprintf(check->problem, sizeof check->problem,
             "seed %" PRIu64 " case %" PRIu64 ": %" PRId64 " tokens from %" PRId64 " on, %" PRId64 " heads of %" PRId64
             ", from %s, base %g, dims %u%s",
             check->v->seed, check->index, tokens, s->first, heads, dim, lhk_dtype_name(dtype), (double)s->params.base,
             s->params.dims, s->params.interleaved ? ", interleaved" : "");
    verify_use_options(check, check->index % (verify_option_sets(check->target->method) + 1), &s->options, &s->problem);
    verify_support(check, s->variant, &s->problem);
    s->x = verify_rows(check, dtype, tokens, heads, dim, values);
    if (tokens && values == VERIFY_NORMAL && fuzz_chance(rng, 20)) {  // a NaN must reach its row, and no other
        fuzz_buffer *buffer = &check->v->buffers[check->buffers - 1];
        fuzz_buffer_protect(buffer, true);
        lhk_store_element(lhk_row(&s->x, fuzz_below(rng, tokens), fuzz_below(rng, heads)), dtype, fuzz_below(rng, dim), NAN);
        fuzz_buffer_protect(buffer, false);
    }
    s->instance = verify_create(check, s->variant, &s->problem, 1);
    verify_move(check, &s->instance);
}

/// An output of the shape of x, with gaps, full of the canary.
static lhk_tensor place(position_case *s, bool padded) {
    lhk_tensor out = s->x;
    int64_t gap = padded ? 3 : 0;
    out.dtype = LHK_DTYPE_F32;
    out.stride[1] = s->x.shape[2] + gap;
    out.stride[0] = s->x.shape[1] * out.stride[1] + gap;
    int64_t rows = out.shape[0], extent = rows ? (rows - 1) * out.stride[0] + (out.shape[1] - 1) * out.stride[1] + out.shape[2] : 0;
    out.data = verify_buffer(s->check, (uint64_t)extent * sizeof(float), sizeof(float))->data;
    return out;
}

static void apply(position_case *s, const lhk_tensor *x, int64_t first, const lhk_tensor *out, const lhk_host *host) {
    verify_ok(s->check, s->ops->apply(s->instance.state, host, x, first, out, verify_error(s->check)));
}

/// Fails unless both hold the same bits, and the gaps of `a` were left alone.
static void compare_bits(position_case *s, const lhk_tensor *a, const lhk_tensor *b) {
    for (int64_t i = 0; i < s->x.shape[0]; i++)
        for (int64_t h = 0; h < s->x.shape[1]; h++) {
            const float *left = lhk_row(a, i, h), *right = lhk_row(b, i, h);
            for (int64_t c = 0; c < s->x.shape[2]; c++)
                if (!verify_same_float(left[c], right[c]))
                    verify_fail(s->check, "token %" PRId64 " head %" PRId64 " dim %" PRId64 ": %.9g, before %.9g", i, h, c,
                                (double)left[c], (double)right[c]);
            if (i + 1 == s->x.shape[0] && h + 1 == s->x.shape[1]) continue;
            for (int64_t c = s->x.shape[2]; c < a->stride[1]; c++)
                if (!isnan(left[c])) verify_fail(s->check, "wrote between the rows of out");
        }
}

/// Fails unless both are equal up to rounding: cosines of one position may be computed in more than one way.
static void compare_close(position_case *s, const lhk_tensor *a, const lhk_tensor *b) {
    for (int64_t i = 0; i < s->x.shape[0]; i++)
        for (int64_t h = 0; h < s->x.shape[1]; h++) {
            const float *left = lhk_row(a, i, h), *right = lhk_row(b, i, h);
            float largest = 0;
            for (int64_t c = 0; c < s->x.shape[2]; c++)
                if (isfinite(right[c])) largest = fmaxf(largest, fabsf(right[c]));
            for (int64_t c = 0; c < s->x.shape[2]; c++)
                if (!verify_same_float(left[c], right[c]) && !(fabsf(left[c] - right[c]) <= 0x1p-20f * largest))
                    verify_fail(s->check, "token %" PRId64 " head %" PRId64 " dim %" PRId64 ": %.9g, before %.9g", i, h, c,
                                (double)left[c], (double)right[c]);
        }
}

/// One head's row against the formula: class, then a bound in the largest elements of the row, since any two of them may
/// have been combined.
static void compare_row(position_case *s, const float *got, const void *x, const double *expected, int64_t token, int64_t head) {
    double largest = 0;
    for (int64_t c = 0; c < s->x.shape[2]; c++) {
        double given = fabs((double)lhk_load_element(x, s->x.dtype, c));
        if (isfinite(given)) largest = fmax(largest, given);
        if (isfinite(expected[c])) largest = fmax(largest, fabs(expected[c]));
    }
    double bound = 0x1p-21 * largest + 0x1p-147;
    for (int64_t c = 0; c < s->x.shape[2]; c++) {
        double error = fabs((double)got[c] - expected[c]);
        if (isnan(expected[c]) ? isnan(got[c]) : error <= bound || fabs(expected[c]) > (double)FLT_MAX) {
            if (isfinite(error)) s->check->outcome->worst = fmax(s->check->outcome->worst, error / bound);
            continue;
        }
        verify_fail(s->check, "token %" PRId64 " head %" PRId64 " dim %" PRId64 ": %.9g, expected %.9g, tolerance %.3g", token, head,
                    c, (double)got[c], expected[c], bound);
    }
}

static void compare_with_formula(position_case *s, const lhk_tensor *out) {
    const lhk_reference *reference = s->check->target->method->reference;
    const lhk_position_reference *formula = reference ? reference->formula : NULL;
    if (!formula) return;
    int64_t heads = s->x.shape[1], dim = s->x.shape[2];
    double *expected = verify_alloc(s->check, (uint64_t)(s->x.shape[0] * heads * dim), sizeof *expected);
    s->check->step = "the reference";
    verify_ok(s->check, formula->apply(&s->problem, &s->x, s->first, expected, verify_error(s->check)));
    s->check->step = "comparison with the reference";
    for (int64_t i = 0; i < s->x.shape[0]; i++)
        for (int64_t h = 0; h < heads; h++)
            compare_row(s, lhk_row(out, i, h), lhk_row(&s->x, i, h), expected + (i * heads + h) * dim, i, h);
}

static void check_in_place(position_case *s, const lhk_tensor *expected, const lhk_host *host) {
    s->check->step = "in place";
    if (s->x.dtype != LHK_DTYPE_F32) return;
    lhk_tensor both = place(s, true);
    for (int64_t i = 0; i < s->x.shape[0]; i++)
        for (int64_t h = 0; h < s->x.shape[1]; h++)
            memcpy(lhk_row(&both, i, h), lhk_row(&s->x, i, h), (size_t)s->x.shape[2] * sizeof(float));
    apply(s, &both, s->first, &both, host);
    compare_bits(s, &both, expected);
}

/// Tokens in two calls: the second begins where the first ended.
static void check_pieces(position_case *s, const lhk_tensor *expected, const lhk_host *host) {
    s->check->step = "in two calls";
    lhk_tensor out = place(s, false);
    int64_t cut = fuzz_below(&s->check->rng, s->x.shape[0] + 1);
    lhk_tensor x = verify_slice(&s->x, 0, cut), to = verify_slice(&out, 0, cut);
    apply(s, &x, s->first, &to, host);
    x = verify_slice(&s->x, cut, s->x.shape[0] - cut);
    to = verify_slice(&out, cut, s->x.shape[0] - cut);
    apply(s, &x, s->first + cut, &to, host);
    compare_close(s, &out, expected);
}

void verify_position_case(verify_check *check) {
    position_case s = {.check = check, .variant = check->target->variant, .ops = check->target->variant->ops};
    draw(&s);
    lhk_host host = verify_host(check, 1);
    fuzz_buffer_protect(s.instance.buffer, false);
    lhk_tensor out = place(&s, fuzz_chance(&check->rng, 50));
    check->step = "apply";
    apply(&s, &s.x, s.first, &out, &host);
    compare_bits(&s, &out, &out);
    compare_with_formula(&s, &out);
    lhk_tensor again = place(&s, false);
    check->step = "5 workers";
    lhk_host many = verify_host(check, 5);
    apply(&s, &s.x, s.first, &again, &many);
    compare_bits(&s, &again, &out);
    if (check->index % 4 == 0) {
        check->step = "thread pool";
        many = verify_pool(check);
        again = place(&s, false);
        apply(&s, &s.x, s.first, &again, &many);
        compare_bits(&s, &again, &out);
    }
    host = verify_host(check, 1);
    check_in_place(&s, &out, &host);
    check_pieces(&s, &out, &host);
    fuzz_buffer_protect(s.instance.buffer, true);
    verify_destroy(check, &s.instance);
}
