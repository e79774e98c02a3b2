// SPDX-License-Identifier: Apache-2.0
/// Values of tokens outside the list, and means of blocks: a part of lhk_adamas_body.h, which includes it.

/// Where the values of a token begin, and in `shift` how far its bf16 is from the upper half of a word.
LHK_ALWAYS_INLINE const uint8_t *LHK_NAME(value_row)(const lhk_adamas_gather *g, int64_t token, uint32_t *shift) {
    const uint8_t *block = g->values + (uint64_t)(token / g->block_tokens) * g->block_stride;
    int64_t t = token % g->block_tokens;
    *shift = t % 2 ? 0 : 16;
    return block + (g->pairs ? t / 2 : t) * g->width * 4;
}

/// Sums of `rows` queries from `first` on, over 16 `vectors` channels from `c` on: they stay in registers.
LHK_ALWAYS_INLINE void LHK_NAME(gather_part)(const int rows, const int vectors, const lhk_adamas_gather *g, int64_t first,
                                             int64_t c) {
    const uint32_t upper = g->pairs ? 0xffff0000u : 0xffffffffu;
    const int64_t count = g->count;
    const float *weights = g->weights + first * count;
    float *out = g->out + first * g->width + c;
    lhk_adamas_floats sum[4][4];
    LHK_UNROLL
    for (int r = 0; r < rows; r++) memcpy(sum[r], out + r * g->width, (size_t)vectors * sizeof sum[r][0]);
    for (int64_t j = 0; j < count; j++) {
        uint32_t shift, later;
        const uint8_t *row = LHK_NAME(value_row)(g, g->tokens[j], &shift) + c * 4;
        const uint8_t *ahead = LHK_NAME(value_row)(g, g->tokens[lhk_min(j + LHK_ADAMAS_VALUES_AHEAD, count - 1)], &later) + c * 4;
        if (!g->pairs) shift = 0;
        LHK_UNROLL
        for (int i = 0; i < vectors; i++) {
            lhk_adamas_uints word;
            __builtin_prefetch(ahead + 64 * i);
            memcpy(&word, row + 64 * i, sizeof word);
            lhk_adamas_floats value = (lhk_adamas_floats)((word << shift) & upper);
            LHK_UNROLL
            for (int r = 0; r < rows; r++) {
                lhk_adamas_floats weight = weights[r * count + j] - (lhk_adamas_floats){0}, product = value;
                LHK_NAME(fuse)(&product, &weight, &sum[r][i]);
                sum[r][i] = product;
            }
        }
    }
    LHK_UNROLL
    for (int r = 0; r < rows; r++) memcpy(out + r * g->width, sum[r], (size_t)vectors * sizeof sum[r][0]);
}

LHK_ALWAYS_INLINE void LHK_NAME(gather_of)(const int rows, const lhk_adamas_gather *g, int64_t first) {
    int64_t c = g->begin;
    for (; c + 64 <= g->end; c += 64) LHK_NAME(gather_part)(rows, 4, g, first, c);
    for (; c < g->end; c += 16) LHK_NAME(gather_part)(rows, 1, g, first, c);
}

LHK_BY_ROWS(gather, lhk_adamas_gather)

static void LHK_NAME(mean)(const uint8_t *block, int64_t dim, const uint8_t *step, float floor, float unit,
                           const float *before, float *mean) {
    typedef uint8_t bytes16 __attribute__((vector_size(16)));
    const uint32_t four = lhk_adamas_four_steps(step);
    float scale[LHK_ADAMAS_BLOCK], all = 0;  // by bytes of a row, tile after tile
    for (int64_t t = 0; t < LHK_ADAMAS_BLOCK; t++) {
        uint16_t half;
        memcpy(&half, block + lhk_adamas_scale_place(dim, t), sizeof half);
        float kept = lhk_f16_to_f32(half);
        scale[t / LHK_ADAMAS_TILE * LHK_ADAMAS_TILE + lhk_adamas_byte(t)] = kept;
        all += kept;
    }
    for (int64_t row = 0; row < lhk_adamas_rows(dim); row++) {
        lhk_adamas_floats sum[4] = {{0}};
        for (int64_t i = 0; i < LHK_ADAMAS_BLOCK; i += 16) {
            bytes16 bytes;
            lhk_adamas_floats of;
            const uint8_t *tile = block + i / LHK_ADAMAS_TILE * lhk_adamas_tile_bytes(dim);
            memcpy(&bytes, tile + row * LHK_ADAMAS_TILE + i % LHK_ADAMAS_TILE, sizeof bytes);
            memcpy(&of, scale + i, sizeof of);
            lhk_adamas_uints codes = __builtin_convertvector(bytes, lhk_adamas_uints);
            for (int s = 0; s < 4; s++) {
                lhk_adamas_uints eight = (codes >> (uint32_t)(2 * s) & 3) << 3;
                lhk_adamas_ints steps = (lhk_adamas_ints)((four + (lhk_adamas_uints){0}) >> eight & 255);
                sum[s] += __builtin_convertvector(steps, lhk_adamas_floats) * of;
            }
        }
        for (int s = 0; s < 4; s++) {
            int64_t c = lhk_adamas_channel(dim, row / 3, row % 3, s);
            if (c >= dim) continue;
            mean[c] = before[c] + (unit * LHK_NAME(add_lanes)(&sum[s]) + floor * all) * (1.0f / LHK_ADAMAS_BLOCK);
        }
    }
}
