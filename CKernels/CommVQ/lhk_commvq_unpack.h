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
    const int64_t block = tile->tokens[0] / LHK_COMMVQ_BLOCK, pairs = l->pairs;
    const uint16_t *channels = (const uint16_t *)(const void *)lhk_commvq_at(store, l->channels);
    const float *steps = (const float *)(const void *)lhk_commvq_at(store, l->key_step) + head * l->pairs;
    const float *near = (const float *)(const void *)lhk_commvq_at(store, l->turn_block) + block % LHK_COMMVQ_TURNS * 2 * pairs;
    const float *far = (const float *)(const void *)lhk_commvq_at(store, l->turn_far) + block / LHK_COMMVQ_TURNS * 2 * pairs;
    const int16_t *within = (const int16_t *)(const void *)lhk_commvq_at(store, l->turn_token);
    for (int64_t j = 0; j < pairs; j++, within += 2 * LHK_COMMVQ_BLOCK) {
        const float c = near[j] * far[j] - near[pairs + j] * far[pairs + j], s = near[j] * far[pairs + j] + near[pairs + j] * far[j];
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

uint32_t LHK_NAME(unpack)(const lhk_instance *store, uint32_t head, const lhk_keys *keys, const lhk_panels *panels,
                          uint8_t *block) {
    const lhk_commvq_state *state = lhk_commvq(store);
    const lhk_commvq_layout l = lhk_commvq_layout_of(state);
    LHK_NAME(tile) tile;
    _Alignas(64) float rows[16][LHK_COMMVQ_MAX_DIM], columns[LHK_COMMVQ_MAX_DIM][LHK_COMMVQ_BLOCK];
    for (int64_t first = 0; first < keys->count; first += tile.count) {
        LHK_NAME(gather)(store, &l, head, keys, first, true, &tile);
        LHK_NAME(all_sums)(store, &l, head, tile.codes, tile.sums);
        const bool whole = !keys->tokens && tile.count == LHK_COMMVQ_BLOCK && tile.tokens[0] % LHK_COMMVQ_BLOCK == 0 &&
                           !tile.exact[0] && !tile.exact[LHK_COMMVQ_BLOCK - 1];
        if (whole) {
            LHK_NAME(key_columns)(store, &l, head, &tile, columns);
            LHK_NAME(pack_columns)((const float (*)[LHK_COMMVQ_BLOCK])columns, l.dim_k, panels, first, block);
        }
        for (int64_t i = 0; i < tile.count; i += 16) {
            const int64_t n = lhk_min(16, tile.count - i);
            const uint8_t *from = (const uint8_t *)rows;
            for (int64_t x = 0; x < n && !whole; x++) LHK_NAME(read_key)(store, &l, head, &tile, i + x, rows[x]);
            if (!whole) lhk_panel_pack_keys(panels, block, first + i, n, from, sizeof *rows, LHK_DTYPE_F32, l.dim_k);
            for (int64_t x = 0; x < n; x++) LHK_NAME(read_value)(store, &l, head, &tile, i + x, rows[x]);
            lhk_panel_pack_values(panels, block, first + i, n, from, sizeof *rows, LHK_DTYPE_F32, l.dim_v);
        }
    }
    return atomic_load_explicit(&state->values_nonfinite, memory_order_relaxed);
}
