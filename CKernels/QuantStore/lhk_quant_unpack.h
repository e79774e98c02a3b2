// SPDX-License-Identifier: Apache-2.0
/// Unpacking into dense panels, 16 tokens at a time: included by every ISA file after lhk_quant_body.h.

#ifdef LHK_QUANT_PLAIN_PAIRS
/// 32 bf16, a[0] b[0] a[1] b[1] ..., rounded to nearest even. NaN here is the quiet one that an f16 scale of NaN gives.
LHK_ALWAYS_INLINE void LHK_NAME(pair)(const lhk_quant_floats *a, const lhk_quant_floats *b, uint8_t *to) {
    lhk_quant_ints x = (lhk_quant_ints)*a, y = (lhk_quant_ints)*b;
    x += 0x7fff + (x >> 16 & 1);
    y += 0x7fff + (y >> 16 & 1);
    x = (x >> 16 & 0xffff) | (y & ~0xffff);
    memcpy(to, &x, sizeof x);
}
#endif

/// Codes of place i of a step, as numbers less their offset: columns 16u to 16u + 15.
LHK_ALWAYS_INLINE void LHK_NAME(expand)(const int bits, const uint8_t *step, int64_t u, const int i, lhk_quant_floats *out) {
    lhk_quant_ints x;
    memcpy(&x, step + (bits == 8 ? 64 * u : 0), sizeof x);
    x = bits == 8 ? (x >> (8 * i) & 255) - LHK_QUANT_ZERO : x >> (8 * i + 4 * (int)u) & 15;
    *out = __builtin_convertvector(x, lhk_quant_floats);
}

/// x [channels][16 tokens] = inverse of the rotation: butterflies between whole vectors, in the order of `unrotate`.
static void LHK_NAME(unrotate16)(float *x, int64_t channels) {
    for (int64_t done = 0, n; done < channels; done += n) {
        n = lhk_hadamard_block(channels - done);
        lhk_quant_floats *v = (lhk_quant_floats *)(void *)(x + done * 16);
        for (int64_t stride = 1; stride < n; stride *= 2)
            for (int64_t i = 0; i < n; i++) {
                if (i & stride) continue;
                lhk_quant_floats sum = v[i] + v[i + stride];
                v[i + stride] = v[i] - v[i + stride];
                v[i] = sum;
            }
        float factor = 1 / sqrtf((float)n);
        for (int64_t i = 0; i < n; i++) {
            int64_t c = done + i;
            v[i] *= lhk_hadamard_signs[c / 32] >> (c % 32) & 1 ? -factor : factor;
        }
    }
}

/// Sixteen keys, columns 16u on of a tile, to the panel tile at `to`.
LHK_ALWAYS_INLINE void LHK_NAME(keys16)(const int bits, const lhk_quant_state *state, const lhk_quant_layout *l,
                                        const uint16_t *parameters, const uint8_t *codes, int64_t u, const lhk_panels *p,
                                        uint8_t *to) {
    _Alignas(64) float x[LHK_QUANT_MAX_DIM * 16];
    for (int64_t b = 0; b < l->k_blocks; b++, parameters += l->parameters * LHK_QUANT_TILE) {
        lhk_quant_floats scale, minimum = {0};
        LHK_NAME(halves)(parameters + 16 * u, &scale);
        if (bits == 4) LHK_NAME(halves)(parameters + LHK_QUANT_TILE + 16 * u, &minimum);
        float *at = x + b * 32 * 16;
        for (int s = 0; s < LHK_QUANT_KEY_STEPS; s++, codes += 16 * bits, at += 64) {
            LHK_UNROLL
            for (int i = 0; i < 4; i++) {
                lhk_quant_floats key;
                LHK_NAME(expand)(bits, codes, u, i, &key);
                key = bits == 4 ? minimum + scale * key : scale * key;
                memcpy(at + 16 * i, &key, sizeof key);
            }
        }
    }
    if (state->rotate) LHK_NAME(unrotate16)(x, (int64_t)l->k_blocks * LHK_QUANT_CHANNELS);
    if (p->padded_dim_k > state->dim_k)
        memset(x + state->dim_k * 16, 0, (p->padded_dim_k - state->dim_k) * 16 * sizeof(float));
    if (p->dtype == LHK_DTYPE_F32) {
        memcpy(to, x, p->padded_dim_k * 16 * sizeof(float));
        return;
    }
    for (int64_t c = 0; c < p->padded_dim_k; c += 2) {
        lhk_quant_floats a, b;
        memcpy(&a, x + c * 16, sizeof a);
        memcpy(&b, x + c * 16 + 16, sizeof b);
        LHK_NAME(pair)(&a, &b, to + c * 32);
    }
}

/// Sixteen values of one block of channels, whose codes and parameters are given from their first token on, to the rows of
/// a panel that begin at `to`, which is the row of the first token.
LHK_ALWAYS_INLINE void LHK_NAME(values16)(const int bits, const uint16_t *parameters, const uint8_t *codes, int64_t b,
                                          const lhk_panels *p, uint8_t *to) {
    lhk_quant_floats scale, minimum = {0};
    LHK_NAME(halves)(parameters, &scale);
    if (bits == 4) LHK_NAME(halves)(parameters + LHK_QUANT_TOKENS, &minimum);
    for (int64_t u = 0; u < 2 && b * 32 + 16 * u < p->padded_dim_v; u++)
        for (int t = 0; t < 16; t += 4) {
            lhk_quant_floats value[4];
            LHK_UNROLL
            for (int i = 0; i < 4; i++) {
                LHK_NAME(expand)(bits, codes + t * 4 * bits, u, i, &value[i]);
                value[i] = bits == 4 ? minimum[t + i] + scale[t + i] * value[i] : scale[t + i] * value[i];
            }
            int64_t c = b * 32 + 16 * u;
            for (int i = 0; i < 4; i += 2) {
                if (p->dtype == LHK_DTYPE_BF16) {
                    LHK_NAME(pair)(&value[i], &value[i + 1], to + (t + i) * (int64_t)p->padded_dim_v * 2 + c * 4);
                } else {
                    memcpy(to + ((t + i) * (int64_t)p->padded_dim_v + c) * 4, &value[i], sizeof value[i]);
                    memcpy(to + ((t + i + 1) * (int64_t)p->padded_dim_v + c) * 4, &value[i + 1], sizeof value[i + 1]);
                }
            }
        }
}

/// Tokens t0 to t0 + 15 of those asked for, or as many as there are: in place where they are 16 of a tile, else gathered.
LHK_ALWAYS_INLINE void LHK_NAME(unpack16)(const int bits, const lhk_instance *store, const lhk_quant_layout *l, uint32_t head,
                                          const lhk_keys *keys, int64_t t0, const lhk_panels *p, uint8_t *to) {
    LHK_NAME(gathered) list;
    uint16_t value_parameters[2 * LHK_QUANT_TOKENS];
    uint8_t value_codes[4 * 128], *block = NULL;
    const lhk_quant_state *state = lhk_quant(store);
    int64_t n = lhk_min(16, keys->count - t0), first = keys->begin + t0, t = first % LHK_QUANT_TOKENS;
    bool gather = keys->tokens || first % 16;
    uint8_t *key_rows = to + t0 * p->padded_dim_k * (int64_t)lhk_dtype_size(p->dtype);
    uint8_t *value_rows = to + p->value_offset + t0 * p->padded_dim_v * (uint64_t)lhk_dtype_size(p->dtype);
    for (int64_t x = 0; x < n && gather; x++) {
        int64_t token = keys->tokens ? keys->tokens[t0 + x] : first + x, tile = token % LHK_QUANT_TOKENS / LHK_QUANT_TILE;
        block = lhk_quant_block(store, l, token, head);
        LHK_NAME(gather_key)(l, lhk_quant_key_parameters(l, block, tile, 0), lhk_quant_key_codes(l, block, tile, 0),
                             token % LHK_QUANT_TILE, list.parameters, list.codes, x);
    }
    if (!gather) block = lhk_quant_block(store, l, first, head);
    int64_t tile = gather ? 0 : t / LHK_QUANT_TILE, u = gather ? 0 : t % LHK_QUANT_TILE / 16;
    LHK_NAME(keys16)(bits, state, l, gather ? list.parameters : lhk_quant_key_parameters(l, block, tile, 0),
                     gather ? list.codes : lhk_quant_key_codes(l, block, tile, 0), u, p, key_rows);
    for (int64_t b = 0; b < l->v_blocks; b++) {
        for (int64_t x = 0; x < n && gather; x++) {
            int64_t token = keys->tokens ? keys->tokens[t0 + x] : first + x;
            block = lhk_quant_block(store, l, token, head);
            LHK_NAME(gather_value)(l, lhk_quant_value_parameters(l, block, b), lhk_quant_value_codes(l, block, b),
                                   token % LHK_QUANT_TOKENS, value_parameters, value_codes, x);
        }
        LHK_NAME(values16)(bits, gather ? value_parameters : lhk_quant_value_parameters(l, block, b) + t,
                           gather ? value_codes : lhk_quant_value_codes(l, block, b) + t / 4 * 16 * bits, b, p, value_rows);
    }
}

uint32_t LHK_NAME(unpack)(const lhk_instance *store, uint32_t head, const lhk_keys *keys, const lhk_panels *panels,
                          uint8_t *block) {
    const lhk_quant_state *state = lhk_quant(store);
    lhk_quant_layout l = lhk_quant_layout_for(store);
    for (int64_t t = 0; t < keys->count; t += 16) {
        if (l.bits == 8) LHK_NAME(unpack16)(8, store, &l, head, keys, t, panels, block);
        else LHK_NAME(unpack16)(4, store, &l, head, keys, t, panels, block);
    }
    int64_t size = (int64_t)lhk_dtype_size(panels->dtype);
    for (int64_t t = 0; t < keys->count && state->dim_v < panels->padded_dim_v; t++)
        for (int64_t c = state->dim_v; c < panels->padded_dim_v; c++)
            memset(block + panels->value_offset + lhk_panel_value_index(panels, t, c) * size, 0, (size_t)size);
    lhk_panel_pack_values(panels, block, keys->count, 0, NULL, 0, panels->dtype, 0);  // clears the rest of its group
    return atomic_load_explicit(&state->values_nonfinite, memory_order_relaxed);
}
