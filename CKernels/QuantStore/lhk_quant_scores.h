// SPDX-License-Identifier: Apache-2.0
/// Scores of keys, in place or gathered. Included by lhk_quant_body.h.

/// Queries of up to LHK_QUANT_ROWS rows.
typedef struct LHK_NAME(queries) {
    uint8_t w[LHK_QUANT_ROWS][2 * LHK_QUANT_MAX_DIM];
    int32_t sums[LHK_QUANT_ROWS][LHK_QUANT_MAX_BLOCKS];  ///< of the weights of a block of channels
    float factors[LHK_QUANT_ROWS][LHK_QUANT_MAX_BLOCKS];
    float shares[LHK_QUANT_ROWS][LHK_QUANT_MAX_BLOCKS];  ///< factor * sum: what a minimum of 1 adds
} LHK_NAME(queries);

static void LHK_NAME(take_queries)(const lhk_quant_state *state, const lhk_quant_layout *l, const float *q, int64_t ldq,
                                   int32_t rows, LHK_NAME(queries) * out) {
    float x[LHK_QUANT_MAX_DIM];
    int64_t padded = (int64_t)l->k_blocks * LHK_QUANT_CHANNELS;
    for (int32_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < padded; c++) x[c] = c < state->dim_k ? q[r * ldq + c] : 0;
        if (state->rotate) LHK_HADAMARD(rotate)(x, padded);
        for (int64_t b = 0; b < l->k_blocks; b++) {
            uint32_t largest = 0;
            for (int64_t c = b * 32; c < b * 32 + 32; c++) {
                uint32_t magnitude;
                memcpy(&magnitude, x + c, 4);
                magnitude &= 0x7fffffffu;
                largest = magnitude > largest ? magnitude : largest;
            }
            out->factors[r][b] = LHK_NAME(weigh)(x + b * 32, 32, largest, LHK_QUANT_KEY_PLANES,
                                                 out->w[r] + LHK_QUANT_PLACE(b * 32), LHK_QUANT_MAX_DIM, &out->sums[r][b]);
            out->shares[r][b] = out->factors[r][b] * (float)out->sums[r][b];
        }
    }
}

/// Scores of one tile: 32 per row. Parameters and codes as in the layout, all blocks of channels.
LHK_ALWAYS_INLINE void LHK_NAME(tile)(const int bits, const int rows, const lhk_quant_layout *l, const uint16_t *parameters,
                                      const uint8_t *codes, const LHK_NAME(queries) * q, float *out, int64_t ldo) {
    lhk_quant_floats sum[LHK_QUANT_ROWS][2] = {0};
    for (int64_t b = 0; b < l->k_blocks; b++) {
        lhk_quant_ints acc[LHK_QUANT_ROWS][2];
        LHK_UNROLL
        for (int r = 0; r < rows; r++)
            acc[r][0] = acc[r][1] = (lhk_quant_ints){0} + LHK_NAME(bias)(bits, q->sums[r][b]);
        LHK_NAME(dot)(bits, LHK_QUANT_KEY_PLANES, rows, codes, LHK_QUANT_KEY_STEPS, q->w[0] + LHK_QUANT_PLACE(b * 32),
                      2 * LHK_QUANT_MAX_DIM, LHK_QUANT_MAX_DIM, acc);
        LHK_UNROLL
        for (int u = 0; u < 2; u++) {
            lhk_quant_floats scale, minimum;
            LHK_NAME(halves)(parameters + 16 * u, &scale);
            if (bits == 4) LHK_NAME(halves)(parameters + LHK_QUANT_TILE + 16 * u, &minimum);
            LHK_UNROLL
            for (int r = 0; r < rows; r++) {
                lhk_quant_floats dots = scale * __builtin_convertvector(acc[r][u], lhk_quant_floats);
                LHK_NAME(fma)(&dots, q->factors[r][b], &sum[r][u]);
                if (bits == 4) LHK_NAME(fma)(&minimum, q->shares[r][b], &sum[r][u]);
            }
        }
        parameters += l->parameters * LHK_QUANT_TILE;
        codes += LHK_QUANT_KEY_STEPS * 16 * bits;
    }
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
        LHK_UNROLL
        for (int u = 0; u < 2; u++) {
            memcpy(out + r * ldo + 16 * u, &sum[r][u], sizeof sum[r][u]);
        }
    }
}

/// Copies the parameters and codes of one token, kept in `column` of a tile, into column x of a gathered tile.
static void LHK_NAME(gather_key)(const lhk_quant_layout *l, const uint16_t *parameters, const uint8_t *codes, int64_t column,
                                 uint16_t *to_parameters, uint8_t *to_codes, int64_t x) {
    for (int64_t p = 0; p < l->k_blocks * l->parameters; p++)
        to_parameters[p * LHK_QUANT_TILE + x] = parameters[p * LHK_QUANT_TILE + column];
    for (int64_t s = 0; s < l->k_blocks * LHK_QUANT_KEY_STEPS; s++) {
        const uint8_t *from = codes + s * (int64_t)l->row;
        uint8_t *to = to_codes + s * (int64_t)l->row;
        if (l->bits == 8) {
            memcpy(to + x * 4, from + column * 4, 4);
        } else {
            uint32_t word, kept;
            memcpy(&word, from + column % 16 * 4, 4);
            memcpy(&kept, to + x % 16 * 4, 4);
            word = word >> (column / 16 * 4) & 0x0f0f0f0fu;
            kept = x < 16 ? word : kept | word << 4;  // x rises: the low nibble comes first
            memcpy(to + x % 16 * 4, &kept, 4);
        }
    }
}

/// A tile of tokens: in place, or gathered from a list of them.
typedef struct LHK_NAME(gathered) {
    uint16_t parameters[LHK_QUANT_MAX_BLOCKS * 2 * LHK_QUANT_TILE];
    uint8_t codes[LHK_QUANT_MAX_BLOCKS * LHK_QUANT_KEY_STEPS * 128];
} LHK_NAME(gathered);

LHK_ALWAYS_INLINE void LHK_NAME(score_rows)(const int bits, const int rows, const lhk_instance *store,
                                            const lhk_quant_layout *l, uint32_t head, const LHK_NAME(queries) * q,
                                            const lhk_keys *keys, float *scores, int64_t lds) {
    LHK_NAME(gathered) list;
    float some[LHK_QUANT_ROWS][LHK_QUANT_TILE];
    for (int64_t j = 0; j < keys->count;) {
        const uint16_t *parameters = list.parameters;
        const uint8_t *codes = list.codes;
        int64_t skip = 0, n = lhk_min(LHK_QUANT_TILE, keys->count - j);
        if (keys->tokens) {
            for (int64_t x = 0; x < n; x++) {
                int64_t token = keys->tokens[j + x], t = token % LHK_QUANT_TOKENS, tile = t / LHK_QUANT_TILE;
                uint8_t *block = lhk_quant_block(store, l, token, head);
                LHK_NAME(gather_key)(l, lhk_quant_key_parameters(l, block, tile, 0), lhk_quant_key_codes(l, block, tile, 0),
                                     t % LHK_QUANT_TILE, list.parameters, list.codes, x);
            }
        } else {
            int64_t token = keys->begin + j, tile = token % LHK_QUANT_TOKENS / LHK_QUANT_TILE;
            uint8_t *block = lhk_quant_block(store, l, token, head);
            parameters = lhk_quant_key_parameters(l, block, tile, 0);
            codes = lhk_quant_key_codes(l, block, tile, 0);
            skip = token % LHK_QUANT_TILE;
            n = lhk_min(n, LHK_QUANT_TILE - skip);
        }
        bool whole = n == LHK_QUANT_TILE;
        LHK_NAME(tile)(bits, rows, l, parameters, codes, q, whole ? scores + j : some[0], whole ? lds : LHK_QUANT_TILE);
        for (int r = 0; r < rows && !whole; r++)
            memcpy(scores + r * lds + j, some[r] + skip, (size_t)n * sizeof(float));
        j += n;
    }
}

void LHK_NAME(score)(const lhk_instance *store, uint32_t head, const float *q, int64_t ldq, int32_t rows,
                     const lhk_keys *keys, float *scores, int64_t lds) {
    lhk_quant_layout l = lhk_quant_layout_for(store);
    LHK_NAME(queries) queries;
    for (int32_t r = 0, n; r < rows; r += n) {
        n = (int32_t)lhk_min(LHK_QUANT_ROWS, rows - r);
        LHK_NAME(take_queries)(lhk_quant(store), &l, q + r * ldq, ldq, n, &queries);
#define LHK_QUANT_CALL(BITS, R) LHK_NAME(score_rows)(BITS, R, store, &l, head, &queries, keys, scores + r * lds, lds)
        switch (l.bits * 8 + (uint32_t)n) { LHK_QUANT_CASES(LHK_QUANT_CALL) }
#undef LHK_QUANT_CALL
    }
}
