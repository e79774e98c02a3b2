// SPDX-License-Identifier: Apache-2.0
/// Packing rows of keys and values into panels. Keys are transposed (tokens lie side by side), values of bf16 panels go
/// in pairs of tokens. Baseline code for every CPU: 4 x 4 transpositions in 128-bit registers move data nearly as fast as
/// the caches take it, so that no variant per instruction set is needed.
#ifndef LHK_PANEL_PACK_H
#define LHK_PANEL_PACK_H

#include <lhk/panel.h>

typedef uint32_t lhk_u32x4 __attribute__((vector_size(16)));
typedef uint16_t lhk_u16x8 __attribute__((vector_size(16)));

#define LHK_PACK_CHANNELS 64  ///< channels converted at a time

/// Converts `dim` elements of a row to the panel's type. Each pair of types has a loop of its own, which compilers turn
/// into vector code.
LHK_ALWAYS_INLINE void lhk_panel_convert(const void *row, lhk_dtype from, lhk_dtype to, int64_t dim, void *out) {
    if (from == to) {
        memcpy(out, row, (size_t)dim * lhk_dtype_size(to));
    } else if (from == LHK_DTYPE_F32 && to == LHK_DTYPE_BF16) {
        for (int64_t c = 0; c < dim; c++) ((uint16_t *)out)[c] = lhk_f32_to_bf16(((const float *)row)[c]);
    } else if (from == LHK_DTYPE_F32 && to == LHK_DTYPE_F16) {
        for (int64_t c = 0; c < dim; c++) ((uint16_t *)out)[c] = lhk_f32_to_f16(((const float *)row)[c]);
    } else {
        for (int64_t c = 0; c < dim; c++) lhk_store_element(out, to, c, lhk_load_element(row, from, c));
    }
}

/// Scatters one row: element c goes to index `first + (c/g)*step + c%g` of `out`.
LHK_ALWAYS_INLINE void lhk_panel_scatter(void *out, lhk_dtype to, int64_t first, int64_t step, int64_t g, const void *row,
                                         lhk_dtype from, int64_t dim) {
    for (int64_t c = 0; c < dim; c++) {
        int64_t index = first + c / g * step + c % g;
        uint32_t bits = lhk_panel_bits(row, from, to, c);
        if (to == LHK_DTYPE_F32)
            ((uint32_t *)out)[index] = bits;
        else
            ((uint16_t *)out)[index] = (uint16_t)bits;
    }
}

LHK_ALWAYS_INLINE lhk_u32x4 lhk_load_u32x4(const uint32_t *p) {
    lhk_u32x4 x;
    memcpy(&x, p, sizeof x);
    return x;
}

/// rows[i][j] becomes rows[j][i].
LHK_ALWAYS_INLINE void lhk_transpose_u32x4(lhk_u32x4 rows[4]) {
    lhk_u32x4 a = __builtin_shufflevector(rows[0], rows[1], 0, 4, 1, 5), b = __builtin_shufflevector(rows[2], rows[3], 0, 4, 1, 5);
    lhk_u32x4 c = __builtin_shufflevector(rows[0], rows[1], 2, 6, 3, 7), d = __builtin_shufflevector(rows[2], rows[3], 2, 6, 3, 7);
    rows[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
    rows[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
    rows[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
    rows[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

/// Writes one 32-bit unit of four tokens: a channel of f32, or two of 16 bits. `out` is the first token's place of the
/// unit's first channel.
LHK_ALWAYS_INLINE void lhk_panel_put_unit(lhk_dtype to, lhk_u32x4 unit, uint8_t *out, bool second) {
    if (to != LHK_DTYPE_F16) {
        memcpy(out, &unit, 16);
        return;
    }
    lhk_u16x8 pairs = (lhk_u16x8)unit, split = __builtin_shufflevector(pairs, pairs, 0, 2, 4, 6, 1, 3, 5, 7);
    memcpy(out, &split, 8);
    if (second) memcpy(out + 16 * 2, (const uint8_t *)&split + 8, 8);
}

/// Packs 4 * `quads` key rows as tokens [t, t + 4 quads) of one tile; t is a multiple of 4.
LHK_ALWAYS_INLINE void lhk_panel_pack_quads(const lhk_panels *p, lhk_dtype to, uint8_t *block, int64_t t, int64_t quads,
                                            const uint8_t *rows, int64_t row_stride, lhk_dtype from, int64_t dim) {
    int64_t size = to == LHK_DTYPE_F32 ? 4 : 2, per_unit = 4 / size, unit_bytes = to == LHK_DTYPE_F16 ? 16 * 2 * 2 : 64;
    uint8_t *tile = block + lhk_panel_key_index(p, t, 0) * size;
    for (int64_t first = 0; first < dim; first += LHK_PACK_CHANNELS) {
        uint32_t words[LHK_PANEL_TOKENS][LHK_PACK_CHANNELS];
        int64_t count = lhk_min(LHK_PACK_CHANNELS, dim - first), units = (count + per_unit - 1) / per_unit;
        for (int64_t i = 0; i < 4 * quads; i++) {
            words[i][units - 1] = 0;  // the second half of the last unit when the dimension is odd
            lhk_panel_convert(rows + i * row_stride + first * (int64_t)lhk_dtype_size(from), from, to, count, words[i]);
        }
        for (int64_t u = 0; u < units; u += 4) {
            for (int64_t q = 0; q < quads; q++) {
                lhk_u32x4 square[4];
                for (int i = 0; i < 4; i++) square[i] = lhk_load_u32x4(&words[4 * q + i][u]);
                lhk_transpose_u32x4(square);
                for (int64_t i = 0; i < lhk_min(4, units - u); i++)
                    lhk_panel_put_unit(to, square[i], tile + (first / per_unit + u + i) * unit_bytes + 4 * q * (to == LHK_DTYPE_F16 ? 2 : 4),
                                       (u + i) * per_unit + 1 < count);
            }
        }
    }
}

/// Packs `n` key rows, `row_stride` bytes apart, as tokens [t, t+n) of a block that starts at `block`.
/// Padding channels stay, or become, zero.
static inline void lhk_panel_pack_keys(const lhk_panels *p, uint8_t *block, int64_t t, int64_t n, const uint8_t *rows,
                                       int64_t row_stride, lhk_dtype from, int64_t dim) {
    int64_t g = p->group, done = 0;
    while (done < n) {
        int64_t at = t + done, quads = at % 4 ? 0 : lhk_min((LHK_PANEL_TOKENS - at % LHK_PANEL_TOKENS) / 4, (n - done) / 4);
        const uint8_t *row = rows + done * row_stride;
        if (quads == 0) {
            lhk_panel_scatter(block, p->dtype, lhk_panel_key_index(p, at, 0), 16 * g, g, row, from, dim);
        } else if (p->dtype == LHK_DTYPE_F32) {
            lhk_panel_pack_quads(p, LHK_DTYPE_F32, block, at, quads, row, row_stride, from, dim);
        } else if (p->dtype == LHK_DTYPE_BF16) {
            lhk_panel_pack_quads(p, LHK_DTYPE_BF16, block, at, quads, row, row_stride, from, dim);
        } else {
            lhk_panel_pack_quads(p, LHK_DTYPE_F16, block, at, quads, row, row_stride, from, dim);
        }
        done += quads ? 4 * quads : 1;
    }
}

/// Packs two value rows as one group of a bf16 panel. Returns whether a value is infinite or NaN.
static inline bool lhk_panel_pack_pair(uint16_t *out, const uint8_t *row, const uint8_t *second, lhk_dtype from,
                                       int64_t dim) {
    bool nonfinite = false;
    for (int64_t first = 0; first < dim; first += LHK_PACK_CHANNELS) {
        uint16_t a[LHK_PACK_CHANNELS], b[LHK_PACK_CHANNELS];
        int64_t count = lhk_min(LHK_PACK_CHANNELS, dim - first), skip = first * (int64_t)lhk_dtype_size(from);
        lhk_panel_convert(row + skip, from, LHK_DTYPE_BF16, count, a);
        lhk_panel_convert(second + skip, from, LHK_DTYPE_BF16, count, b);
        for (int64_t c = 0; c < count; c++) {
            out[2 * (first + c)] = a[c];
            out[2 * (first + c) + 1] = b[c];
        }
        nonfinite |= lhk_row_nonfinite(a, LHK_DTYPE_BF16, count);
        nonfinite |= lhk_row_nonfinite(b, LHK_DTYPE_BF16, count);
    }
    return nonfinite;
}

/// Packs `n` value rows as tokens [t, t+n) and clears what is left of the last group, so that products over whole
/// groups see zeros. Padding channels are left alone. Returns whether a packed value is infinite or NaN (given so, or
/// too large for the panel's type).
static inline bool lhk_panel_pack_values(const lhk_panels *p, uint8_t *block, int64_t t, int64_t n, const uint8_t *rows,
                                         int64_t row_stride, lhk_dtype from, int64_t dim) {
    uint8_t *values = block + p->value_offset;
    int64_t g = p->value_group, size = (int64_t)lhk_dtype_size(p->value_dtype), done = 0;
    bool nonfinite = false;
    while (done < n) {
        const uint8_t *row = rows + done * row_stride;
        int64_t index = lhk_panel_value_index(p, t + done, 0);
        if (g == 2 && (t + done) % 2 == 0 && done + 1 < n) {
            nonfinite |= lhk_panel_pack_pair((uint16_t *)values + index, row, row + row_stride, from, dim);
            done += 2;
        } else if (g == 2) {
            lhk_panel_scatter(values, p->value_dtype, index, g, 1, row, from, dim);
            for (int64_t c = 0; c < dim; c++) nonfinite |= (((const uint16_t *)values)[index + c * g] & 0x7f80u) == 0x7f80u;
            done++;
        } else {
            lhk_panel_convert(row, from, p->value_dtype, dim, values + index * size);
            nonfinite |= lhk_row_nonfinite(values + index * size, p->value_dtype, dim);
            done++;
        }
    }
    for (int64_t rest = t + n; rest % g; rest++)
        for (int64_t c = 0; c < p->padded_dim_v; c++) ((uint16_t *)values)[lhk_panel_value_index(p, rest, c)] = 0;
    return nonfinite;
}

#endif
