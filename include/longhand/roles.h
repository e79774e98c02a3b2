// SPDX-License-Identifier: Apache-2.0
/// The operations of each role: store, selector, attention, position.
///
/// Concurrency words: [shared] many threads at once, none while an [exclusive] call runs on the same instance.
/// Rows of new keys and values are tensors [tokens][kv_heads][head_dim]; queries and outputs [rows][query_heads][head_dim].
/// Their element type is F32, BF16 or F16 and their last stride is 1, unless a member says otherwise.
#ifndef LONGHAND_ROLES_H
#define LONGHAND_ROLES_H

#include <longhand/plugin.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

/// Where a store's bytes go, all in bytes.
typedef struct lhk_store_bytes {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t in_use;         ///< keys, values and scales of the tokens now held, padding of the last tile included
    uint64_t capacity;       ///< the same for the full capacity
    double bits_per_token;   ///< long-run bits per token over all KV heads, keys and values together
} lhk_store_bytes;

/// The packed layout of a dense store, on which attention runs its fused path.
///
/// Tokens come in blocks of `block_tokens` (a multiple of 16). The block b of KV head h starts at
/// `base + b*block_stride + h*head_stride`. With G = `group` channels of keys (2 for bf16, 4 for i8, 1 for f32 and f16) and
/// GV = `value_group` tokens of values (2 for bf16, else 1):
///   keys    [block_tokens/16][head_dim_k padded to G, /G][16 tokens][G channels]
///   values  [block_tokens/GV][head_dim_v padded to 16][GV tokens], at `value_offset` from the block's start
/// Padding channels (except of i8 keys) and, in a group of GV value tokens, the tokens past the length hold zeros; other
/// tokens past the length hold anything.
///
/// Keys of type I8 are codes from -127 to 127, stored as bytes code + 128; a channel of token t is code * scale[t], with
/// scales [block_tokens] in f32 at `key_scale_offset`. A key with an infinite or NaN channel has the scale NaN.
typedef struct lhk_panels {
    uint32_t struct_size;
    lhk_dtype dtype;         ///< of keys, and of values unless `value_dtype` says otherwise
    uint32_t block_tokens;
    uint32_t group;          ///< G
    uint32_t padded_dim_k;   ///< head_dim_k rounded up to G
    uint32_t padded_dim_v;   ///< head_dim_v rounded up to 16
    uint64_t block_stride;   ///< bytes
    uint64_t head_stride;    ///< bytes
    uint64_t value_offset;   ///< bytes
    const uint8_t *base;     ///< aligned to LHK_ALIGNMENT, as are all offsets
    /// Non-zero once a value that is infinite or NaN was appended: attention then keeps masked values out of products.
    uint32_t values_nonfinite;
    uint32_t reserved;
    // Since ABI 1.1:
    lhk_dtype value_dtype;      ///< 0: as `dtype`
    uint32_t value_group;       ///< GV; 0: as `group`
    uint64_t key_scale_offset;  ///< bytes from the block's start; keys of type I8 only
    uint32_t rotation;          ///< what queries must be multiplied by, because keys were: LHK_ROTATION_*
    uint32_t reserved2;
} lhk_panels;
#define LHK_ROTATION_NONE 0u
#define LHK_ROTATION_HADAMARD 1u  ///< D H of `lhk_hadamard` with LHK_HADAMARD_SIGNS

/// Keys of one KV head: the tokens [begin, begin + count), or, when `tokens` is set, tokens[0 .. count).
typedef struct lhk_keys {
    int64_t begin;
    int64_t count;
    const int32_t *LHK_NULLABLE tokens;
} lhk_keys;

/// Decodes keys->count keys and values of one KV head as tokens 0, 1, ... of one block of dense panels at `block`. `panels`
/// gives layout and dtype (F32 or BF16, each element rounded once); its base, strides and values_nonfinite are not looked
/// at. Padding channels and the rest of the last group become zeros. A run that begins at a multiple of 16 may be faster.
/// Returns non-zero when a value may be infinite or NaN. [shared]
typedef uint32_t (*lhk_store_unpack)(const lhk_instance *store, uint32_t kv_head, const lhk_keys *keys,
                                     const lhk_panels *panels, uint8_t *block);

/// Store: how keys and values are kept, and how a tile of them is scored and summed.
typedef struct lhk_store_ops {
    uint32_t struct_size;
    uint32_t flags;  ///< 0
    /// Appends n = k->shape[0] = v->shape[0] tokens. LHK_ERROR_CAPACITY leaves the store unchanged. [exclusive]
    lhk_status (*append)(lhk_instance *store, const lhk_host *host, const lhk_tensor *k, const lhk_tensor *v,
                         lhk_error *LHK_NULLABLE error);
    int64_t (*length)(const lhk_instance *store);                           ///< tokens held [shared]
    void (*bytes)(const lhk_instance *store, lhk_store_bytes *out);         ///< [shared]
    /// Decodes tokens [begin, begin+count) of one KV head into contiguous f32 rows; k or v may be null. [shared]
    lhk_status (*read_rows)(const lhk_instance *store, uint32_t kv_head, int64_t begin, int64_t count,
                            float *LHK_NULLABLE k, float *LHK_NULLABLE v, lhk_error *LHK_NULLABLE error);
    /// Shows the packed layout, or null for a store without one. [shared]
    void (*LHK_NULLABLE panels)(const lhk_instance *store, lhk_panels *out);
    /// scores[r][j] = dot(q[r], key j) for `rows` query rows q[r][0..head_dim_k) with row stride `ldq` floats, and all
    /// j < keys->count; scores have row stride `lds`. Keys must lie within the length. [shared]
    void (*score)(const lhk_instance *store, uint32_t kv_head, const float *q, int64_t ldq, int32_t rows,
                  const lhk_keys *keys, float *scores, int64_t lds);
    /// out[r][0..head_dim_v) += sum_j p[r][j] * value j, over those j with p[r][j] != 0 only, so that values of masked
    /// keys never enter. Row strides `ldp` and `ldo` in floats. [shared]
    void (*accumulate)(const lhk_instance *store, uint32_t kv_head, const float *p, int64_t ldp, int32_t rows,
                       const lhk_keys *keys, float *out, int64_t ldo);
    lhk_store_unpack LHK_NULLABLE unpack;  ///< null, or absent (ABI 1.0): the store is only asked for tiles
} lhk_store_ops;

/// A store's `unpack`, or null.
static inline lhk_store_unpack LHK_NULLABLE lhk_store_get_unpack(const lhk_store_ops *ops) {
    return ops->struct_size >= offsetof(lhk_store_ops, unpack) + sizeof ops->unpack ? ops->unpack : NULL;
}

/// A store as other roles see it.
typedef struct lhk_store_ref {
    const lhk_store_ops *ops;
    const lhk_instance *instance;
} lhk_store_ref;

/// Selector: which keys matter to these queries?
typedef struct lhk_selector_ops {
    uint32_t struct_size;
    uint32_t flags;  ///< 0
    /// Brings the side index up to date with rows just appended to the store (keys with positions applied). Null: the
    /// selector keeps no index. [exclusive]
    lhk_status (*LHK_NULLABLE append)(lhk_instance *selector, const lhk_host *host, const lhk_tensor *k,
                                      const lhk_tensor *v, lhk_error *LHK_NULLABLE error);
    /// Selects keys for the last q->shape[0] rows of the sequence. `params` is the attention's mask. `out` is
    /// filled and points into `workspace` (or static storage): valid until the workspace is used again.
    /// [exclusive: a workspace serves one call at a time]
    lhk_status (*select)(lhk_instance *selector, const lhk_host *host, const lhk_tensor *q, lhk_store_ref store,
                         const lhk_attention_params *params, const lhk_workspace *workspace, lhk_selection *out,
                         lhk_error *LHK_NULLABLE error);
} lhk_selector_ops;

/// One call of attention over one sequence of a store.
typedef struct lhk_attend_args {
    uint32_t struct_size;
    uint32_t reserved;
    lhk_tensor q;    ///< [rows][query_heads][head_dim_k], any strides with last stride 1
    lhk_tensor out;  ///< [rows][query_heads][head_dim_v], last stride 1; must not overlap q
    lhk_tensor lse;  ///< F32 [rows][query_heads], natural log of the softmax sum; data null: not wanted
    lhk_store_ref store;
    const lhk_selection *LHK_NULLABLE selection;      ///< null: all
    const lhk_attention_params *LHK_NULLABLE params;  ///< null: full attention
    lhk_attention_stats *LHK_NULLABLE stats;
} lhk_attend_args;

/// Attention: how do scores become output?
typedef struct lhk_attention_ops {
    uint32_t struct_size;
    uint32_t flags;  ///< 0
    /// Rows without an admitted key give out = 0 and lse = -inf (the sink logit if there is one). NaN in admitted inputs
    /// reaches the output of its rows only. Nothing past the store's length is used. [shared, with distinct workspaces]
    lhk_status (*attend)(const lhk_instance *attention, const lhk_host *host, const lhk_attend_args *args,
                         const lhk_workspace *workspace, lhk_error *LHK_NULLABLE error);
} lhk_attention_ops;

/// Position: where is each token?
typedef struct lhk_position_ops {
    uint32_t struct_size;
    uint32_t flags;  ///< 0
    /// Writes rows of x [tokens][heads][head_dim_k], sitting at positions first, first+1, ..., with their positions
    /// applied to `out` (F32, same shape, last stride 1). `out` may be the same view as x, but not overlap it
    /// otherwise. [shared]
    lhk_status (*apply)(const lhk_instance *position, const lhk_host *host, const lhk_tensor *x, int64_t first,
                        const lhk_tensor *out, lhk_error *LHK_NULLABLE error);
} lhk_position_ops;

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
