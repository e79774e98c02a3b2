// SPDX-License-Identifier: Apache-2.0
/// The strip kernel, written once and included by every ISA file for every panel type.
///
/// The including file has included lhk_flash_softmax.h, and defines LHK_NAME(x), a name per panel type; LHK_ROWS x
/// LHK_UNITS, the register tile in query rows and units of 16 columns; and which panel it is, each 0 or 1:
///   LHK_PANEL_F16 (vload_panel converts), LHK_PANEL_BF16 (f32 arithmetic), LHK_PANEL_BF16_DOT (the bf16 dot product:
///   vset_pair(x) repeats two bf16 in every lane, vdot(sum, a, b) adds both products of each lane), or f32.
///
/// Both products are the same loop: C[rows][16 * units] += A[rows][steps] * B[steps][16 * units], where a step of B is
/// `b_step` elements on and a unit `b_unit` elements: keys have unit = one tile, values have unit = 16 channels.
/// 6 x 4 accumulators of 16 lanes cost 10 loads per 24 FMAs, which two load ports sustain.
///
/// Such a tile jumps between lines of 4 units. That does not matter in the caches, but the hardware fetches ahead from
/// memory only where lines follow one another, so strips of few rows go through other tiles: one unit of keys at a time,
/// and whole rows of values, in chunks that stay in the first level for the next rows. Where rows of values are wider than
/// the accumulators, a chunk is taken in columns while the next one is read in order, only to have it. Where they are not,
/// such reading, and any software prefetch, made it slower: what memory delivers follows from the order of the loads alone.

#if defined(LHK_NO_UNROLL)  // sanitizers multiply the code of each statement
#define LHK_UNROLL
#elif defined(__clang__)
#define LHK_UNROLL _Pragma("clang loop unroll(full)")
#else
#define LHK_UNROLL _Pragma("GCC unroll 16")
#endif

#define LHK_VECTORS (16 / LHK_LANES)  // vectors per unit
#define LHK_STREAM_ROWS (LHK_ROWS > 2 ? 3 : LHK_ROWS)
#define LHK_STREAM_UNITS (LHK_LANES == 16 ? 8 : LHK_ROWS > 2 ? 2 : 1)  // 24, 12 or 24 accumulators
#define LHK_STREAM_BYTES 8192

/// Asks for memory ahead of its use: by reading it, which the processor takes for the stream that it is; under f16, whose
/// conversions take longer than memory, by a prefetch into the second level.
#if LHK_PANEL_F16
#define LHK_AHEAD(p) __builtin_prefetch(p, 0, 2)
#else
#define LHK_AHEAD(p) (void)*(const volatile uint8_t *)(p)
#endif

#if LHK_PANEL_BF16_DOT
typedef uint32_t LHK_NAME(a_type);  // two bf16 of one row
#define LHK_GROUP 2
#define LHK_B_BYTES 2
#elif LHK_PANEL_BF16
typedef float LHK_NAME(a_type);
#define LHK_GROUP 2
#define LHK_B_BYTES 2
#else
typedef float LHK_NAME(a_type);
#define LHK_GROUP 1
#define LHK_B_BYTES (LHK_PANEL_F16 ? 2 : 4)
#endif

LHK_ALWAYS_INLINE void LHK_NAME(tile)(const int rows, const int units, const LHK_NAME(a_type) * a, int64_t lda,
                                      const uint8_t *b, int64_t b_step, int64_t b_unit, int64_t steps, float *c,
                                      int64_t ldc, float scale, bool add, const uint8_t *ahead) {
    enum { most = (LHK_UNITS > LHK_STREAM_UNITS ? LHK_UNITS : LHK_STREAM_UNITS) * LHK_VECTORS };
    vec sum[LHK_ROWS][most];
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
        LHK_UNROLL
        for (int j = 0; j < units * LHK_VECTORS; j++)
            sum[r][j] = add ? vload(c + r * ldc + j * LHK_LANES) : vset(0);
    }
    for (int64_t s = 0; s < steps; s++, b += b_step * LHK_B_BYTES) {
        if (ahead) {
            LHK_UNROLL
            for (int at = 0; at < units * 16 * LHK_GROUP * LHK_B_BYTES; at += 64) LHK_AHEAD(ahead + at);
            ahead += units * 16 * LHK_GROUP * LHK_B_BYTES;
        }
#if LHK_PANEL_BF16
        LHK_UNROLL
        for (int half = 0; half < 2; half++) {
            vec column[most];
            LHK_UNROLL
            for (int j = 0; j < units * LHK_VECTORS; j++) {
                const uint8_t *at = b + (j / LHK_VECTORS * b_unit + j % LHK_VECTORS * LHK_LANES * 2) * 2;
                column[j] = half ? vload_bf16_odd(at) : vload_bf16_even(at);
            }
            LHK_UNROLL
            for (int r = 0; r < rows; r++) {
                vec value = vset(a[r * lda + 2 * s + half]);
                LHK_UNROLL
                for (int j = 0; j < units * LHK_VECTORS; j++) sum[r][j] = vfma(value, column[j], sum[r][j]);
            }
        }
#else
        vec column[most];
        LHK_UNROLL
        for (int j = 0; j < units * LHK_VECTORS; j++)
            column[j] = vload_panel(b + (j / LHK_VECTORS * b_unit + j % LHK_VECTORS * LHK_LANES * LHK_GROUP) * LHK_B_BYTES);
        LHK_UNROLL
        for (int r = 0; r < rows; r++) {
#if LHK_PANEL_BF16_DOT
            vec pair = vset_pair(a[r * lda + s]);
            LHK_UNROLL
            for (int j = 0; j < units * LHK_VECTORS; j++) sum[r][j] = vdot(sum[r][j], pair, column[j]);
#else
            vec value = vset(a[r * lda + s]);
            LHK_UNROLL
            for (int j = 0; j < units * LHK_VECTORS; j++) sum[r][j] = vfma(value, column[j], sum[r][j]);
#endif
        }
#endif
    }
    vec factor = vset(scale);
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
        LHK_UNROLL
        for (int j = 0; j < units * LHK_VECTORS; j++)
            vstore(c + r * ldc + j * LHK_LANES, add ? sum[r][j] : vmul(sum[r][j], factor));
    }
}

#define LHK_TILE(R, U) \
    case (R) * 8 + (U): LHK_NAME(tile)(R, U, a, lda, b, b_step, b_unit, steps, c, ldc, scale, add, NULL); break;
#if LHK_UNITS >= 4
#define LHK_TILES(R) LHK_TILE(R, 1) LHK_TILE(R, 2) LHK_TILE(R, 4)
#elif LHK_UNITS == 2
#define LHK_TILES(R) LHK_TILE(R, 1) LHK_TILE(R, 2)
#else
#define LHK_TILES(R) LHK_TILE(R, 1)
#endif

/// c[rows][16 * units] = scale * a b, or c += a b.
static void LHK_NAME(product)(int32_t rows, int64_t units, const LHK_NAME(a_type) * a, int64_t lda, const uint8_t *b,
                              int64_t b_step, int64_t b_unit, int64_t steps, float *c, int64_t ldc, float scale,
                              bool add) {
    while (units > 0) {
        int64_t now = units >= LHK_UNITS ? LHK_UNITS : units >= 2 && LHK_UNITS >= 2 ? 2 : 1;
        switch (rows * 8 + now) {
            LHK_TILES(1)
            LHK_TILES(2)
#if LHK_ROWS > 2
            LHK_TILES(3)
            LHK_TILES(4)
#endif
#if LHK_ROWS > 4
            LHK_TILES(5)
            LHK_TILES(6)
#endif
        }
        units -= now;
        b += now * b_unit * LHK_B_BYTES;
        c += now * 16;
    }
}

#if LHK_LANES == 16 && !LHK_PANEL_BF16
#define LHK_LINE (16 * LHK_GROUP * LHK_B_BYTES)

LHK_ALWAYS_INLINE void LHK_NAME(step)(const int rows, const LHK_NAME(a_type) * a, int64_t lda, const uint8_t *b, vec *sum) {
    vec column = vload_panel(b);
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
#if LHK_PANEL_BF16_DOT
        sum[r] = vdot_at(sum[r], a + r * lda, column);
#else
        sum[r] = vfma_at(sum[r], a + r * lda, column);
#endif
    }
}

/// One unit of scores for a strip that streams: sums of even and odd steps apart, since a few rows alone would wait for the
/// latency of each sum.
LHK_ALWAYS_INLINE void LHK_NAME(unit)(const int rows, const LHK_NAME(a_type) * a, int64_t lda, const uint8_t *b,
                                      int64_t steps, float *c, int64_t ldc, float scale) {
    vec sum[2][LHK_ROWS];
    LHK_UNROLL
    for (int r = 0; r < rows; r++) sum[0][r] = sum[1][r] = vset(0);
    const int64_t whole = steps & ~(int64_t)3;
    int64_t s = 0;
    for (; s < whole; s += 4) {
        LHK_UNROLL
        for (int i = 0; i < 4; i++) LHK_NAME(step)(rows, a + s + i, lda, b + (s + i) * LHK_LINE, sum[i % 2]);
        if (LHK_PANEL_F16 && rows > 2) {
            LHK_AHEAD(b + s * LHK_LINE + LHK_STREAM_BYTES);
            LHK_AHEAD(b + s * LHK_LINE + LHK_STREAM_BYTES + 64);
        }
    }
    for (; s < steps; s++) LHK_NAME(step)(rows, a + s, lda, b + s * LHK_LINE, sum[0]);
    LHK_UNROLL
    for (int r = 0; r < rows; r++) vstore(c + r * ldc, vmul(vadd(sum[0][r], sum[1][r]), vset(scale)));
}
#define LHK_UNIT(R) case R: LHK_NAME(unit)(R, q, s->ldq, keys, steps, out, lds, s->scale); break;
#else
#define LHK_UNIT(R) \
    case R: LHK_NAME(tile)(R, 1, q, s->ldq, keys, 16 * LHK_GROUP, 0, steps, out, lds, s->scale, false, NULL); break;
#endif

static void LHK_NAME(stream_scores)(const lhk_flash_strip *s, const uint8_t *keys, float *out, int64_t lds) {
    const LHK_NAME(a_type) *q = s->q;
    int64_t steps = s->padded_k / LHK_GROUP;
    for (int64_t units = lhk_flash_width(s) / 16; units > 0; units--) {
        switch (s->rows) {
            LHK_UNIT(1)
            LHK_UNIT(2)
#if LHK_ROWS > 2
            LHK_UNIT(3)
            LHK_UNIT(4)
#endif
#if LHK_ROWS > 4
            LHK_UNIT(5)
            LHK_UNIT(6)
#endif
        }
        keys += s->padded_k * 16 * LHK_B_BYTES;
        out += 16;
    }
}

#define LHK_STREAM_TILE(R, U)                                                                          \
    case (R) * 16 + (U):                                                                                 \
        if (ahead) LHK_NAME(tile)(R, U, a, lda, b, b_step, 16 * LHK_GROUP, steps, c, ldc, 1, true, ahead); \
        else LHK_NAME(tile)(R, U, a, lda, b, b_step, 16 * LHK_GROUP, steps, c, ldc, 1, true, NULL);        \
        break;
#if LHK_STREAM_UNITS == 8
#define LHK_STREAM_TILES(R) LHK_STREAM_TILE(R, 1) LHK_STREAM_TILE(R, 2) LHK_STREAM_TILE(R, 4) LHK_STREAM_TILE(R, 8)
#elif LHK_STREAM_UNITS == 2
#define LHK_STREAM_TILES(R) LHK_STREAM_TILE(R, 1) LHK_STREAM_TILE(R, 2)
#else
#define LHK_STREAM_TILES(R) LHK_STREAM_TILE(R, 1)
#endif

#if LHK_UNITS >= 4
#define LHK_WIDE_TILES(R) LHK_STREAM_TILE(R, 1) LHK_STREAM_TILE(R, 2) LHK_STREAM_TILE(R, 4)
#else
#define LHK_WIDE_TILES(R) LHK_STREAM_TILE(R, 1)
#endif

/// Rows that share the accumulators, against one chunk of values; `ahead` null, or as much memory to ask for meanwhile.
static void LHK_NAME(stream_chunk)(int32_t rows, int64_t units, const LHK_NAME(a_type) * a, int64_t lda, const uint8_t *b,
                                   int64_t b_step, int64_t steps, float *c, int64_t ldc, const uint8_t *ahead, int64_t most) {
    for (int64_t now = most; units > 0;) {
        while (now > units) now /= 2;
        switch (rows * 16 + now) {
            LHK_STREAM_TILES(1)
            LHK_STREAM_TILES(2)
#if LHK_STREAM_ROWS > 2
            LHK_STREAM_TILES(3)
            LHK_WIDE_TILES(4)
            LHK_WIDE_TILES(5)
            LHK_WIDE_TILES(6)
#endif
        }
        units -= now;
        b += now * 16 * LHK_GROUP * LHK_B_BYTES;
        if (ahead) ahead += steps * now * 16 * LHK_GROUP * LHK_B_BYTES;
        c += now * 16;
    }
}

static void LHK_NAME(stream_values)(const lhk_flash_strip *s, const LHK_NAME(a_type) * p, int64_t lda,
                                    const uint8_t *values, int64_t steps) {
    int64_t b_step = s->padded_v * LHK_GROUP, step_bytes = b_step * LHK_B_BYTES;
    int64_t chunk = lhk_max(1, LHK_STREAM_BYTES / step_bytes), units = s->padded_v / 16;
    bool whole = units <= LHK_STREAM_UNITS;
    int32_t together = (int32_t)lhk_min(s->rows, whole ? LHK_STREAM_ROWS : LHK_ROWS);
    for (int64_t first = 0; first < steps; first += chunk) {
        const uint8_t *now = values + first * step_bytes;
        int64_t count = lhk_min(chunk, steps - first);
        bool more = steps - first - count >= count;
        const uint8_t *ahead = whole && !(LHK_PANEL_F16 && s->rows > 2) ? NULL : more ? now + count * step_bytes : now;
        for (int32_t r = 0; r < s->rows; r += together)
            LHK_NAME(stream_chunk)((int32_t)lhk_min(together, s->rows - r), units,
                                   p + r * lda + first * (LHK_PANEL_BF16 ? 2 : 1), lda, now, b_step, count,
                                   s->o + r * s->padded_v, s->padded_v, r == 0 ? ahead : NULL,
                                   whole ? LHK_STREAM_UNITS : LHK_UNITS);
    }
}

static void LHK_NAME(scores)(const lhk_flash_strip *s, float *out, int64_t lds) {
    int64_t first = lhk_flash_first(s), unit = s->padded_k * 16;
    const uint8_t *keys = s->keys + first / 16 * unit * LHK_B_BYTES;
    if (s->streamed)
        LHK_NAME(stream_scores)(s, keys, out, lds);
    else
        LHK_NAME(product)(s->rows, lhk_flash_width(s) / 16, s->q, s->ldq, keys, 16 * LHK_GROUP, unit,
                          s->padded_k / LHK_GROUP, out, lds, s->scale, false);
    if (s->softcap != 0 || s->biased || s->masked) LHK_ISA(modify)(s, out, lds);
}

static void LHK_NAME(values)(const lhk_flash_strip *s, const float *p, int64_t lds) {
    int64_t first = s->begin / LHK_GROUP, steps = (s->end + LHK_GROUP - 1) / LHK_GROUP - first;
    int64_t skip = (first * LHK_GROUP - lhk_flash_first(s)) * (int64_t)sizeof(LHK_NAME(a_type)) / LHK_GROUP;
#if LHK_PANEL_BF16
    skip *= 2;  // a_type is one float, a step takes two
#endif
    const LHK_NAME(a_type) *a = (const LHK_NAME(a_type) *)((const uint8_t *)p + skip);
    const uint8_t *values = s->values + first * s->padded_v * LHK_GROUP * LHK_B_BYTES;
    if (s->streamed)
        LHK_NAME(stream_values)(s, a, lds, values, steps);
    else
        LHK_NAME(product)(s->rows, s->padded_v / 16, a, lds, values, s->padded_v * LHK_GROUP, 16 * LHK_GROUP, steps, s->o,
                          s->padded_v, 1, true);
}

#include "lhk_flash_tokens.h"

const lhk_flash_kernel LHK_NAME(kernel) = {
    .strip_rows = LHK_ROWS,
    .query_dtype = LHK_PANEL_BF16_DOT ? LHK_DTYPE_BF16 : LHK_DTYPE_F32,
    .weight_dtype = LHK_PANEL_BF16_DOT ? LHK_DTYPE_BF16 : LHK_DTYPE_F32,
#if LHK_PANEL_BF16_DOT
    .pack_query = LHK_ISA(pack_bf16),
#endif
    .scores = LHK_NAME(scores),
    .modify = LHK_ISA(modify),
#if LHK_PANEL_BF16_DOT
    .softmax = LHK_ISA(softmax_bf16),
#else
    .softmax = LHK_ISA(softmax),
#endif
    .softmax_f32 = LHK_ISA(softmax),
    .values = LHK_NAME(values),
    .token_scores = LHK_NAME(token_scores),
    .token_values = LHK_NAME(token_values),
};

#undef LHK_TILE
#undef LHK_TILES
#undef LHK_GROUP
#undef LHK_B_BYTES
#undef LHK_UNIT
#undef LHK_STREAM_TILE
#undef LHK_STREAM_TILES
#undef LHK_WIDE_TILES
#undef LHK_LINE
#undef LHK_AHEAD
