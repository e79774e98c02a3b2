// SPDX-License-Identifier: Apache-2.0
/// SALE: block-sparse prefill from low-bit estimates of all scores (arXiv 2505.24179). Direct calls, no global state.
///
/// Queries come in tiles of 64 rows, keys in blocks of 32. The first 32 keys (the sink) and the last four to seven (the local
/// region, with the diagonal) are always kept; the blocks between come in segments of four. A row i has the exact scores S_ij
/// of what is always kept, A_i, and estimates E_ij of all others from integer codes of queries and keys. A block is kept for
/// a tile when some row i and key j of them have
///
///     exp(E_ij) > tau * sum over A_i of exp(S_i.)      that is     E_ij > T_i = ln(tau) + logsumexp of S_i. over A_i
///
/// Codes: a segment of keys gives up its mean vector m (exact: q.m is added back per row and segment). Then
///   bits = 8: keys in -63 .. 63 with a scale per block of 32, queries in -127 .. 127 with a scale per row; E > T is decided
///             on integer sums alone. (Seven bits of keys, so that AVX2's byte products cannot saturate.)
///   bits = 4: both in -7 .. 7 with a scale per key and per row, after queries have given up the mean of their tile, whose
///             products with the keys are added back in f32 (the paper's codes, section 3.1, at the granularity of one
///             scale per token).
///
/// Screening (bits = 8; not in the paper): channels are met in groups of four, those first that matter most to the tile: by
/// falling (sum of q^2 over the group and the tile's rows) * (sum of the segments' energies). After an eighth, a quarter and
/// half of them, a strip of rows gives up on a block when no sum comes within C standard deviations of the rest of its
/// threshold, as if channels were independent: sqrt(sum over the groups that are left of q^2 of the row * energy of the
/// segment). Only keys that a tile would have kept can be lost that way, none added.
///
/// Blocks of 16 keys, instead of the paper's 32, are decided half by half; codes and scales stay those of 32.
///
/// Remainder (not in the paper): of a segment with mean m and mean value u, of which a tile skips n keys, row i takes n keys that
/// weigh exp(min(scale q_i.m, T_i)) and have the value u. The sum over segments is the selection's `rest_lse` and `rest_mean`.
/// Segments with a value that is not finite are left out of it.
#ifndef LONGHAND_SALE_H
#define LONGHAND_SALE_H

#include <longhand/roles.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

#define LHK_SALE_TILE_ROWS 64      ///< query rows that share a list
#define LHK_SALE_BLOCK 32          ///< keys of a block
#define LHK_SALE_SEGMENT 128       ///< keys that share a mean; the first segment begins at key LHK_SALE_BLOCK
#define LHK_SALE_LOCAL_BLOCKS 4    ///< least number of blocks of the local region
#define LHK_SALE_MAX_HEAD_DIM 576
#define LHK_SALE_TAU 0.008f        ///< default threshold
#define LHK_SALE_SCREEN 4.0f       ///< default of the selector with 8 bits
#define LHK_SALE_TAU_DENSE 1e-5f   ///< a head whose threshold is below keeps everything

/// Keys of one segment in codes, at `base`:
///   codes   [8 tiles of 16 keys][padded_dim/4][16][4] bytes, code + 64 (bits 8) or code + 8 (bits 4)
///   scales  [128] f32 at `scale_offset`: of each key; equal within a block for bits 8; NaN where a key is not finite
///   mean    [head_dim] f32 at `mean_offset`
///   energy  [padded_dim/4] f32 at `energy_offset`: of each group of four channels, the mean square of k - mean
typedef struct lhk_sale_layout {
    uint32_t struct_size;
    uint32_t bits;
    uint32_t head_dim;
    uint32_t padded_dim;    ///< head_dim rounded up to 4
    uint64_t scale_offset;
    uint64_t mean_offset;
    uint64_t energy_offset;
    uint64_t bytes;         ///< of a segment of one KV head, a multiple of LHK_ALIGNMENT
} lhk_sale_layout;

/// Layout for `head_dim` channels (1 to LHK_SALE_MAX_HEAD_DIM) and codes of `bits` 4 or 8. [thread-safe]
LHK_API lhk_status lhk_sale_get_layout(uint32_t head_dim, uint32_t bits, lhk_sale_layout *out, lhk_error *LHK_NULLABLE error);

/// Quantises the LHK_SALE_SEGMENT keys of one segment of one KV head. `rows` are f32 rows of head_dim channels, `stride`
/// floats apart; `segment` has layout->bytes bytes, aligned to LHK_ALIGNMENT, and does not overlap them. All arithmetic is
/// f32 and the same on every processor: mean = (sum over keys in order) / 128; scale = max |k - mean| / L and
/// code = round_half_even((k - mean) * (L / max |k - mean|)), L = 63 or 7. Where the largest magnitude is below 2^-113, scale
/// and codes are 0. energy = (sum over keys, then channels, in order, of (k - mean)^2) / 512. [thread-safe]
LHK_API void lhk_sale_encode_segment(const lhk_sale_layout *layout, const float *rows, int64_t stride, uint8_t *segment);

/// What to select.
typedef struct lhk_sale_args {
    uint32_t struct_size;
    uint32_t bits;    ///< 4 or 8
    float screen;     ///< C of the screening, at most 64; 0: none, and so it must be with 4 bits
    uint32_t reserved;
    lhk_tensor q;     ///< [rows][query_heads][head_dim], F32, BF16 or F16, last stride 1: the last rows of the sequence
    lhk_tensor k;     ///< [keys][kv_heads][head_dim], likewise, with positions applied
    const float *tau;  ///< [query_heads], each >= 0
    const lhk_attention_params *LHK_NULLABLE params;  ///< the attention's mask and score modifiers
    // The members below may be absent, and are 0 then.
    lhk_tensor v;     ///< [keys][kv_heads][head_dim_v], likewise; data null: no remainder
    uint32_t block;   ///< keys that are kept or skipped together, 16 or 32; 0: 32
    uint32_t reserved2;
} lhk_sale_args;

/// Exact bytes of workspace for `args` (data pointers are not looked at, but for whether v has any) with `workers` workers. [thread-safe]
LHK_API lhk_status lhk_sale_workspace(const lhk_sale_args *args, uint32_t workers, uint64_t *bytes,
                                      lhk_error *LHK_NULLABLE error);

/// Quantises all keys and selects. `out` becomes LHK_SELECTION_BLOCKS with tiles of LHK_SALE_TILE_ROWS rows, or
/// LHK_SELECTION_ALL where nothing may be skipped: one row, no causal mask, a left or right window, or at most 256 keys.
/// It points into `workspace`, aligned to LHK_ALIGNMENT. ALiBi is LHK_ERROR_UNSUPPORTED, and so is a softcap with `v`. Uses the best variant that `host`
/// allows; the same result for any number of workers, and for any cut of a prompt into calls of multiples of 64 rows.
/// [thread-safe with distinct workspaces]
LHK_API lhk_status lhk_sale_select(const lhk_sale_args *args, const lhk_host *host, const lhk_workspace *workspace,
                                   lhk_selection *out, lhk_error *LHK_NULLABLE error);

/// The plugin `longhand.sale` with the selector `sale`, for `lhk_registry_register`. Static storage.
LHK_API const lhk_plugin *lhk_sale_plugin(void);
/// The object behind it, for the entry of the shared library.
extern const lhk_plugin lhk_sale_plugin_object;

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
