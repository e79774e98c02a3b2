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

#if defined(__clang__)
#define LHK_UNROLL _Pragma("clang loop unroll(full)")
#else
#define LHK_UNROLL _Pragma("GCC unroll 16")
#endif

#define LHK_VECTORS (16 / LHK_LANES)  // vectors per unit

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
                                      int64_t ldc, float scale, bool add) {
    vec sum[LHK_ROWS][LHK_UNITS * LHK_VECTORS];
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
        LHK_UNROLL
        for (int j = 0; j < units * LHK_VECTORS; j++)
            sum[r][j] = add ? vload(c + r * ldc + j * LHK_LANES) : vset(0);
    }
    for (int64_t s = 0; s < steps; s++, b += b_step * LHK_B_BYTES) {
#if LHK_PANEL_BF16
        LHK_UNROLL
        for (int half = 0; half < 2; half++) {
            LHK_UNROLL
            for (int j = 0; j < units * LHK_VECTORS; j++) {
                const uint8_t *at = b + (j / LHK_VECTORS * b_unit + j % LHK_VECTORS * LHK_LANES * 2) * 2;
                vec column = half ? vload_bf16_odd(at) : vload_bf16_even(at);
                LHK_UNROLL
                for (int r = 0; r < rows; r++) sum[r][j] = vfma(vset(a[r * lda + 2 * s + half]), column, sum[r][j]);
            }
        }
#else
        vec column[LHK_UNITS * LHK_VECTORS];
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
    case (R) * 8 + (U): LHK_NAME(tile)(R, U, a, lda, b, b_step, b_unit, steps, c, ldc, scale, add); break;
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

static void LHK_NAME(scores)(const lhk_flash_strip *s, float *out, int64_t lds) {
    int64_t first = lhk_flash_first(s), unit = s->padded_k * 16;
    LHK_NAME(product)(s->rows, lhk_flash_width(s) / 16, s->q, s->ldq, s->keys + first / 16 * unit * LHK_B_BYTES,
                      16 * LHK_GROUP, unit, s->padded_k / LHK_GROUP, out, lds, s->scale, false);
    if (s->softcap != 0 || s->biased || s->masked) LHK_ISA(modify)(s, out, lds);
}

static void LHK_NAME(values)(const lhk_flash_strip *s, const float *p, int64_t lds) {
    int64_t first = s->begin / LHK_GROUP, steps = (s->end + LHK_GROUP - 1) / LHK_GROUP - first;
    int64_t skip = (first * LHK_GROUP - lhk_flash_first(s)) * (int64_t)sizeof(LHK_NAME(a_type)) / LHK_GROUP;
    int64_t lda = lds;
#if LHK_PANEL_BF16
    skip *= 2;  // a_type is one float, a step takes two
#endif
    LHK_NAME(product)(s->rows, s->padded_v / 16, (const LHK_NAME(a_type) *)((const uint8_t *)p + skip), lda,
                      s->values + first * s->padded_v * LHK_GROUP * LHK_B_BYTES, s->padded_v * LHK_GROUP, 16 * LHK_GROUP,
                      steps, s->o, s->padded_v, 1, true);
}

const lhk_flash_kernel LHK_NAME(kernel) = {
    .strip_rows = LHK_ROWS,
    .query_dtype = LHK_PANEL_BF16_DOT ? LHK_DTYPE_BF16 : LHK_DTYPE_F32,
    .weight_dtype = LHK_PANEL_BF16_DOT ? LHK_DTYPE_BF16 : LHK_DTYPE_F32,
    .scores = LHK_NAME(scores),
    .modify = LHK_ISA(modify),
#if LHK_PANEL_BF16_DOT
    .softmax = LHK_ISA(softmax_bf16),
#else
    .softmax = LHK_ISA(softmax),
#endif
    .softmax_f32 = LHK_ISA(softmax),
    .values = LHK_NAME(values),
};

#undef LHK_TILE
#undef LHK_TILES
#undef LHK_GROUP
#undef LHK_B_BYTES
