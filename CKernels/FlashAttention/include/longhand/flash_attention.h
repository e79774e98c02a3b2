// SPDX-License-Identifier: Apache-2.0
/// Exact blockwise attention on strided row-major tensors: direct calls, no registry, no global state.
///
/// O = softmax(scale * Q K^T + modifiers) V by blocks of keys with the online softmax. Source: FlashAttention-2
/// (arXiv 2307.08691, section 3.1) and, for split KV and its merge, flash decoding; masks as in `lhk_attention_params`.
#ifndef LONGHAND_FLASH_ATTENTION_H
#define LONGHAND_FLASH_ATTENTION_H

#include <longhand/roles.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

/// The family's plugin object (attention `flash`), for `lhk_registry_register`. Static storage.
LHK_API const lhk_plugin *lhk_flash_attention_plugin(void);

#define LHK_FLASH_PATH_AUTO 0u       ///< the cheaper one by estimated cost
#define LHK_FLASH_PATH_BLOCKWISE 1u  ///< blocks of keys with the online softmax
#define LHK_FLASH_PATH_DIRECT 2u     ///< all scores of a row first, then one softmax; at most 2048 keys, no selection

/// Operands of a direct call. One sequence, or a packed batch without padding when `sequences` > 0.
typedef struct lhk_flash_args {
    uint32_t struct_size;
    uint32_t path;     ///< LHK_FLASH_PATH_*
    lhk_tensor q;      ///< [total_q][query_heads][head_dim_k], F32, BF16 or F16, last stride 1
    lhk_tensor k;      ///< [total_k][kv_heads][head_dim_k], likewise
    lhk_tensor v;      ///< [total_k][kv_heads][head_dim_v], same type as k
    lhk_tensor out;    ///< [total_q][query_heads][head_dim_v], last stride 1; must not overlap an input
    lhk_tensor lse;    ///< F32 [total_q][query_heads]; data null: not wanted
    int64_t sequences;  ///< 0: one sequence
    const int64_t *LHK_NULLABLE cu_q;        ///< [sequences + 1] ascending first rows of q, from 0 to at most total_q
    const int64_t *LHK_NULLABLE cu_k;        ///< [sequences + 1] ascending first rows of k and v
    const int64_t *LHK_NULLABLE kv_lengths;  ///< [max(sequences, 1)] valid keys, <= rows of k; null: all
    const lhk_attention_params *LHK_NULLABLE params;  ///< null: full attention. Offsets are per sequence.
    const lhk_selection *LHK_NULLABLE selection;      ///< null: all. Only with one sequence.
    lhk_attention_stats *LHK_NULLABLE stats;
} lhk_flash_args;

/// Exact bytes of workspace for `args` (data pointers may be null) on `host`. Without a selection and with more query rows
/// than one tile takes, that includes a packed copy of all keys and values.
LHK_API lhk_status lhk_flash_attention_workspace(const lhk_flash_args *args, const lhk_host *host, uint64_t *bytes,
                                                 lhk_error *LHK_NULLABLE error);

/// Head dimensions 1 to 576, query_heads a multiple of kv_heads. Uses the best variant that `host->isa` allows:
/// f32 arithmetic for F32 and F16 keys; for BF16 keys the bf16 dot product where the CPU has it (queries and
/// probabilities rounded to bf16, sums in f32), f32 arithmetic elsewhere.
/// Rows without an admitted key: out = 0, lse = -inf (the sink logit if there is one). NaN of admitted inputs reaches its own
/// rows only; masked keys and values never do. Same bits for any number of workers. [thread-safe with distinct workspaces and
/// outputs]
LHK_API lhk_status lhk_flash_attention(const lhk_flash_args *args, const lhk_host *host, const lhk_workspace *workspace,
                                       lhk_error *LHK_NULLABLE error);

/// The same by the formula in double precision, single-threaded, no blocks: the oracle. Allocates one row of scores.
LHK_API lhk_status lhk_flash_attention_reference(const lhk_flash_args *args, lhk_error *LHK_NULLABLE error);

/// Merges `parts` normalised partial results over disjoint keys by their log-sum-exp. outs[p] F32 [rows][dim]
/// contiguous, lses[p] F32 [rows]; out and lse likewise (lse may be null) and may be outs[0] and lses[0]. A part with
/// lse -inf is not read. Source: flash decoding; spec of FlashAttention-2 code, combine kernel.
LHK_API lhk_status lhk_flash_merge(int64_t rows, int64_t dim, int32_t parts, const float *const LHK_NONNULL *LHK_NONNULL outs,
                                   const float *const LHK_NONNULL *LHK_NONNULL lses, float *out, float *LHK_NULLABLE lse,
                                   lhk_error *LHK_NULLABLE error);

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
