// SPDX-License-Identifier: Apache-2.0
/// Weighted sums of values with form=product, included by every ISA file after those of the other form. Up to 512 tokens, as
/// blocks of codes, have one factor for their weights, so that their sums stay integers for long.

typedef struct LHK_NAME(chunk) {
    int64_t blocks;
    const uint8_t *codes[LHK_COMMVQ_CHUNK];  ///< [rows][64]
    _Alignas(64) float x[LHK_COMMVQ_ROWS][LHK_COMMVQ_CHUNK * LHK_COMMVQ_BLOCK];  ///< weights times scales
    uint8_t gathered[LHK_COMMVQ_CHUNK][LHK_COMMVQ_MAX_LEVELS * LHK_COMMVQ_BLOCK];
} LHK_NAME(chunk);

/// Adds the chunk's blocks to the sums, and empties it.
LHK_ALWAYS_INLINE void LHK_NAME(add_chunk)(const int rows, const lhk_commvq_side_tables *t, int64_t dim,
                                           LHK_NAME(chunk) * chunk, LHK_NAME(bit_sums) * out) {
    _Alignas(64) int16_t w[LHK_COMMVQ_ROWS][LHK_COMMVQ_CHUNK * LHK_COMMVQ_BLOCK];
    _Alignas(64) uint32_t acc[LHK_COMMVQ_MAX_DIM][LHK_COMMVQ_ROWS];
    const int64_t n = chunk->blocks * LHK_COMMVQ_BLOCK;
    float back[LHK_COMMVQ_ROWS];
    uint32_t bias[LHK_COMMVQ_ROWS];
    if (n == 0) return;
    for (int r = 0; r < rows; r++) {
        int32_t sum = 0;
        back[r] = LHK_NAME(round_weights)(chunk->x[r], n, w[r], &out->weight[r]);
        for (int64_t i = 0; i < n; i++) sum += w[r][i];
        bias[r] = (uint32_t)sum * LHK_COMMVQ_VALUE_BIAS;
    }
    LHK_NAME(product_dots)(rows, t, dim, chunk->blocks, chunk->codes, w, acc);
    for (int r = 0; r < rows; r++)
        for (int64_t c = 0; c < dim; c++) out->sums[r][c] += (float)(int32_t)(acc[c][r] - bias[r]) * back[r];
    chunk->blocks = 0;
}

/// Codes of a list's tokens side by side; those of exact rows are anything.
static void LHK_NAME(gather_values)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head,
                                    const LHK_NAME(tile) * tile, uint8_t *out) {
    const int64_t rows = l->value.levels / 2;
    memset(out, 0, (size_t)(rows * LHK_COMMVQ_BLOCK));
    for (int64_t i = 0; i < tile->count; i++) {
        if (tile->exact[i]) continue;
        const uint8_t *from = lhk_commvq_value_bits(l, lhk_commvq_block(store, l, tile->tokens[i]), head) +
                              lhk_commvq_place(tile->tokens[i] % LHK_COMMVQ_BLOCK);
        for (int64_t row = 0; row < rows; row++)
            out[row * LHK_COMMVQ_BLOCK + lhk_commvq_place(i)] = from[row * LHK_COMMVQ_BLOCK];
    }
}

/// Takes up to 64 keys from the j-th on into the chunk's next block; exact rows go to `out` at once. Returns how many.
LHK_ALWAYS_INLINE int64_t LHK_NAME(take_block)(const int rows, const lhk_instance *store, const lhk_commvq_layout *l,
                                               uint32_t head, const float *p, int64_t ldp, const lhk_keys *keys, int64_t j,
                                               LHK_NAME(chunk) * chunk, float *out, int64_t ldo) {
    const lhk_commvq_state *state = lhk_commvq(store);
    const int64_t b = chunk->blocks, at = b * LHK_COMMVQ_BLOCK;
    LHK_NAME(tile) tile;
    if (keys->tokens) {
        LHK_NAME(gather)(store, l, head, keys, j, false, &tile);
        LHK_NAME(gather_values)(store, l, head, &tile, chunk->gathered[b]);
        chunk->codes[b] = chunk->gathered[b];
        for (int r = 0; r < rows; r++) memset(chunk->x[r] + at, 0, LHK_COMMVQ_BLOCK * sizeof(float));
        for (int64_t i = 0; i < tile.count; i++) {
            if (tile.exact[i]) LHK_NAME(add_exact)(store, l, head, tile.tokens[i], p + j + i, ldp, rows, out, ldo);
            for (int r = 0; r < rows && !tile.exact[i]; r++)
                chunk->x[r][at + i] = p[r * ldp + j + i] != 0 ? p[r * ldp + j + i] * tile.value_scales[i] : 0;
        }
        chunk->blocks++;
        return tile.count;
    }
    const int64_t token = keys->begin + j, skip = token % LHK_COMMVQ_BLOCK;
    if (lhk_commvq_is_exact(state, token)) {
        LHK_NAME(add_exact)(store, l, head, token, p + j, ldp, rows, out, ldo);
        return 1;
    }
    const int64_t n = lhk_min(lhk_min(keys->count - j, LHK_COMMVQ_BLOCK - skip), state->encoded - token);
    uint8_t *block = lhk_commvq_block(store, l, token);
    _Alignas(64) float scales[LHK_COMMVQ_BLOCK];
    for (int i = 0; i < LHK_COMMVQ_BLOCK; i += 16)
        LHK_NAME(halves)((const uint16_t *)(const void *)block + LHK_COMMVQ_BLOCK + i, (lhk_commvq_floats *)(void *)(scales + i));
    chunk->codes[b] = lhk_commvq_value_bits(l, block, head);
    for (int r = 0; r < rows; r++) {
        float *x = chunk->x[r] + at;
        if (n < LHK_COMMVQ_BLOCK) memset(x, 0, LHK_COMMVQ_BLOCK * sizeof(float));
        for (int64_t i = 0; i < n; i++) x[skip + i] = p[r * ldp + j + i] != 0 ? p[r * ldp + j + i] * scales[skip + i] : 0;
    }
    chunk->blocks++;
    return n;
}

LHK_ALWAYS_INLINE void LHK_NAME(accumulate_product)(const int rows, const lhk_instance *store, const lhk_commvq_layout *l,
                                                    uint32_t head, const float *p, int64_t ldp, const lhk_keys *keys,
                                                    float *out, int64_t ldo) {
    const lhk_commvq_side_tables t = lhk_commvq_side_at(store, &l->value, head);
    LHK_NAME(bit_sums) sums;
    LHK_NAME(chunk) chunk;
    chunk.blocks = 0;
    memset(sums.weight, 0, sizeof sums.weight);
    for (int r = 0; r < rows; r++) memset(sums.sums[r], 0, (size_t)l->dim_v * sizeof(float));
    for (int64_t j = 0; j < keys->count;) {
        j += LHK_NAME(take_block)(rows, store, l, head, p, ldp, keys, j, &chunk, out, ldo);
        if (chunk.blocks == LHK_COMMVQ_CHUNK) LHK_NAME(add_chunk)(rows, &t, l->dim_v, &chunk, &sums);
    }
    LHK_NAME(add_chunk)(rows, &t, l->dim_v, &chunk, &sums);
    LHK_NAME(finish_values)(rows, store, l, head, l->dim_v, &sums, out, ldo);
}

void LHK_NAME(accumulate)(const lhk_instance *store, uint32_t head, const float *p, int64_t ldp, int32_t rows,
                          const lhk_keys *keys, float *out, int64_t ldo) {
    const lhk_commvq_layout l = lhk_commvq_layout_of(lhk_commvq(store));
    for (int32_t r = 0; r < rows; r += LHK_COMMVQ_ROWS, p += LHK_COMMVQ_ROWS * ldp, out += LHK_COMMVQ_ROWS * ldo) {
        const int32_t n = (int32_t)lhk_min(LHK_COMMVQ_ROWS, rows - r);
#define LHK_COMMVQ_CALL(R)                                                                         \
    case R:                                                                                        \
        if (lhk_commvq(store)->product) LHK_NAME(accumulate_product)(R, store, &l, head, p, ldp, keys, out, ldo); \
        else LHK_NAME(accumulate_rows)(R, store, &l, head, p, ldp, keys, out, ldo);                \
        break;
        switch (n) { LHK_COMMVQ_EACH(LHK_COMMVQ_CALL) }
#undef LHK_COMMVQ_CALL
    }
}
