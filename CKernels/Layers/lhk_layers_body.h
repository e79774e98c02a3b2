// SPDX-License-Identifier: Apache-2.0
// Bodies of the elementwise kernels, included once per ISA file, which defines before:
//   LHK_LANES               floats in a vector
//   LHK_VFMA(a, b, c)       a * b + c, fused where the ISA has it
//   LHK_VSUM(v)             sum of the lanes
//   LHK_TABLE               name of the table to define
//   LHK_LINEAR_TILE_COLUMNS columns of the four-row tile of the linear kernel
// There is no include guard on purpose. The ISA file has included the system headers.

// A product and a sum are fused only where LHK_VFMA asks for it: dequantisation must round each step.
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

#include "lhk_vector_body.h"
#include "lhk_dequantize_body.h"
#include "lhk_linear_body.h"

static inline __attribute__((always_inline)) void lhk_map(
    const float *a, const float *b, float *out, size_t count, vf op(vf, vf)) {
    size_t i = 0;
    for (; i + LHK_LANES <= count; i += LHK_LANES) lhk_store(out + i, op(lhk_load(a + i), lhk_load(b + i)));
    if (i == count) return;
    size_t rest = count - i;
    lhk_store_part(out + i, op(lhk_load_part(a + i, rest, 0), lhk_load_part(b + i, rest, 0)), rest);
}

static inline vf lhk_op_add(vf a, vf b) {
    return a + b;
}
static inline vf lhk_op_silu_mul(vf gate, vf up) {
    return gate / (1.0f + lhk_exp_vector(-gate)) * up;
}
// 0.5 (1 + tanh u) = 1 / (1 + exp(-2u)), which needs one exp and keeps its precision where 1 + tanh u cancels.
static inline vf lhk_op_gelu_tanh_mul(vf gate, vf up) {
    const float twice_sqrt_2_over_pi = 1.5957691216057308f;
    vf cubic = LHK_VFMA(gate * gate * 0.044715f, gate, gate);
    return gate / (1.0f + lhk_exp_vector(cubic * -twice_sqrt_2_over_pi)) * up;
}
static inline vf lhk_op_exp(vf x, vf same) {
    (void)same;
    return lhk_exp_vector(x);
}

static void lhk_add(const float *a, const float *b, float *out, size_t count) {
    lhk_map(a, b, out, count, lhk_op_add);
}
static void lhk_silu_mul(const float *gate, const float *up, float *out, size_t count) {
    lhk_map(gate, up, out, count, lhk_op_silu_mul);
}
static void lhk_gelu_tanh_mul(const float *gate, const float *up, float *out, size_t count) {
    lhk_map(gate, up, out, count, lhk_op_gelu_tanh_mul);
}
static void lhk_exp(const float *x, float *out, size_t count) {
    lhk_map(x, x, out, count, lhk_op_exp);
}
static void lhk_scale(const float *x, float factor, float *out, size_t count) {
    for (size_t i = 0; i < count; i++) out[i] = x[i] * factor;
}

static void lhk_rms_norm(
    const float *x, size_t x_stride, const float *w, float eps, float *out, size_t out_stride, size_t rows,
    size_t cols) {
    for (size_t r = 0; r < rows; r++) {
        const float *in = x + r * x_stride;
        float *to = out + r * out_stride;
        // Four chains hide the latency of the FMA and shorten the chain of roundings.
        vf sum[4] = {{0}, {0}, {0}, {0}};
        size_t i = 0;
        for (; i + 4 * LHK_LANES <= cols; i += 4 * LHK_LANES) {
            for (int c = 0; c < 4; c++) {
                vf v = lhk_load(in + i + c * LHK_LANES);
                sum[c] = LHK_VFMA(v, v, sum[c]);
            }
        }
        for (; i < cols; i += LHK_LANES) {
            vf v = lhk_load_part(in + i, cols - i, 0);
            sum[0] = LHK_VFMA(v, v, sum[0]);
        }
        vf all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
        float scale = (float)(1.0 / sqrt((double)LHK_VSUM(all) / (double)cols + (double)eps));
        for (i = 0; i < cols; i++) to[i] = in[i] * scale * w[i];
    }
}

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

const lhk_layers_table LHK_TABLE = {
    .dequantize = lhk_dequantize,
    .rms_norm = lhk_rms_norm,
    .add = lhk_add,
    .silu_mul = lhk_silu_mul,
    .gelu_tanh_mul = lhk_gelu_tanh_mul,
    .scale = lhk_scale,
    .exp = lhk_exp,
    .logit_statistics = lhk_logit_statistics,
    .linear_small = lhk_linear_small,
};
