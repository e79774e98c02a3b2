// SPDX-License-Identifier: Apache-2.0
/// Weighted sums of values from their bits, included by every ISA file after the scores.

/// Weighted bits of up to LHK_COMMVQ_ROWS rows, added up over blocks.
typedef struct LHK_NAME(bit_sums) {
    _Alignas(64) float sums[LHK_COMMVQ_ROWS][LHK_COMMVQ_MAX_BITS];
    float weight[LHK_COMMVQ_ROWS];  ///< sum of all weights: what the offset is worth
} LHK_NAME(bit_sums);

/// Weights times scales x [n], n a multiple of 16, as integers of 15 bits. Returns what an integer is worth, NaN if one is
/// not finite; `sum` gains all of x.
LHK_ALWAYS_INLINE float LHK_NAME(round_weights)(const float *x, int64_t n, int16_t *w, float *sum) {
    int32_t most = 0;
    lhk_commvq_floats all = {0};
    for (int64_t t = 0; t < n; t++) {
        int32_t magnitude;
        memcpy(&magnitude, x + t, 4);
        magnitude &= 0x7fffffff;
        most = magnitude > most ? magnitude : most;
    }
    for (int64_t t = 0; t < n; t += 16) {
        lhk_commvq_floats some;
        memcpy(&some, x + t, sizeof some);
        all += some;
    }
    *sum += LHK_NAME(total)(&all);
    float largest;
    memcpy(&largest, &most, 4);
    const bool usable = largest > 0x1p-113f && largest < INFINITY;
    const float factor = usable ? 16383 / largest : 0;
    for (int64_t t = 0; t < n; t++) {
        const float shifted = x[t] * factor + 0x1.8p23f;  // the integer in the low bits, to nearest even
        uint32_t integer;
        memcpy(&integer, &shifted, 4);
        w[t] = (int16_t)(uint16_t)integer;
    }
    return usable ? largest / 16383 : largest <= 0x1p-113f ? 0 : NAN;
}

/// Adds 64 tokens: weights p (0 for those that take no part) times scales, as integers.
LHK_ALWAYS_INLINE void LHK_NAME(add_bits)(const int rows, const uint8_t *bits, int64_t n, const float (*p)[LHK_COMMVQ_BLOCK],
                                          const float *scales, LHK_NAME(bit_sums) * out) {
    _Alignas(64) int16_t w[LHK_COMMVQ_ROWS][LHK_COMMVQ_BLOCK];
    _Alignas(64) int32_t acc[LHK_COMMVQ_ROWS][LHK_COMMVQ_MAX_BITS];
    float back[LHK_COMMVQ_ROWS];
    for (int r = 0; r < rows; r++) {
        float x[LHK_COMMVQ_BLOCK];
        for (int t = 0; t < LHK_COMMVQ_BLOCK; t++) x[t] = p[r][t] != 0 ? p[r][t] * scales[t] : 0;
        back[r] = LHK_NAME(round_weights)(x, LHK_COMMVQ_BLOCK, w[r], &out->weight[r]);
    }
    LHK_NAME(bit_dots)(rows, bits, n, (const int16_t *)w, acc);
    for (int r = 0; r < rows; r++)
        for (int64_t k = 0; k < n; k++) out->sums[r][k] += (float)acc[r][k] * back[r];
}

/// out += sums times the `bits` rows of the codebook, and the offset.
LHK_ALWAYS_INLINE void LHK_NAME(finish_values)(const int rows, const lhk_instance *store, const lhk_commvq_layout *l,
                                               uint32_t head, int64_t bits, const LHK_NAME(bit_sums) * sums, float *out,
                                               int64_t ldo) {
    const int64_t dim = l->dim_v;
    const float *table = lhk_commvq_floats_at(store, l->value_rows) + (int64_t)head * bits * dim;
    const float *offset = lhk_commvq_floats_at(store, l->value_offset) + (int64_t)head * dim;
    for (int64_t c = 0; c < dim; c += 32) {
        lhk_commvq_floats sum[2][LHK_COMMVQ_ROWS], row[2];
        memcpy(row, offset + c, sizeof row);
        LHK_UNROLL
        for (int r = 0; r < rows; r++) {
            for (int i = 0; i < 2; i++) memcpy(&sum[i][r], out + r * ldo + c + 16 * i, sizeof row[i]);
            for (int i = 0; i < 2; i++) LHK_NAME(add)(&sum[i][r], &row[i], sums->weight[r]);
        }
        for (int64_t k = 0; k < bits; k++) {
            memcpy(row, table + k * dim + c, sizeof row);
            LHK_UNROLL
            for (int r = 0; r < rows; r++)
                for (int i = 0; i < 2; i++) LHK_NAME(add)(&sum[i][r], &row[i], sums->sums[r][k]);
        }
        LHK_UNROLL
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < 2; i++) memcpy(out + r * ldo + c + 16 * i, &sum[i][r], sizeof row[i]);
    }
}

static void LHK_NAME(add_exact)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head, int64_t token,
                                const float *p, int64_t ldp, int32_t rows, float *out, int64_t ldo) {
    _Alignas(64) float value[LHK_COMMVQ_MAX_DIM];
    const uint16_t *row = lhk_commvq_exact(store, l, token) + head * (l->dim_k + l->dim_v) + l->dim_k;
    LHK_NAME(widen_row)(row, l->dim_v, value);
    for (int32_t r = 0; r < rows; r++) {
        if (p[r * ldp] == 0) continue;
        for (int64_t c = 0; c < l->dim_v; c += 16) {
            lhk_commvq_floats sum, x;
            memcpy(&sum, out + r * ldo + c, sizeof sum);
            memcpy(&x, value + c, sizeof x);
            LHK_NAME(add)(&sum, &x, p[r * ldp]);
            memcpy(out + r * ldo + c, &sum, sizeof sum);
        }
    }
}

/// Bits of a list's tokens, quad by quad; exact rows get zeros.
static void LHK_NAME(gather_bits)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head,
                                  const LHK_NAME(tile) * tile, uint8_t *out) {
    const int64_t quad = l->value_bits / 2;
    memset(out, 0, (size_t)(16 * quad));
    for (int64_t i = 0; i < tile->count; i++) {
        if (tile->exact[i]) continue;
        const int64_t token = tile->tokens[i], t = token % LHK_COMMVQ_BLOCK;
        const uint8_t *from = lhk_commvq_value_bits(l, lhk_commvq_block(store, l, token), head) + t / 4 * quad;
        for (int64_t at = 0; at < quad; at += 8) {
            uint64_t word, sum;
            memcpy(&word, from + at, 8);
            memcpy(&sum, out + i / 4 * quad + at, 8);
            sum |= (word >> (t % 4) & 0x1111111111111111u) << (i % 4);
            memcpy(out + i / 4 * quad + at, &sum, 8);
        }
    }
}

LHK_ALWAYS_INLINE void LHK_NAME(accumulate_rows)(const int rows, const lhk_instance *store, const lhk_commvq_layout *l,
                                                 uint32_t head, const float *p, int64_t ldp, const lhk_keys *keys, float *out,
                                                 int64_t ldo) {
    const lhk_commvq_state *state = lhk_commvq(store);
    LHK_NAME(bit_sums) sums;
    LHK_NAME(tile) tile;
    uint8_t list[LHK_COMMVQ_MAX_BITS * 8];
    _Alignas(64) float weights[LHK_COMMVQ_ROWS][LHK_COMMVQ_BLOCK], scales[LHK_COMMVQ_BLOCK];
    memset(&sums, 0, sizeof sums);
    for (int64_t j = 0, n; j < keys->count; j += n) {
        int64_t skip = 0;
        const uint8_t *bits = list;
        if (keys->tokens) {
            memset(weights, 0, sizeof weights);
            LHK_NAME(gather)(store, l, head, keys, j, false, &tile);
            n = tile.count;
            LHK_NAME(gather_bits)(store, l, head, &tile, list);
            memset(scales, 0, sizeof scales);
            memcpy(scales, tile.value_scales, (size_t)n * sizeof *scales);
            for (int64_t i = 0; i < n; i++) {
                if (tile.exact[i]) LHK_NAME(add_exact)(store, l, head, tile.tokens[i], p + j + i, ldp, rows, out, ldo);
                else for (int r = 0; r < rows; r++) weights[r][i] = p[r * ldp + j + i];
            }
        } else {
            const int64_t token = keys->begin + j;
            n = lhk_min(keys->count - j, 1);
            if (lhk_commvq_is_exact(state, token)) {
                LHK_NAME(add_exact)(store, l, head, token, p + j, ldp, rows, out, ldo);
                continue;
            }
            memset(weights, 0, sizeof weights);
            skip = token % LHK_COMMVQ_BLOCK;
            n = lhk_min(lhk_min(keys->count - j, LHK_COMMVQ_BLOCK - skip), state->encoded - token);
            uint8_t *block = lhk_commvq_block(store, l, token);
            bits = lhk_commvq_value_bits(l, block, head);
            for (int i = 0; i < LHK_COMMVQ_BLOCK; i += 16)
                LHK_NAME(halves)((const uint16_t *)(const void *)block + LHK_COMMVQ_BLOCK + i,
                                 (lhk_commvq_floats *)(void *)(scales + i));
            for (int r = 0; r < rows; r++) memcpy(weights[r] + skip, p + r * ldp + j, (size_t)n * sizeof(float));
        }
        LHK_NAME(add_bits)(rows, bits, l->value_bits, (const float (*)[LHK_COMMVQ_BLOCK])weights, scales, &sums);
    }
    LHK_NAME(finish_values)(rows, store, l, head, l->value_bits, &sums, out, ldo);
}
