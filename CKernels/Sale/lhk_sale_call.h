// SPDX-License-Identifier: Apache-2.0
/// One selection: what it reads, and its workspace. Shared by the direct call and the selector.
#ifndef LHK_SALE_CALL_H
#define LHK_SALE_CALL_H

#include <longhand/reference.h>

#include "lhk_sale_kernel.h"

#define LHK_SALE_MAX_KEYS ((int64_t)INT32_MAX)

/// The members of a selection that follow from shapes come first; with them alone the workspace can be sized.
typedef struct lhk_sale_call {
    lhk_sale_layout layout;
    uint32_t query_heads, kv_heads;
    int64_t rows, keys;
    const lhk_sale_kernel *kernel;
    lhk_tensor q;
    lhk_store_ref store;  ///< whose keys are read; ops null: those of `k`
    lhk_panels panels;    ///< of the store; dtype NONE: its keys are read row by row
    lhk_tensor k, v;
    const float *tau;     ///< [query_heads]
    int64_t offset;       ///< row i sits at i + offset
    float scale, softcap, screen;
    const float *sink_logits;
    uint8_t *index;       ///< [segment][kv_head] codes
    int64_t block;        ///< keys that are kept or skipped together, 16 or 32
    bool remainder;       ///< what is skipped is to be stood in for, by
    int64_t dim_v;
    float *values;        ///< [segment][kv_head][dim_v] mean values; the first is NaN where one is not finite
    int64_t encoded;      ///< segments that the index holds already
} lhk_sale_call;

/// What a tile of queries may see: keys [0, end), `blocks` blocks of them, of which 1 .. middle may be skipped.
typedef struct lhk_sale_reach {
    int64_t end, blocks, middle;
} lhk_sale_reach;

/// Whole segments of `keys` keys. Only whole segments are ever in the middle.
static inline int64_t lhk_sale_segments(int64_t keys) {
    return keys < LHK_SALE_BLOCK ? 0 : (keys - LHK_SALE_BLOCK) / LHK_SALE_SEGMENT;
}

/// What rows up to position `last` reach.
static inline lhk_sale_reach lhk_sale_reach_of(int64_t last, int64_t keys) {
    lhk_sale_reach reach = {.end = lhk_max(0, lhk_min(last + 1, keys))};
    reach.blocks = (reach.end + LHK_SALE_BLOCK - 1) / LHK_SALE_BLOCK;
    reach.middle = lhk_max(0, reach.blocks - 1 - LHK_SALE_LOCAL_BLOCKS) / 4 * 4;
    return reach;
}

/// Reads the mask: fills offset, scale, softcap and sink_logits of a call whose shape is set. `dense` is set when all keys
/// are to be selected: no causal mask, a window, one row, or too few keys. Reports argument 4.
lhk_status lhk_sale_read_params(lhk_sale_call *call, const lhk_attention_params *params, bool *dense, lhk_error *error);

/// Exact workspace of lhk_sale_run, `index` included when `with_index`.
lhk_status lhk_sale_call_bytes(const lhk_sale_call *call, uint32_t workers, bool with_index, uint64_t *bytes,
                               lhk_error *error);

/// Encodes the segments that are missing (and sets `encoded`), then selects. With `with_index` the index is in the workspace.
lhk_status lhk_sale_run(lhk_sale_call *call, const lhk_host *host, const lhk_workspace *workspace, bool with_index,
                        lhk_selection *out, lhk_error *error);

/// The kernel for `isa`, the best that it allows.
const lhk_sale_kernel *lhk_sale_kernel_for(lhk_isa isa);

extern const lhk_life_ops lhk_sale_life_ops;
extern const lhk_selector_ops lhk_sale_selector_ops;
extern const lhk_selector_reference lhk_sale_formula;

/// Options of the selector.
typedef struct lhk_sale_options {
    int64_t bits, block, remainder;
    float screen;
    float tau;               ///< for all heads, unless
    const float *calibrated;  ///< [query_heads]
} lhk_sale_options;
lhk_status lhk_sale_read_options(const lhk_problem *problem, lhk_sale_options *out, lhk_error *error);

#endif
