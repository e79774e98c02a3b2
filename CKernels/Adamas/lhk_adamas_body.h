// SPDX-License-Identifier: Apache-2.0
/// The kernel, written once and included by each file of an instruction set inside its target region.
///
/// The including file defines LHK_NAME(x), LHK_HADAMARD(x) and LHK_HADAMARD_LANES, and these words:
///   uint32_t greater(const float *y, float t)     bit c: y[c] > t, of 16
///   vwords: some 64-bit lanes (LHK_WORDS); vcount(x): population count of each; and the functions of h, l, q
///     vleast(h, l, q) = (h | l) ^ q, vxor(h, q) and vmost(h, l, q) = (h & l) ^ q; vminus(sum, out): floats -sum
///   vbytes: LHK_BYTES bytes, at most 64; look(table, x): table[x & 15] for x below 16, of 16 bytes; or
///     LHK_ADAMAS_PERMUTE, for VBMI
///   void halves(const uint16_t *from, floats *to)  16 f16
///   void fuse(floats *x, const floats *y, const floats *z)   x = x y + z, rounded once
///   void power(floats *x, float shift)            lhk_adamas_power of each
///   float greatest(const floats *x)               of 16 lanes, none of which is NaN
///   uint32_t at_least(const float *x, float least) bit c: x[c] >= least, of 16
///   int64_t compress(const float *x, uint32_t bits, float *out)   those of 16 whose bit is set; their number
///   int64_t keep(const float *x, float least, int32_t first, int32_t *which, float *kept)   compaction of 16 scores

#if defined(__clang__)
#define LHK_UNROLL _Pragma("clang loop unroll(full)")
#else
#define LHK_UNROLL _Pragma("GCC unroll 16")
#endif

/// Sum of 16 lanes, halves first: the order is part of the result.
LHK_ALWAYS_INLINE float LHK_NAME(add_lanes)(const lhk_adamas_floats *x) {
    typedef float eight __attribute__((vector_size(32)));
    typedef float four __attribute__((vector_size(16)));
    eight e[2];
    four f[2];
    float s[4];
    memcpy(e, x, sizeof e);
    e[0] += e[1];
    memcpy(f, e, sizeof f);
    f[0] += f[1];
    memcpy(s, f, sizeof s);
    return (s[0] + s[2]) + (s[1] + s[3]);
}

static void LHK_NAME(hadamard_rows)(float *x, int64_t dim) { LHK_HADAMARD(blocks)(x, dim); }

static void LHK_NAME(code)(float *y, const float *mean, int64_t dim, const float *thresholds, uint16_t *scale,
                           uint16_t *high, uint16_t *low) {
    if (mean)
        for (int64_t c = 0; c < dim; c++) y[c] -= mean[c];
    int64_t groups = (dim + 15) / 16;
    if (scale) {
        for (int64_t c = dim; c < 16 * groups; c++) y[c] = 0;
        lhk_adamas_floats squares = {0};
        for (int64_t g = 0; g < groups; g++) {
            lhk_adamas_floats v;
            memcpy(&v, y + 16 * g, sizeof v);
            squares += v * v;
        }
        float rms = sqrtf(LHK_NAME(add_lanes)(&squares) / (float)dim);
        *scale = rms <= 65504 ? lhk_f32_to_f16(rms) : 0;  // what is not finite compares false
        float kept = lhk_f16_to_f32(*scale), inverse = kept > 0 ? 1 / kept : 0;
        for (int64_t c = 0; c < dim; c++) y[c] *= inverse;
    }
    for (int64_t c = dim; c < 16 * groups; c++) y[c] = -INFINITY;
    for (int64_t g = 0; g < groups; g++) {
        uint32_t one = LHK_NAME(greater)(y + 16 * g, thresholds[0]), two = LHK_NAME(greater)(y + 16 * g, thresholds[1]);
        high[g] = (uint16_t)two;
        low[g] = (uint16_t)(one ^ two ^ LHK_NAME(greater)(y + 16 * g, thresholds[2]));
    }
}

/// Codes lie in runs too short for the hardware to see them coming. To the second level: misses of the first that can be
/// under way at once are too few, and tables and scores need the room.
#define LHK_ADAMAS_FETCH(address) __builtin_prefetch(address, 0, 2)

/// Bytes of the next block to fetch with each `tokens` tokens of this one.
LHK_ALWAYS_INLINE int64_t LHK_NAME(fetch_step)(const lhk_adamas_scan *s, int64_t first, int64_t tokens) {
    return first || !s->ahead ? 0 : s->ahead_bytes * tokens / LHK_ADAMAS_BLOCK;
}

/// Minus the distances of LHK_WORDS tokens at a time; `rows` queries share what is loaded.
LHK_ALWAYS_INLINE void LHK_NAME(distances_of)(const int rows, const lhk_adamas_scan *s, int64_t first) {
    int64_t words = lhk_adamas_words(s->dim);
    const uint64_t *high = (const uint64_t *)s->block, *low = high + words * LHK_ADAMAS_BLOCK;
    const uint64_t *planes = s->planes + first * 3 * words;
    int64_t fetch = LHK_NAME(fetch_step)(s, first, LHK_WORDS);
    const uint8_t *ahead = s->ahead;
    for (int64_t t = 0; t < s->tokens; t += LHK_WORDS) {
        LHK_NAME(vwords) sum[4];
        for (int64_t line = 0; line < fetch; line += 64) LHK_ADAMAS_FETCH(ahead + line);
        ahead += fetch;
        for (int r = 0; r < rows; r++) sum[r] = (LHK_NAME(vwords)){0};
        for (int64_t w = 0; w < words; w++) {
            LHK_NAME(vwords) h, l;
            memcpy(&h, high + w * LHK_ADAMAS_BLOCK + t, sizeof h);
            memcpy(&l, low + w * LHK_ADAMAS_BLOCK + t, sizeof l);
            for (int r = 0; r < rows; r++) {
                const uint64_t *q = planes + (r * 3) * words + w;
                LHK_NAME(vwords) least = LHK_NAME(vleast)(h, l, q[0]), middle = LHK_NAME(vxor)(h, q[words]);
                LHK_NAME(vwords) most = LHK_NAME(vmost)(h, l, q[2 * words]);
                sum[r] += LHK_NAME(vcount)(least) + LHK_NAME(vcount)(middle) + LHK_NAME(vcount)(most);
            }
        }
        for (int r = 0; r < rows; r++) LHK_NAME(vminus)(sum[r], s->scores + (first + r) * s->lds + t);
    }
}

/// All rows of a call, up to four at a time with their number known to the compiler.
#define LHK_BY_ROWS(name, call)                                      \
    static void LHK_NAME(name)(const call *s) {                      \
        for (int64_t first = 0; first < s->rows; first += 4)         \
            switch (lhk_min(4, s->rows - first)) {                   \
                case 1: LHK_NAME(name##_of)(1, s, first); break;     \
                case 2: LHK_NAME(name##_of)(2, s, first); break;     \
                case 3: LHK_NAME(name##_of)(3, s, first); break;     \
                default: LHK_NAME(name##_of)(4, s, first);           \
            }                                                        \
    }
LHK_BY_ROWS(distances, lhk_adamas_scan)

LHK_ALWAYS_INLINE void LHK_NAME(raise)(lhk_adamas_floats *most, const lhk_adamas_floats *x) {
    lhk_adamas_ints less = *most < *x;
    *most = (lhk_adamas_floats)(((lhk_adamas_ints)*most & ~less) | ((lhk_adamas_ints)*x & less));
}

#include "lhk_adamas_estimates_body.h"

static float LHK_NAME(crests)(const float *scores, float *crests) {
    lhk_adamas_floats all = -INFINITY - (lhk_adamas_floats){0};
    for (int64_t t = 0; t < LHK_ADAMAS_BLOCK / LHK_ADAMAS_TILE; t++) {
        lhk_adamas_floats v[4];
        memcpy(v, scores + t * LHK_ADAMAS_TILE, sizeof v);
        LHK_NAME(raise)(&v[0], &v[1]);
        LHK_NAME(raise)(&v[2], &v[3]);
        LHK_NAME(raise)(&v[0], &v[2]);
        memcpy(crests + 16 * t, &v[0], sizeof v[0]);
        LHK_NAME(raise)(&all, &v[0]);
    }
    return LHK_NAME(greatest)(&all);
}

static void LHK_NAME(mark)(const float *crests, int64_t tiles, float least, uint8_t *marks) {
    for (int64_t t = 0; t < tiles; t++) marks[t] |= LHK_NAME(at_least)(crests + 16 * t, least) != 0;
}

static void LHK_NAME(mass)(const float *scores, int64_t count, float most, float *lanes) {
    lhk_adamas_floats sum = {0}, all;
    float shift = lhk_adamas_power_shift(most);
    for (int64_t i = 0; i < count; i += 16) {
        lhk_adamas_floats x;
        memcpy(&x, scores + i, sizeof x);
        LHK_NAME(power)(&x, shift);
        sum += x;
    }
    memcpy(&all, lanes, sizeof all);
    all += sum;
    memcpy(lanes, &all, sizeof all);
}

static float LHK_NAME(sum)(const float *lanes) {
    lhk_adamas_floats x;
    memcpy(&x, lanes, sizeof x);
    return LHK_NAME(add_lanes)(&x);
}

static lhk_adamas_parting LHK_NAME(part)(const float *values, int64_t count, float least) {
    const lhk_adamas_floats top = INFINITY - (lhk_adamas_floats){0}, bottom = -top;
    lhk_adamas_floats above = bottom, below = bottom;  // `above` holds the greatest negative
    lhk_adamas_ints members = {0};
    for (int64_t i = 0; i < count; i += 16) {
        lhk_adamas_floats x;
        memcpy(&x, values + i, sizeof x);
        lhk_adamas_ints in = x >= least;
        members -= in;
        lhk_adamas_floats minus = (lhk_adamas_floats)(((lhk_adamas_ints)-x & in) | ((lhk_adamas_ints)bottom & ~in));
        lhk_adamas_floats other = (lhk_adamas_floats)(((lhk_adamas_ints)x & ~in) | ((lhk_adamas_ints)bottom & in));
        lhk_adamas_ints a = minus > above, b = other > below;
        above = (lhk_adamas_floats)(((lhk_adamas_ints)minus & a) | ((lhk_adamas_ints)above & ~a));
        below = (lhk_adamas_floats)(((lhk_adamas_ints)other & b) | ((lhk_adamas_ints)below & ~b));
    }
    lhk_adamas_parting out = {0, -LHK_NAME(greatest)(&above), LHK_NAME(greatest)(&below)};
    for (int i = 0; i < 16; i++) out.count += members[i];
    return out;
}

static int64_t LHK_NAME(above)(const float *scores, int64_t count, float least, int32_t *which, float *kept) {
    int64_t n = 0;
    for (int64_t i = 0; i < count; i += 16) n += LHK_NAME(keep)(scores + i, least, (int32_t)i, which + n, kept + n);
    return n;
}

static uint64_t LHK_NAME(reaching)(const float *scores, float least) {
    uint64_t bits = 0;
    LHK_UNROLL
    for (int i = 0; i < 64; i += 16) bits |= (uint64_t)LHK_NAME(at_least)(scores + i, least) << i;
    return bits;
}

static void LHK_NAME(take)(const float *scores, uint64_t bits, float *out) {
    for (int i = 0; i < 64; i += 16, bits >>= 16) out += LHK_NAME(compress)(scores + i, bits & 0xffff, out);
}

#include "lhk_adamas_values_body.h"

const lhk_adamas_kernel LHK_NAME(kernel) = {
    .word = LHK_ADAMAS_WORD, .isa = LHK_ADAMAS_ISA, .speed = LHK_ADAMAS_SPEED, .hadamard = LHK_NAME(hadamard_rows),
    .code = LHK_NAME(code), .distances = LHK_NAME(distances), .tables = LHK_NAME(tables), .estimates = LHK_NAME(estimates),
    .crests = LHK_NAME(crests), .mark = LHK_NAME(mark), .mass = LHK_NAME(mass), .sum = LHK_NAME(sum),
    .part = LHK_NAME(part), .above = LHK_NAME(above), .reaching = LHK_NAME(reaching), .take = LHK_NAME(take),
    .gather = LHK_NAME(gather), .mean = LHK_NAME(mean)};
