// SPDX-License-Identifier: Apache-2.0
/// Kernels for keys of 8 bits and values in bf16: S = sQ[i] sK[j] sum of code products, exact in 32 bits. Written once and
/// included by ISA files after lhk_flash_softmax.h, lhk/hadamard_body.inc and the bf16 kernel, whose second product they use.
///
/// Keys are bytes code + 128, which is the unsigned operand of `vpdpbusd`; queries are signed, so that what the offset adds
/// is one number per query row, and sums begin at its negative. The including file defines
///   LHK_NAME(x)              a name per kernel
///   LHK_I8_ROWS, LHK_I8_UNITS  the register tile in query rows and units of 16 keys
///   LHK_I8_WORDS             words per four channels of a query: 1 (bytes), 2 (16 bits: channels 0 and 2, 1 and 3) or 4 (f32)
///   LHK_I8_VALUES, LHK_I8_SOFTMAX, LHK_I8_WEIGHTS  second product, softmax and their element type
/// and, for LHK_LANES keys at once, four channels of each: the types `keys8` of loaded codes and `sum8`; load8(p),
/// dot8(sum, words, keys), start8(bias) and float8(sum). Where two rows go together, LHK_I8_PAIRS(rows, head, keys, channels,
/// sum) does what the loop over channels does, for a tile of more than one row and one unit.

LHK_ALWAYS_INLINE void LHK_NAME(tile)(const int rows, const int units, const lhk_flash_strip *s, int32_t row,
                                      int64_t column, float *out, int64_t lds) {
    enum { vectors = 16 / LHK_LANES };
    sum8 sum[LHK_I8_ROWS][LHK_I8_UNITS * vectors];
    const lhk_flash_query8 *head[LHK_I8_ROWS];
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
        head[r] = (const lhk_flash_query8 *)((const uint32_t *)s->q + (row + r) * s->ldq);
        LHK_UNROLL
        for (int j = 0; j < units * vectors; j++) sum[r][j] = start8(head[r]->bias);
    }
    const uint8_t *b = s->keys + column * s->padded_k;
    const uint32_t *a = (const uint32_t *)(head[0] + 1);
#ifdef LHK_I8_PAIRS
    if (rows > 1)
        LHK_I8_PAIRS(rows, head, b, s->padded_k, sum);
    else
#endif
    for (int64_t c = 0; c < s->padded_k; c += 4, b += 64, a += LHK_I8_WORDS) {
        keys8 keys[LHK_I8_UNITS * vectors];
        LHK_UNROLL
        for (int j = 0; j < units * vectors; j++)
            keys[j] = load8(b + j / vectors * s->padded_k * 16 + j % vectors * LHK_LANES * 4);
        LHK_UNROLL
        for (int r = 0; r < rows; r++) {
            LHK_UNROLL
            for (int j = 0; j < units * vectors; j++) sum[r][j] = dot8(sum[r][j], a + r * s->ldq, keys[j]);
        }
    }
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
        vec factor = vset(s->scale * head[r]->scale);
        LHK_UNROLL
        for (int j = 0; j < units * vectors; j++) {
            vec scores = vmul(float8(sum[r][j]), vload(s->key_scales + column + j * LHK_LANES));
            vstore(out + r * lds + j * LHK_LANES, vmul(scores, factor));
        }
    }
}

#define LHK_I8_TILE(R, U) \
    case (R) * 8 + (U): LHK_NAME(tile)(R, U, s, row, column, out, lds); break;
#if LHK_I8_UNITS >= 4
#define LHK_I8_TILES(R) LHK_I8_TILE(R, 1) LHK_I8_TILE(R, 2) LHK_I8_TILE(R, 4)
#elif LHK_I8_UNITS == 2
#define LHK_I8_TILES(R) LHK_I8_TILE(R, 1) LHK_I8_TILE(R, 2)
#else
#define LHK_I8_TILES(R) LHK_I8_TILE(R, 1)
#endif

/// Scores of `rows` rows from `row` on. A strip that streams takes the keys in order of address: one unit at a time.
static void LHK_NAME(product)(const lhk_flash_strip *s, int32_t row, int32_t rows, float *out, int64_t lds) {
    int64_t column = lhk_flash_first(s), most = s->streamed ? 1 : LHK_I8_UNITS;
    for (int64_t units = lhk_flash_width(s) / 16, now; units > 0; units -= now, column += now * 16, out += now * 16) {
        now = units >= most ? most : units >= 2 && most >= 2 ? 2 : 1;
        switch (rows * 8 + now) {
            LHK_I8_TILES(1)
            LHK_I8_TILES(2)
#if LHK_I8_ROWS > 2
            LHK_I8_TILES(3)
#endif
#if LHK_I8_ROWS > 3
            LHK_I8_TILES(4)
            LHK_I8_TILES(5)
            LHK_I8_TILES(6)
#endif
        }
    }
}

static void LHK_NAME(scores)(const lhk_flash_strip *s, float *out, int64_t lds) {
    int32_t parts = (s->rows + LHK_I8_ROWS - 1) / LHK_I8_ROWS, step = (s->rows + parts - 1) / parts;
    for (int32_t row = 0; row < s->rows; row += step)
        LHK_NAME(product)(s, row, s->rows - row < step ? s->rows - row : step, out + row * lds, lds);
    if (s->softcap != 0 || s->biased || s->masked) LHK_ISA(modify)(s, out, lds);
}

static void LHK_NAME(pack_query)(float *x, int64_t dim, int64_t padded, uint32_t rotation, void *to) {
    lhk_flash_query8 *out = to;
    if (rotation) LHK_HADAMARD(rotate)(x, dim);
    uint32_t largest = 0;  // of the magnitudes' bits, which order as they do
    for (int64_t c = 0; c < dim; c++) {
        uint32_t bits;
        memcpy(&bits, x + c, 4);
        bits &= 0x7fffffffu;
        largest = bits > largest ? bits : largest;
    }
    float most;
    memcpy(&most, &largest, 4);
    out->scale = largest >= 0x7f800000u ? NAN : most < LHK_PANEL_TINY ? 0 : most / 127;
    float inverse = out->scale > 0 ? 1 / out->scale : 0;
    int32_t sum = 0;
    for (int64_t c = 0; c < padded; c++) {
        float code = inverse > 0 ? (x[c] * inverse + 0x1.8p23f) - 0x1.8p23f : 0;
        sum += (int32_t)code;
        x[c] = code;
    }
    out->bias = 128 * sum;
#if LHK_I8_WORDS == 1
    int8_t *codes = (int8_t *)(out + 1);
    for (int64_t c = 0; c < padded; c++) codes[c] = (int8_t)x[c];
#elif LHK_I8_WORDS == 2
    int16_t *codes = (int16_t *)(out + 1);
    for (int64_t c = 0; c < padded; c++) codes[c / 4 * 4 + c % 2 * 2 + c % 4 / 2] = (int16_t)x[c];
#else
    memcpy(out + 1, x, (size_t)padded * sizeof *x);
#endif
}

const lhk_flash_kernel LHK_NAME(kernel) = {
    .strip_rows = LHK_ROWS,
    .query_dtype = LHK_DTYPE_I8,
    .weight_dtype = LHK_I8_WEIGHTS,
    .query_words = LHK_I8_WORDS,
    .pack_query = LHK_NAME(pack_query),
    .scores = LHK_NAME(scores),
    .modify = LHK_ISA(modify),
    .softmax = LHK_I8_SOFTMAX,
    .softmax_f32 = LHK_ISA(softmax),
    .values = LHK_I8_VALUES,
};

#undef LHK_I8_TILE
#undef LHK_I8_TILES
