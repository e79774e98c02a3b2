// SPDX-License-Identifier: Apache-2.0
/// State and layout of a quantised store, shared by the files of this family.
///
/// The state is a header and then blocks of 256 tokens, [block][kv_head]; so the tokens in use are one contiguous prefix.
/// One head of a block, with B = blocks of 32 channels, R = 128 bytes of codes (q8) or 64 (q4):
///   key parameters    [256/32 tiles][B][1 or 2][32 tokens]  f16: scales and, for q4, minima
///   value parameters  [B][1 or 2][256 tokens]               f16
///   key codes         [256/32 tiles][B][8 steps][R]         a step: 4 channels of 32 tokens
///   value codes       [B][64 steps][R]                      a step: 4 tokens of 32 channels
/// So both products are one: 32 columns times 4 codes that meet 4 weights, for a number of steps. Within a step, column x
/// and place i, q8 keeps byte x*4 + i; q4 byte (x%16)*4 + i, low nibble for x < 16, high nibble for the others.
#ifndef LHK_QUANT_STORE_H
#define LHK_QUANT_STORE_H

#include <lhk/panel_pack.h>
#include <lhk/store_check.h>
#include <stdatomic.h>

#define LHK_QUANT_CHANNELS 32u   ///< per block of channels
#define LHK_QUANT_TILE 32        ///< tokens per key tile
#define LHK_QUANT_TOKENS 256     ///< per block of tokens
#define LHK_QUANT_MAX_DIM 1024u
#define LHK_QUANT_MAX_BLOCKS (LHK_QUANT_MAX_DIM / LHK_QUANT_CHANNELS)
#define LHK_QUANT_KEY_STEPS 8    ///< of a tile and block of channels
#define LHK_QUANT_VALUE_STEPS 64  ///< of a block of tokens and channels
#define LHK_QUANT_ZERO 128       ///< code of 0 in q8
#define LHK_QUANT_NAN 0x7e00u    ///< scale of a block of channels that held an infinity or NaN

typedef struct lhk_quant_state {
    const lhk_variant *variant;
    uint32_t kv_heads, dim_k, dim_v;
    uint16_t bits;    ///< 8 or 4
    uint16_t rotate;  ///< keys are kept rotated, queries are rotated in `score`
    _Atomic uint32_t values_nonfinite;
    int64_t capacity, length;
} lhk_quant_state;

#define LHK_QUANT_HEADER 64u
_Static_assert(sizeof(lhk_quant_state) <= LHK_QUANT_HEADER, "header fits before the first block");

/// What a method's variants share: the width of its codes.
typedef struct lhk_quant_variant {
    uint16_t bits;
    double speed;  ///< codes per nanosecond of one worker, estimated; only ratios matter
} lhk_quant_variant;

typedef struct lhk_quant_layout {
    uint32_t bits, parameters;     ///< 1 for q8 (scale), 2 for q4 (scale, minimum)
    uint32_t k_blocks, v_blocks;   ///< blocks of 32 channels
    uint64_t row;                  ///< bytes of a step
    uint64_t value_parameters, key_codes, value_codes;  ///< offsets from the head's start, where key parameters lie
    uint64_t head_stride, block_stride;
} lhk_quant_layout;

static inline const lhk_quant_state *lhk_quant(const lhk_instance *store) { return (const lhk_quant_state *)store; }

static inline lhk_quant_layout lhk_quant_layout_of(uint32_t bits, uint32_t kv_heads, uint32_t dim_k, uint32_t dim_v) {
    lhk_quant_layout l = {.bits = bits, .parameters = bits == 8 ? 1 : 2, .row = 16 * bits};
    l.k_blocks = (dim_k + LHK_QUANT_CHANNELS - 1) / LHK_QUANT_CHANNELS;
    l.v_blocks = (dim_v + LHK_QUANT_CHANNELS - 1) / LHK_QUANT_CHANNELS;
    l.value_parameters = (uint64_t)l.k_blocks * l.parameters * LHK_QUANT_TOKENS * 2;
    l.key_codes = l.value_parameters + (uint64_t)l.v_blocks * l.parameters * LHK_QUANT_TOKENS * 2;
    l.value_codes = l.key_codes + l.k_blocks * (LHK_QUANT_TOKENS / LHK_QUANT_TILE) * LHK_QUANT_KEY_STEPS * l.row;
    l.head_stride = l.value_codes + l.v_blocks * LHK_QUANT_VALUE_STEPS * l.row;
    l.block_stride = l.head_stride * kv_heads;
    return l;
}

static inline lhk_quant_layout lhk_quant_layout_for(const lhk_instance *store) {
    const lhk_quant_state *s = lhk_quant(store);
    return lhk_quant_layout_of(s->bits, s->kv_heads, s->dim_k, s->dim_v);
}

/// Start of the block that holds `token`, of one head.
static inline uint8_t *lhk_quant_block(const lhk_instance *store, const lhk_quant_layout *l, int64_t token, uint32_t head) {
    return (uint8_t *)store + LHK_QUANT_HEADER + (uint64_t)(token / LHK_QUANT_TOKENS) * l->block_stride +
           head * l->head_stride;
}

// ---- places within a head of a block; t is the token within the block, b a block of channels ----

/// Parameters of key tile `tile`: [parameters][32 tokens].
static inline uint16_t *lhk_quant_key_parameters(const lhk_quant_layout *l, uint8_t *block, int64_t tile, int64_t b) {
    return (uint16_t *)block + (tile * l->k_blocks + b) * l->parameters * LHK_QUANT_TILE;
}
/// [parameters][256 tokens].
static inline uint16_t *lhk_quant_value_parameters(const lhk_quant_layout *l, uint8_t *block, int64_t b) {
    return (uint16_t *)(block + l->value_parameters) + b * l->parameters * LHK_QUANT_TOKENS;
}
static inline uint8_t *lhk_quant_key_codes(const lhk_quant_layout *l, uint8_t *block, int64_t tile, int64_t b) {
    return block + l->key_codes + (uint64_t)((tile * l->k_blocks + b) * LHK_QUANT_KEY_STEPS) * l->row;
}
static inline uint8_t *lhk_quant_value_codes(const lhk_quant_layout *l, uint8_t *block, int64_t b) {
    return block + l->value_codes + (uint64_t)(b * LHK_QUANT_VALUE_STEPS) * l->row;
}

/// The code of column x, place i of a step.
static inline uint32_t lhk_quant_get(const uint8_t *step, uint32_t bits, int64_t x, int64_t i) {
    return bits == 8 ? step[x * 4 + i] : step[x % 16 * 4 + i] >> (x / 16 * 4) & 15u;
}
static inline void lhk_quant_set(uint8_t *step, uint32_t bits, int64_t x, int64_t i, uint8_t code) {
    if (bits == 8) {
        step[x * 4 + i] = code;
    } else {
        uint8_t *at = &step[x % 16 * 4 + i];
        *at = (uint8_t)(x < 16 ? (*at & 0xf0) | code : (*at & 0x0f) | code << 4);
    }
}

/// A code's value: scale * (code - 128) for q8, minimum + scale * code for q4.
static inline float lhk_quant_value(uint32_t bits, float scale, float minimum, uint32_t code) {
    return bits == 8 ? scale * (float)((int32_t)code - LHK_QUANT_ZERO) : minimum + scale * (float)code;
}

/// Encodes n (1 to 32) channels into 32 codes and their parameters. True when all are finite and in range.
bool lhk_quant_encode(uint32_t bits, const float *x, int64_t n, uint8_t *codes, uint16_t *parameters);

extern const lhk_life_ops lhk_quant_life_ops;

// Operations that are the same for all variants; those that are not lie in the ISA files, lhk_quant_<isa>_*.
lhk_status lhk_quant_append(lhk_instance *store, const lhk_host *host, const lhk_tensor *k, const lhk_tensor *v,
                            lhk_error *error);
int64_t lhk_quant_length(const lhk_instance *store);
void lhk_quant_bytes(const lhk_instance *store, lhk_store_bytes *out);
lhk_status lhk_quant_read_rows(const lhk_instance *store, uint32_t head, int64_t begin, int64_t count, float *k, float *v,
                               lhk_error *error);

#endif
