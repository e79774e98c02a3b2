// SPDX-License-Identifier: Apache-2.0
/// Codes and thresholds of a tile of queries: the first part of lhk_sale_body.h, which includes it.

// ---- queries ----

/// The order in which groups of channels are met: without screening as they come.
static void LHK_NAME(find_order)(lhk_sale_tile *t) {
    const int64_t dim = t->layout->head_dim, groups = t->layout->padded_dim / 4;
    for (int64_t g = 0; g < groups; g++) t->order[g] = (int32_t)(64 * g);
    if (t->screen == 0) return;
    for (int64_t g = 0; g < groups; g++) {
        float total = 0;
        for (int r = 0; r < LHK_SALE_TILE_ROWS; r += 16) {
            lhk_sale_floats sum = {0};
            for (int64_t c = 4 * g; c < 4 * g + 4 && c < dim; c++) {
                lhk_sale_floats x = LHK_SALE_LOAD(t->channels + c * LHK_SALE_TILE_ROWS + r);
                sum += x * x;
            }
            LHK_SALE_STORE(t->energy + g * LHK_SALE_TILE_ROWS + r, sum);
        }
        for (int r = 0; r < LHK_SALE_TILE_ROWS; r++) total += t->energy[g * LHK_SALE_TILE_ROWS + r];
        t->weight[g] *= total;
    }
    for (int64_t g = 1; g < groups; g++) {  // few, and often in order already
        int32_t moved = t->order[g];
        int64_t at = g;
        for (; at > 0 && t->weight[t->order[at - 1] / 64] < t->weight[moved / 64]; at--) t->order[at] = t->order[at - 1];
        t->order[at] = moved;
    }
}

void LHK_NAME(encode)(lhk_sale_tile *t) {
    const lhk_sale_layout *l = t->layout;
    const int64_t dim = l->head_dim, padded = l->padded_dim, steps = padded / 4;
    const float levels = (float)LHK_SALE_QUERY_LEVELS(l->bits);
    uint32_t words[LHK_SALE_PADDED_ROWS] = {0};
    float inverse[LHK_SALE_TILE_ROWS];
    memset(t->sum, 0, sizeof t->sum);
    memset(t->late, 0, sizeof t->late);
    for (int r = 0; r < LHK_SALE_TILE_ROWS; r += 16) {
        lhk_sale_ints largest = {0};
        for (int64_t c = 0; c < dim; c++) {
            lhk_sale_floats x = LHK_SALE_LOAD(t->channels + c * LHK_SALE_TILE_ROWS + r);
            if (l->bits == 4) x -= t->mean[c];
            lhk_sale_ints magnitude = (lhk_sale_ints)x & 0x7fffffff, above = magnitude > largest;
            largest = (above & magnitude) | (~above & largest);
        }
        for (int i = 0; i < 16; i++) {
            float top;
            int32_t bits = largest[i];
            memcpy(&top, &bits, 4);
            bool usable = top > 0x1p-113f && top < INFINITY;
            t->scale[r + i] = usable ? top / levels : top <= 0x1p-113f ? 0 : NAN;
            t->unit[r + i] = 1 / t->scale[r + i];
            inverse[r + i] = usable ? levels / top : 0;
        }
    }
    LHK_NAME(find_order)(t);
    for (int64_t step = 0; step < steps; step++) {
        const int64_t first = t->order[step] / 16;
        for (int r = 0; r < LHK_SALE_TILE_ROWS; r += 16) {
            lhk_sale_ints word = {0}, sum;
            lhk_sale_floats factor = LHK_SALE_LOAD(inverse + r);
            memcpy(&sum, t->sum + r, sizeof sum);
            for (int i = 0; i < 4 && first + i < dim; i++) {
                int64_t c = first + i;
                lhk_sale_floats x = LHK_SALE_LOAD(t->channels + c * LHK_SALE_TILE_ROWS + r);
                if (l->bits == 4) x -= t->mean[c];
                // The integer, to nearest even, in the low bits; 0 in rows that are zero or not finite.
                lhk_sale_ints code = (lhk_sale_ints)(x * factor + 0x1.8p23f) - 0x4b400000;
                code &= factor != 0;
                sum += code;
                word |= (code & 255) << (8 * i);
            }
            memcpy(words + r, &word, sizeof word);
            memcpy(t->sum + r, &sum, sizeof sum);
        }
        for (int r = 0, strip = 0; r < LHK_SALE_TILE_ROWS; r += LHK_SALE_STRIP, strip++)
            memcpy(t->codes + (strip * steps + step) * LHK_SALE_STRIP, words + r, LHK_SALE_STRIP * sizeof *words);
        for (int stage = 0; stage < 3; stage++)
            if (step < lhk_sale_stage(steps, stage)) memcpy(t->late[stage], t->sum, sizeof t->late[stage]);
    }
    for (int stage = 0; stage < 3; stage++)
        for (int r = 0; r < LHK_SALE_TILE_ROWS; r++) t->late[stage][r] = t->sum[r] - t->late[stage][r];
}

// ---- thresholds ----

/// Channels c and c + 1 (bf16) or c of 16 keys. Returns how many channels.
LHK_ALWAYS_INLINE int LHK_NAME(key_channels)(const lhk_dtype dtype, const uint8_t *tile, int64_t c, lhk_sale_floats *out) {
    if (dtype == LHK_DTYPE_BF16) {
        lhk_sale_ints pairs;
        memcpy(&pairs, tile + c * 32, sizeof pairs);
        out[0] = (lhk_sale_floats)(pairs << 16);
        out[1] = (lhk_sale_floats)(pairs & (int32_t)0xffff0000u);
        return 2;
    }
    if (dtype == LHK_DTYPE_F16) LHK_NAME(halves)((const uint16_t *)tile + c * 16, out);
    else out[0] = LHK_SALE_LOAD((const float *)tile + c * 16);
    return 1;
}

LHK_ALWAYS_INLINE void LHK_NAME(score_tile)(const lhk_dtype dtype, const uint8_t *tile, const float *channels, int64_t dim,
                                            float *out) {
    lhk_sale_floats sum[LHK_SALE_SCORE_ROWS] = {0};
    for (int64_t c = 0; c < dim;) {
        lhk_sale_floats key[2];
        int n = LHK_NAME(key_channels)(dtype, tile, c, key);
        LHK_UNROLL
        for (int i = 0; i < n; i++, c++) {
            if (i && c == dim) break;
            LHK_UNROLL
            for (int r = 0; r < LHK_SALE_SCORE_ROWS; r++)
                sum[r] = LHK_SALE_FMA(LHK_SALE_SPLAT(channels[c * LHK_SALE_TILE_ROWS + r]), key[i], sum[r]);
        }
    }
    LHK_UNROLL
    for (int r = 0; r < LHK_SALE_SCORE_ROWS; r++) LHK_SALE_STORE(out + r * LHK_SALE_COLUMNS, sum[r]);
}

/// exp2 for x <= 0, to about 2^-22; NaN stays NaN.
LHK_ALWAYS_INLINE void LHK_NAME(exp2)(lhk_sale_floats *inout) {
    lhk_sale_floats x = *inout;
    x = LHK_SALE_PICK(x < -126.0f, LHK_SALE_SPLAT(-126.0f), x);
    lhk_sale_floats shifted = x + 0x1.8p23f, f = x - (shifted - 0x1.8p23f), p;
    p = LHK_SALE_FMA(LHK_SALE_SPLAT(1.54035304e-4f), f, LHK_SALE_SPLAT(1.33335581e-3f));
    p = LHK_SALE_FMA(p, f, LHK_SALE_SPLAT(9.61812911e-3f));
    p = LHK_SALE_FMA(p, f, LHK_SALE_SPLAT(5.55041087e-2f));
    p = LHK_SALE_FMA(p, f, LHK_SALE_SPLAT(2.40226507e-1f));
    p = LHK_SALE_FMA(p, f, LHK_SALE_SPLAT(6.93147181e-1f));
    p = LHK_SALE_FMA(p, f, LHK_SALE_SPLAT(1.0f));
    *inout = p * (lhk_sale_floats)(((lhk_sale_ints)shifted - 0x4b400000 + 127) << 23);
}

/// T / attention scale of one row from its exact scores.
static float LHK_NAME(row_threshold)(const lhk_sale_kept *kept, const float *scores, int32_t visible) {
    static const float log2_e = 1.44269504f;
    lhk_sale_ints lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    lhk_sale_floats top = LHK_SALE_SPLAT(-INFINITY), total = {0};
    for (int32_t x = 0; x < visible; x += 16) {
        lhk_sale_floats s = LHK_SALE_PICK(lane + x < visible, LHK_SALE_LOAD(scores + x), LHK_SALE_SPLAT(-INFINITY));
        top = LHK_SALE_PICK(s > top, s, top);
    }
    float m = -INFINITY, l = 0;
    for (int i = 0; i < 16; i++) m = top[i] > m ? top[i] : m;
    const float cap = kept->softcap;
    m *= kept->scale;
    if (cap > 0) m = cap * tanhf(m / cap);
    for (int32_t x = 0; x < visible; x += 16) {
        lhk_sale_floats s = LHK_SALE_LOAD(scores + x) * kept->scale;
        for (int i = 0; cap > 0 && i < 16; i++) s[i] = cap * tanhf(s[i] / cap);
        s = LHK_SALE_PICK(lane + x < visible, s, LHK_SALE_SPLAT(-INFINITY));
        s = (s - m) * log2_e;
        LHK_NAME(exp2)(&s);
        total += s;
    }
    for (int i = 0; i < 16; i++) l += total[i];
    if (kept->sink > -INFINITY) l += expf(kept->sink - m);
    float t = m + logf(l) + kept->log_tau;
    if (cap > 0) t = t >= cap ? INFINITY : t <= -cap ? -INFINITY : cap * atanhf(t / cap);
    return t / kept->scale;
}

void LHK_NAME(thresholds)(lhk_sale_tile *t, const lhk_sale_kept *kept) {
    const int64_t dim = t->layout->head_dim;
    for (int r = 0; r < LHK_SALE_TILE_ROWS; r += LHK_SALE_SCORE_ROWS) {
        if (r >= t->rows) break;
        for (int32_t i = 0; i < kept->tiles; i++) {
            float *to = t->scores + 16 * i;
            switch (kept->dtype) {
                case LHK_DTYPE_F32: LHK_NAME(score_tile)(LHK_DTYPE_F32, kept->tile[i], t->channels + r, dim, to); break;
                case LHK_DTYPE_BF16: LHK_NAME(score_tile)(LHK_DTYPE_BF16, kept->tile[i], t->channels + r, dim, to); break;
                default: LHK_NAME(score_tile)(LHK_DTYPE_F16, kept->tile[i], t->channels + r, dim, to);
            }
        }
        for (int i = 0; i < LHK_SALE_SCORE_ROWS && r + i < t->rows; i++)
            t->threshold[r + i] = LHK_NAME(row_threshold)(kept, t->scores + i * LHK_SALE_COLUMNS, kept->visible[r + i]);
    }
}
