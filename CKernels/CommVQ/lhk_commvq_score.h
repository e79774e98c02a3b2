// SPDX-License-Identifier: Apache-2.0
/// Scores from codes. The tile operations are written once and included by every ISA file inside its target region, which
/// defines
///   LHK_NAME(x)     a name per ISA
///   LHK_NAME(halves)(from, to)   16 half-precision numbers to floats
///   LHK_NAME(sums)(table, pairs, codes, exponent, first, sums)   adds 2^exponent times the sums of a stage: for 64 tokens and
///       each pair x += x_a - y_b, y += y_a + x_b over 8 levels of codes [8][64], table [pairs][8][x, y][16]; `first` sets
///   LHK_NAME(dots)(rows, pairs, sums, turns, q, acc)   acc[r][t] = sum over pairs of q_r . turned(sums): turned with cosines
///       and sines of 2^14, each product rounded to 16 bits after a shift by 15; q [rows][pairs][2]
///   LHK_COMMVQ_TURN_BYTES   1: the file has a product_scores of its own, which turns by bytes, so that turned keys are 127 times
///       their steps; 0: words do, as below, and it is 128
///   LHK_NAME(add)(sum, x, factor)   sum += x * factor, 16 floats, rounded once or twice
///   LHK_NAME(bit_dots)(rows, bits, n, w, acc)   acc[r][k] = sum over 64 tokens of w_r[t] where bit k of token t is set

/// Queries of up to LHK_COMMVQ_ROWS rows, planar, times the steps of the pairs and a factor that leaves sums of products with
/// turned keys (below 23171) within 32 bits.
typedef struct LHK_NAME(queries) {
    _Alignas(64) float q[LHK_COMMVQ_ROWS][LHK_COMMVQ_MAX_DIM];
    float factor[LHK_COMMVQ_ROWS];  ///< turns a sum of products back; NaN when the row is not finite
} LHK_NAME(queries);

static void LHK_NAME(take_queries)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head, const float *q,
                                   int64_t ldq, int32_t rows, LHK_NAME(queries) * out) {
    const uint16_t *channels = (const uint16_t *)(const void *)lhk_commvq_at(store, l->channels);
    const float *steps = lhk_commvq_floats_at(store, l->key_step) + head * l->pairs;
    const int64_t pairs = l->pairs;
    const float unit = LHK_COMMVQ_TURN_BYTES && lhk_commvq(store)->product ? 256.0f / 127 : 2;
    for (int32_t r = 0; r < rows; r++, q += ldq) {
        float *to = out->q[r], most = 0;
        lhk_commvq_floats lengths = {0}, longest = {0};
        for (int64_t j = 0; j < pairs; j++) {
            to[j] = q[channels[j]] * steps[j];
            to[pairs + j] = q[channels[pairs + j]] * steps[j];
        }
        for (int64_t j = 0; j < pairs; j += 16) {
            lhk_commvq_floats x, y;
            memcpy(&x, to + j, sizeof x);
            memcpy(&y, to + pairs + j, sizeof y);
            // Turned, the members of a pair sum to sqrt(2) of its length at most; this is no shorter.
            const lhk_commvq_floats length = (lhk_commvq_floats)((lhk_commvq_ints)x & 0x7fffffff) +
                                             (lhk_commvq_floats)((lhk_commvq_ints)y & 0x7fffffff);
            const lhk_commvq_ints longer = (lhk_commvq_ints)(length > longest);
            lengths += length;
            longest = (lhk_commvq_floats)(((lhk_commvq_ints)length & longer) | ((lhk_commvq_ints)longest & ~longer));
        }
        const float sum = LHK_NAME(total)(&lengths);
        for (int i = 0; i < 16; i++) most = longest[i] > most ? longest[i] : most;
        const bool usable = sum > 1e-30f && sum < 1e30f;
        const float factor = usable ? fminf(90000 / (1.41422f * sum), 32000 / most) : 0;
        for (int64_t c = 0; c < 2 * pairs; c++) to[c] = usable ? to[c] * factor : 0;
        out->factor[r] = usable ? unit / factor : sum <= 1e-30f ? 0 : NAN;
    }
}

/// Queries turned back by the first token of a block, rounded: [rows][pairs][2].
LHK_ALWAYS_INLINE void LHK_NAME(turn_queries)(const lhk_instance *store, const lhk_commvq_layout *l, int64_t token,
                                              const LHK_NAME(queries) * q, int32_t rows, int16_t *out) {
    const int64_t pairs = l->pairs;
    const float *near, *far;
    lhk_commvq_turns(store, l, token, &near, &far);
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
            const lhk_commvq_ints a = (lhk_commvq_ints)(x * c + y * s + 0x1.8p23f);
            const lhk_commvq_ints b = (lhk_commvq_ints)(y * c - x * s + 0x1.8p23f);
            const lhk_commvq_ints both = (a & 0xffff) | b << 16;
            memcpy(out + (r * pairs + j) * 2, &both, sizeof both);
        }
    }
}

/// Dot products of rows with one, n a multiple of 16: lanes are folded, not summed in order.
LHK_ALWAYS_INLINE void LHK_NAME(row_dots)(const float *q, int64_t ldq, int32_t rows, const float *key, int64_t n, float *out,
                                          int64_t ldo) {
    for (int32_t r = 0; r < rows; r++) {
        lhk_commvq_floats sum = {0}, x, y;
        float lanes[16];
        for (int64_t c = 0; c < n; c += 16) {
            memcpy(&x, q + r * ldq + c, sizeof x);
            memcpy(&y, key + c, sizeof y);
            sum += x * y;
        }
        memcpy(lanes, &sum, sizeof sum);
        for (int half = 8; half; half /= 2)
            for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
        out[r * ldo] = lanes[0];
    }
}

/// Scores of the exact rows among the keys, in place of what is there.
static void LHK_NAME(score_exact)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head, const float *q,
                                  int64_t ldq, int32_t rows, int64_t begin, int64_t end, float *scores, int64_t lds) {
    _Alignas(64) float key[LHK_COMMVQ_MAX_DIM];
    for (int64_t token = begin; token < end; token++, scores++) {
        LHK_NAME(widen_row)(lhk_commvq_exact(store, l, token) + head * (l->dim_k + l->dim_v), l->dim_k, key);
        LHK_NAME(row_dots)(q, ldq, rows, key, l->dim_k, scores, lds);
    }
}

static void LHK_NAME(score_list)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head, const float *q,
                                 int64_t ldq, int32_t rows, const lhk_keys *keys, float *scores, int64_t lds) {
    const uint16_t *channels = (const uint16_t *)(const void *)lhk_commvq_at(store, l->channels);
    LHK_NAME(tile) tile;
    _Alignas(64) float key[LHK_COMMVQ_MAX_DIM], planar[2 * LHK_COMMVQ_ROWS][LHK_COMMVQ_MAX_DIM];
    for (int32_t r0 = 0; r0 < rows; r0 += 2 * LHK_COMMVQ_ROWS, q += 2 * LHK_COMMVQ_ROWS * ldq) {
        const int32_t n = (int32_t)lhk_min(2 * LHK_COMMVQ_ROWS, rows - r0);
        for (int32_t r = 0; r < n; r++)
            for (int64_t c = 0; c < l->dim_k; c++) planar[r][c] = q[r * ldq + channels[c]];
        for (int64_t first = 0; first < keys->count; first += tile.count) {
            float *to = scores + r0 * lds + first;
            LHK_NAME(gather)(store, l, head, keys, first, true, &tile);
            LHK_NAME(all_sums)(store, l, head, tile.codes, tile.sums);
            for (int64_t i = 0; i < tile.count; i++, to++) {
                if (tile.exact[i]) {
                    LHK_NAME(score_exact)(store, l, head, q, ldq, n, tile.tokens[i], tile.tokens[i] + 1, to, lds);
                    continue;
                }
                LHK_NAME(planar_key)(store, l, head, &tile, i, key);
                LHK_NAME(row_dots)(planar[0], LHK_COMMVQ_MAX_DIM, n, key, l->dim_k, to, lds);
            }
        }
    }
}

#if !LHK_COMMVQ_TURN_BYTES
/// Scores of 64 tokens of codes of form=product: acc as that of `dots`.
LHK_ALWAYS_INLINE void LHK_NAME(product_scores)(const int rows, const lhk_commvq_side_tables *s, int64_t pairs,
                                                const uint8_t *codes, const lhk_commvq_ahead *ahead, const int16_t *turns,
                                                const lhk_commvq_turn_bytes *bytes, const int16_t *q,
                                                int32_t (*acc)[LHK_COMMVQ_BLOCK]) {
    _Alignas(64) int16_t sums[LHK_COMMVQ_MAX_PAIRS][2][LHK_COMMVQ_BLOCK];
    (void)bytes;
    (void)ahead;
    LHK_NAME(product_sums)(s, pairs, codes, sums);
    LHK_NAME(dots)(rows, pairs, (const int16_t (*)[2][LHK_COMMVQ_BLOCK])sums, turns, q, acc);
}
#endif

/// Scores of tokens [begin, end) of one block that are codes. `scores` is for token `begin`.
LHK_ALWAYS_INLINE void LHK_NAME(score_block)(const int rows, const lhk_instance *store, const lhk_commvq_layout *l,
                                             uint8_t *block, const LHK_NAME(queries) * q, int64_t begin, int64_t end,
                                             const int16_t (*sums)[2][LHK_COMMVQ_BLOCK],
                                             const lhk_commvq_side_tables *tables, const uint8_t *codes,
                                             const lhk_commvq_ahead *ahead, float *scores, int64_t lds) {
    _Alignas(64) int16_t turned[LHK_COMMVQ_ROWS * LHK_COMMVQ_MAX_DIM];
    _Alignas(64) int32_t acc[LHK_COMMVQ_ROWS][LHK_COMMVQ_BLOCK];
    _Alignas(64) float scales[LHK_COMMVQ_BLOCK], out[LHK_COMMVQ_BLOCK];
    LHK_NAME(turn_queries)(store, l, begin, q, rows, turned);
    const int16_t *turns = (const int16_t *)(const void *)lhk_commvq_at(store, l->turn_token);
    if (tables)
        LHK_NAME(product_scores)(rows, tables, l->pairs, codes, ahead, turns, (const void *)lhk_commvq_at(store, l->turn_bytes),
                                 turned, acc);
    else LHK_NAME(dots)(rows, l->pairs, sums, turns, turned, acc);
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
    lhk_commvq_side_tables product;
    const lhk_commvq_side_tables *tables = state->product ? &product : NULL;
    if (tables) product = lhk_commvq_side_at(store, &l.key, head);
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
            const uint8_t *key_codes = lhk_commvq_key_codes(&l, block, head);
            const lhk_commvq_ahead ahead = {key_codes + (end < codes ? l.block_stride : 0),
                                            lhk_commvq_value_bits(&l, block, head), l.levels};
            if (!state->product) LHK_NAME(all_sums)(store, &l, head, key_codes, sums);
            for (int32_t r = 0; r < n; r += LHK_COMMVQ_ROWS) {
                float *to = scores + (r0 + r) * lds + begin - first;
                const LHK_NAME(queries) *some = &queries[r / LHK_COMMVQ_ROWS];
#define LHK_COMMVQ_CALL(R) case R: LHK_NAME(score_block)(R, store, &l, block, some, begin, end, sums, tables, key_codes, &ahead, to, lds); break;
                switch (lhk_min(LHK_COMMVQ_ROWS, n - r)) { LHK_COMMVQ_EACH(LHK_COMMVQ_CALL) }
#undef LHK_COMMVQ_CALL
            }
        }
    }
    const int64_t sinks = lhk_min(last, low);
    LHK_NAME(score_exact)(store, &l, head, q, ldq, rows, first, sinks, scores, lds);
    const int64_t tail = lhk_max(codes, first);
    LHK_NAME(score_exact)(store, &l, head, q, ldq, rows, tail, last, scores + tail - first, lds);
}
