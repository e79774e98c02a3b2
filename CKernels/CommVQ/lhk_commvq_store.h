// SPDX-License-Identifier: Apache-2.0
/// State and layout of the store, shared by the files of this family.
///
/// The state is a header, the tables of the layer, rows kept in 16 bit, and blocks of 64 tokens of codes.
/// Words: P = head_dim_k / 2 rotary pairs, R = bits * head_dim_k / 8 levels of 16 complex vectors, M = R / 8 stages,
/// N = bits * head_dim_v bits of a value. Planar channels: first members of all pairs, then second members.
///   key_table    i8  [kv_heads][M][P][8 levels][x, y][16]   a code's entry is worth 2^exponent[stage] * step[pair]
///   exact rows   bf16 [sinks, then 64 + recent slots][kv_heads][head_dim_k, then head_dim_v]   keys with positions
///   a block      f16 key scale [64], f16 value scale [64], then per KV head
///                key codes [R][64 tokens], a byte a | b << 4 at the token's place, and value bits
///                [16 quads of tokens][N/16][8 bytes], in which bit 4 * lane + i is bit `lane` of token i of the quad
/// With form=product (lhk_commvq_product.h) the tables are others, and a head's codes are, of keys and of values,
///                [bits * head_dim / 8][64 tokens], a byte the codes of levels 2i and 2i + 1 at the token's place
#ifndef LHK_COMMVQ_STORE_H
#define LHK_COMMVQ_STORE_H

#include <lhk/panel_pack.h>
#include <lhk/store_check.h>
#include <longhand/commvq.h>
#include <stdatomic.h>

#define LHK_COMMVQ_BLOCK 64       ///< tokens encoded together
#define LHK_COMMVQ_STAGE 8        ///< levels whose sum is kept within a byte
#define LHK_COMMVQ_MAX_DIM 256
#define LHK_COMMVQ_MAX_PAIRS (LHK_COMMVQ_MAX_DIM / 2)
#define LHK_COMMVQ_MAX_LEVELS (3 * LHK_COMMVQ_MAX_DIM / 8)  ///< bytes of codes of a token's key or value
#define LHK_COMMVQ_MAX_STAGES (2 * LHK_COMMVQ_MAX_DIM / 8 / LHK_COMMVQ_STAGE)
#define LHK_COMMVQ_MAX_BITS (2 * LHK_COMMVQ_MAX_DIM)
#define LHK_COMMVQ_TURNS 64       ///< blocks per entry of the table of far turns
#define LHK_COMMVQ_KEY_BIAS 64     ///< form=product: what tables of keys have too much; sums of a channel's tables are 1 to 127
#define LHK_COMMVQ_VALUE_BIAS 128  ///< the same of values; sums are 1 to 255
#define LHK_COMMVQ_NAN 0x7e00u    ///< scale of a token that held an infinity or NaN, or too large a norm

typedef struct lhk_commvq_state {
    const lhk_variant *variant;
    uint32_t kv_heads, dim_k, dim_v;
    uint16_t bits, sinks, recent;
    uint16_t product;    ///< form=product
    _Atomic uint32_t values_nonfinite;
    int64_t capacity, length;
    int64_t encoded;     ///< tokens [sinks, encoded) are codes; the others are exact rows
    uint64_t codebooks;  ///< a hash of the tables: codes mean nothing with others
} lhk_commvq_state;

#define LHK_COMMVQ_HEADER 128u
_Static_assert(sizeof(lhk_commvq_state) <= LHK_COMMVQ_HEADER, "header fits before the tables");

/// What finds the bits of a head's values, in this order in memory.
typedef struct lhk_commvq_value_tables {
    float *columns;  ///< [head_dim_v][N]: the rows, transposed
    float *white;    ///< [head_dim_v][N]: inverse of `lower` times the rows, transposed
    float *gram;     ///< [N][N]: products of rows
    float *lower;    ///< [N][N]: with zeros above its diagonal; times its transpose it is the Gram matrix and a ridge
    float *centre;   ///< [head_dim_v]: offset plus half of all rows
} lhk_commvq_value_tables;

static inline uint64_t lhk_commvq_search_floats(uint64_t bits, uint64_t dim) {
    return 2 * bits * dim + 2 * bits * bits + dim;
}

static inline lhk_commvq_value_tables lhk_commvq_value_tables_at(float *at, uint64_t bits, uint64_t dim) {
    lhk_commvq_value_tables t = {.columns = at};
    t.white = t.columns + bits * dim;
    t.gram = t.white + bits * dim;
    t.lower = t.gram + bits * bits;
    t.centre = t.lower + bits * bits;
    return t;
}

/// Orders the rows [bits][dim] and fills `out`.
void lhk_commvq_prepare_values(int64_t bits, int64_t dim, float *rows, const float *offset, lhk_commvq_value_tables *out);

/// form=product: levels of keys or of values. A unit, a rotary pair or an axis, has `members` channels: u, and units + u.
typedef struct lhk_commvq_side {
    uint32_t dim, units, members;
    uint32_t levels;   ///< nibbles of a token's code
    uint32_t entries;  ///< most tables, one per unit and level that it takes part in: units + levels
    uint64_t table;    ///< u8 [kv_heads][entries][members][16], those of a unit side by side; their sum is the channel's
                       ///< number of steps and a bias, 64 for keys, 128 for values
    uint64_t level;    ///< u16 [kv_heads][entries]: the level that a table is of
    uint64_t first;    ///< u16 [kv_heads][units + 1]: where a unit's tables begin; it has one or more
    uint64_t support;  ///< u16 [kv_heads][levels][8]: channels of a level, then 0xffff
    uint64_t vectors;  ///< f32 [kv_heads][levels][8][16]: what a code adds to these
    uint64_t norms;    ///< f32 [kv_heads][levels][16]: halves of the squared lengths of codes' vectors
} lhk_commvq_side;

/// Turns of a pair by the tokens of a block, times 127, for products with bytes (x, y) + LHK_COMMVQ_KEY_BIAS side by side.
typedef struct lhk_commvq_turn_bytes {
    int8_t x[LHK_COMMVQ_BLOCK][2], y[LHK_COMMVQ_BLOCK][2];            ///< (cos, -sin) and (sin, cos)
    int16_t x_bias[LHK_COMMVQ_BLOCK], y_bias[LHK_COMMVQ_BLOCK];       ///< what the bias adds to such products
} lhk_commvq_turn_bytes;

/// Sizes, and offsets from the state's start in bytes.
typedef struct lhk_commvq_layout {
    uint32_t kv_heads, dim_k, dim_v, pairs, levels, stages, value_bits, slots;
    uint64_t key_table;      ///< i8, see above
    uint64_t key_step;       ///< f32 [kv_heads][P]
    uint64_t key_weight;     ///< f32 [kv_heads][P]: codes are sought for pairs times these
    uint64_t key_exponent;   ///< i32 [kv_heads][M], not negative; the sum of 127 << exponent is within 15 bits
    uint64_t key_norm;       ///< f32 [kv_heads][R][16]: squared norms of the vectors
    uint64_t key_cross;      ///< f32 [kv_heads][R][16 a][16 b]: 2 Im of the Gram matrix conj(z_a) z_b
    uint64_t value_rows;     ///< f32 [kv_heads][N][head_dim_v], norms ascending
    uint64_t value_search;   ///< f32 [kv_heads]: lhk_commvq_value_tables
    uint64_t value_offset;   ///< f32 [kv_heads][head_dim_v]
    lhk_commvq_side key, value;  ///< form=product, as the next four; there value_rows are [kv_heads][head_dim_v][head_dim_v]
    uint64_t key_base;       ///< f32 [kv_heads][head_dim_k], planar, of weighted keys: what is there before levels
    uint64_t axes;           ///< f32 [kv_heads][head_dim_v][head_dim_v]: value_rows per step are these per unit of length
    uint64_t level_rows;     ///< f32 [kv_heads][levels][16][head_dim_v]: what codes of values add, in channels
    uint64_t axis_offset;    ///< f32 [kv_heads][head_dim_v]: value_offset along the axes
    uint64_t turn_bytes;     ///< form=product: lhk_commvq_turn_bytes [P], turn_token as bytes
    uint64_t turn_token;     ///< i16 [P][cos, sin][64 tokens of a block], times 2^14
    uint64_t turn_rows;      ///< f32 [64 tokens][cos, sin][P]: the same turns, by tokens
    uint64_t turn_block;     ///< f32 [64][cos, sin][P]: of block u's first token, u modulo 64
    uint64_t turn_far;       ///< f32 [capacity / 4096 + 1][cos, sin][P]: of the first token of 64 blocks
    uint64_t channels;       ///< u16 [head_dim_k]: the model's channel of a planar one
    uint64_t tables_end;     ///< of the tables
    uint64_t exact, exact_row;
    uint64_t blocks, block_stride, head_stride, head_values;
    uint64_t end;
} lhk_commvq_layout;

static inline const lhk_commvq_state *lhk_commvq(const lhk_instance *store) { return (const lhk_commvq_state *)store; }

static inline uint64_t lhk_commvq_take(uint64_t *at, uint64_t count, uint64_t size) {
    uint64_t begin = *at;
    *at += (count * size + LHK_ALIGNMENT - 1) / LHK_ALIGNMENT * LHK_ALIGNMENT;
    return begin;
}

static inline lhk_commvq_side lhk_commvq_take_side(uint64_t *at, uint64_t heads, uint32_t bits, uint32_t dim, uint32_t members) {
    lhk_commvq_side s = {.dim = dim, .units = dim / members, .members = members, .levels = bits * dim / 4};
    s.entries = s.units + s.levels;
    s.table = lhk_commvq_take(at, heads * s.entries * members, 16);
    s.level = lhk_commvq_take(at, heads * s.entries, 2);
    s.first = lhk_commvq_take(at, heads * (s.units + 1), 2);
    s.support = lhk_commvq_take(at, heads * s.levels * LHK_COMMVQ_PRODUCT_WIDTH, 2);
    s.vectors = lhk_commvq_take(at, heads * s.levels * LHK_COMMVQ_PRODUCT_WIDTH * 16, 4);
    s.norms = lhk_commvq_take(at, heads * s.levels * 16, 4);
    return s;
}

/// Dimensions are checked, so nothing overflows but the blocks of a capacity, which `sizes` checks.
static inline lhk_commvq_layout lhk_commvq_layout_of(const lhk_commvq_state *s) {
    lhk_commvq_layout l = {.kv_heads = s->kv_heads, .dim_k = s->dim_k, .dim_v = s->dim_v, .pairs = s->dim_k / 2,
                           .levels = s->bits * s->dim_k / 8, .value_bits = s->bits * s->dim_v,
                           .slots = LHK_COMMVQ_BLOCK + s->recent};
    l.stages = l.levels / LHK_COMMVQ_STAGE;
    const uint64_t heads = l.kv_heads, pairs = l.pairs, levels = l.levels, bits = l.value_bits, dv = l.dim_v;
    uint64_t at = LHK_COMMVQ_HEADER;
    l.key_step = lhk_commvq_take(&at, heads * pairs, 4);
    l.key_weight = lhk_commvq_take(&at, heads * pairs, 4);
    if (s->product) {
        l.key = lhk_commvq_take_side(&at, heads, s->bits, l.dim_k, 2);
        l.value = lhk_commvq_take_side(&at, heads, s->bits, l.dim_v, 1);
        l.key_base = lhk_commvq_take(&at, heads * l.dim_k, 4);
        l.axes = lhk_commvq_take(&at, heads * dv * dv, 4);
        l.level_rows = lhk_commvq_take(&at, heads * l.value.levels * 16 * dv, 4);
        l.axis_offset = lhk_commvq_take(&at, heads * dv, 4);
        l.value_rows = lhk_commvq_take(&at, heads * dv * dv, 4);
    } else {
        l.key_table = lhk_commvq_take(&at, heads * levels * pairs, 32);
        l.key_exponent = lhk_commvq_take(&at, heads * l.stages, 4);
        l.key_norm = lhk_commvq_take(&at, heads * levels * 16, 4);
        l.key_cross = lhk_commvq_take(&at, heads * levels * 256, 4);
        l.value_rows = lhk_commvq_take(&at, heads * bits * dv, 4);
        l.value_search = lhk_commvq_take(&at, heads * lhk_commvq_search_floats(l.value_bits, l.dim_v), 4);
    }
    l.value_offset = lhk_commvq_take(&at, heads * dv, 4);
    l.turn_token = lhk_commvq_take(&at, pairs * 2 * LHK_COMMVQ_BLOCK, 2);
    if (s->product) l.turn_bytes = lhk_commvq_take(&at, pairs, sizeof(lhk_commvq_turn_bytes));
    l.turn_rows = lhk_commvq_take(&at, LHK_COMMVQ_BLOCK * 2 * pairs, 4);
    l.turn_block = lhk_commvq_take(&at, LHK_COMMVQ_TURNS * 2 * pairs, 4);
    l.turn_far = lhk_commvq_take(&at, ((uint64_t)s->capacity / (LHK_COMMVQ_TURNS * LHK_COMMVQ_BLOCK) + 1) * 2 * pairs, 4);
    l.channels = lhk_commvq_take(&at, l.dim_k, 2);
    l.tables_end = at;
    l.exact_row = heads * (l.dim_k + l.dim_v) * 2;
    l.exact = lhk_commvq_take(&at, s->sinks + l.slots, l.exact_row);
    l.head_values = (uint64_t)l.levels * LHK_COMMVQ_BLOCK;
    l.head_stride = l.head_values + bits / 8 * LHK_COMMVQ_BLOCK;
    l.block_stride = 4 * LHK_COMMVQ_BLOCK + heads * l.head_stride;
    l.blocks = at;
    l.end = at + (uint64_t)(lhk_round_up(s->capacity, LHK_COMMVQ_BLOCK) / LHK_COMMVQ_BLOCK) * l.block_stride;
    return l;
}

static inline uint8_t *lhk_commvq_at(const lhk_instance *store, uint64_t offset) { return (uint8_t *)store + offset; }
static inline float *lhk_commvq_floats_at(const lhk_instance *store, uint64_t offset) {
    return (float *)(void *)lhk_commvq_at(store, offset);
}

/// Entries of a level (head * R + r) and the first pair, [x, y][16]; those of the next pair lie 8 levels further.
static inline int8_t *lhk_commvq_key_entries(const lhk_instance *store, const lhk_commvq_layout *l, uint64_t level) {
    const uint64_t stage = level / LHK_COMMVQ_STAGE, within = level % LHK_COMMVQ_STAGE;
    return (int8_t *)lhk_commvq_at(store, l->key_table + (stage * l->pairs * LHK_COMMVQ_STAGE + within) * 32);
}

/// Turns of the first token of the block of `token`: that of the block among 64, and that of those 64, [cos, sin][P] each.
static inline void lhk_commvq_turns(const lhk_instance *store, const lhk_commvq_layout *l, int64_t token, const float **near,
                                    const float **far) {
    const int64_t block = token / LHK_COMMVQ_BLOCK;
    *near = lhk_commvq_floats_at(store, l->turn_block) + block % LHK_COMMVQ_TURNS * 2 * l->pairs;
    *far = lhk_commvq_floats_at(store, l->turn_far) + block / LHK_COMMVQ_TURNS * 2 * l->pairs;
}

/// Place of token t of a block among 64 bytes of codes: where interleaving with zeros, within 128 bits as instruction sets
/// have it, gives words in the order of tokens.
static inline int64_t lhk_commvq_place(int64_t t) { return t % 32 / 8 * 16 + t / 32 * 8 + t % 8; }

static inline lhk_commvq_value_tables lhk_commvq_search(const lhk_instance *store, const lhk_commvq_layout *l,
                                                        uint32_t head) {
    float *at = lhk_commvq_floats_at(store, l->value_search);
    return lhk_commvq_value_tables_at(at + head * lhk_commvq_search_floats(l->value_bits, l->dim_v), l->value_bits, l->dim_v);
}

/// Block that holds `token`: its key scales, then its value scales.
static inline uint8_t *lhk_commvq_block(const lhk_instance *store, const lhk_commvq_layout *l, int64_t token) {
    return lhk_commvq_at(store, l->blocks + (uint64_t)(token / LHK_COMMVQ_BLOCK) * l->block_stride);
}
static inline uint8_t *lhk_commvq_key_codes(const lhk_commvq_layout *l, uint8_t *block, uint32_t head) {
    return block + 4 * LHK_COMMVQ_BLOCK + head * l->head_stride;
}
static inline uint8_t *lhk_commvq_value_bits(const lhk_commvq_layout *l, uint8_t *block, uint32_t head) {
    return lhk_commvq_key_codes(l, block, head) + l->head_values;
}

/// Whether a token that is held is an exact row, and not codes.
static inline bool lhk_commvq_is_exact(const lhk_commvq_state *s, int64_t token) {
    return token < s->sinks || token >= s->encoded;
}
/// The exact row of a token: key and then value of each KV head.
static inline uint16_t *lhk_commvq_exact(const lhk_instance *store, const lhk_commvq_layout *l, int64_t token) {
    const lhk_commvq_state *s = lhk_commvq(store);
    uint64_t slot = token < s->sinks ? (uint64_t)token : s->sinks + (uint64_t)token % l->slots;
    return (uint16_t *)(void *)lhk_commvq_at(store, l->exact + slot * l->exact_row);
}

/// Whether calibrated tables are there, or random ones are wanted, for `problem`; the reason if neither.
lhk_status lhk_commvq_check_tables(const lhk_problem *problem, const lhk_commvq_state *shape, lhk_error *error);
/// Fills the tables of a state whose header is set.
lhk_status lhk_commvq_fill_tables(const lhk_problem *problem, lhk_instance *store, lhk_error *error);
/// The same for form=product.
lhk_status lhk_commvq_check_product(const lhk_problem *problem, const lhk_commvq_state *shape, lhk_error *error);
lhk_status lhk_commvq_fill_product(const lhk_problem *problem, lhk_instance *store, lhk_error *error);
/// The seed of random tables, or -1 where a calibration is given; an error if neither or both are. `what` and `form` say what is
/// missing and how to calibrate for it.
lhk_status lhk_commvq_take_seed(const lhk_problem *problem, const char *what, const char *form, int64_t *seed,
                                lhk_error *error);
/// Calibrated tables need the positions that keys were given.
lhk_status lhk_commvq_check_position(const lhk_problem *problem, lhk_error *error);
/// Numbers that could make a table overflow, or were never meant to be in one, of a parameter.
lhk_status lhk_commvq_check_numbers(const char *name, const float *numbers, uint64_t count, uint32_t layer, lhk_error *error);
/// Of weights, which are divided by.
lhk_status lhk_commvq_check_weights(const char *name, const float *weights, uint64_t count, uint32_t layer, lhk_error *error);
/// A number of about normal distribution, from a seed and an index.
double lhk_commvq_normal(int64_t seed, uint64_t index);
/// Turns and the hash of the tables, once these are there.
lhk_status lhk_commvq_finish_tables(const lhk_problem *problem, bool random, lhk_instance *store, lhk_error *error);
/// The model's channel of each planar one: first members of the rotary pairs, then second ones.
void lhk_commvq_pair_channels(uint32_t head_dim, uint32_t rotated, uint32_t interleaved, uint16_t *out);
/// Fills the tables of turns and the order of channels.
lhk_status lhk_commvq_fill_turns(const lhk_problem *problem, bool random, lhk_instance *store, lhk_error *error);

/// One append: rows that come, and where tokens before them are.
typedef struct lhk_commvq_append_job {
    lhk_instance *store;
    const lhk_tensor *k, *v;
    lhk_commvq_layout layout;
    int64_t first;        ///< token of the first row
    int64_t first_block;  ///< to be encoded
} lhk_commvq_append_job;

/// Encodes tokens [begin, end) of one block; an ISA file provides it.
typedef void lhk_commvq_encode_step(const lhk_commvq_append_job *job, int64_t begin, int64_t end);
/// Row of a token and head, key or value, as an exact row holds it.
void lhk_commvq_load_row(const lhk_commvq_append_job *job, int64_t token, uint32_t head, bool value, float *out);

/// What a variant has of its own besides its operations.
typedef struct lhk_commvq_variant {
    lhk_commvq_encode_step *encode;
    double speed;  ///< channels per nanosecond of one worker at 2 bits, estimated; only ratios matter
    double product_speed;  ///< the same with form=product, at any bits
} lhk_commvq_variant;

extern const lhk_life_ops lhk_commvq_life_ops;

// Operations that are the same for all variants; those that are not lie in the ISA files, lhk_commvq_<isa>_*.
lhk_status lhk_commvq_append(lhk_instance *store, const lhk_host *host, const lhk_tensor *k, const lhk_tensor *v,
                             lhk_error *error);
int64_t lhk_commvq_length(const lhk_instance *store);
void lhk_commvq_bytes(const lhk_instance *store, lhk_store_bytes *out);

#endif
