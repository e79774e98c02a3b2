// SPDX-License-Identifier: Apache-2.0
/// The tile operations, written once and included by every ISA file inside its target region.
///
/// Both products meet codes with *weights*: a block of query channels, or of probabilities times scales, as integers with one
/// factor, so that sums of codes times weights are exact integers. Weights have 15 bits, and the rounding of all of them is
/// far below that of the codes; queries that meet 4-bit codes take 8 bits where dot products are of bytes, for the same
/// reason. The including file defines
///   LHK_NAME(x)            a name per ISA; LHK_HADAMARD(x), see lhk/hadamard_body.inc, which it has included
///   LHK_QUANT_PLANES       1: weights lie as bytes in one plane, or two with w = 128 hi + lo, hi signed and lo < 128;
///                          0: as int16
///   LHK_QUANT_BIAS(bits)   what `dot` leaves in codes as an offset: 128 where it takes q8 codes as unsigned bytes
///   LHK_NAME(halves)(from, to)   16 half-precision numbers to floats
///   LHK_NAME(dot)(bits, planes, rows, codes, steps, w, ldw, plane, acc)   acc[r][x / 16][x % 16] += sum over steps s and
///       places i of code(s, x, i) * w_r[4 s + i], x < 32; w is the first row's hi bytes (int16), ldw bytes between rows,
///       `plane` bytes from hi to lo.
/// and, or LHK_QUANT_PLAIN_WEIGHTS for the plain code below,
///   LHK_NAME(spread)(p, scales, x, n)    x = p * scale, 0 where p is; returns the bits of the largest magnitude
///   LHK_NAME(round)(x, n, inverse, planes, w, plane)   n (a multiple of 32) weights x * inverse at w; returns their sum

#define LHK_QUANT_ROWS 4  ///< rows that meet a step of codes together
#define LHK_QUANT_PLACE(i) ((i) * (LHK_QUANT_PLANES ? 1 : 2))  ///< byte offset of weight i
#define LHK_QUANT_KEY_PLANES(bits) ((bits) == 8 || !LHK_QUANT_PLANES ? 2 : 1)

#ifdef LHK_QUANT_PLAIN_WEIGHTS
LHK_ALWAYS_INLINE uint32_t LHK_NAME(spread)(const float *p, const float *scales, float *x, int64_t n) {
    uint32_t largest = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        x[i] = p[i] != 0 ? p[i] * scales[i] : 0;
        memcpy(&bits, x + i, 4);
        bits &= 0x7fffffffu;
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

LHK_ALWAYS_INLINE int32_t LHK_NAME(round)(const float *x, int64_t n, float inverse, const int planes, uint8_t *w,
                                          int64_t plane) {
    uint32_t sum = 0;
    for (int64_t i = 0; i < n; i++) {
        float shifted = x[i] * inverse + 0x1.8p23f;  // the integer in the low bits, to nearest even
        uint32_t weight;
        memcpy(&weight, &shifted, 4);
        weight -= 0x4b400000u;
        sum += weight;
#if LHK_QUANT_PLANES
        w[i] = (uint8_t)(planes == 2 ? weight >> 7 : weight);
        if (planes == 2) w[plane + i] = (uint8_t)(weight & 127);
#else
        uint16_t narrow = (uint16_t)weight;
        memcpy(w + 2 * i, &narrow, 2);
        (void)planes;
        (void)plane;
#endif
    }
    return (int32_t)sum;
}
#endif

/// n weights of x at `w`, and their sum. Returns the factor that turns sums of products back: NaN when x is not finite, 0
/// when all are 0, to which magnitudes below 2^-113 count. `bits` are those of the largest magnitude.
LHK_ALWAYS_INLINE float LHK_NAME(weigh)(const float *x, int64_t n, uint32_t bits, const int planes, uint8_t *w,
                                        int64_t plane, int32_t *sum) {
    const float levels = planes == 2 ? 16383 : 127;
    float largest;
    memcpy(&largest, &bits, 4);
    bool usable = largest > 0x1p-113f && largest < INFINITY;
    *sum = LHK_NAME(round)(x, n, usable ? levels / largest : 0, planes, w, plane);
    return usable ? largest / levels : largest <= 0x1p-113f ? 0 : NAN;
}

/// Where a sum begins, so that it comes out without the codes' offset. Weights of a row that is not finite mean nothing, and
/// may overflow.
LHK_ALWAYS_INLINE int32_t LHK_NAME(bias)(const int bits, int32_t sum) {
    return (int32_t)(0u - (uint32_t)LHK_QUANT_BIAS(bits) * (uint32_t)sum);
}

// ---- scores ----

/// Queries of up to LHK_QUANT_ROWS rows.
typedef struct LHK_NAME(queries) {
    uint8_t w[LHK_QUANT_ROWS][2 * LHK_QUANT_MAX_DIM];
    int32_t sums[LHK_QUANT_ROWS][LHK_QUANT_MAX_BLOCKS];  ///< of the weights of a block of channels
    float factors[LHK_QUANT_ROWS][LHK_QUANT_MAX_BLOCKS];
} LHK_NAME(queries);

LHK_ALWAYS_INLINE void LHK_NAME(take_queries)(const int bits, const lhk_quant_state *state, const lhk_quant_layout *l,
                                              const float *q, int64_t ldq, int32_t rows, LHK_NAME(queries) * out) {
    float x[LHK_QUANT_MAX_DIM];
    int64_t padded = (int64_t)l->k_blocks * LHK_QUANT_CHANNELS;
    for (int32_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < padded; c++) x[c] = c < state->dim_k ? q[r * ldq + c] : 0;
        if (state->rotate) LHK_HADAMARD(rotate)(x, padded);
        for (int64_t b = 0; b < l->k_blocks; b++) {
            uint32_t largest = 0;
            for (int64_t c = b * 32; c < b * 32 + 32; c++) {
                uint32_t magnitude;
                memcpy(&magnitude, x + c, 4);
                magnitude &= 0x7fffffffu;
                largest = magnitude > largest ? magnitude : largest;
            }
            out->factors[r][b] = LHK_NAME(weigh)(x + b * 32, 32, largest, LHK_QUANT_KEY_PLANES(bits),
                                                 out->w[r] + LHK_QUANT_PLACE(b * 32), LHK_QUANT_MAX_DIM, &out->sums[r][b]);
        }
    }
}

/// Scores of one tile: 32 per row. Parameters and codes as in the layout, all blocks of channels.
LHK_ALWAYS_INLINE void LHK_NAME(tile)(const int bits, const int rows, const lhk_quant_layout *l, const uint16_t *parameters,
                                      const uint8_t *codes, const LHK_NAME(queries) * q, float *out, int64_t ldo) {
    lhk_quant_floats sum[LHK_QUANT_ROWS][2] = {0};
    for (int64_t b = 0; b < l->k_blocks; b++) {
        lhk_quant_ints acc[LHK_QUANT_ROWS][2];
        LHK_UNROLL
        for (int r = 0; r < rows; r++)
            acc[r][0] = acc[r][1] = (lhk_quant_ints){0} + LHK_NAME(bias)(bits, q->sums[r][b]);
        LHK_NAME(dot)(bits, LHK_QUANT_KEY_PLANES(bits), rows, codes, LHK_QUANT_KEY_STEPS, q->w[0] + LHK_QUANT_PLACE(b * 32),
                      2 * LHK_QUANT_MAX_DIM, LHK_QUANT_MAX_DIM, acc);
        LHK_UNROLL
        for (int u = 0; u < 2; u++) {
            lhk_quant_floats scale, minimum;
            LHK_NAME(halves)(parameters + 16 * u, &scale);
            if (bits == 4) LHK_NAME(halves)(parameters + LHK_QUANT_TILE + 16 * u, &minimum);
            LHK_UNROLL
            for (int r = 0; r < rows; r++) {
                lhk_quant_floats dots = scale * __builtin_convertvector(acc[r][u], lhk_quant_floats);
                if (bits == 4) dots += minimum * (float)q->sums[r][b];
                sum[r][u] += dots * q->factors[r][b];
            }
        }
        parameters += l->parameters * LHK_QUANT_TILE;
        codes += LHK_QUANT_KEY_STEPS * 16 * bits;
    }
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
        LHK_UNROLL
        for (int u = 0; u < 2; u++) {
            memcpy(out + r * ldo + 16 * u, &sum[r][u], sizeof sum[r][u]);
        }
    }
}

/// Copies the parameters and codes of one token, kept in `column` of a tile, into column x of a gathered tile.
static void LHK_NAME(gather_key)(const lhk_quant_layout *l, const uint16_t *parameters, const uint8_t *codes, int64_t column,
                                 uint16_t *to_parameters, uint8_t *to_codes, int64_t x) {
    for (int64_t p = 0; p < l->k_blocks * l->parameters; p++)
        to_parameters[p * LHK_QUANT_TILE + x] = parameters[p * LHK_QUANT_TILE + column];
    for (int64_t s = 0; s < l->k_blocks * LHK_QUANT_KEY_STEPS; s++) {
        const uint8_t *from = codes + s * (int64_t)l->row;
        uint8_t *to = to_codes + s * (int64_t)l->row;
        if (l->bits == 8) {
            memcpy(to + x * 4, from + column * 4, 4);
        } else {
            uint32_t word, kept;
            memcpy(&word, from + column % 16 * 4, 4);
            memcpy(&kept, to + x % 16 * 4, 4);
            word = word >> (column / 16 * 4) & 0x0f0f0f0fu;
            kept = x < 16 ? word : kept | word << 4;  // x rises: the low nibble comes first
            memcpy(to + x % 16 * 4, &kept, 4);
        }
    }
}

/// A tile of tokens: in place, or gathered from a list of them.
typedef struct LHK_NAME(gathered) {
    uint16_t parameters[LHK_QUANT_MAX_BLOCKS * 2 * LHK_QUANT_TILE];
    uint8_t codes[LHK_QUANT_MAX_BLOCKS * LHK_QUANT_KEY_STEPS * 128];
} LHK_NAME(gathered);

LHK_ALWAYS_INLINE void LHK_NAME(score_rows)(const int bits, const int rows, const lhk_instance *store,
                                            const lhk_quant_layout *l, uint32_t head, const LHK_NAME(queries) * q,
                                            const lhk_keys *keys, float *scores, int64_t lds) {
    LHK_NAME(gathered) list;
    float some[LHK_QUANT_ROWS][LHK_QUANT_TILE];
    for (int64_t j = 0; j < keys->count;) {
        const uint16_t *parameters = list.parameters;
        const uint8_t *codes = list.codes;
        int64_t skip = 0, n = lhk_min(LHK_QUANT_TILE, keys->count - j);
        if (keys->tokens) {
            for (int64_t x = 0; x < n; x++) {
                int64_t token = keys->tokens[j + x], t = token % LHK_QUANT_TOKENS, tile = t / LHK_QUANT_TILE;
                uint8_t *block = lhk_quant_block(store, l, token, head);
                LHK_NAME(gather_key)(l, lhk_quant_key_parameters(l, block, tile, 0), lhk_quant_key_codes(l, block, tile, 0),
                                     t % LHK_QUANT_TILE, list.parameters, list.codes, x);
            }
        } else {
            int64_t token = keys->begin + j, tile = token % LHK_QUANT_TOKENS / LHK_QUANT_TILE;
            uint8_t *block = lhk_quant_block(store, l, token, head);
            parameters = lhk_quant_key_parameters(l, block, tile, 0);
            codes = lhk_quant_key_codes(l, block, tile, 0);
            skip = token % LHK_QUANT_TILE;
            n = lhk_min(n, LHK_QUANT_TILE - skip);
        }
        bool whole = n == LHK_QUANT_TILE;
        LHK_NAME(tile)(bits, rows, l, parameters, codes, q, whole ? scores + j : some[0], whole ? lds : LHK_QUANT_TILE);
        for (int r = 0; r < rows && !whole; r++)
            memcpy(scores + r * lds + j, some[r] + skip, (size_t)n * sizeof(float));
        j += n;
    }
}

#define LHK_QUANT_CASE(BITS, R, CALL) case (BITS) * 8 + (R): CALL(BITS, R); break;
#define LHK_QUANT_CASES(CALL)                                                                                        \
    LHK_QUANT_CASE(8, 1, CALL) LHK_QUANT_CASE(8, 2, CALL) LHK_QUANT_CASE(8, 3, CALL) LHK_QUANT_CASE(8, 4, CALL) \
    LHK_QUANT_CASE(4, 1, CALL) LHK_QUANT_CASE(4, 2, CALL) LHK_QUANT_CASE(4, 3, CALL) LHK_QUANT_CASE(4, 4, CALL)

void LHK_NAME(score)(const lhk_instance *store, uint32_t head, const float *q, int64_t ldq, int32_t rows,
                     const lhk_keys *keys, float *scores, int64_t lds) {
    lhk_quant_layout l = lhk_quant_layout_for(store);
    LHK_NAME(queries) queries;
    for (int32_t r = 0, n; r < rows; r += n) {
        n = (int32_t)lhk_min(LHK_QUANT_ROWS, rows - r);
        if (l.bits == 8) LHK_NAME(take_queries)(8, lhk_quant(store), &l, q + r * ldq, ldq, n, &queries);
        else LHK_NAME(take_queries)(4, lhk_quant(store), &l, q + r * ldq, ldq, n, &queries);
#define LHK_QUANT_CALL(BITS, R) LHK_NAME(score_rows)(BITS, R, store, &l, head, &queries, keys, scores + r * lds, lds)
        switch (l.bits * 8 + (uint32_t)n) { LHK_QUANT_CASES(LHK_QUANT_CALL) }
#undef LHK_QUANT_CALL
    }
}

// ---- sums of values ----

/// A segment: up to 256 tokens whose values lie in one block, or were gathered into one.
typedef struct LHK_NAME(segment) {
    int64_t from, to;  ///< steps of 4 tokens [from, to)
    float p[LHK_QUANT_ROWS][LHK_QUANT_TOKENS];  ///< probabilities, 0 where [from, to) rounded out to 32 tokens has no token
} LHK_NAME(segment);

/// out[r][32 channels] += sum of p * value over the segment, for one block of channels of which n exist.
LHK_ALWAYS_INLINE void LHK_NAME(sum_block)(const int bits, const int rows, const uint16_t *parameters, const uint8_t *codes,
                                           const LHK_NAME(segment) * s, float *out, int64_t ldo, int64_t n) {
    uint8_t w[LHK_QUANT_ROWS][2 * LHK_QUANT_TOKENS];
    float scales[LHK_QUANT_TOKENS], minima[LHK_QUANT_TOKENS], x[LHK_QUANT_TOKENS], factor[LHK_QUANT_ROWS];
    float offset[LHK_QUANT_ROWS];
    lhk_quant_ints acc[LHK_QUANT_ROWS][2];
    int64_t low = s->from * 4 & ~(int64_t)31, high = lhk_round_up(s->to * 4, 32);
    for (int64_t t = low; t < high; t += 16) {
        lhk_quant_floats half;
        LHK_NAME(halves)(parameters + t, &half);
        memcpy(scales + t, &half, sizeof half);
        if (bits == 8) continue;
        LHK_NAME(halves)(parameters + LHK_QUANT_TOKENS + t, &half);
        memcpy(minima + t, &half, sizeof half);
    }
    for (int r = 0; r < rows; r++) {
        int32_t sum;
        lhk_quant_floats sums = {0};
        uint32_t largest = LHK_NAME(spread)(s->p[r] + low, scales + low, x, high - low);
        factor[r] = LHK_NAME(weigh)(x, high - low, largest, 2, w[r] + LHK_QUANT_PLACE(low), LHK_QUANT_TOKENS, &sum);
        acc[r][0] = acc[r][1] = (lhk_quant_ints){0} + LHK_NAME(bias)(bits, sum);
        for (int64_t t = low; bits == 4 && t < high; t += 16) {
            lhk_quant_floats p, minimum;
            memcpy(&p, s->p[r] + t, sizeof p);
            memcpy(&minimum, minima + t, sizeof minimum);
            sums += p * minimum;
        }
        offset[r] = 0;
        for (int i = 0; bits == 4 && i < 16; i++) offset[r] += sums[i];
    }
    LHK_NAME(dot)(bits, 2, rows, codes + s->from * 16 * bits, s->to - s->from, w[0] + LHK_QUANT_PLACE(s->from * 4),
                  2 * LHK_QUANT_TOKENS, LHK_QUANT_TOKENS, acc);
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
        LHK_UNROLL
        for (int u = 0; u < 2; u++) {
            lhk_quant_floats add = __builtin_convertvector(acc[r][u], lhk_quant_floats) * factor[r] + offset[r], sum;
            float *at = out + r * ldo + 16 * u;
            if (n >= 16 * (u + 1)) {
                memcpy(&sum, at, sizeof sum);
                sum += add;
                memcpy(at, &sum, sizeof sum);
            } else {
                for (int64_t c = 16 * u; c < n; c++) at[c % 16] += add[c % 16];
            }
        }
    }
}

/// Copies the value of one token in a block of channels, kept as token t, to token x of a gathered block.
static void LHK_NAME(gather_value)(const lhk_quant_layout *l, const uint16_t *parameters, const uint8_t *codes, int64_t t,
                                   uint16_t *to_parameters, uint8_t *to_codes, int64_t x) {
    for (uint32_t p = 0; p < l->parameters; p++)
        to_parameters[p * LHK_QUANT_TOKENS + x] = parameters[p * LHK_QUANT_TOKENS + t];
    const uint8_t *from = codes + t / 4 * (int64_t)l->row;
    uint8_t *to = to_codes + x / 4 * (int64_t)l->row;
    for (uint64_t c = 0; c < l->row; c += 4) {
        uint32_t word, kept = 0;
        memcpy(&word, from + c, 4);
        if (x % 4) memcpy(&kept, to + c, 4);
        kept |= (word >> (t % 4 * 8) & 255u) << (x % 4 * 8);
        memcpy(to + c, &kept, 4);
    }
}

LHK_ALWAYS_INLINE void LHK_NAME(sum_rows)(const int bits, const int rows, const lhk_instance *store,
                                          const lhk_quant_layout *l, uint32_t head, const float *p, int64_t ldp,
                                          const lhk_keys *keys, float *out, int64_t ldo) {
    LHK_NAME(segment) s;
    uint16_t list_parameters[2 * LHK_QUANT_TOKENS];
    uint8_t list_codes[LHK_QUANT_VALUE_STEPS * 128];
    int64_t dim = lhk_quant(store)->dim_v;
    for (int64_t j = 0; j < keys->count;) {
        int64_t skip = keys->tokens ? 0 : (keys->begin + j) % LHK_QUANT_TOKENS;
        int64_t n = lhk_min(keys->count - j, LHK_QUANT_TOKENS - skip);
        s.from = skip / 4;
        s.to = (skip + n + 3) / 4;
        int64_t low = skip & ~(int64_t)31, high = lhk_round_up(skip + n, 32);
        for (int r = 0; r < rows; r++) {
            memset(s.p[r] + low, 0, (size_t)(skip - low) * sizeof(float));
            memcpy(s.p[r] + skip, p + r * ldp + j, (size_t)n * sizeof(float));
            memset(s.p[r] + skip + n, 0, (size_t)(high - skip - n) * sizeof(float));
        }
        for (int64_t b = 0; b < l->v_blocks; b++) {
            const uint16_t *parameters = list_parameters;
            const uint8_t *codes = list_codes;
            if (keys->tokens) {
                for (int64_t x = 0; x < n; x++) {
                    uint8_t *block = lhk_quant_block(store, l, keys->tokens[j + x], head);
                    LHK_NAME(gather_value)(l, lhk_quant_value_parameters(l, block, b), lhk_quant_value_codes(l, block, b),
                                           keys->tokens[j + x] % LHK_QUANT_TOKENS, list_parameters, list_codes, x);
                }
                for (uint32_t i = 0; i < l->parameters; i++)
                    memset(list_parameters + i * LHK_QUANT_TOKENS + n, 0, (size_t)(lhk_round_up(n, 32) - n) * 2);
            } else {
                uint8_t *block = lhk_quant_block(store, l, keys->begin + j, head);
                parameters = lhk_quant_value_parameters(l, block, b);
                codes = lhk_quant_value_codes(l, block, b);
            }
            LHK_NAME(sum_block)(bits, rows, parameters, codes, &s, out + b * 32, ldo, lhk_min(32, dim - b * 32));
        }
        j += n;
    }
}

void LHK_NAME(accumulate)(const lhk_instance *store, uint32_t head, const float *p, int64_t ldp, int32_t rows,
                          const lhk_keys *keys, float *out, int64_t ldo) {
    lhk_quant_layout l = lhk_quant_layout_for(store);
    for (int32_t r = 0, n; r < rows; r += n) {
        n = (int32_t)lhk_min(LHK_QUANT_ROWS, rows - r);
#define LHK_QUANT_CALL(BITS, R) LHK_NAME(sum_rows)(BITS, R, store, &l, head, p + r * ldp, ldp, keys, out + r * ldo, ldo)
        switch (l.bits * 8 + (uint32_t)n) { LHK_QUANT_CASES(LHK_QUANT_CALL) }
#undef LHK_QUANT_CALL
    }
}
