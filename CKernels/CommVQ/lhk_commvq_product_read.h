// SPDX-License-Identifier: Apache-2.0
/// Values of form=product as rows of floats, included by every ISA file before the reader of rows. Plain arithmetic without
/// FMA, so that all agree on every bit. Each ISA file has defined
///   LHK_NAME(product_sums)(t, pairs, codes, sums)   sums[j][x, y][t] = 256 times the steps of pair j in tokens of codes
///       [rows][64], in the order of tokens
///   LHK_NAME(product_dots)(rows, t, dim, blocks, codes, w, acc)   acc[c][r] = sum over the tokens of up to 8 blocks of w_r
///       times the steps of axis c and LHK_COMMVQ_VALUE_BIAS, modulo 2^32; w [rows][512] in the order of tokens, each within
///       15 bits, codes [blocks] -> [rows][64]

/// Steps along the axes of the token at `place` of codes [rows][64].
LHK_ALWAYS_INLINE void LHK_NAME(value_steps)(const lhk_commvq_side_tables *t, int64_t dim, const uint8_t *codes, int64_t place,
                                             float *out) {
    const uint16_t *first = t->first;
    for (int64_t c = 0; c < dim; c++) {
        uint32_t sum = 0;
        for (int64_t e = first[c]; e < first[c + 1]; e++) {
            const int64_t level = t->level[e];
            sum += t->table[e * 16 + (codes[level / 2 * LHK_COMMVQ_BLOCK + place] >> (level % 2 * 4) & 15)];
        }
        out[c] = (float)((int32_t)(sum & 255) - LHK_COMMVQ_VALUE_BIAS);
    }
}

/// A value from its steps, without its scale: offset + steps times rows, in the order of axes.
LHK_ALWAYS_INLINE void LHK_NAME(from_axes)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head,
                                           const float *steps, float *out) {
    const int64_t dim = l->dim_v;
    const float *rows = lhk_commvq_floats_at(store, l->value_rows) + (int64_t)head * dim * dim;
    const float *offset = lhk_commvq_floats_at(store, l->value_offset) + (int64_t)head * dim;
    for (int64_t c = 0; c < dim; c += 64) {
        lhk_commvq_floats sum[4], row;
        memcpy(sum, offset + c, sizeof sum);
        for (int64_t a = 0; a < dim; a++)
            LHK_UNROLL
            for (int i = 0; i < 4; i++) {
                memcpy(&row, rows + a * dim + c + 16 * i, sizeof row);
                sum[i] += steps[a] * row;
            }
        memcpy(out + c, sum, sizeof sum);
    }
}

/// The value of a token that is codes, without its scale.
static void LHK_NAME(product_value)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head, int64_t token,
                                    float *out) {
    const lhk_commvq_side_tables t = lhk_commvq_side_at(store, &l->value, head);
    const uint8_t *codes = lhk_commvq_value_bits(l, lhk_commvq_block(store, l, token), head);
    float steps[LHK_COMMVQ_MAX_DIM];
    LHK_NAME(value_steps)(&t, l->dim_v, codes, lhk_commvq_place(token % LHK_COMMVQ_BLOCK), steps);
    LHK_NAME(from_axes)(store, l, head, steps, out);
}
