// SPDX-License-Identifier: Apache-2.0
/// Reading: rows, scores, sums of values, panels. Everything decodes tile by tile, in plain code for every processor.
#include "lhk_kivi_store.h"

#define CHANNELS 64  ///< of keys, decoded at a time

/// Up to 32 tokens of a call.
typedef struct tile {
    int64_t count;
    int64_t tokens[LHK_KIVI_RUN];
    int64_t offset;  ///< of the first token within its run of 32; -1: a list
} tile;

/// Takes tokens first, first + 1, ... of `keys`, of a range those within one run.
static tile next_tile(const lhk_keys *keys, int64_t first) {
    tile t = {.offset = -1, .count = lhk_min(LHK_KIVI_RUN, keys->count - first)};
    if (!keys->tokens) {
        t.offset = (keys->begin + first) % LHK_KIVI_RUN;
        t.count = lhk_min(LHK_KIVI_RUN - t.offset, keys->count - first);
    }
    for (int64_t i = 0; i < t.count; i++) t.tokens[i] = keys->tokens ? keys->tokens[first + i] : keys->begin + first + i;
    return t;
}

void lhk_kivi_key_columns(const lhk_instance *store, const lhk_kivi_layout *l, uint32_t head, int64_t token, int64_t first,
                          int64_t count, float (*out)[LHK_KIVI_RUN]) {
    uint8_t *block = lhk_kivi_block(store, l, token, head);
    const uint16_t *scales = lhk_kivi_key_parameters(block) + first, *minima = scales + l->dim_k;
    const uint8_t *run = lhk_kivi_key_run(l, block, first, token % l->group / LHK_KIVI_RUN);
    for (int64_t c = 0; c < count; c++, run += l->key_runs * l->run_bytes)
        lhk_kivi_decode_run(run, l->bits, lhk_f16_to_f32(scales[c]), lhk_f16_to_f32(minima[c]), out[c]);
}

/// Channels [first, first + count) of one key that is codes, as column `at`.
static void key_column(const lhk_instance *store, const lhk_kivi_layout *l, uint32_t head, int64_t token, int64_t first,
                       int64_t count, float (*out)[LHK_KIVI_RUN], int64_t at) {
    uint8_t *block = lhk_kivi_block(store, l, token, head);
    const uint16_t *scales = lhk_kivi_key_parameters(block) + first, *minima = scales + l->dim_k;
    const int64_t t = token % l->group;
    const uint8_t *run = lhk_kivi_key_run(l, block, first, t / LHK_KIVI_RUN);
    for (int64_t c = 0; c < count; c++, run += l->key_runs * l->run_bytes)
        out[c][at] = lhk_f16_to_f32(minima[c]) +
                     lhk_f16_to_f32(scales[c]) * (float)lhk_kivi_code(run, l->bits, t % LHK_KIVI_RUN);
}

/// Channels [first, first + count) of a tile's keys as columns, its tokens from the column returned on.
static int64_t tile_columns(const lhk_instance *store, const lhk_kivi_layout *l, uint32_t head, const tile *t, int64_t first,
                            int64_t count, float (*out)[LHK_KIVI_RUN]) {
    const lhk_kivi_state *s = lhk_kivi(store);
    const int64_t offset = t->offset < 0 ? 0 : t->offset;
    bool whole = false;
    for (int64_t i = 0; i < t->count; i++) {
        const int64_t token = t->tokens[i];
        if (lhk_kivi_is_exact(s, token)) continue;
        if (t->offset < 0) {
            key_column(store, l, head, token, first, count, out, i);
        } else if (!whole) {
            whole = true;
            lhk_kivi_key_columns(store, l, head, token - token % LHK_KIVI_RUN, first, count, out);
        }
    }
    for (int64_t i = 0; i < t->count; i++) {
        if (!lhk_kivi_is_exact(s, t->tokens[i])) continue;
        const uint16_t *row = lhk_kivi_exact(store, l, t->tokens[i], head) + first;
        for (int64_t c = 0; c < count; c++) out[c][offset + i] = lhk_bf16_to_f32(row[c]);
    }
    return offset;
}

/// A value; the row has room for whole runs of channels.
static void read_value(const lhk_instance *store, const lhk_kivi_layout *l, uint32_t head, int64_t token, float *out) {
    if (lhk_kivi_is_exact(lhk_kivi(store), token)) {
        const uint16_t *row = lhk_kivi_exact(store, l, token, head) + l->dim_k;
        for (int64_t c = 0; c < l->dim_v; c++) out[c] = lhk_bf16_to_f32(row[c]);
        return;
    }
    uint8_t *block = lhk_kivi_block(store, l, token, head);
    const int64_t t = token % l->group, runs = l->group / LHK_KIVI_RUN;
    const uint16_t *parameters = lhk_kivi_value_parameters(l, block, t);
    for (int64_t r = 0; r < l->value_runs; r++) {
        const uint16_t *two = parameters + r / runs * 2;
        lhk_kivi_decode_run(lhk_kivi_value_run(l, block, t, r), l->bits, lhk_f16_to_f32(two[0]), lhk_f16_to_f32(two[1]),
                            out + r * LHK_KIVI_RUN);
    }
}

lhk_status lhk_kivi_read_rows(const lhk_instance *store, uint32_t head, int64_t begin, int64_t count, float *k, float *v,
                              lhk_error *error) {
    const lhk_kivi_state *s = lhk_kivi(store);
    lhk_status status = lhk_store_check_range(head, s->kv_heads, begin, count, s->length, error);
    if (status) return status;
    const lhk_kivi_layout l = lhk_kivi_layout_of(s);
    const lhk_keys keys = {begin, count, NULL};
    float columns[CHANNELS][LHK_KIVI_RUN], row[LHK_KIVI_MAX_DIM];
    tile t;
    for (int64_t first = 0; first < count; first += t.count) {
        t = next_tile(&keys, first);
        for (int64_t c = 0; k && c < l.dim_k; c += CHANNELS) {
            const int64_t channels = lhk_min(CHANNELS, l.dim_k - c);
            const int64_t offset = tile_columns(store, &l, head, &t, c, channels, columns);
            for (int64_t i = 0; i < t.count; i++)
                for (int64_t x = 0; x < channels; x++) k[(first + i) * l.dim_k + c + x] = columns[x][offset + i];
        }
        for (int64_t i = 0; v && i < t.count; i++) {
            read_value(store, &l, head, t.tokens[i], row);
            memcpy(v + (first + i) * l.dim_v, row, l.dim_v * sizeof *row);
        }
    }
    return LHK_OK;
}

void lhk_kivi_score(const lhk_instance *store, uint32_t head, const float *q, int64_t ldq, int32_t rows, const lhk_keys *keys,
                    float *scores, int64_t lds) {
    const lhk_kivi_layout l = lhk_kivi_layout_of(lhk_kivi(store));
    float columns[CHANNELS][LHK_KIVI_RUN] = {{0}};
    tile t;
    for (int64_t first = 0; first < keys->count; first += t.count) {
        t = next_tile(keys, first);
        for (int64_t c = 0; c < l.dim_k; c += CHANNELS) {
            const int64_t channels = lhk_min(CHANNELS, l.dim_k - c);
            const int64_t offset = tile_columns(store, &l, head, &t, c, channels, columns);
            for (int32_t r = 0; r < rows; r++) {
                float sums[LHK_KIVI_RUN] = {0};
                for (int64_t x = 0; x < channels; x++) {
                    const float query = q[r * ldq + c + x];
                    for (int i = 0; i < LHK_KIVI_RUN; i++) sums[i] += query * columns[x][i];
                }
                float *to = scores + r * lds + first;
                for (int64_t i = 0; i < t.count; i++) to[i] = c ? to[i] + sums[offset + i] : sums[offset + i];
            }
        }
    }
}

void lhk_kivi_accumulate(const lhk_instance *store, uint32_t head, const float *p, int64_t ldp, int32_t rows,
                         const lhk_keys *keys, float *out, int64_t ldo) {
    const lhk_kivi_layout l = lhk_kivi_layout_of(lhk_kivi(store));
    float value[LHK_KIVI_MAX_DIM];
    for (int64_t j = 0; j < keys->count; j++) {
        bool read = false;
        for (int32_t r = 0; r < rows; r++) {
            const float weight = p[r * ldp + j];
            if (weight == 0) continue;
            if (!read) read_value(store, &l, head, keys->tokens ? keys->tokens[j] : keys->begin + j, value);
            read = true;
            for (int64_t c = 0; c < l.dim_v; c++) out[r * ldo + c] += weight * value[c];
        }
    }
}

/// Columns [channel][32] of `count` keys, from `offset` on, to tokens first, first + 1, ... of a panel.
static void pack_columns(float (*columns)[LHK_KIVI_RUN], int64_t offset, int64_t count, int64_t channel, int64_t channels,
                         const lhk_panels *p, int64_t first, uint8_t *block) {
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < count; i++)
            lhk_store_element(block, p->dtype, lhk_panel_key_index(p, first + i, channel + c), columns[c][offset + i]);
}

uint32_t lhk_kivi_unpack(const lhk_instance *store, uint32_t head, const lhk_keys *keys, const lhk_panels *panels,
                         uint8_t *block) {
    const lhk_kivi_state *s = lhk_kivi(store);
    const lhk_kivi_layout l = lhk_kivi_layout_of(s);
    float columns[CHANNELS][LHK_KIVI_RUN], values[2][LHK_KIVI_MAX_DIM];
    tile t;
    for (int64_t first = 0; first < keys->count; first += t.count) {
        t = next_tile(keys, first);
        for (int64_t c = 0; c < l.dim_k; c += CHANNELS) {
            const int64_t channels = lhk_min(CHANNELS, l.dim_k - c);
            const int64_t offset = tile_columns(store, &l, head, &t, c, channels, columns);
            pack_columns(columns, offset, t.count, c, channels, panels, first, block);
        }
        for (int64_t i = 0; i < t.count; i++)
            for (int64_t c = l.dim_k; c < panels->padded_dim_k; c++)
                lhk_store_element(block, panels->dtype, lhk_panel_key_index(panels, first + i, c), 0);
    }
    for (int64_t j = 0; j < keys->count; j += 2) {
        const int64_t n = lhk_min(2, keys->count - j);
        for (int64_t i = 0; i < n; i++) {
            read_value(store, &l, head, keys->tokens ? keys->tokens[j + i] : keys->begin + j + i, values[i]);
            for (int64_t c = l.dim_v; c < panels->padded_dim_v; c++) values[i][c] = 0;
        }
        lhk_panel_pack_values(panels, block, j, n, (const uint8_t *)values, sizeof *values, LHK_DTYPE_F32,
                              panels->padded_dim_v);
    }
    return atomic_load_explicit(&s->values_nonfinite, memory_order_relaxed);
}
