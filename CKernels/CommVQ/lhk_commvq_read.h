// SPDX-License-Identifier: Apache-2.0
/// Tokens as rows of floats: `read_rows`, and what lists and unpacking take from it. Included by every ISA file after the
/// encoder; plain arithmetic without FMA, so that all agree on every bit.

#define LHK_COMMVQ_AHEAD 3  ///< listed tokens from one that is read to one that memory is asked for

/// Up to 64 tokens of a head, gathered.
typedef struct LHK_NAME(tile) {
    int64_t count;
    int64_t tokens[LHK_COMMVQ_BLOCK];
    bool exact[LHK_COMMVQ_BLOCK];
    float key_scales[LHK_COMMVQ_BLOCK], value_scales[LHK_COMMVQ_BLOCK];  ///< 0 for exact rows
    _Alignas(64) uint8_t codes[LHK_COMMVQ_MAX_LEVELS * LHK_COMMVQ_BLOCK];
    _Alignas(64) int16_t sums[LHK_COMMVQ_MAX_PAIRS][2][LHK_COMMVQ_BLOCK];  ///< of key entries
} LHK_NAME(tile);

/// Asks memory for the codes of a listed token's key, and for those of its value, which are wanted later: a line for each byte
/// of a code.
LHK_ALWAYS_INLINE void LHK_NAME(fetch)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head, int64_t token) {
    if (lhk_commvq_is_exact(lhk_commvq(store), token)) return;
    const uint8_t *codes = lhk_commvq_key_codes(l, lhk_commvq_block(store, l, token), head);
    for (uint32_t r = 0; r < l->levels; r++) __builtin_prefetch(codes + r * LHK_COMMVQ_BLOCK);
    if (!lhk_commvq(store)->product) return;
    for (uint32_t r = 0; r < l->value.levels / 2; r++) __builtin_prefetch(codes + l->head_values + r * LHK_COMMVQ_BLOCK, 0, 2);
}

/// Takes tokens first, first + 1, ... of `keys`; key codes of those that are codes, zeros for others.
static void LHK_NAME(gather)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head, const lhk_keys *keys,
                             int64_t first, bool codes, LHK_NAME(tile) * out) {
    out->count = lhk_min(LHK_COMMVQ_BLOCK, keys->count - first);
    if (codes) memset(out->codes, 0, (size_t)l->levels * LHK_COMMVQ_BLOCK);
    for (int64_t i = 0; i < out->count; i++) {
        const int64_t token = keys->tokens ? keys->tokens[first + i] : keys->begin + first + i, t = token % LHK_COMMVQ_BLOCK;
        if (codes && keys->tokens && first + i + LHK_COMMVQ_AHEAD < keys->count)
            LHK_NAME(fetch)(store, l, head, keys->tokens[first + i + LHK_COMMVQ_AHEAD]);
        out->tokens[i] = token;
        out->exact[i] = lhk_commvq_is_exact(lhk_commvq(store), token);
        out->key_scales[i] = out->value_scales[i] = 0;
        if (out->exact[i]) continue;
        uint8_t *block = lhk_commvq_block(store, l, token);
        const uint16_t *scales = (const uint16_t *)(const void *)block;
        out->key_scales[i] = lhk_f16_to_f32(scales[t]);
        out->value_scales[i] = lhk_f16_to_f32(scales[LHK_COMMVQ_BLOCK + t]);
        const uint8_t *from = lhk_commvq_key_codes(l, block, head) + lhk_commvq_place(t);
        for (uint32_t r = 0; r < l->levels && codes; r++)
            out->codes[r * LHK_COMMVQ_BLOCK + lhk_commvq_place(i)] = from[r * LHK_COMMVQ_BLOCK];
    }
}

/// n bf16 as floats, n a multiple of 16.
LHK_ALWAYS_INLINE void LHK_NAME(widen_row)(const uint16_t *row, int64_t n, float *out) {
    for (int64_t c = 0; c < n; c += 16) {
        lhk_commvq_halves half;
        memcpy(&half, row + c, sizeof half);
        const lhk_commvq_ints wide = __builtin_convertvector(half, lhk_commvq_ints) << 16;
        memcpy(out + c, &wide, sizeof wide);
    }
}

/// Sums of all levels of 64 tokens' codes, in units of the pairs' steps.
LHK_ALWAYS_INLINE void LHK_NAME(all_sums)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head,
                                          const uint8_t *codes, int16_t (*sums)[2][LHK_COMMVQ_BLOCK]) {
    if (lhk_commvq(store)->product) {
        const lhk_commvq_side_tables t = lhk_commvq_side_at(store, &l->key, head);
        LHK_NAME(product_sums)(&t, l->pairs, codes, sums);
        return;
    }
    const int64_t stage_bytes = (int64_t)LHK_COMMVQ_STAGE * l->pairs * 32;
    const int8_t *table = (const int8_t *)lhk_commvq_at(store, l->key_table) + (int64_t)head * l->stages * stage_bytes;
    const int32_t *exponents = (const int32_t *)(const void *)lhk_commvq_at(store, l->key_exponent) + head * l->stages;
    if (l->stages == 1) {  // a stage alone has the exponent 8
        LHK_NAME(sums)(table, l->pairs, codes, 8, true, sums);
        return;
    }
    LHK_NAME(sums)(table, l->pairs, codes, exponents[0], true, sums);
    for (uint32_t m = 1; m < l->stages; m++)
        LHK_NAME(sums)(table + m * stage_bytes, l->pairs, codes + m * LHK_COMMVQ_STAGE * LHK_COMMVQ_BLOCK, exponents[m], false,
                       sums);
}

/// Key i of a tile, which is codes: planar, turned to its position.
LHK_ALWAYS_INLINE void LHK_NAME(planar_key)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head,
                                            const LHK_NAME(tile) * tile, int64_t i, float *out) {
    const int64_t pairs = l->pairs;
    const float *steps = lhk_commvq_floats_at(store, l->key_step) + head * l->pairs, scale = tile->key_scales[i];
    float turn[LHK_COMMVQ_MAX_DIM], sums[LHK_COMMVQ_MAX_DIM];
    LHK_NAME(turn_of)(store, l, tile->tokens[i], turn);
    for (int64_t j = 0; j < pairs; j++) {
        sums[j] = (float)tile->sums[j][0][i];
        sums[pairs + j] = (float)tile->sums[j][1][i];
    }
    for (int64_t j = 0; j < pairs; j++) {
        const float x = sums[j] * steps[j], y = sums[pairs + j] * steps[j];
        out[j] = (x * turn[j] - y * turn[pairs + j]) * scale;
        out[pairs + j] = (y * turn[j] + x * turn[pairs + j]) * scale;
    }
}

static void LHK_NAME(read_key)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head,
                               const LHK_NAME(tile) * tile, int64_t i, float *out) {
    if (tile->exact[i]) {
        const uint16_t *row = lhk_commvq_exact(store, l, tile->tokens[i]) + head * (l->dim_k + l->dim_v);
        for (int64_t c = 0; c < l->dim_k; c++) out[c] = lhk_bf16_to_f32(row[c]);
        return;
    }
    const uint16_t *channels = (const uint16_t *)(const void *)lhk_commvq_at(store, l->channels);
    float key[LHK_COMMVQ_MAX_DIM];
    LHK_NAME(planar_key)(store, l, head, tile, i, key);
    for (int64_t c = 0; c < l->dim_k; c++) out[channels[c]] = key[c];
}

static void LHK_NAME(read_value)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head,
                                 const LHK_NAME(tile) * tile, int64_t i, float *out) {
    const int64_t token = tile->tokens[i], t = token % LHK_COMMVQ_BLOCK;
    if (tile->exact[i]) {
        const uint16_t *row = lhk_commvq_exact(store, l, token) + head * (l->dim_k + l->dim_v) + l->dim_k;
        for (int64_t c = 0; c < l->dim_v; c++) out[c] = lhk_bf16_to_f32(row[c]);
        return;
    }
    if (lhk_commvq(store)->product) {
        LHK_NAME(product_value)(store, l, head, token, out);
    } else {
        const uint8_t *from = lhk_commvq_value_bits(l, lhk_commvq_block(store, l, token), head) + t / 4 * (l->value_bits / 2);
        uint8_t bit[LHK_COMMVQ_MAX_BITS];
        for (uint32_t k = 0; k < l->value_bits; k++) bit[k] = from[k / 2] >> (k % 2 * 4 + (uint32_t)(t % 4)) & 1;
        LHK_NAME(sum_rows)(store, l, head, bit, out);
    }
    for (int64_t c = 0; c < l->dim_v; c++) out[c] *= tile->value_scales[i];
}

lhk_status LHK_NAME(read_rows)(const lhk_instance *store, uint32_t head, int64_t begin, int64_t count, float *k, float *v,
                               lhk_error *error) {
    const lhk_commvq_state *state = lhk_commvq(store);
    lhk_status status = lhk_store_check_range(head, state->kv_heads, begin, count, state->length, error);
    if (status) return status;
    const lhk_commvq_layout l = lhk_commvq_layout_of(state);
    const lhk_keys keys = {begin, count, NULL};
    LHK_NAME(tile) tile;
    for (int64_t first = 0; first < count; first += tile.count) {
        LHK_NAME(gather)(store, &l, head, &keys, first, k != NULL, &tile);
        if (k) LHK_NAME(all_sums)(store, &l, head, tile.codes, tile.sums);
        for (int64_t i = 0; i < tile.count; i++) {
            if (k) LHK_NAME(read_key)(store, &l, head, &tile, i, k + (first + i) * l.dim_k);
            if (v) LHK_NAME(read_value)(store, &l, head, &tile, i, v + (first + i) * l.dim_v);
        }
    }
    return LHK_OK;
}
