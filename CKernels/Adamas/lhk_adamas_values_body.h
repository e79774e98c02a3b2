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
    static const lhk_adamas_uints shifts = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30};
    const uint32_t *codes = (const uint32_t *)block, four = lhk_adamas_four_steps(step);
    const uint16_t *scales = (const uint16_t *)(block + lhk_adamas_groups(dim) * LHK_ADAMAS_BLOCK * 4);
    float scale[LHK_ADAMAS_BLOCK], all = 0;
    for (int64_t t = 0; t < LHK_ADAMAS_BLOCK; t++) all += scale[t] = lhk_f16_to_f32(scales[t]);
    for (int64_t g = 0; g < lhk_adamas_groups(dim); g++) {
        lhk_adamas_floats sum = {0};
        for (int64_t t = 0; t < LHK_ADAMAS_BLOCK; t++) {
            lhk_adamas_uints code = (codes[g * LHK_ADAMAS_BLOCK + t] + (lhk_adamas_uints){0}) >> shifts & 3;
            lhk_adamas_ints steps = (lhk_adamas_ints)((four + (lhk_adamas_uints){0}) >> (code << 3) & 255);
            sum += __builtin_convertvector(steps, lhk_adamas_floats) * scale[t];
        }
        for (int64_t c = 16 * g; c < lhk_min(dim, 16 * g + 16); c++)
            mean[c] = before[c] + (unit * sum[c % 16] + floor * all) * (1.0f / LHK_ADAMAS_BLOCK);
    }
}
