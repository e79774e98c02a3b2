// SPDX-License-Identifier: Apache-2.0
/// Window plus sinks on plain numbers: direct calls, no registry, no global state.
///
/// Query row i sits at p = i + offset. It keeps the keys j with j < sinks or p - size < j <= p: the first tokens, which
/// soak up surplus probability, and the last `size` tokens, its own included. Source: StreamingLLM (arXiv 2309.17453,
/// section 3), with every key at its absolute position.
#ifndef LONGHAND_WINDOW_H
#define LONGHAND_WINDOW_H

#include <longhand/roles.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

#define LHK_WINDOW_TILE_ROWS 64                   ///< rows that share a list in prefill, unless every row has its own
#define LHK_WINDOW_MAX_TOKENS (INT64_C(1) << 48)  ///< most rows, keys, window and sink tokens

/// What to select. All numbers are checked.
typedef struct lhk_window_args {
    uint32_t struct_size;
    uint32_t query_heads;  ///< at least 1; all heads get the same keys
    int64_t rows;          ///< query rows, the last ones of the sequence unless `params` gives an offset; >= 0
    int64_t keys;          ///< keys held; >= 0
    int64_t size;          ///< window in tokens; >= 1
    int64_t sinks;         ///< first tokens kept; >= 0
    int64_t tile_rows;     ///< 1: a list per row, exact; more: a list per tile of rows, the union of what its rows keep
    const lhk_attention_params *LHK_NULLABLE params;  ///< of the attention: its offset and causal flag are looked at
} lhk_window_args;

/// Exact bytes of workspace for `args`. [thread-safe]
LHK_API lhk_status lhk_window_workspace(const lhk_window_args *args, uint64_t *bytes, lhk_error *LHK_NULLABLE error);

/// Selects. `out` becomes LHK_SELECTION_BLOCKS with at most two runs per list, or LHK_SELECTION_ALL when attention is
/// causal and no list leaves out a key that its rows may see. With more than one row per tile, a row keeps up to
/// tile_rows - 1 older keys too (and, without a causal mask, as many newer ones). `out` points into `workspace`, which
/// must be aligned to LHK_ALIGNMENT.
/// [thread-safe with distinct workspaces]
LHK_API lhk_status lhk_window_select(const lhk_window_args *args, const lhk_workspace *workspace, lhk_selection *out,
                                     lhk_error *LHK_NULLABLE error);

/// The plugin `longhand.window` with the selectors `all` and `window`, for `lhk_registry_register`. Static storage.
LHK_API const lhk_plugin *lhk_window_plugin(void);
/// The object behind it, for the entry of the shared library.
extern const lhk_plugin lhk_window_plugin_object;

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
