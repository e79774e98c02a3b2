// SPDX-License-Identifier: Apache-2.0
/// What is to be computed: the attention problem, its masks and score modifiers, positions, and selections of keys.
#ifndef LONGHAND_PROBLEM_H
#define LONGHAND_PROBLEM_H

#include <longhand/types.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

#define LHK_ATTENTION_CAUSAL 0x1u  ///< key j visible iff j <= i + offset
#define LHK_ATTENTION_OFFSET 0x2u  ///< `offset` is given; otherwise it is keys - query rows (bottom-right alignment)

/// Masks and score modifiers, applied in this order: score = scale * q.k; softcap; ALiBi; masks; sink logit.
/// A zeroed struct (with struct_size set, and both windows set to -1) is plain full attention.
/// Query row i of a sequence sits at absolute position i + offset.
typedef struct lhk_attention_params {
    uint32_t struct_size;
    uint32_t flags;        ///< LHK_ATTENTION_*; unknown bits are an error
    float scale;           ///< finite, > 0; 0 takes 1/sqrt(head_dim_k)
    float softcap;         ///< 0: none; else score = softcap * tanh(score / softcap); finite, > 0
    int64_t offset;        ///< see LHK_ATTENTION_OFFSET; may be negative
    int64_t window_left;   ///< keys j >= i + offset - window_left are visible; -1: unbounded
    int64_t window_right;  ///< keys j <= i + offset + window_right are visible; -1: unbounded
    int64_t sink_tokens;   ///< the first keys stay visible under a left window (still subject to the right bound); >= 0
    const float *LHK_NULLABLE alibi_slopes;  ///< [query_heads]: adds -slope * |i + offset - j|
    const float *LHK_NULLABLE sink_logits;   ///< [query_heads]: one learnable logit per head that joins the softmax sum
} lhk_attention_params;

/// How rotary (or other) positions are computed; see the `rope` method for the formulas.
#define LHK_SCALING_NONE 0u
#define LHK_SCALING_LINEAR 1u
#define LHK_SCALING_NTK 2u
#define LHK_SCALING_YARN 3u
typedef struct lhk_position_params {
    uint32_t struct_size;
    uint32_t dims;         ///< rotated dimensions, even, <= head_dim_k; 0 takes head_dim_k
    uint32_t interleaved;  ///< 0: pair (x[t], x[t + dims/2]); 1: pair (x[2t], x[2t+1])
    uint32_t scaling;      ///< LHK_SCALING_*
    float base;            ///< frequency base, e.g. 10000; > 1
    float factor;          ///< context extension factor of the scaling, >= 1; 0 counts as 1
    int64_t original_context;  ///< context the model was trained for (YaRN)
    float attention_factor;    ///< YaRN magnitude on both q and k; 0 takes 1 + 0.1 ln(factor)
    float beta_fast;           ///< YaRN, 0 takes 32
    float beta_slow;           ///< YaRN, 0 takes 1
    uint32_t factor_count;     ///< 0 or dims/2
    const float *LHK_NULLABLE factors;  ///< [dims/2] divisors of the frequencies (Llama 3 `rope_freqs`), or null
} lhk_position_params;

/// The shape a method is created for. Calls may use fewer rows and keys, never more.
typedef struct lhk_problem {
    uint32_t struct_size;
    uint32_t option_count;
    uint32_t query_heads;  ///< a multiple of kv_heads
    uint32_t kv_heads;     ///< query head h reads KV head h / (query_heads / kv_heads)
    uint32_t head_dim_k;   ///< of queries and keys
    uint32_t head_dim_v;   ///< of values and outputs
    lhk_dtype query_dtype;
    lhk_dtype kv_dtype;  ///< of the store's panels; LHK_DTYPE_NONE for a store without panels
    lhk_dtype output_dtype;
    uint32_t reserved;
    int64_t query_rows;  ///< most query rows of one call, of one sequence
    int64_t keys;        ///< most keys of one sequence
    const lhk_option *LHK_NULLABLE options;
    const lhk_attention_params *LHK_NULLABLE params;     ///< null: full attention
    /// For position methods. For other methods of a cache: by what parameters keys and queries were given their positions;
    /// null when they have none, or when options of the position method changed them.
    const lhk_position_params *LHK_NULLABLE position;
    // Since ABI 1.2:
    uint32_t layer;            ///< index of the layer in its model; 0 where there is none
    uint32_t parameter_count;
    const lhk_parameter *LHK_NULLABLE parameters;  ///< of this layer, for all methods; they outlive the instance
} lhk_problem;

/// A run of keys [begin, end).
typedef struct lhk_run {
    int64_t begin, end;
} lhk_run;

#define LHK_SELECTION_ALL 0u
#define LHK_SELECTION_BLOCKS 1u  ///< ascending, disjoint runs per query head and query tile (prefill)
#define LHK_SELECTION_TOKENS 2u  ///< ascending token indices per list, shared by all query rows (decode)

/// Which keys matter: what a selector gives and attention executes. Masks apply on top: a key takes part when it is
/// both selected and visible. Entries past the number of keys are ignored. `next` chains selections over disjoint keys
/// whose union is meant (diagonals and columns, centroids and tokens). The memory belongs to whoever filled it.
typedef struct lhk_selection {
    uint32_t struct_size;
    uint32_t kind;  ///< LHK_SELECTION_*
    /// BLOCKS: query rows per tile; tile t covers rows [t*tile_rows, (t+1)*tile_rows). List l = head * tiles + t.
    int64_t tile_rows;
    /// TOKENS: number of lists, query_heads or kv_heads. BLOCKS: query_heads * tiles.
    int64_t list_count;
    const int64_t *LHK_NULLABLE list_offsets;  ///< [list_count + 1], list l is entries [offsets[l], offsets[l+1])
    const lhk_run *LHK_NULLABLE runs;          ///< BLOCKS entries
    const int32_t *LHK_NULLABLE tokens;        ///< TOKENS entries
    const float *LHK_NULLABLE log_weights;     ///< TOKENS: added to the score of the entry (natural log), or null
    /// Remainder, or null: per query row and head [rows][query_heads], the natural-log mass of the keys not chosen ...
    const float *LHK_NULLABLE rest_lse;
    const float *LHK_NULLABLE rest_mean;  ///< ... and their mean value [rows][query_heads][head_dim_v]
    const struct lhk_selection *LHK_NULLABLE next;
} lhk_selection;

/// What a call did. Counts are added to what the struct holds, so one struct can gather many calls.
typedef struct lhk_attention_stats {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t calls;
    uint64_t pairs_attended;  ///< (query row, query head, key) triples whose score entered the softmax
    uint64_t pairs_visible;   ///< the same if everything the mask shows had been attended
    const char *LHK_NULLABLE path;  ///< "blockwise", "direct", "split", "tiles" or "unpacked": what the last call ran; static storage
} lhk_attention_stats;

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
