// SPDX-License-Identifier: Apache-2.0
/// Values of tokens outside the list, and means of blocks: a part of lhk_adamas_body.h, which includes it.

/// Where the values of a token begin, and in `shift` how far its bf16 is from the upper half of a word.
LHK_ALWAYS_INLINE const uint8_t *LHK_NAME(value_row)(const lhk_adamas_gather *g, int64_t token, uint32_t *shift) {
    const uint8_t *block = g->values + (uint64_t)(token / g->block_tokens) * g->block_stride;
    int64_t t = token % g->block_tokens;
    *shift = t % 2 ? 0 : 16;
    return block + (g->pairs ? t / 2 : t) * g->width * 4;
}

static void LHK_NAME(gather)(const lhk_adamas_gather *g) {
    const uint32_t upper = g->pairs ? 0xffff0000u : 0xffffffffu;
    for (int64_t j = 0; j < g->count; j++) {
        uint32_t shift, later;
        const uint8_t *row = LHK_NAME(value_row)(g, g->tokens[j], &shift);
        const uint8_t *ahead = LHK_NAME(value_row)(g, g->tokens[lhk_min(j + LHK_ADAMAS_VALUES_AHEAD, g->count - 1)], &later);
        if (!g->pairs) shift = 0;
        for (int64_t c = 0; c < g->width; c += 16) {
            lhk_adamas_uints word;
            __builtin_prefetch(ahead + c * 4);
            memcpy(&word, row + c * 4, sizeof word);
            lhk_adamas_floats value = (lhk_adamas_floats)((word << shift) & upper);
            for (int64_t r = 0; r < g->rows; r++) {
                lhk_adamas_floats sum;
                memcpy(&sum, g->out + r * g->width + c, sizeof sum);
                sum += value * g->weights[r * g->count + j];
                memcpy(g->out + r * g->width + c, &sum, sizeof sum);
            }
        }
    }
}

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
