// SPDX-License-Identifier: Apache-2.0
/// The steps of rotary positions, written once and compiled per instruction set. The includer defines LHK_ROPE_NAME(x),
/// which appends its suffix, and includes lhk_rope_internal.h before it raises the target.
///
/// Plain loops: the compiler vectorises them for the target in force. No FMA is asked for, so every instruction set
/// rounds alike; the work is bound by memory, not by the extra instruction.

// "No dependence between iterations" also asks to vectorise; a sanitizer prevents that, which is no reason to warn.
#if defined(__clang__)
#pragma clang diagnostic ignored "-Wpass-failed"
#define LHK_ROPE_INDEPENDENT LHK_PRAGMA(clang loop vectorize(assume_safety))
#else
#define LHK_ROPE_INDEPENDENT LHK_PRAGMA(GCC ivdep)
#endif

/// The angle x is reduced to r = x - n pi/2 in [-pi/4, pi/4] with pi/2 in two parts (33 and 53 bits: the first product
/// is exact for n < 2^20); Taylor polynomials of sin r and cos r are then good to 2e-12, far below a float's rounding.
void LHK_ROPE_NAME(lhk_rope_fill)(const lhk_rope_table *table, double position, float *cosines, float *sines) {
    const double *frequencies = table->frequencies;
    const double magnitude = table->magnitude;
    const int64_t pairs = table->dims / 2;
    LHK_ROPE_INDEPENDENT
    for (int64_t t = 0; t < pairs; t++) {
        double angle = position * frequencies[t];
        // Adding 1.5 * 2^52 rounds to an integer and leaves it, in two's complement, in the low bits.
        double shifted = angle * 0x1.45f306dc9c883p-1 + 0x1.8p52;
        double n = shifted - 0x1.8p52;
        uint64_t quadrant;
        memcpy(&quadrant, &shifted, 8);
        double r = (angle - n * 0x1.921fb544p+0) - n * 0x1.0b4611a626331p-34;
        double z = r * r;
        double sine = z * (1.0 / 6227020800) - 1.0 / 39916800;
        sine = z * sine + 1.0 / 362880;
        sine = z * sine - 1.0 / 5040;
        sine = z * sine + 1.0 / 120;
        sine = z * sine - 1.0 / 6;
        sine = r + r * (z * sine);
        double cosine = z * (1.0 / 479001600) - 1.0 / 3628800;
        cosine = z * cosine + 1.0 / 40320;
        cosine = z * cosine - 1.0 / 720;
        cosine = z * cosine + 1.0 / 24;
        cosine = z * cosine - 0.5;
        cosine = 1.0 + z * cosine;
        uint64_t sine_bits, cosine_bits;
        memcpy(&sine_bits, &sine, 8);
        memcpy(&cosine_bits, &cosine, 8);
        uint64_t exchange = (sine_bits ^ cosine_bits) & (0 - (quadrant & 1));
        sine_bits ^= exchange ^ (quadrant & 2) << 62;
        cosine_bits ^= exchange ^ ((quadrant + 1) & 2) << 62;
        memcpy(&sine, &sine_bits, 8);
        memcpy(&cosine, &cosine_bits, 8);
        cosines[t] = (float)(cosine * magnitude);
        sines[t] = (float)(sine * magnitude);
    }
}

static void LHK_ROPE_NAME(lhk_rope_widen)(const uint16_t *x, lhk_dtype dtype, float *out, int64_t count) {
    if (dtype == LHK_DTYPE_BF16) {
        for (int64_t i = 0; i < count; i++) out[i] = lhk_bf16_to_f32(x[i]);
    } else {
        for (int64_t i = 0; i < count; i++) out[i] = lhk_f16_to_f32(x[i]);
    }
}

/// Every iteration reads its pair before it writes it, so `out` may be x.
void LHK_ROPE_NAME(lhk_rope_rotate)(const lhk_rope_table *table, const float *cosines, const float *sines,
                                    const void *x, lhk_dtype dtype, float *out, int64_t head_dim) {
    const int64_t dims = table->dims, pairs = dims / 2;
    const float *source = x;
    if (dtype != LHK_DTYPE_F32) {
        LHK_ROPE_NAME(lhk_rope_widen)(x, dtype, out, head_dim);
        source = out;
    } else if (source != out && dims < head_dim) {
        memcpy(out + dims, source + dims, (size_t)(head_dim - dims) * sizeof(float));
    }
    if (table->interleaved) {
        LHK_ROPE_INDEPENDENT
        for (int64_t t = 0; t < pairs; t++) {
            float a = source[2 * t], b = source[2 * t + 1];
            out[2 * t] = a * cosines[t] - b * sines[t];
            out[2 * t + 1] = b * cosines[t] + a * sines[t];
        }
    } else {
        LHK_ROPE_INDEPENDENT
        for (int64_t t = 0; t < pairs; t++) {
            float a = source[t], b = source[t + pairs];
            out[t] = a * cosines[t] - b * sines[t];
            out[t + pairs] = b * cosines[t] + a * sines[t];
        }
    }
}
