// SPDX-License-Identifier: Apache-2.0
/// Values of form=product as rows of floats, included by every ISA file before the reader of rows. Plain arithmetic without
/// FMA, so that all agree on every bit. Each ISA file has defined
///   LHK_NAME(product_sums)(t, pairs, codes, sums)   sums[j][x, y][t] = 256 times the steps of pair j in tokens of codes
///       [rows][64], in the order of tokens
///   LHK_NAME(product_dots)(rows, t, dim, blocks, codes, w, acc)   acc[c][r] = sum over the tokens of up to 16 blocks of w_r
///       times the steps of axis c and LHK_COMMVQ_VALUE_BIAS, modulo 2^32; w [rows][1024] in the order of tokens, each within
///       15 bits, codes [blocks] -> [rows][64]

/// The value of a token that is codes, without its scale: offset and levels, in their order.
static void LHK_NAME(product_value)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head, int64_t token,
                                    float *out) {
    const uint8_t *codes = lhk_commvq_value_bits(l, lhk_commvq_block(store, l, token), head);
    const int64_t dim = l->dim_v, levels = l->value.levels, place = lhk_commvq_place(token % LHK_COMMVQ_BLOCK);
    const float *rows = lhk_commvq_floats_at(store, l->level_rows) + (int64_t)head * levels * 16 * dim;
    const float *offset = lhk_commvq_floats_at(store, l->value_offset) + (int64_t)head * dim;
    for (int64_t c = 0; c < dim; c += 64) {
        lhk_commvq_floats sum[4], row;
        memcpy(sum, offset + c, sizeof sum);
        for (int64_t g = 0; g < levels; g++) {
            const int64_t code = codes[g / 2 * LHK_COMMVQ_BLOCK + place] >> (g % 2 * 4) & 15;
            LHK_UNROLL
            for (int i = 0; i < 4; i++) {
                memcpy(&row, rows + (g * 16 + code) * dim + c + 16 * i, sizeof row);
                sum[i] += row;
            }
        }
        memcpy(out + c, sum, sizeof sum);
    }
}
