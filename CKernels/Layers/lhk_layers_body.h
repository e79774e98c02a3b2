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
#include "lhk_logit_body.h"

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

// Rounding to nearest even, by integers so that every ISA gives the same bits; see the scalar forms in support.h.
static inline vu lhk_bf16_bits(vu bits) {
    vu nan = (vu)((bits & 0x7fffffffu) > 0x7f800000u);
    vu rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (nan & ((bits >> 16) | 0x40u)) | (~nan & rounded);
}
static inline vu lhk_f16_bits(vu bits) {
    vu sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu, top = (magnitude >> 13) & 0x3ffu;
    vu nan = (vu)(magnitude > 0x7f800000u), large = (vu)(magnitude >= 0x477ff000u), small = (vu)(magnitude < 0x38800000u);
    vu normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    vu subnormal = (vu)((vf)(magnitude & small) + 0.5f) - 0x3f000000u;  // adding 0.5 aligns and rounds the mantissa
    vu out = (small & subnormal) | (~small & normal);
    out = (large & 0x7c00u) | (~large & out);
    return sign | (nan & (0x7e00u | top)) | (~nan & out);
}

static void lhk_narrow(uint32_t dtype, const float *x, uint16_t *out, size_t count) {
    for (size_t i = 0; i < count; i += LHK_LANES) {
        vu bits = (vu)lhk_load_part(x + i, count - i, 0);
        vh half = __builtin_convertvector(dtype == LHK_DTYPE_BF16 ? lhk_bf16_bits(bits) : lhk_f16_bits(bits), vh);
        memcpy(out + i, &half, (count - i < LHK_LANES ? count - i : LHK_LANES) * sizeof *out);
    }
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

const lhk_layers_table LHK_TABLE = {
    .dequantize = lhk_dequantize,
    .rms_norm = lhk_rms_norm,
    .add = lhk_add,
    .silu_mul = lhk_silu_mul,
    .gelu_tanh_mul = lhk_gelu_tanh_mul,
    .scale = lhk_scale,
    .exp = lhk_exp,
    .narrow = lhk_narrow,
    .logit_statistics = lhk_logit_statistics,
    .compare_logits = lhk_compare_logits,
    .linear_small = lhk_linear_small,
};
