// SPDX-License-Identifier: Apache-2.0
/// Encoding of keys, included by every ISA file. Sums go over 16 lanes in one order and without FMA, so that all
/// variants keep the same bytes.

/// The turn of a token: cosines [P], then sines [P].
static void LHK_NAME(turn_of)(const lhk_instance *store, const lhk_commvq_layout *l, int64_t token, float *out) {
    const int64_t pairs = l->pairs;
    const float *near, *far;
    lhk_commvq_turns(store, l, token, &near, &far);
    const float *within = lhk_commvq_floats_at(store, l->turn_rows) + token % LHK_COMMVQ_BLOCK * 2 * pairs;
    for (int64_t j = 0; j < pairs; j++) {
        float c = near[j] * far[j] - near[pairs + j] * far[pairs + j];
        float s = near[j] * far[pairs + j] + near[pairs + j] * far[j];
        float tc = within[j], ts = within[pairs + j];
        out[j] = c * tc - s * ts;
        out[pairs + j] = c * ts + s * tc;
    }
}

LHK_ALWAYS_INLINE float LHK_NAME(total)(const lhk_commvq_floats *x) {
    float sum = 0;
    for (int i = 0; i < 16; i++) sum += (*x)[i];
    return sum;
}

/// Dot product of n floats, n a multiple of 16.
LHK_ALWAYS_INLINE float LHK_NAME(dot16)(const float *a, const float *b, int64_t n) {
    lhk_commvq_floats sum = {0};
    for (int64_t i = 0; i < n; i += 16) {
        lhk_commvq_floats x, y;
        memcpy(&x, a + i, sizeof x);
        memcpy(&y, b + i, sizeof y);
        sum += x * y;
    }
    return LHK_NAME(total)(&sum);
}

/// Norms of a side over all heads, as their inverses: 0 for a token of zeros, NaN for one that cannot be kept.
static void LHK_NAME(norms)(const lhk_commvq_append_job *job, int64_t begin, int64_t end, bool value, float *inverse) {
    const lhk_commvq_layout *l = &job->layout;
    float row[LHK_COMMVQ_MAX_DIM];
    for (int64_t token = begin; token < end; token++) {
        float sum = 0;
        for (uint32_t head = 0; head < l->kv_heads; head++) {
            lhk_commvq_load_row(job, token, head, value, row);
            sum += LHK_NAME(dot16)(row, row, value ? l->dim_v : l->dim_k);
        }
        float norm = sqrtf(sum);
        inverse[token - begin] = !(norm < 65000) ? NAN : norm > 1e-12f ? 1 / norm : 0;
    }
}

/// The scale that makes `norm` times a decoded token fit best: by least squares, dot / square.
LHK_ALWAYS_INLINE uint16_t LHK_NAME(scale)(float inverse, float dot, float square) {
    if (isnan(inverse)) return LHK_COMMVQ_NAN;
    if (inverse == 0 || !(square > 0) || !(dot > 0)) return 0;
    float scale = dot / square / inverse;
    return scale < 65504 ? lhk_f32_to_f16(scale) : LHK_COMMVQ_NAN;
}

/// One level of a head: the table as floats, and what distances need.
typedef struct LHK_NAME(level) {
    lhk_commvq_floats x[LHK_COMMVQ_MAX_PAIRS], y[LHK_COMMVQ_MAX_PAIRS];  ///< [pair][16 codes]
    float rows[16][LHK_COMMVQ_MAX_DIM];  ///< the same as vectors, planar
    const float *norm, *cross;
} LHK_NAME(level);

LHK_ALWAYS_INLINE void LHK_NAME(fill_rows)(LHK_NAME(level) * level, int64_t pairs) {
    for (int c = 0; c < 16; c++)
        for (int64_t j = 0; j < pairs; j++) {
            level->rows[c][j] = level->x[j][c];
            level->rows[c][pairs + j] = level->y[j][c];
        }
}

static void LHK_NAME(take_level)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head, uint32_t r,
                                 LHK_NAME(level) * out) {
    const uint64_t level = (uint64_t)head * l->levels + r;
    const int8_t *table = lhk_commvq_key_entries(store, l, level);
    const float *steps = lhk_commvq_floats_at(store, l->key_step) + head * l->pairs;
    const int32_t *exponents = (const int32_t *)(const void *)lhk_commvq_at(store, l->key_exponent) + head * l->stages;
    const float *weights = lhk_commvq_floats_at(store, l->key_weight) + head * l->pairs;
    const float factor = (float)(1 << exponents[r / LHK_COMMVQ_STAGE]);
    out->norm = lhk_commvq_floats_at(store, l->key_norm) + level * 16;
    out->cross = lhk_commvq_floats_at(store, l->key_cross) + level * 256;
    for (uint32_t j = 0; j < l->pairs; j++)
        for (int c = 0; c < 16; c++) {
            out->x[j][c] = (float)table[j * LHK_COMMVQ_STAGE * 32 + c] * (steps[j] * weights[j] * factor);
            out->y[j][c] = (float)table[j * LHK_COMMVQ_STAGE * 32 + 16 + c] * (steps[j] * weights[j] * factor);
        }
    LHK_NAME(fill_rows)(out, l->pairs);
}

/// The pair of codes whose centre is next to the residual x [P], y [P], which it is then taken from.
LHK_ALWAYS_INLINE uint8_t LHK_NAME(nearest)(const LHK_NAME(level) * level, int64_t pairs, float *residual) {
    lhk_commvq_floats real = {0}, imaginary = {0}, norm, best = (lhk_commvq_floats){0} + INFINITY;
    lhk_commvq_ints best_a = {0};
    for (int64_t j = 0; j < pairs; j++) {
        const float x = residual[j], y = residual[pairs + j];
        real += x * level->x[j] + y * level->y[j];
        imaginary += y * level->x[j] - x * level->y[j];
    }
    memcpy(&norm, level->norm, sizeof norm);
    const lhk_commvq_floats of_a = norm - 2 * real, of_b = norm - 2 * imaginary;
    for (int a = 0; a < 16; a++) {
        lhk_commvq_floats cross;
        memcpy(&cross, level->cross + a * 16, sizeof cross);
        const lhk_commvq_floats distance = of_b - cross + of_a[a];
        const lhk_commvq_ints closer = (lhk_commvq_ints)(distance < best);
        best = (lhk_commvq_floats)(((lhk_commvq_ints)distance & closer) | ((lhk_commvq_ints)best & ~closer));
        best_a = (a & closer) | (best_a & ~closer);
    }
    float least[16];
    int32_t place[16];
    memcpy(least, &best, sizeof best);
    for (int i = 0; i < 16; i++) place[i] = i;
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) {
            place[i] = least[i + half] < least[i] ? place[i + half] : place[i];
            least[i] = least[i + half] < least[i] ? least[i + half] : least[i];
        }
    const int b = place[0], a = best_a[b];
    const float *of_code_a = level->rows[a], *of_code_b = level->rows[b];
    for (int64_t j = 0; j < pairs; j += 16) {
        lhk_commvq_floats x, y, ax, ay, bx, by;
        memcpy(&x, residual + j, sizeof x);
        memcpy(&y, residual + pairs + j, sizeof y);
        memcpy(&ax, of_code_a + j, sizeof ax);
        memcpy(&ay, of_code_a + pairs + j, sizeof ay);
        memcpy(&bx, of_code_b + j, sizeof bx);
        memcpy(&by, of_code_b + pairs + j, sizeof by);
        x -= ax - by;
        y -= ay + bx;
        memcpy(residual + j, &x, sizeof x);
        memcpy(residual + pairs + j, &y, sizeof y);
    }
    return (uint8_t)(a | b << 4);
}

/// Keys of a head over their norm, turned back to position 0 and weighted, planar.
static void LHK_NAME(take_keys)(const lhk_commvq_append_job *job, uint32_t head, int64_t begin, int64_t end,
                                const float *inverse, const float (*turns)[LHK_COMMVQ_MAX_DIM],
                                float (*out)[LHK_COMMVQ_MAX_DIM]) {
    const lhk_commvq_layout *l = &job->layout;
    const uint16_t *channels = (const uint16_t *)(const void *)lhk_commvq_at(job->store, l->channels);
    const float *weights = lhk_commvq_floats_at(job->store, l->key_weight) + head * l->pairs;
    const int64_t pairs = l->pairs;
    float row[LHK_COMMVQ_MAX_DIM];
    for (int64_t token = begin; token < end; token++, inverse++, turns++, out++) {
        const float factor = isnan(*inverse) ? 0 : *inverse, *turn = *turns;
        lhk_commvq_load_row(job, token, head, false, row);
        for (int64_t j = 0; j < pairs; j++) {
            const float x = factor != 0 ? row[channels[j]] * factor : 0;
            const float y = factor != 0 ? row[channels[pairs + j]] * factor : 0;
            (*out)[j] = (x * turn[j] + y * turn[pairs + j]) * weights[j];
            (*out)[pairs + j] = (y * turn[j] - x * turn[pairs + j]) * weights[j];
        }
    }
}

static void LHK_NAME(encode_keys)(const lhk_commvq_append_job *job, int64_t begin, int64_t end) {
    const lhk_commvq_layout *l = &job->layout;
    const int64_t count = end - begin, t0 = begin % LHK_COMMVQ_BLOCK, dim = l->dim_k;
    uint8_t *block = lhk_commvq_block(job->store, l, begin);
    LHK_NAME(level) level;
    float inverse[LHK_COMMVQ_BLOCK], dots[LHK_COMMVQ_BLOCK] = {0}, squares[LHK_COMMVQ_BLOCK] = {0};
    _Alignas(64) float key[LHK_COMMVQ_BLOCK][LHK_COMMVQ_MAX_DIM], rest[LHK_COMMVQ_BLOCK][LHK_COMMVQ_MAX_DIM];
    float turns[LHK_COMMVQ_BLOCK][LHK_COMMVQ_MAX_DIM];
    for (int64_t i = 0; i < count; i++) LHK_NAME(turn_of)(job->store, l, begin + i, turns[i]);
    LHK_NAME(norms)(job, begin, end, false, inverse);
    for (uint32_t head = 0; head < l->kv_heads; head++) {
        uint8_t *codes = lhk_commvq_key_codes(l, block, head);
        LHK_NAME(take_keys)(job, head, begin, end, inverse, (const float (*)[LHK_COMMVQ_MAX_DIM])turns, key);
        memcpy(rest, key, (size_t)count * sizeof *key);
        for (uint32_t r = 0; r < l->levels; r++, codes += LHK_COMMVQ_BLOCK) {
            LHK_NAME(take_level)(job->store, l, head, r, &level);
            for (int64_t i = 0; i < count; i++)
                codes[lhk_commvq_place(t0 + i)] = LHK_NAME(nearest)(&level, l->pairs, rest[i]);
        }
        for (int64_t i = 0; i < count; i++) {
            for (int64_t c = 0; c < dim; c++) rest[i][c] = key[i][c] - rest[i][c];
            dots[i] += LHK_NAME(dot16)(key[i], rest[i], dim);
            squares[i] += LHK_NAME(dot16)(rest[i], rest[i], dim);
        }
    }
    uint16_t *scales = (uint16_t *)(void *)block + t0;
    for (int64_t i = 0; i < count; i++) scales[i] = LHK_NAME(scale)(inverse[i], dots[i], squares[i]);
}
