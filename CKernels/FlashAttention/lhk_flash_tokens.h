// SPDX-License-Identifier: Apache-2.0
/// The products of a strip with tokens listed one by one, read where they lie in a store's panels: included by
/// lhk_flash_body.h.
///
/// A key shares its lines of memory with the 15 others of its tile, so the scores of the whole tile are computed, and those of
/// the listed tokens kept: that costs less than copying one key out. Values lie in whole rows.

#define LHK_TOKEN_ROWS (LHK_LANES == 16 ? 3 : 2)
#define LHK_TOKEN_UNITS (LHK_LANES == 16 ? 8 : LHK_LANES == 8 ? 2 : 1)

/// Panels of the block that holds token `key`, and its place in there.
LHK_ALWAYS_INLINE const uint8_t *LHK_NAME(token_block)(const lhk_flash_strip *s, int64_t key, int64_t *place) {
    int64_t block = key / s->panels->block_tokens;
    *place = key - block * s->panels->block_tokens;
    return s->head_base + (uint64_t)block * s->panels->block_stride;
}

LHK_ALWAYS_INLINE const uint8_t *LHK_NAME(token_tile_at)(const lhk_flash_strip *s, int64_t key) {
    int64_t place;
    const uint8_t *block = LHK_NAME(token_block)(s, key, &place);
    return block + place / 16 * s->padded_k * 16 * LHK_B_BYTES;
}

LHK_ALWAYS_INLINE const uint8_t *LHK_NAME(token_value_at)(const lhk_flash_strip *s, int64_t key) {
    int64_t place;
    const uint8_t *block = LHK_NAME(token_block)(s, key, &place);
    return block + s->panels->value_offset + place / LHK_GROUP * s->padded_v * LHK_GROUP * LHK_B_BYTES;
}

/// Scores [rows][16] of one tile.
LHK_ALWAYS_INLINE void LHK_NAME(token_tile)(const int rows, const lhk_flash_strip *s, const uint8_t *b, float *out) {
    const LHK_NAME(a_type) *a = s->q;
    int64_t steps = s->padded_k / LHK_GROUP;
    vec sum[2][LHK_ROWS][LHK_VECTORS];
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
        LHK_UNROLL
        for (int v = 0; v < LHK_VECTORS; v++) sum[0][r][v] = sum[1][r][v] = vset(0);
    }
    for (int64_t step = 0; step < steps; step++, b += 16 * LHK_GROUP * LHK_B_BYTES) {
        LHK_UNROLL
        for (int v = 0; v < LHK_VECTORS; v++) {
            const uint8_t *at = b + v * LHK_LANES * LHK_GROUP * LHK_B_BYTES;
#if LHK_PANEL_BF16
            vec even = vload_bf16_even(at), odd = vload_bf16_odd(at);
            LHK_UNROLL
            for (int r = 0; r < rows; r++) {
                sum[0][r][v] = vfma(vset(a[r * s->ldq + 2 * step]), even, sum[0][r][v]);
                sum[1][r][v] = vfma(vset(a[r * s->ldq + 2 * step + 1]), odd, sum[1][r][v]);
            }
#else
            vec column = vload_panel(at);
            LHK_UNROLL
            for (int r = 0; r < rows; r++) {
#if LHK_PANEL_BF16_DOT
                sum[0][r][v] = vdot(sum[0][r][v], vset_pair(a[r * s->ldq + step]), column);
#else
                sum[0][r][v] = vfma(vset(a[r * s->ldq + step]), column, sum[0][r][v]);
#endif
            }
#endif
        }
    }
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
        LHK_UNROLL
        for (int v = 0; v < LHK_VECTORS; v++)
            vstore(out + r * 16 + v * LHK_LANES,
                   vmul(LHK_PANEL_BF16 ? vadd(sum[0][r][v], sum[1][r][v]) : sum[0][r][v], vset(s->scale)));
    }
}

/// End of the listed tokens of x's tile; asks for their values, which are needed later.
LHK_ALWAYS_INLINE int32_t LHK_NAME(token_tile_end)(const lhk_flash_strip *s, int32_t x, int64_t value_bytes) {
    for (int32_t tile = x < s->end ? s->index[x] / 16 : 0; x < s->end && s->index[x] / 16 == tile; x++) {
        const uint8_t *value = LHK_NAME(token_value_at)(s, s->index[x]);
        for (int64_t line = 0; line < value_bytes; line += 64) __builtin_prefetch(value + line);
    }
    return x;
}

#define LHK_TOKEN_TILE(R) case R: LHK_NAME(token_tile)(R, s, keys, lanes); break;
static void LHK_NAME(token_scores)(const lhk_flash_strip *s, float *out, int64_t lds) {
    float lanes[LHK_ROWS * 16] __attribute__((aligned(64)));
    int64_t tile_bytes = s->padded_k * 16 * LHK_B_BYTES, value_bytes = s->padded_v * LHK_GROUP * LHK_B_BYTES;
    int32_t next = LHK_NAME(token_tile_end)(s, s->begin, value_bytes);
    for (int32_t x = s->begin; x < s->end; x = next, next = LHK_NAME(token_tile_end)(s, x, value_bytes)) {
        const uint8_t *keys = LHK_NAME(token_tile_at)(s, s->index[x]);
        if (next < s->end) {
            const uint8_t *ahead = LHK_NAME(token_tile_at)(s, s->index[next]);
            for (int64_t line = 0; line < tile_bytes; line += 64) __builtin_prefetch(ahead + line);
        }
        switch (s->rows) {
            LHK_TOKEN_TILE(1)
            LHK_TOKEN_TILE(2)
#if LHK_ROWS > 2
            LHK_TOKEN_TILE(3)
            LHK_TOKEN_TILE(4)
#endif
#if LHK_ROWS > 4
            LHK_TOKEN_TILE(5)
            LHK_TOKEN_TILE(6)
#endif
        }
        for (int32_t y = x; y < next; y++)
            for (int32_t r = 0; r < s->rows; r++) out[r * lds + y] = lanes[r * 16 + s->index[y] % 16];
    }
    for (int32_t y = s->end; y < lhk_flash_width(s); y++)
        for (int32_t r = 0; r < s->rows; r++) out[r * lds + y] = -INFINITY;
    if (s->softcap != 0 || s->biased || s->masked) LHK_ISA(modify)(s, out, lds);
}

/// o[rows][16 * units] += sum of p * value over the piece's tokens; `p` as `softmax` left it, `ldp` in 4-byte words.
LHK_ALWAYS_INLINE void LHK_NAME(token_sum)(const int rows, const int units, const lhk_flash_strip *s, const float *p,
                                           int64_t ldp, float *o, int64_t first) {
    vec sum[LHK_TOKEN_ROWS][LHK_TOKEN_UNITS * LHK_VECTORS];
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
        LHK_UNROLL
        for (int v = 0; v < units * LHK_VECTORS; v++) sum[r][v] = vload(o + r * s->padded_v + v * LHK_LANES);
    }
    for (int32_t x = s->begin; x < s->end; x++) {
        const uint8_t *b = LHK_NAME(token_value_at)(s, s->index[x]) + first * LHK_GROUP * LHK_B_BYTES;
#if LHK_PANEL_BF16_DOT
        int shift = s->index[x] % 2 * 16;
        bool both = !shift && x + 1 < s->end && s->index[x + 1] == s->index[x] + 1;  // a pair of tokens shares its lines
#endif
        LHK_UNROLL
        for (int r = 0; r < rows; r++) {
#if LHK_PANEL_BF16_DOT
            const uint16_t *weights = (const uint16_t *)(p + r * ldp) + x;
            vec weight = vset_pair((uint32_t)weights[0] << shift | (both ? (uint32_t)weights[1] << 16 : 0));
#else
            vec weight = vset(p[r * ldp + x]);
#endif
            LHK_UNROLL
            for (int v = 0; v < units * LHK_VECTORS; v++) {
                const uint8_t *at = b + v * LHK_LANES * LHK_GROUP * LHK_B_BYTES;
#if LHK_PANEL_BF16_DOT
                sum[r][v] = vdot(sum[r][v], weight, vload_panel(at));
#elif LHK_PANEL_BF16
                sum[r][v] = vfma(weight, s->index[x] % 2 ? vload_bf16_odd(at) : vload_bf16_even(at), sum[r][v]);
#else
                sum[r][v] = vfma(weight, vload_panel(at), sum[r][v]);
#endif
            }
        }
#if LHK_PANEL_BF16_DOT
        x += both;
#endif
    }
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
        LHK_UNROLL
        for (int v = 0; v < units * LHK_VECTORS; v++) vstore(o + r * s->padded_v + v * LHK_LANES, sum[r][v]);
    }
}

#define LHK_TOKEN_SUM(R, U) \
    case (R) * 16 + (U): LHK_NAME(token_sum)(R, U, s, p + r * lds, lds, s->o + r * s->padded_v + unit * 16, unit * 16); break;
#if LHK_LANES == 16
#define LHK_TOKEN_SUMS(R) LHK_TOKEN_SUM(R, 1) LHK_TOKEN_SUM(R, 2) LHK_TOKEN_SUM(R, 4) LHK_TOKEN_SUM(R, 8)
#elif LHK_LANES == 8
#define LHK_TOKEN_SUMS(R) LHK_TOKEN_SUM(R, 1) LHK_TOKEN_SUM(R, 2)
#else
#define LHK_TOKEN_SUMS(R) LHK_TOKEN_SUM(R, 1)
#endif
static void LHK_NAME(token_values)(const lhk_flash_strip *s, const float *p, int64_t lds) {
    for (int32_t r = 0, rows; r < s->rows; r += rows) {
        rows = (int32_t)lhk_min(LHK_TOKEN_ROWS, s->rows - r);
        if (s->rows - r == 4 && LHK_TOKEN_ROWS == 3) rows = 2;
        int64_t now = LHK_TOKEN_UNITS;
        for (int64_t unit = 0; unit < s->padded_v / 16; unit += now) {
            while (now > s->padded_v / 16 - unit) now /= 2;
            switch (rows * 16 + now) {
                LHK_TOKEN_SUMS(1)
                LHK_TOKEN_SUMS(2)
#if LHK_LANES == 16
                LHK_TOKEN_SUMS(3)
#endif
            }
        }
    }
}

#undef LHK_TOKEN_ROWS
#undef LHK_TOKEN_UNITS
#undef LHK_TOKEN_TILE
#undef LHK_TOKEN_SUM
#undef LHK_TOKEN_SUMS
