// SPDX-License-Identifier: Apache-2.0
/// Sums of values, in place or gathered, times probabilities. Included by lhk_quant_body.h.

/// A segment: up to 256 tokens whose values lie in one block, or were gathered into one.
typedef struct LHK_NAME(segment) {
    int64_t from, to;  ///< steps of 4 tokens [from, to)
    const float *p;    ///< probabilities, 0 where [from, to) rounded out to 32 tokens has no token
    int64_t ldp;
    float copy[LHK_QUANT_ROWS][LHK_QUANT_TOKENS];  ///< what p points to where that is not so of the caller's
} LHK_NAME(segment);

LHK_ALWAYS_INLINE float LHK_NAME(total)(const lhk_quant_floats *x) {
    float y[16];
    memcpy(y, x, sizeof y);
    for (int n = 8; n; n /= 2)
        for (int i = 0; i < n; i++) y[i] += y[i + n];
    return y[0];
}

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
#ifndef LHK_QUANT_PLAIN_WEIGHTS
    bool whole = high - low == LHK_QUANT_TOKENS && LHK_NAME(all_finite)(scales);
#endif
    for (int r = 0; r < rows; r++) {
        int32_t sum;
        lhk_quant_floats sums = {0};
        const float *weights = s->p + r * s->ldp;
#ifndef LHK_QUANT_PLAIN_WEIGHTS
        if (whole) {
            factor[r] = LHK_NAME(weigh_256)(weights, scales, w[r], LHK_QUANT_TOKENS, &sum);
        } else
#endif
        {
            uint32_t largest = LHK_NAME(spread)(weights + low, scales + low, x, high - low);
            factor[r] = LHK_NAME(weigh)(x, high - low, largest, 2, w[r] + LHK_QUANT_PLACE(low), LHK_QUANT_TOKENS, &sum);
        }
        acc[r][0] = acc[r][1] = (lhk_quant_ints){0} + LHK_NAME(bias)(bits, sum);
        for (int64_t t = low; bits == 4 && t < high; t += 16) {
            lhk_quant_floats p, minimum;
            memcpy(&p, weights + t, sizeof p);
            memcpy(&minimum, minima + t, sizeof minimum);
            sums += p * minimum;
        }
        offset[r] = bits == 4 ? LHK_NAME(total)(&sums) : 0;
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
        s.p = s.copy[0];
        s.ldp = LHK_QUANT_TOKENS;
        if (n == LHK_QUANT_TOKENS) {
            s.p = p + j;
            s.ldp = ldp;
        }
        for (int r = 0; r < rows && n < LHK_QUANT_TOKENS; r++) {
            memset(s.copy[r] + low, 0, (size_t)(skip - low) * sizeof(float));
            memcpy(s.copy[r] + skip, p + r * ldp + j, (size_t)n * sizeof(float));
            memset(s.copy[r] + skip + n, 0, (size_t)(high - skip - n) * sizeof(float));
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
