// SPDX-License-Identifier: Apache-2.0
// Statistics of rows of logits; included by lhk_layers_body.h.

// One pass for maximum, index and NaN, one for the sum, because exp needs the maximum first.
static void lhk_logit_statistics(
    const float *logits, size_t count, float *max, int64_t *argmax, double *log_sum_exp) {
    vf best = lhk_splat(-INFINITY);
    vi best_at = lhk_lane_index(), nan = {0};
    vu at = (vu)best_at;
    for (size_t i = 0; i < count; i += LHK_LANES) {
        vf v = lhk_load_part(logits + i, count - i, -INFINITY);
        vi larger = v > best;
        best = lhk_select(larger, v, best);
        best_at = (larger & (vi)at) | (~larger & best_at);
        nan |= v != v;
        at += LHK_LANES;
    }
    float top = -INFINITY;
    int32_t top_at = 0, any_nan = 0;
    for (int l = 0; l < LHK_LANES; l++) {
        any_nan |= nan[l];
        if (best[l] > top || (best[l] == top && best_at[l] < top_at)) {
            top = best[l];
            top_at = best_at[l];
        }
    }
    *max = any_nan ? NAN : top;
    *argmax = any_nan || count == 0 ? -1 : (top == -INFINITY ? 0 : top_at);
    if (!log_sum_exp) return;
    *log_sum_exp = (double)*max;
    if (any_nan || isinf(top)) return;
    vf shift = lhk_splat(top);
    vd sum = {0};
    for (size_t i = 0; i < count; i += LHK_LANES) {
        vf v = lhk_load_part(logits + i, count - i, -INFINITY);
        sum += __builtin_convertvector(lhk_exp_vector(v - shift), vd);
    }
    double total = 0;
    for (int l = 0; l < LHK_LANES; l++) total += sum[l];
    *log_sum_exp = (double)top + log(total);
}

// Everything after the maxima is f64: differences between a method and exact attention can be far below the rounding
// of f32 sums over a vocabulary.
static void lhk_compare_logits(const float *reference, const float *other, size_t count, lhk_layer_comparison *out) {
    float top_x, top_y;
    lhk_logit_statistics(reference, count, &top_x, &out->reference_argmax, NULL);
    lhk_logit_statistics(other, count, &top_y, &out->other_argmax, NULL);
    out->reference_log_sum_exp = (double)top_x;
    out->other_log_sum_exp = (double)top_y;
    out->kl_divergence = NAN;
    if (isnan(top_x) || isnan(top_y) || isinf(top_x) || isinf(top_y)) return;
    vd sum_x = {0}, sum_y = {0}, weighted = {0};
    for (size_t i = 0; i < count; i += LHK_LANES) {
        vd x = __builtin_convertvector(lhk_load_part(reference + i, count - i, -INFINITY), vd);
        vd y = __builtin_convertvector(lhk_load_part(other + i, count - i, -INFINITY), vd);
        vd p = x - (double)top_x, q = y - (double)top_y;
        lhk_exp_vector_f64(&p);
        lhk_exp_vector_f64(&q);
        sum_x += p;
        sum_y += q;
        vl counts = p > 0.0;  // an impossible token adds nothing, whatever the other row says of it
        weighted += (vd)((vl)(p * (x - y)) & counts);
    }
    double total_x = 0, total_y = 0, total = 0;
    for (int l = 0; l < LHK_LANES; l++) {
        total_x += sum_x[l];
        total_y += sum_y[l];
        total += weighted[l];
    }
    out->reference_log_sum_exp = (double)top_x + log(total_x);
    out->other_log_sum_exp = (double)top_y + log(total_y);
    double kl = total / total_x - (out->reference_log_sum_exp - out->other_log_sum_exp);
    out->kl_divergence = kl > 0 ? kl : 0;  // the sum of roundings may be -1e-15
}
