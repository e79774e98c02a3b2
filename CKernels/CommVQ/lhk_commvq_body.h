// SPDX-License-Identifier: Apache-2.0
/// The tile operations, written once and included by every ISA file inside its target region, which defines
///   LHK_NAME(x)     a name per ISA
///   LHK_NAME(halves)(from, to)   16 half-precision numbers to floats
///   LHK_NAME(sums)(table, pairs, codes, exponent, first, sums)   adds 2^exponent times the sums of a stage: for 64 tokens and
///       each pair x += x_a - y_b, y += y_a + x_b over 8 levels of codes [8][64], table [8][pairs][x, y][16]; `first` sets
///   LHK_NAME(dots)(rows, pairs, sums, turns, q, acc)   acc[r][t] = sum over pairs of q_r . turned(sums): turned with cosines
///       and sines of 2^14, each product rounded to 16 bits after a shift by 15; q [rows][pairs][2]
///   LHK_NAME(bit_dots)(rows, bits, n, w, acc)   acc[r][k] = sum over 64 tokens of w_r[t] where bit k of token t is set

// ---- scores ----

/// Queries of up to LHK_COMMVQ_ROWS rows, planar, times the steps of the pairs and a factor that leaves sums of products with
/// turned keys (below 23171) within 32 bits.
typedef struct LHK_NAME(queries) {
    _Alignas(64) float q[LHK_COMMVQ_ROWS][LHK_COMMVQ_MAX_DIM];
    float factor[LHK_COMMVQ_ROWS];  ///< turns a sum of products back; NaN when the row is not finite
} LHK_NAME(queries);

static void LHK_NAME(take_queries)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head, const float *q,
                                   int64_t ldq, int32_t rows, LHK_NAME(queries) * out) {
    const uint16_t *channels = (const uint16_t *)(const void *)lhk_commvq_at(store, l->channels);
    const float *steps = (const float *)(const void *)lhk_commvq_at(store, l->key_step) + head * l->pairs;
    const int64_t pairs = l->pairs;
    for (int32_t r = 0; r < rows; r++, q += ldq) {
        float sum = 0, most = 0, *to = out->q[r];
        for (int64_t j = 0; j < pairs; j++) {
            to[j] = q[channels[j]] * steps[j];
            to[pairs + j] = q[channels[pairs + j]] * steps[j];
            float length = sqrtf(to[j] * to[j] + to[pairs + j] * to[pairs + j]);
            sum += length;
            most = length > most ? length : most;
        }
        // Turned, the two members of a pair sum to sqrt(2) of its length at most.
        const bool usable = sum > 1e-30f && sum < 1e30f;
        const float factor = usable ? fminf(90000 / (1.41422f * sum), 32000 / most) : 0;
        for (int64_t c = 0; c < 2 * pairs; c++) to[c] = usable ? to[c] * factor : 0;
        out->factor[r] = usable ? 2 / factor : sum <= 1e-30f ? 0 : NAN;
    }
}

/// Queries turned back by the first token of a block, rounded: [rows][pairs][2].
LHK_ALWAYS_INLINE void LHK_NAME(turn_queries)(const lhk_instance *store, const lhk_commvq_layout *l, int64_t token,
                                              const LHK_NAME(queries) * q, int32_t rows, int16_t *out) {
    const int64_t block = token / LHK_COMMVQ_BLOCK, pairs = l->pairs;
    const float *near = (const float *)(const void *)lhk_commvq_at(store, l->turn_block) + block % LHK_COMMVQ_TURNS * 2 * pairs;
    const float *far = (const float *)(const void *)lhk_commvq_at(store, l->turn_far) + block / LHK_COMMVQ_TURNS * 2 * pairs;
    for (int64_t j = 0; j < pairs; j += 16) {
        lhk_commvq_floats nc, ns, fc, fs, x, y;
        memcpy(&nc, near + j, sizeof nc);
        memcpy(&ns, near + pairs + j, sizeof ns);
        memcpy(&fc, far + j, sizeof fc);
        memcpy(&fs, far + pairs + j, sizeof fs);
        const lhk_commvq_floats c = nc * fc - ns * fs, s = nc * fs + ns * fc;
        for (int32_t r = 0; r < rows; r++) {
            memcpy(&x, q->q[r] + j, sizeof x);
            memcpy(&y, q->q[r] + pairs + j, sizeof y);
            // The integer lies in the low 16 bits of the sum with 1.5 * 2^23, rounded to nearest even.
            const lhk_commvq_ints a = (lhk_commvq_ints)(x * c + y * s + 0x1.8p23f), b = (lhk_commvq_ints)(y * c - x * s + 0x1.8p23f);
            const lhk_commvq_ints both = (a & 0xffff) | b << 16;
            memcpy(out + (r * pairs + j) * 2, &both, sizeof both);
        }
    }
}

/// Scores of the exact rows among the keys, in place of what is there.
static void LHK_NAME(score_exact)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head, const float *q,
                                  int64_t ldq, int32_t rows, int64_t begin, int64_t end, float *scores, int64_t lds) {
    for (int64_t token = begin; token < end; token++, scores++) {
        const uint16_t *row = lhk_commvq_exact(store, l, token) + head * (l->dim_k + l->dim_v);
        for (int32_t r = 0; r < rows; r++) {
            lhk_commvq_floats sum = {0}, x;
            for (int64_t c = 0; c < l->dim_k; c += 16) {
                lhk_commvq_halves half;
                memcpy(&half, row + c, sizeof half);
                memcpy(&x, q + r * ldq + c, sizeof x);
                sum += x * (lhk_commvq_floats)(__builtin_convertvector(half, lhk_commvq_ints) << 16);
            }
            scores[r * lds] = LHK_NAME(total)(&sum);
        }
    }
}

static void LHK_NAME(score_list)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head, const float *q,
                                 int64_t ldq, int32_t rows, const lhk_keys *keys, float *scores, int64_t lds) {
    LHK_NAME(tile) tile;
    _Alignas(64) float key[LHK_COMMVQ_MAX_DIM];
    for (int64_t first = 0; first < keys->count; first += tile.count) {
        LHK_NAME(gather)(store, l, head, keys, first, true, &tile);
        LHK_NAME(all_sums)(store, l, head, tile.codes, tile.sums);
        for (int64_t i = 0; i < tile.count; i++) {
            LHK_NAME(read_key)(store, l, head, &tile, i, key);
            for (int32_t r = 0; r < rows; r++) scores[r * lds + first + i] = LHK_NAME(dot16)(q + r * ldq, key, l->dim_k);
        }
    }
}

/// Scores of tokens [begin, end) of one block that are codes. `scores` is for token `begin`.
LHK_ALWAYS_INLINE void LHK_NAME(score_block)(const int rows, const lhk_instance *store, const lhk_commvq_layout *l,
                                             uint8_t *block, const LHK_NAME(queries) * q, int64_t begin, int64_t end,
                                             const int16_t (*sums)[2][LHK_COMMVQ_BLOCK], float *scores, int64_t lds) {
    _Alignas(64) int16_t turned[LHK_COMMVQ_ROWS * LHK_COMMVQ_MAX_DIM];
    _Alignas(64) int32_t acc[LHK_COMMVQ_ROWS][LHK_COMMVQ_BLOCK];
    _Alignas(64) float scales[LHK_COMMVQ_BLOCK], out[LHK_COMMVQ_BLOCK];
    LHK_NAME(turn_queries)(store, l, begin, q, rows, turned);
    LHK_NAME(dots)(rows, l->pairs, sums, (const int16_t *)(const void *)lhk_commvq_at(store, l->turn_token), turned, acc);
    for (int i = 0; i < LHK_COMMVQ_BLOCK; i += 16)
        LHK_NAME(halves)((const uint16_t *)(const void *)block + i, (lhk_commvq_floats *)(void *)(scales + i));
    const int64_t t = begin % LHK_COMMVQ_BLOCK;
    for (int r = 0; r < rows; r++) {
        for (int i = 0; i < LHK_COMMVQ_BLOCK; i++) out[i] = (float)acc[r][i] * (scales[i] * q->factor[r]);
        memcpy(scores + r * lds, out + t, (size_t)(end - begin) * sizeof *out);
    }
}

void LHK_NAME(score)(const lhk_instance *store, uint32_t head, const float *q, int64_t ldq, int32_t rows,
                     const lhk_keys *keys, float *scores, int64_t lds) {
    const lhk_commvq_state *state = lhk_commvq(store);
    const lhk_commvq_layout l = lhk_commvq_layout_of(state);
    if (keys->tokens) {
        LHK_NAME(score_list)(store, &l, head, q, ldq, rows, keys, scores, lds);
        return;
    }
    _Alignas(64) int16_t sums[LHK_COMMVQ_MAX_PAIRS][2][LHK_COMMVQ_BLOCK];
    LHK_NAME(queries) queries[2];
    const int64_t first = keys->begin, last = keys->begin + keys->count;
    const int64_t codes = lhk_max(first, lhk_min(last, state->encoded)), low = lhk_min(lhk_max(first, state->sinks), codes);
    for (int32_t r0 = 0; r0 < rows; r0 += 2 * LHK_COMMVQ_ROWS) {
        const int32_t n = (int32_t)lhk_min(2 * LHK_COMMVQ_ROWS, rows - r0);
        for (int32_t r = 0; r < n && low < codes; r += LHK_COMMVQ_ROWS)
            LHK_NAME(take_queries)(store, &l, head, q + (r0 + r) * ldq, ldq, (int32_t)lhk_min(LHK_COMMVQ_ROWS, n - r),
                                   &queries[r / LHK_COMMVQ_ROWS]);
        for (int64_t begin = low, end; begin < codes; begin = end) {
            end = lhk_min(codes, (begin / LHK_COMMVQ_BLOCK + 1) * LHK_COMMVQ_BLOCK);
            uint8_t *block = lhk_commvq_block(store, &l, begin);
            LHK_NAME(all_sums)(store, &l, head, lhk_commvq_key_codes(&l, block, head), sums);
            for (int32_t r = 0; r < n; r += LHK_COMMVQ_ROWS) {
                float *to = scores + (r0 + r) * lds + begin - first;
                const LHK_NAME(queries) *some = &queries[r / LHK_COMMVQ_ROWS];
#define LHK_COMMVQ_CALL(R) case R: LHK_NAME(score_block)(R, store, &l, block, some, begin, end, sums, to, lds); break;
                switch (lhk_min(LHK_COMMVQ_ROWS, n - r)) { LHK_COMMVQ_CALL(1) LHK_COMMVQ_CALL(2) LHK_COMMVQ_CALL(3) LHK_COMMVQ_CALL(4) }
#undef LHK_COMMVQ_CALL
            }
        }
    }
    const int64_t sinks = lhk_min(last, low);
    LHK_NAME(score_exact)(store, &l, head, q, ldq, rows, first, sinks, scores, lds);
    LHK_NAME(score_exact)(store, &l, head, q, ldq, rows, lhk_max(codes, first), last, scores + (lhk_max(codes, first) - first), lds);
}

// ---- sums of values ----

/// Weighted bits of up to LHK_COMMVQ_ROWS rows, added up over blocks.
typedef struct LHK_NAME(bit_sums) {
    _Alignas(64) float sums[LHK_COMMVQ_ROWS][LHK_COMMVQ_MAX_BITS];
    float weight[LHK_COMMVQ_ROWS];  ///< sum of all weights: what the offset is worth
} LHK_NAME(bit_sums);

/// Adds 64 tokens: weights p (0 for those that take no part) times scales, as integers of 15 bits.
LHK_ALWAYS_INLINE void LHK_NAME(add_bits)(const int rows, const uint8_t *bits, int64_t n, const float (*p)[LHK_COMMVQ_BLOCK],
                                          const float *scales, LHK_NAME(bit_sums) * out) {
    _Alignas(64) int16_t w[LHK_COMMVQ_ROWS][LHK_COMMVQ_BLOCK];
    _Alignas(64) int32_t acc[LHK_COMMVQ_ROWS][LHK_COMMVQ_MAX_BITS];
    float back[LHK_COMMVQ_ROWS];
    for (int r = 0; r < rows; r++) {
        float x[LHK_COMMVQ_BLOCK];
        int32_t most = 0;
        lhk_commvq_floats sum = {0};
        for (int t = 0; t < LHK_COMMVQ_BLOCK; t++) {
            int32_t magnitude;
            x[t] = p[r][t] != 0 ? p[r][t] * scales[t] : 0;
            memcpy(&magnitude, x + t, 4);
            magnitude &= 0x7fffffff;
            most = magnitude > most ? magnitude : most;
        }
        for (int t = 0; t < LHK_COMMVQ_BLOCK; t += 16) {
            lhk_commvq_floats some;
            memcpy(&some, x + t, sizeof some);
            sum += some;
        }
        out->weight[r] += LHK_NAME(total)(&sum);
        float largest;
        memcpy(&largest, &most, 4);
        const bool usable = largest > 0x1p-113f && largest < INFINITY;
        const float factor = usable ? 16383 / largest : 0;
        for (int t = 0; t < LHK_COMMVQ_BLOCK; t++) {
            float shifted = x[t] * factor + 0x1.8p23f;  // the integer in the low bits, to nearest even
            uint32_t integer;
            memcpy(&integer, &shifted, 4);
            w[r][t] = (int16_t)(uint16_t)integer;
        }
        back[r] = usable ? largest / 16383 : largest <= 0x1p-113f ? 0 : NAN;
    }
    LHK_NAME(bit_dots)(rows, bits, n, (const int16_t *)w, acc);
    for (int r = 0; r < rows; r++)
        for (int64_t k = 0; k < n; k++) out->sums[r][k] += (float)acc[r][k] * back[r];
}

/// out += weighted bits times the codebook.
static void LHK_NAME(finish_values)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head, int32_t rows,
                                    const LHK_NAME(bit_sums) * sums, float *out, int64_t ldo) {
    const int64_t dim = l->dim_v, bits = l->value_bits;
    const float *table = (const float *)(const void *)lhk_commvq_at(store, l->value_rows) + (int64_t)head * bits * dim;
    const float *offset = (const float *)(const void *)lhk_commvq_at(store, l->value_offset) + (int64_t)head * dim;
    for (int64_t c = 0; c < dim; c += 16) {
        lhk_commvq_floats sum[LHK_COMMVQ_ROWS], row;
        for (int32_t r = 0; r < rows; r++) {
            memcpy(&sum[r], out + r * ldo + c, sizeof row);
            memcpy(&row, offset + c, sizeof row);
            sum[r] += sums->weight[r] * row;
        }
        for (int64_t k = 0; k < bits; k++) {
            memcpy(&row, table + k * dim + c, sizeof row);
            for (int32_t r = 0; r < rows; r++) sum[r] += sums->sums[r][k] * row;
        }
        for (int32_t r = 0; r < rows; r++) memcpy(out + r * ldo + c, &sum[r], sizeof row);
    }
}

static void LHK_NAME(add_exact)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head, int64_t token,
                                const float *p, int64_t ldp, int32_t rows, float *out, int64_t ldo) {
    const uint16_t *row = lhk_commvq_exact(store, l, token) + head * (l->dim_k + l->dim_v) + l->dim_k;
    for (int32_t r = 0; r < rows; r++) {
        if (p[r * ldp] == 0) continue;
        for (int64_t c = 0; c < l->dim_v; c++) out[r * ldo + c] += p[r * ldp] * lhk_bf16_to_f32(row[c]);
    }
}

/// Bits of a list's tokens, quad by quad; exact rows get zeros.
static void LHK_NAME(gather_bits)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head,
                                  const LHK_NAME(tile) * tile, uint8_t *out) {
    const int64_t quad = l->value_bits / 2;
    memset(out, 0, (size_t)(16 * quad));
    for (int64_t i = 0; i < tile->count; i++) {
        if (tile->exact[i]) continue;
        const int64_t token = tile->tokens[i], t = token % LHK_COMMVQ_BLOCK;
        const uint8_t *from = lhk_commvq_value_bits(l, lhk_commvq_block(store, l, token), head) + t / 4 * quad;
        for (int64_t at = 0; at < quad; at += 8) {
            uint64_t word, sum;
            memcpy(&word, from + at, 8);
            memcpy(&sum, out + i / 4 * quad + at, 8);
            sum |= (word >> (t % 4) & 0x1111111111111111u) << (i % 4);
            memcpy(out + i / 4 * quad + at, &sum, 8);
        }
    }
}

LHK_ALWAYS_INLINE void LHK_NAME(accumulate_rows)(const int rows, const lhk_instance *store, const lhk_commvq_layout *l,
                                                 uint32_t head, const float *p, int64_t ldp, const lhk_keys *keys, float *out,
                                                 int64_t ldo) {
    const lhk_commvq_state *state = lhk_commvq(store);
    LHK_NAME(bit_sums) sums;
    LHK_NAME(tile) tile;
    uint8_t list[LHK_COMMVQ_MAX_BITS * 8];
    _Alignas(64) float weights[LHK_COMMVQ_ROWS][LHK_COMMVQ_BLOCK], scales[LHK_COMMVQ_BLOCK];
    memset(&sums, 0, sizeof sums);
    for (int64_t j = 0, n; j < keys->count; j += n) {
        int64_t skip = 0;
        const uint8_t *bits = list;
        memset(weights, 0, sizeof weights);
        if (keys->tokens) {
            LHK_NAME(gather)(store, l, head, keys, j, false, &tile);
            n = tile.count;
            LHK_NAME(gather_bits)(store, l, head, &tile, list);
            memset(scales, 0, sizeof scales);
            memcpy(scales, tile.value_scales, (size_t)n * sizeof *scales);
            for (int64_t i = 0; i < n; i++) {
                if (tile.exact[i]) LHK_NAME(add_exact)(store, l, head, tile.tokens[i], p + j + i, ldp, rows, out, ldo);
                else for (int r = 0; r < rows; r++) weights[r][i] = p[r * ldp + j + i];
            }
        } else {
            const int64_t token = keys->begin + j;
            n = lhk_min(keys->count - j, 1);
            if (lhk_commvq_is_exact(state, token)) {
                LHK_NAME(add_exact)(store, l, head, token, p + j, ldp, rows, out, ldo);
                continue;
            }
            skip = token % LHK_COMMVQ_BLOCK;
            n = lhk_min(lhk_min(keys->count - j, LHK_COMMVQ_BLOCK - skip), state->encoded - token);
            uint8_t *block = lhk_commvq_block(store, l, token);
            bits = lhk_commvq_value_bits(l, block, head);
            for (int i = 0; i < LHK_COMMVQ_BLOCK; i += 16)
                LHK_NAME(halves)((const uint16_t *)(const void *)block + LHK_COMMVQ_BLOCK + i,
                                 (lhk_commvq_floats *)(void *)(scales + i));
            for (int r = 0; r < rows; r++) memcpy(weights[r] + skip, p + r * ldp + j, (size_t)n * sizeof(float));
        }
        LHK_NAME(add_bits)(rows, bits, l->value_bits, (const float (*)[LHK_COMMVQ_BLOCK])weights, scales, &sums);
    }
    LHK_NAME(finish_values)(store, l, head, rows, &sums, out, ldo);
}

void LHK_NAME(accumulate)(const lhk_instance *store, uint32_t head, const float *p, int64_t ldp, int32_t rows,
                          const lhk_keys *keys, float *out, int64_t ldo) {
    const lhk_commvq_layout l = lhk_commvq_layout_of(lhk_commvq(store));
    for (int32_t r = 0; r < rows; r += LHK_COMMVQ_ROWS, p += LHK_COMMVQ_ROWS * ldp, out += LHK_COMMVQ_ROWS * ldo) {
#define LHK_COMMVQ_CALL(R) case R: LHK_NAME(accumulate_rows)(R, store, &l, head, p, ldp, keys, out, ldo); break;
        switch (lhk_min(LHK_COMMVQ_ROWS, rows - r)) { LHK_COMMVQ_CALL(1) LHK_COMMVQ_CALL(2) LHK_COMMVQ_CALL(3) LHK_COMMVQ_CALL(4) }
#undef LHK_COMMVQ_CALL
    }
}
