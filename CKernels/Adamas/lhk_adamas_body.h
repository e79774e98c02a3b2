// SPDX-License-Identifier: Apache-2.0
/// The kernel, written once and included by each file of an instruction set inside its target region.
///
/// The including file defines LHK_NAME(x), LHK_HADAMARD(x) and LHK_HADAMARD_LANES, and these words:
///   uint32_t greater(const float *y, float t)     bit c: y[c] > t, of 16
///   vwords: some 64-bit lanes (LHK_WORDS); vcount(x): population count of each; and the functions of h, l, q
///     vleast(h, l, q) = (h | l) ^ q, vxor(h, q) and vmost(h, l, q) = (h & l) ^ q; vminus(sum, out): floats -sum
///   vlanes: LHK_LANES 32-bit lanes, a token each; vtables from tables(step); unpack(w, tables, out[4]): the steps of the
///     codes at bits 2 s of each byte; dot(sum, steps, weights): sum + the four byte products of each lane;
///     LHK_TILE, vectors of tokens that are summed side by side
///   float greatest(const floats *x)               of 16 lanes, none of which is NaN
///   int64_t keep(const float *x, float least, int32_t first, int32_t *tokens, float *kept)   compaction of 16 scores

#if defined(__clang__)
#define LHK_UNROLL _Pragma("clang loop unroll(full)")
#else
#define LHK_UNROLL _Pragma("GCC unroll 16")
#endif

/// Sum of 16 lanes, halves first: the order is part of the result.
LHK_ALWAYS_INLINE float LHK_NAME(add_lanes)(const lhk_adamas_floats *x) {
    float s[16];
    memcpy(s, x, sizeof s);
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) s[i] += s[i + half];
    return s[0];
}

static void LHK_NAME(hadamard_rows)(float *x, int64_t dim) { LHK_HADAMARD(blocks)(x, dim); }

static void LHK_NAME(code)(float *y, const float *mean, int64_t dim, const float *thresholds, uint16_t *scale,
                           uint16_t *high, uint16_t *low) {
    if (mean)
        for (int64_t c = 0; c < dim; c++) y[c] -= mean[c];
    int64_t groups = lhk_adamas_groups(dim);
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

/// Bytes of the next block to fetch with each `tokens` tokens of this one: codes lie in runs of 1 or 2 KiB, too short for the
/// hardware to see them coming.
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
        for (int64_t line = 0; line < fetch; line += 64) __builtin_prefetch(ahead + line);
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

/// All rows of a scan, up to four at a time with their number known to the compiler.
#define LHK_BY_ROWS(name)                                            \
    static void LHK_NAME(name)(const lhk_adamas_scan *s) {           \
        for (int64_t first = 0; first < s->rows; first += 4)         \
            switch (lhk_min(4, s->rows - first)) {                   \
                case 1: LHK_NAME(name##_of)(1, s, first); break;     \
                case 2: LHK_NAME(name##_of)(2, s, first); break;     \
                case 3: LHK_NAME(name##_of)(3, s, first); break;     \
                default: LHK_NAME(name##_of)(4, s, first);           \
            }                                                        \
    }
LHK_BY_ROWS(distances)

/// What the block's mean adds to every score of a query.
LHK_ALWAYS_INLINE float LHK_NAME(base_of)(const lhk_adamas_scan *s, int64_t row) {
    lhk_adamas_floats sum = {0}, q, m;
    if (!s->mean) return 0;
    int64_t whole = s->dim / 16 * 16;
    float tail[16] = {0};
    for (int64_t c = 0; c < whole; c += 16) {
        memcpy(&q, s->queries + row * s->ldq + c, sizeof q);
        memcpy(&m, s->mean + c, sizeof m);
        sum += q * m;
    }
    if (whole < s->dim) {
        memcpy(tail, s->mean + whole, (size_t)(s->dim - whole) * sizeof *tail);
        memcpy(&q, s->queries + row * s->ldq + whole, sizeof q);
        memcpy(&m, tail, sizeof m);
        sum += q * m;
    }
    return LHK_NAME(add_lanes)(&sum);
}

/// score = scale * (factor * sum + offset) + base, in this order, of 16 tokens.
LHK_ALWAYS_INLINE void LHK_NAME(finish)(const lhk_adamas_scan *s, int64_t row, int64_t t, const lhk_adamas_ints *sum,
                                        const lhk_adamas_floats *scale, float base) {
    lhk_adamas_floats x = __builtin_convertvector(*sum, lhk_adamas_floats);
    x = (x * s->factor[row] + s->offset[row]) * *scale + base;
    memcpy(s->scores + row * s->lds + t, &x, sizeof x);
}

/// `vectors` * LHK_LANES tokens from t on: the codes are unpacked once for all `rows` queries.
LHK_ALWAYS_INLINE void LHK_NAME(estimate_tile)(const int rows, const int vectors, const lhk_adamas_scan *s, int64_t first,
                                               int64_t t, LHK_NAME(vtables) tables, const float *base) {
    int64_t groups = lhk_adamas_groups(s->dim);
    const uint32_t *codes = (const uint32_t *)s->block + t;
    const int32_t *weights = s->weights + first * groups * 4;
    LHK_NAME(vlanes) sum[4][LHK_TILE];
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
        LHK_UNROLL
        for (int v = 0; v < vectors; v++) sum[r][v] = (LHK_NAME(vlanes)){0};
    }
    for (int64_t g = 0; g < groups; g++, codes += LHK_ADAMAS_BLOCK, weights += 4) {
        LHK_NAME(vlanes) steps[LHK_TILE][4];
        LHK_UNROLL
        for (int v = 0; v < vectors; v++) {
            LHK_NAME(vlanes) w;
            memcpy(&w, codes + v * LHK_LANES, sizeof w);
            LHK_NAME(unpack)(w, tables, steps[v]);
        }
        LHK_UNROLL
        for (int i = 0; i < 4; i++) {
            LHK_UNROLL
            for (int r = 0; r < rows; r++) {
                LHK_UNROLL
                for (int v = 0; v < vectors; v++)
                    sum[r][v] = LHK_NAME(dot)(sum[r][v], steps[v][i], weights[r * groups * 4 + i]);
            }
        }
    }
    const uint16_t *scales = (const uint16_t *)(s->block + groups * LHK_ADAMAS_BLOCK * 4);
    for (int u = 0; u < vectors * LHK_LANES / 16; u++) {
        lhk_adamas_floats scale;
        LHK_NAME(halves)(scales + t + 16 * u, &scale);
        for (int r = 0; r < rows; r++) {
            lhk_adamas_ints sums;
            memcpy(&sums, (const int32_t *)&sum[r][0] + 16 * u, sizeof sums);
            LHK_NAME(finish)(s, first + r, t + 16 * u, &sums, &scale, base[r]);
        }
    }
}

LHK_ALWAYS_INLINE void LHK_NAME(estimates_of)(const int rows, const lhk_adamas_scan *s, int64_t first) {
    LHK_NAME(vtables) tables = LHK_NAME(tables)(s->step);
    int64_t t = 0, fetch = LHK_NAME(fetch_step)(s, first, LHK_TILE * LHK_LANES);
    const uint8_t *ahead = s->ahead;
    float base[4];
    for (int r = 0; r < rows; r++) base[r] = LHK_NAME(base_of)(s, first + r);
    for (; t + LHK_TILE * LHK_LANES <= s->tokens; t += LHK_TILE * LHK_LANES) {
        for (int64_t line = 0; line < fetch; line += 64) __builtin_prefetch(ahead + line);
        ahead += fetch;
        LHK_NAME(estimate_tile)(rows, LHK_TILE, s, first, t, tables, base);
    }
    if (t < s->tokens) LHK_NAME(estimate_tile)(rows, 16 / LHK_LANES, s, first, t, tables, base);
}

LHK_BY_ROWS(estimates)

static void LHK_NAME(peaks)(const float *scores, int64_t count, float *peaks) {
    for (int64_t i = 0; i < count; i += LHK_ADAMAS_PEAK) {
        lhk_adamas_floats v[4];
        memcpy(v, scores + i, sizeof v);
        for (int j = 1; j < 4; j++) {
            lhk_adamas_ints less = v[0] < v[j];
            v[0] = (lhk_adamas_floats)(((lhk_adamas_ints)v[0] & ~less) | ((lhk_adamas_ints)v[j] & less));
        }
        peaks[i / LHK_ADAMAS_PEAK] = LHK_NAME(greatest)(&v[0]);
    }
}

static void LHK_NAME(lanes)(const float *scores, int64_t count, float *lanes) {
    for (int64_t i = 0; i < count; i += LHK_ADAMAS_BLOCK) {
        lhk_adamas_floats most, x;
        memcpy(&most, scores + i, sizeof most);
        for (int64_t j = 16; j < LHK_ADAMAS_BLOCK; j += 16) {
            memcpy(&x, scores + i + j, sizeof x);
            lhk_adamas_ints less = most < x;
            most = (lhk_adamas_floats)(((lhk_adamas_ints)most & ~less) | ((lhk_adamas_ints)x & less));
        }
        memcpy(lanes + i / 16, &most, sizeof most);
    }
}

static float LHK_NAME(mass)(const float *scores, int64_t count, float most) {
    lhk_adamas_floats sum = {0};
    for (int64_t i = 0; i < count; i += 16) {
        lhk_adamas_floats x;
        memcpy(&x, scores + i, sizeof x);
        x = (x - most) * 0x1p23f + (127 * 0x1p23f - 482000.0f);
        x = (lhk_adamas_floats)((lhk_adamas_ints)x & (x > 0));
        sum += (lhk_adamas_floats)__builtin_convertvector(x, lhk_adamas_ints);
    }
    return LHK_NAME(add_lanes)(&sum);
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

static int64_t LHK_NAME(above)(const float *scores, int64_t begin, int64_t count, float least, int32_t *tokens, float *kept) {
    int64_t n = 0;
    for (int64_t i = begin; i < begin + count; i += 16) n += LHK_NAME(keep)(scores + i, least, (int32_t)i, tokens + n, kept + n);
    return n;
}

static int64_t LHK_NAME(reaching)(const float *scores, int64_t lds, int64_t rows, const float *least, int64_t begin,
                                  int64_t count, int32_t *tokens, float *kept) {
    int64_t n = 0;
    for (int64_t i = begin; i < begin + count; i += 16) {
        lhk_adamas_floats most, x;
        float above[16];
        memcpy(&most, scores + i, sizeof most);
        most -= least[0];
        for (int64_t r = 1; r < rows; r++) {
            memcpy(&x, scores + r * lds + i, sizeof x);
            x -= least[r];
            lhk_adamas_ints less = most < x;
            most = (lhk_adamas_floats)(((lhk_adamas_ints)most & ~less) | ((lhk_adamas_ints)x & less));
        }
        memcpy(above, &most, sizeof above);
        n += LHK_NAME(keep)(above, 0, (int32_t)i, tokens + n, kept);
    }
    return n;
}

#include "lhk_adamas_values_body.h"

const lhk_adamas_kernel LHK_NAME(kernel) = {
    .word = LHK_ADAMAS_WORD, .isa = LHK_ADAMAS_ISA, .speed = LHK_ADAMAS_SPEED, .hadamard = LHK_NAME(hadamard_rows),
    .code = LHK_NAME(code), .distances = LHK_NAME(distances), .estimates = LHK_NAME(estimates), .peaks = LHK_NAME(peaks),
    .lanes = LHK_NAME(lanes),
    .mass = LHK_NAME(mass), .part = LHK_NAME(part), .above = LHK_NAME(above),
    .reaching = LHK_NAME(reaching), .gather = LHK_NAME(gather), .mean = LHK_NAME(mean)};
