// SPDX-License-Identifier: Apache-2.0
/// The work on a tile of queries, written once and included by every ISA file inside its target region.
///
/// The including file defines LHK_NAME(x), a name per ISA; LHK_SALE_STRIP, rows that meet a block of keys together (their
/// 2 x 16 sums each should fit the registers beside the keys), and LHK_SALE_SCORE_ROWS, a divisor of 64, the same for one
/// vector of 16 floats per row; and
///   LHK_SALE_FMA(a, b, c)      a * b + c, fused or not
///   LHK_NAME(halves)(from)      16 half-precision numbers
///   LHK_NAME(dot)(keys, tile_bytes, codes, steps, acc)   acc[r][u][x] += sum over steps s and i < 4 of byte i of key word
///       [u][s][x] (unsigned, at most 127) times byte i of code word [s][r] (signed)
///   LHK_NAME(some_clear)(x)     whether some lane has its sign bit clear

// ---- queries ----

void LHK_NAME(encode)(lhk_sale_tile *t) {
    const lhk_sale_layout *l = t->layout;
    const int64_t dim = l->head_dim, padded = l->padded_dim, steps = padded / 4;
    const float levels = (float)LHK_SALE_QUERY_LEVELS(l->bits);
    uint32_t words[LHK_SALE_PADDED_ROWS] = {0};
    float inverse[LHK_SALE_TILE_ROWS];
    memset(t->sum, 0, sizeof t->sum);
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
            inverse[r + i] = usable ? levels / top : 0;
        }
    }
    for (int64_t step = 0; step < steps; step++) {
        for (int r = 0; r < LHK_SALE_TILE_ROWS; r += 16) {
            lhk_sale_ints word = {0}, sum;
            lhk_sale_floats factor = LHK_SALE_LOAD(inverse + r);
            memcpy(&sum, t->sum + r, sizeof sum);
            for (int i = 0; i < 4 && 4 * step + i < dim; i++) {
                int64_t c = 4 * step + i;
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
    }
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

// ---- estimates ----

/// Products of all rows with the segment's mean.
LHK_ALWAYS_INLINE void LHK_NAME(meet_mean)(const lhk_sale_tile *t, const float *mean, float *out) {
    lhk_sale_floats sum[LHK_SALE_TILE_ROWS / 16] = {0};
    for (int64_t c = 0; c < t->layout->head_dim; c++) {
        lhk_sale_floats m = LHK_SALE_SPLAT(mean[c]);
        LHK_UNROLL
        for (int i = 0; i < LHK_SALE_TILE_ROWS / 16; i++)
            sum[i] = LHK_SALE_FMA(LHK_SALE_LOAD(t->channels + c * LHK_SALE_TILE_ROWS + 16 * i), m, sum[i]);
    }
    for (int i = 0; i < LHK_SALE_TILE_ROWS / 16; i++) LHK_SALE_STORE(out + 16 * i, sum[i]);
}

/// Where the sums of a block begin, so that they come out at 0 or above for estimates above the threshold:
/// scale_q scale_k dot > rest  <=>  dot - floor(rest / (scale_q scale_k)) - 1 >= 0. What is NaN is kept.
LHK_ALWAYS_INLINE void LHK_NAME(starts)(const lhk_sale_tile *t, const float *rest, float key_scale, int32_t *out) {
    const lhk_sale_floats far = LHK_SALE_SPLAT(0x1p25f);
    for (int r = 0; r < LHK_SALE_TILE_ROWS; r += 16) {
        lhk_sale_floats x = LHK_SALE_LOAD(rest + r) / (LHK_SALE_LOAD(t->scale + r) * key_scale);
        x = LHK_SALE_PICK(x > -far, x, -far);  // also where x is NaN
        x = LHK_SALE_PICK(x < far, x, far);
        lhk_sale_ints whole = __builtin_convertvector(x, lhk_sale_ints), sum;
        whole += __builtin_convertvector(whole, lhk_sale_floats) > x;  // -1: truncation went up
        memcpy(&sum, t->sum + r, sizeof sum);
        whole = -whole - 1 - sum * LHK_SALE_KEY_OFFSET(8);
        memcpy(out + r, &whole, sizeof whole);
    }
    for (int r = t->rows; r < LHK_SALE_PADDED_ROWS; r++) out[r] = LHK_SALE_NEVER;
}

static bool LHK_NAME(block8)(const uint8_t *keys, int64_t tile_bytes, const uint32_t *codes, int64_t steps,
                             const int32_t *starts) {
    lhk_sale_ints acc[LHK_SALE_STRIP][2];
    LHK_UNROLL
    for (int r = 0; r < LHK_SALE_STRIP; r++) acc[r][0] = acc[r][1] = (lhk_sale_ints){0} + starts[r];
    LHK_NAME(dot)(keys, tile_bytes, codes, steps, acc);
    lhk_sale_ints all = acc[0][0] & acc[0][1];
    LHK_UNROLL
    for (int r = 1; r < LHK_SALE_STRIP; r++) all &= acc[r][0] & acc[r][1];
    return LHK_NAME(some_clear)(&all);
}

/// `scales` and `extra` of the 32 keys, `limit` per row: kept unless all of dot * scales * scale_q + extra <= limit.
static bool LHK_NAME(block4)(const uint8_t *keys, int64_t tile_bytes, const uint32_t *codes, int64_t steps,
                             const int32_t *sums, const float *row_scales, const float *limits, const float *scales,
                             const float *extra) {
    lhk_sale_ints acc[LHK_SALE_STRIP][2], below = (lhk_sale_ints){0} - 1;
    LHK_UNROLL
    for (int r = 0; r < LHK_SALE_STRIP; r++)
        acc[r][0] = acc[r][1] = (lhk_sale_ints){0} - LHK_SALE_KEY_OFFSET(4) * sums[r];
    LHK_NAME(dot)(keys, tile_bytes, codes, steps, acc);
    LHK_UNROLL
    for (int u = 0; u < 2; u++) {
        lhk_sale_floats scale = LHK_SALE_LOAD(scales + 16 * u), add = LHK_SALE_LOAD(extra + 16 * u);
        LHK_UNROLL
        for (int r = 0; r < LHK_SALE_STRIP; r++) {
            lhk_sale_floats dots = __builtin_convertvector(acc[r][u], lhk_sale_floats) * scale;
            below &= LHK_SALE_FMA(dots, LHK_SALE_SPLAT(row_scales[r]), add) <= limits[r];
        }
    }
    return LHK_NAME(some_clear)(&below);
}

/// Products of the tile's mean with the 128 keys less their mean.
static void LHK_NAME(meet_keys)(const lhk_sale_tile *t, const float *key_mean, const uint8_t *const *keys, lhk_dtype dtype,
                                float *out) {
    float base = 0;
    for (int64_t c = 0; c < t->layout->head_dim; c++) base += t->mean[c] * key_mean[c];
    for (int i = 0; i < LHK_SALE_SEGMENT_TILES; i++) {
        lhk_sale_floats sum = {0}, key[2] = {0};
        for (int64_t c = 0; c < t->layout->head_dim;) {
            int n = dtype == LHK_DTYPE_BF16  ? LHK_NAME(key_channels)(LHK_DTYPE_BF16, keys[i], c, key)
                    : dtype == LHK_DTYPE_F16 ? LHK_NAME(key_channels)(LHK_DTYPE_F16, keys[i], c, key)
                                             : LHK_NAME(key_channels)(LHK_DTYPE_F32, keys[i], c, key);
            for (int j = 0; j < n && c < t->layout->head_dim; j++, c++)
                sum = LHK_SALE_FMA(LHK_SALE_SPLAT(t->mean[c]), key[j], sum);
        }
        LHK_SALE_STORE(out + 16 * i, sum - base);
    }
}

uint32_t LHK_NAME(test)(const lhk_sale_tile *t, const uint8_t *segment, const uint8_t *const *keys, lhk_dtype dtype) {
    const lhk_sale_layout *l = t->layout;
    const float *scales = (const float *)(segment + l->scale_offset), *mean = (const float *)(segment + l->mean_offset);
    const int64_t steps = l->padded_dim / 4, tile_bytes = l->padded_dim * INT64_C(16);
    float rest[LHK_SALE_PADDED_ROWS], row_scales[LHK_SALE_PADDED_ROWS], extra[LHK_SALE_SEGMENT];
    int32_t starts[LHK_SALE_PADDED_ROWS];
    uint32_t kept = 0;
    LHK_NAME(meet_mean)(t, mean, rest);
    for (int r = 0; r < LHK_SALE_TILE_ROWS; r++) rest[r] = t->threshold[r] - rest[r];
    if (l->bits == 4) {
        for (int r = 0; r < LHK_SALE_PADDED_ROWS; r++) {
            row_scales[r] = r < t->rows ? t->scale[r] : 0;
            if (r >= t->rows) rest[r] = INFINITY;
        }
        LHK_NAME(meet_keys)(t, mean, keys, dtype, extra);
    }
    for (int b = 0; b < 4; b++) {
        const uint8_t *block = segment + 2 * b * tile_bytes;
        bool found = false;
        if (l->bits == 8) LHK_NAME(starts)(t, rest, scales[32 * b], starts);
        for (int r = 0, strip = 0; r < t->rows && !found; r += LHK_SALE_STRIP, strip++) {
            const uint32_t *codes = t->codes + strip * steps * LHK_SALE_STRIP;
            found = l->bits == 8 ? LHK_NAME(block8)(block, tile_bytes, codes, steps, starts + r)
                                 : LHK_NAME(block4)(block, tile_bytes, codes, steps, t->sum + r, row_scales + r, rest + r,
                                                    scales + 32 * b, extra + 32 * b);
        }
        kept |= (uint32_t)found << b;
    }
    return kept;
}

const lhk_sale_kernel LHK_NAME(kernel) = {
    .strip_rows = LHK_SALE_STRIP, .encode = LHK_NAME(encode), .thresholds = LHK_NAME(thresholds), .test = LHK_NAME(test)};
