// SPDX-License-Identifier: Apache-2.0
// Vectors of LHK_LANES floats in the vector language that Clang and GCC share, and exp on them.

typedef float vf __attribute__((vector_size(LHK_LANES * 4)));
typedef double vd __attribute__((vector_size(LHK_LANES * 8)));
typedef int32_t vi __attribute__((vector_size(LHK_LANES * 4)));
typedef uint32_t vu __attribute__((vector_size(LHK_LANES * 4)));
typedef uint16_t vh __attribute__((vector_size(LHK_LANES * 2)));
typedef int64_t vl __attribute__((vector_size(LHK_LANES * 8)));

static inline vf lhk_splat(float x) {
    return x - (vf){0};  // x - 0 keeps the sign of a zero, x + 0 would not
}

static inline vf lhk_load(const float *p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

/// The first `count` floats at p (all, when there are more), the other lanes `fill`. Reads nothing beyond.
static inline vf lhk_load_part(const float *p, size_t count, float fill) {
    if (count >= LHK_LANES) return lhk_load(p);
    vf v = lhk_splat(fill);
    memcpy(&v, p, count * sizeof(float));
    return v;
}

static inline void lhk_store(float *p, vf v) {
    memcpy(p, &v, sizeof v);
}

static inline void lhk_store_part(float *p, vf v, size_t count) {
    memcpy(p, &v, count * sizeof(float));
}

static inline vf lhk_select(vi mask, vf yes, vf no) {
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

static inline vi lhk_lane_index(void) {
    vi v;
    for (int32_t l = 0; l < LHK_LANES; l++) v[l] = l;
    return v;
}

/// exp, relative error below 2e-7: x = n ln 2 + r with |r| <= ln(2)/2, exp(x) = 2^n exp(r), the Taylor polynomial of
/// degree 7 (truncation 7e-9) for exp(r). ln 2 is split so that n times the first part is exact (Cody and Waite).
static inline vf lhk_exp_vector(vf x) {
    const float log2_e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    const float round_magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, kept in the low bits
    // Beyond these bounds the result is 0 or inf anyway. A NaN fails both comparisons and stays.
    x = lhk_select(x < -104.0f, lhk_splat(-104.0f), x);
    x = lhk_select(x > 89.0f, lhk_splat(89.0f), x);
    vf shifted = LHK_VFMA(x, lhk_splat(log2_e), lhk_splat(round_magic));
    vf n = shifted - round_magic;
    vf r = LHK_VFMA(n, lhk_splat(-ln2_high), x);
    r = LHK_VFMA(n, lhk_splat(-ln2_low), r);
    vf p = lhk_splat(1.0f / 5040.0f);
    p = LHK_VFMA(p, r, lhk_splat(1.0f / 720.0f));
    p = LHK_VFMA(p, r, lhk_splat(1.0f / 120.0f));
    p = LHK_VFMA(p, r, lhk_splat(1.0f / 24.0f));
    p = LHK_VFMA(p, r, lhk_splat(1.0f / 6.0f));
    p = LHK_VFMA(p, r, lhk_splat(0.5f));
    p = LHK_VFMA(p, r * r, r) + 1.0f;
    // 2^n in two factors, since n can be -150 (subnormal results) or 128 (overflow), outside the exponent's range.
    vu whole = (vu)shifted - (vu)lhk_splat(round_magic);
    vu half = (vu)((vi)whole >> 1);
    return p * (vf)((half + 127u) << 23) * (vf)((whole - half + 127u) << 23);
}

/// exp for x <= 0 in f64, relative error below 1e-15: as above with the Taylor polynomial of degree 13 (truncation
/// 5e-18). 0 below -708, where results would be near the least normal number; NaN stays. In place, because passing
/// vectors wider than the ISA's by value has no stable calling convention.
static inline void lhk_exp_vector_f64(vd *values) {
    const double log2_e = 1.4426950408889634, ln2_high = 0x1.62e42fefa0000p-1, ln2_low = 0x1.cf79abc9e3b39p-40;
    const double round_magic = 0x1.8p52;
    static const double factors[] = {1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880,
                                     1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 1.0 / 2, 1, 1};
    vl tiny = *values < -708.0;
    vd x = (vd)((vl)*values & ~tiny);
    vd shifted = x * log2_e + round_magic;
    vd k = shifted - round_magic;
    vd r = (x - k * ln2_high) - k * ln2_low;
    vd sum = r * factors[0] + factors[1];
    for (int i = 2; i < 14; i++) sum = sum * r + factors[i];
    vl whole = (vl)shifted - (vl)((vd){0} + round_magic);
    *values = (vd)((vl)(sum * (vd)((whole + 1023) << 52)) & ~tiny);
}
