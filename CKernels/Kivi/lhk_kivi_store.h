// SPDX-License-Identifier: Apache-2.0
/// State and layout of the store, shared by the files of this family.
///
/// The state is a header, rows kept in 16 bit, and blocks of G = `group` tokens of codes. Codes come in runs of 32, of 4 * bits
/// bytes each: code i of a run lies in byte i % (4 * bits), from bit i / (4 * bits) * bits on.
///   exact rows   bf16 [sinks, then G + recent slots][kv_heads][head_dim_k, then head_dim_v]
///   a block, per KV head
///     key parameters    f16 [scale, minimum][head_dim_k]
///     value parameters  f16 [G tokens][head_dim_v / G, up][scale, minimum]
///     key codes         [head_dim_k][G / 32 runs of tokens]
///     value codes       [G tokens][head_dim_v / 32, up: runs of channels]
#ifndef LHK_KIVI_STORE_H
#define LHK_KIVI_STORE_H

#include <lhk/panel_pack.h>
#include <lhk/store_check.h>
#include <longhand/kivi.h>
#include <stdatomic.h>

#define LHK_KIVI_RUN 32         ///< codes packed together
#define LHK_KIVI_MAX_GROUP 128
#define LHK_KIVI_MAX_DIM 1024
#define LHK_KIVI_NAN 0x7e00u    ///< scale of a group that held an infinity or NaN, or numbers too large for f16

typedef struct lhk_kivi_state {
    const lhk_variant *variant;
    uint32_t kv_heads, dim_k, dim_v;
    uint16_t bits, group, sinks, recent;
    uint32_t fit;        ///< scales and minima are fitted to the codes
    _Atomic uint32_t values_nonfinite;
    int64_t capacity, length;
    int64_t encoded;     ///< tokens [sinks, encoded) are codes; the others are exact rows
} lhk_kivi_state;

#define LHK_KIVI_HEADER 64u
_Static_assert(sizeof(lhk_kivi_state) <= LHK_KIVI_HEADER, "header fits before the rows");

/// Sizes, and offsets in bytes: of the state, of a block and of a head within a block.
typedef struct lhk_kivi_layout {
    uint32_t bits, group, run_bytes, kv_heads, dim_k, dim_v;
    uint32_t key_runs;      ///< of a channel: G / 32
    uint32_t value_runs;    ///< of a token
    uint32_t value_groups;  ///< of a token
    uint64_t slots, exact_row, blocks;
    uint64_t value_parameters, key_codes, value_codes, head_stride, block_stride;
} lhk_kivi_layout;

static inline const lhk_kivi_state *lhk_kivi(const lhk_instance *store) { return (const lhk_kivi_state *)store; }

static inline lhk_kivi_layout lhk_kivi_layout_of(const lhk_kivi_state *s) {
    lhk_kivi_layout l = {.bits = s->bits, .group = s->group, .run_bytes = 4u * s->bits, .kv_heads = s->kv_heads,
                         .dim_k = s->dim_k, .dim_v = s->dim_v, .key_runs = s->group / LHK_KIVI_RUN,
                         .slots = (uint64_t)s->group + s->recent};
    l.value_runs = (s->dim_v + LHK_KIVI_RUN - 1) / LHK_KIVI_RUN;
    l.value_groups = (s->dim_v + s->group - 1) / s->group;
    l.value_parameters = 4 * (uint64_t)l.dim_k;
    l.key_codes = l.value_parameters + 4 * (uint64_t)l.group * l.value_groups;
    l.value_codes = l.key_codes + (uint64_t)l.dim_k * l.key_runs * l.run_bytes;
    l.head_stride = l.value_codes + (uint64_t)l.group * l.value_runs * l.run_bytes;
    l.block_stride = l.head_stride * l.kv_heads;
    l.exact_row = 2 * (uint64_t)l.kv_heads * (l.dim_k + l.dim_v);
    const uint64_t exact = (s->sinks + l.slots) * l.exact_row;
    l.blocks = LHK_KIVI_HEADER + (exact + LHK_ALIGNMENT - 1) / LHK_ALIGNMENT * LHK_ALIGNMENT;
    return l;
}

/// Whether a token that is held is an exact row, and not codes.
static inline bool lhk_kivi_is_exact(const lhk_kivi_state *s, int64_t token) {
    return token < s->sinks || token >= s->encoded;
}

/// The exact row of a token and head: its key, then its value.
static inline uint16_t *lhk_kivi_exact(const lhk_instance *store, const lhk_kivi_layout *l, int64_t token, uint32_t head) {
    const lhk_kivi_state *s = lhk_kivi(store);
    const uint64_t slot = token < s->sinks ? (uint64_t)token : s->sinks + (uint64_t)token % l->slots;
    uint8_t *row = (uint8_t *)store + LHK_KIVI_HEADER + slot * l->exact_row;
    return (uint16_t *)(void *)row + (uint64_t)head * (l->dim_k + l->dim_v);
}

/// The block that holds `token`, of one head: its scales of keys, then what the layout says.
static inline uint8_t *lhk_kivi_block(const lhk_instance *store, const lhk_kivi_layout *l, int64_t token, uint32_t head) {
    return (uint8_t *)store + l->blocks + (uint64_t)(token / l->group) * l->block_stride + head * l->head_stride;
}
static inline uint16_t *lhk_kivi_key_parameters(uint8_t *block) { return (uint16_t *)(void *)block; }
/// Of token t of the block, [groups][scale, minimum].
static inline uint16_t *lhk_kivi_value_parameters(const lhk_kivi_layout *l, uint8_t *block, int64_t t) {
    return (uint16_t *)(void *)(block + l->value_parameters) + t * l->value_groups * 2;
}
/// Run of 32 tokens of a channel.
static inline uint8_t *lhk_kivi_key_run(const lhk_kivi_layout *l, uint8_t *block, int64_t channel, int64_t run) {
    return block + l->key_codes + (uint64_t)(channel * l->key_runs + run) * l->run_bytes;
}
/// Run of 32 channels of token t of the block.
static inline uint8_t *lhk_kivi_value_run(const lhk_kivi_layout *l, uint8_t *block, int64_t t, int64_t run) {
    return block + l->value_codes + (uint64_t)(t * l->value_runs + run) * l->run_bytes;
}

/// Code i of a run.
static inline uint32_t lhk_kivi_code(const uint8_t *run, uint32_t bits, int64_t i) {
    const int64_t bytes = 4 * (int64_t)bits;
    return (uint32_t)run[i % bytes] >> (i / bytes * bits) & ((1u << bits) - 1);
}

/// Decodes a run: minimum + scale * code.
static inline void lhk_kivi_decode_run(const uint8_t *run, uint32_t bits, float scale, float minimum, float *out) {
    if (bits == 2) {
        for (int plane = 0; plane < 4; plane++)
            for (int i = 0; i < 8; i++) out[8 * plane + i] = minimum + scale * (float)(run[i] >> (2 * plane) & 3);
    } else {
        for (int plane = 0; plane < 8; plane++)
            for (int i = 0; i < 4; i++) out[4 * plane + i] = minimum + scale * (float)(run[i] >> plane & 1);
    }
}

/// Encodes n numbers (1 to 128) as n codes and their parameters, scale and minimum. False, with parameters that decode to
/// NaN, when one is not finite or they are too large.
bool lhk_kivi_encode(uint32_t bits, bool fit, const float *x, int64_t n, uint8_t *codes, uint16_t *parameters);
/// Packs 32 codes as a run.
void lhk_kivi_pack_run(uint32_t bits, const uint8_t *codes, uint8_t *run);

/// Keys of tokens [token, token + 32), which are one run, and channels [first, first + count), as columns [channel][32]; of
/// tokens that are codes.
void lhk_kivi_key_columns(const lhk_instance *store, const lhk_kivi_layout *l, uint32_t head, int64_t token, int64_t first,
                          int64_t count, float (*out)[LHK_KIVI_RUN]);

extern const lhk_life_ops lhk_kivi_life_ops;

lhk_status lhk_kivi_append(lhk_instance *store, const lhk_host *host, const lhk_tensor *k, const lhk_tensor *v,
                           lhk_error *error);
int64_t lhk_kivi_length(const lhk_instance *store);
void lhk_kivi_bytes(const lhk_instance *store, lhk_store_bytes *out);
lhk_status lhk_kivi_read_rows(const lhk_instance *store, uint32_t head, int64_t begin, int64_t count, float *k, float *v,
                              lhk_error *error);
void lhk_kivi_score(const lhk_instance *store, uint32_t head, const float *q, int64_t ldq, int32_t rows, const lhk_keys *keys,
                    float *scores, int64_t lds);
void lhk_kivi_accumulate(const lhk_instance *store, uint32_t head, const float *p, int64_t ldp, int32_t rows,
                         const lhk_keys *keys, float *out, int64_t ldo);
uint32_t lhk_kivi_unpack(const lhk_instance *store, uint32_t head, const lhk_keys *keys, const lhk_panels *panels,
                         uint8_t *block);

#endif
