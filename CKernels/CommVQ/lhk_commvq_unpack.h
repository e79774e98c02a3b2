// SPDX-License-Identifier: Apache-2.0
/// Unpacking into dense panels, included by every ISA file after the reader of rows, with whose numbers it agrees on every
/// bit. Keys of a whole block stay columns: sixteen tokens of a channel lie side by side in the sums and in the panel.

/// 32 bf16, a[0] b[0] a[1] b[1] ..., rounded to nearest even; NaN stays NaN, as those of f16 and bf16 do.
LHK_ALWAYS_INLINE void LHK_NAME(pair)(const float *a, const float *b, uint8_t *to) {
    lhk_commvq_ints x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    x += 0x7fff + (x >> 16 & 1);
    y += 0x7fff + (y >> 16 & 1);
    x = (x >> 16 & 0xffff) | (y & ~0xffff);
    memcpy(to, &x, sizeof x);
}

/// All 64 keys of the block that begins at `token`, none of them exact, as columns [channel][64].
static void LHK_NAME(key_columns)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head,
                                  const LHK_NAME(tile) * tile, float (*out)[LHK_COMMVQ_BLOCK]) {
    const int64_t pairs = l->pairs;
    const uint16_t *channels = (const uint16_t *)(const void *)lhk_commvq_at(store, l->channels);
    const float *steps = lhk_commvq_floats_at(store, l->key_step) + head * l->pairs;
    const float *near, *far;
    lhk_commvq_turns(store, l, tile->tokens[0], &near, &far);
    const int16_t *within = (const int16_t *)(const void *)lhk_commvq_at(store, l->turn_token);
    for (int64_t j = 0; j < pairs; j++, within += 2 * LHK_COMMVQ_BLOCK) {
        const float c = near[j] * far[j] - near[pairs + j] * far[pairs + j];
        const float s = near[j] * far[pairs + j] + near[pairs + j] * far[j];
        float *first = out[channels[j]], *second = out[channels[pairs + j]];
        for (int t = 0; t < LHK_COMMVQ_BLOCK; t++) {
            const float tc = (float)within[t] * 0x1p-14f, ts = (float)within[LHK_COMMVQ_BLOCK + t] * 0x1p-14f;
            const float cosine = c * tc - s * ts, sine = c * ts + s * tc;
            const float x = (float)tile->sums[j][0][t] * steps[j], y = (float)tile->sums[j][1][t] * steps[j];
            first[t] = (x * cosine - y * sine) * tile->key_scales[t];
            second[t] = (y * cosine + x * sine) * tile->key_scales[t];
        }
    }
}

/// Columns of 64 keys to token `first` on of a panel; `first` is a multiple of 16.
static void LHK_NAME(pack_columns)(const float (*columns)[LHK_COMMVQ_BLOCK], int64_t dim, const lhk_panels *p, int64_t first,
                                   uint8_t *block) {
    const int64_t size = (int64_t)lhk_dtype_size(p->dtype);
    for (int64_t t = 0; t < LHK_COMMVQ_BLOCK; t += 16) {
        uint8_t *to = block + lhk_panel_key_index(p, first + t, 0) * size;
        if (p->dtype == LHK_DTYPE_F32) {
            for (int64_t c = 0; c < dim; c++) memcpy(to + c * 64, columns[c] + t, 64);
        } else {
            for (int64_t c = 0; c < dim; c += 2) LHK_NAME(pair)(columns[c] + t, columns[c + 1] + t, to + c * 32);
        }
    }
}

/// The four bits of each group of a block's values, as numbers: [64 tokens][N/4].
static void LHK_NAME(take_nibbles)(const uint8_t *bits, int64_t n, uint8_t *out) {
    for (int64_t t = 0; t < LHK_COMMVQ_BLOCK; t++, out += n / 4) {
        const uint8_t *quad = bits + t / 4 * (n / 2);
        for (int64_t g = 0; g < n / 4; g++) {
            const int low = quad[2 * g] >> (t % 4) & 17, high = quad[2 * g + 1] >> (t % 4) & 17;
            out[g] = (uint8_t)((low & 1) | (low >> 4) << 1 | (high & 1) << 2 | (high >> 4) << 3);
        }
    }
}

/// Channels [c, c + 16) of tokens `token`, which is even, and token + 1 to a panel.
LHK_ALWAYS_INLINE void LHK_NAME(put_values)(const lhk_panels *p, int64_t token, int64_t c, const lhk_commvq_floats *sum,
                                            uint8_t *panel) {
    const int64_t size = (int64_t)lhk_dtype_size(p->value_dtype);
    uint8_t *to = panel + p->value_offset + lhk_panel_value_index(p, token, c) * size;
    if (p->value_dtype == LHK_DTYPE_BF16) {
        LHK_NAME(pair)((const float *)&sum[0], (const float *)&sum[1], to);
    } else {
        memcpy(to, &sum[0], sizeof sum[0]);
        memcpy(to + p->padded_dim_v * size, &sum[1], sizeof sum[1]);
    }
}

/// Values of a whole block, to token `first` on of a panel, sixteen channels at a time: sums of four rows from a table of all
/// sixteen.
static void LHK_NAME(unpack_values)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head,
                                    const LHK_NAME(tile) * tile, const lhk_panels *p, int64_t first, uint8_t *panel) {
    const int64_t bits = l->value_bits, dim = l->dim_v, groups = bits / 4;
    const float *rows = lhk_commvq_floats_at(store, l->value_rows) + (int64_t)head * bits * dim;
    const float *offset = lhk_commvq_floats_at(store, l->value_offset) + (int64_t)head * dim;
    lhk_commvq_floats table[LHK_COMMVQ_MAX_BITS / 4][16], row, sum[2];
    uint8_t nibbles[LHK_COMMVQ_BLOCK * LHK_COMMVQ_MAX_BITS / 4];
    LHK_NAME(take_nibbles)(lhk_commvq_value_bits(l, lhk_commvq_block(store, l, tile->tokens[0]), head), bits, nibbles);
    for (int64_t c = 0; c < dim; c += 16) {
        for (int64_t g = 0; g < groups; g++) {
            table[g][0] = (lhk_commvq_floats){0};
            for (int i = 0; i < 4; i++) {
                memcpy(&row, rows + (4 * g + i) * dim + c, sizeof row);
                for (int x = 0; x < 1 << i; x++) table[g][x + (1 << i)] = table[g][x] + row;
            }
        }
        memcpy(&row, offset + c, sizeof row);
        for (int64_t t = 0; t < LHK_COMMVQ_BLOCK; t += 2) {
            const uint8_t *a = nibbles + t * groups, *b = a + groups;
            sum[0] = sum[1] = row;
            for (int64_t g = 0; g < groups; g++) {
                sum[0] += table[g][a[g]];
                sum[1] += table[g][b[g]];
            }
            sum[0] *= tile->value_scales[t];
            sum[1] *= tile->value_scales[t + 1];
            LHK_NAME(put_values)(p, first + t, c, sum, panel);
        }
    }
}

/// The same with form=product.
static void LHK_NAME(unpack_product_values)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head,
                                            const LHK_NAME(tile) * tile, const lhk_panels *p, int64_t first, uint8_t *panel) {
    _Alignas(64) float value[2][LHK_COMMVQ_MAX_DIM];
    for (int64_t t = 0; t < LHK_COMMVQ_BLOCK; t += 2) {
        for (int i = 0; i < 2; i++) LHK_NAME(product_value)(store, l, head, tile->tokens[t + i], value[i]);
        for (int64_t c = 0; c < l->dim_v; c += 16) {
            lhk_commvq_floats sum[2];
            for (int i = 0; i < 2; i++) {
                memcpy(&sum[i], value[i] + c, sizeof sum[i]);
                sum[i] *= tile->value_scales[t + i];
            }
            LHK_NAME(put_values)(p, first + t, c, sum, panel);
        }
    }
}

uint32_t LHK_NAME(unpack)(const lhk_instance *store, uint32_t head, const lhk_keys *keys, const lhk_panels *panels,
                          uint8_t *block) {
    const lhk_commvq_state *state = lhk_commvq(store);
    const lhk_commvq_layout l = lhk_commvq_layout_of(state);
    LHK_NAME(tile) tile;
    _Alignas(64) float rows[16][LHK_COMMVQ_MAX_DIM], columns[LHK_COMMVQ_MAX_DIM][LHK_COMMVQ_BLOCK];
    for (int64_t first = 0; first < keys->count; first += tile.count) {
        LHK_NAME(gather)(store, &l, head, keys, first, true, &tile);
        LHK_NAME(all_sums)(store, &l, head, tile.codes, tile.sums);
        if (!keys->tokens && tile.count == LHK_COMMVQ_BLOCK && tile.tokens[0] % LHK_COMMVQ_BLOCK == 0 && !tile.exact[0] &&
            !tile.exact[LHK_COMMVQ_BLOCK - 1]) {
            LHK_NAME(key_columns)(store, &l, head, &tile, columns);
            LHK_NAME(pack_columns)((const float (*)[LHK_COMMVQ_BLOCK])columns, l.dim_k, panels, first, block);
            (state->product ? LHK_NAME(unpack_product_values) : LHK_NAME(unpack_values))(store, &l, head, &tile, panels, first,
                                                                                          block);
            continue;
        }
        for (int64_t i = 0; i < tile.count; i += 16) {
            const int64_t n = lhk_min(16, tile.count - i);
            const uint8_t *from = (const uint8_t *)rows;
            for (int64_t x = 0; x < n; x++) LHK_NAME(read_key)(store, &l, head, &tile, i + x, rows[x]);
            lhk_panel_pack_keys(panels, block, first + i, n, from, sizeof *rows, LHK_DTYPE_F32, l.dim_k);
            for (int64_t x = 0; x < n; x++) LHK_NAME(read_value)(store, &l, head, &tile, i + x, rows[x]);
            lhk_panel_pack_values(panels, block, first + i, n, from, sizeof *rows, LHK_DTYPE_F32, l.dim_v);
        }
    }
    return atomic_load_explicit(&state->values_nonfinite, memory_order_relaxed);
}
