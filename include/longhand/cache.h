// SPDX-License-Identifier: Apache-2.0
/// The cache object: a store, a selector for prefill and one for decode, one attention and one position method, bound for
/// all layers of one sequence of a model; layers may have stores of their own. This is what an engine holds.
#ifndef LONGHAND_CACHE_H
#define LONGHAND_CACHE_H

#include <longhand/registry.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

/// The attention of one layer.
typedef struct lhk_cache_layer {
    uint32_t struct_size;
    uint32_t query_heads, kv_heads, head_dim_k, head_dim_v;
    uint32_t reserved;
    lhk_attention_params params;   ///< `offset` must not be given: it follows from the sequence. Arrays are copied.
    lhk_position_params position;  ///< for the position method. Arrays are copied.
    // Since ABI 1.2:
    uint32_t parameter_count;
    uint32_t reserved2;
    const lhk_parameter *LHK_NULLABLE parameters;  ///< calibrated tensors for the methods of this layer. Copied.
    // Since ABI 1.3:
    const char *LHK_NULLABLE store;  ///< of this layer in place of the configuration's, or null. Copied.
} lhk_cache_layer;

/// What to bind. Method specifications are `name[:key=value[,key=value...]]`.
typedef struct lhk_cache_config {
    uint32_t struct_size;
    uint32_t layer_count;
    const lhk_cache_layer *layers;  ///< [layer_count]
    int64_t capacity;               ///< most tokens of the sequence; at most 2^31 - 1
    int64_t max_rows;               ///< most tokens of one append or attend; above `capacity` it counts as that
    const char *store;              ///< of the layers that have none of their own, e.g. `bf16`
    const char *prefill;            ///< selector for calls of two or more query rows, e.g. `all`
    const char *decode;             ///< selector for calls of one query row
    const char *attention;          ///< e.g. `flash`
    const char *position;           ///< e.g. `rope`, or `none`
} lhk_cache_config;

/// Counters since creation or the last reset, over all layers.
typedef struct lhk_cache_stats {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t append_nanoseconds;  ///< positions, packing and selector indices
    uint64_t select_nanoseconds;
    uint64_t attend_nanoseconds;  ///< without selection
    lhk_attention_stats prefill;  ///< calls of two or more rows
    lhk_attention_stats decode;   ///< calls of one row
    uint64_t bytes_in_use;        ///< of all stores, see lhk_store_bytes
    uint64_t bytes_capacity;
    double bits_per_token;  ///< over all layers and KV heads
} lhk_cache_stats;

/// What was bound, for reports. Strings live as long as the cache.
typedef struct lhk_cache_binding {
    uint32_t struct_size;
    uint32_t reserved;
    const char *slot;     ///< "store", "prefill", "decode", "attention", "position"
    const char *spec;     ///< as configured
    const char *variant;  ///< id of the variant chosen for layer 0; of a store, for the first layer that has it, or "none"
    const char *origin;   ///< file of the plugin, or "built-in"
} lhk_cache_binding;

/// A sequence's keys and values in all layers. Not thread-safe: one call at a time; the work inside runs on the host's
/// workers. No call but create, fork, save and load allocates.
typedef struct lhk_cache lhk_cache;

/// Resolves every method for every layer and allocates states (untouched pages of unused capacity cost no memory) and
/// workspaces. The registry, the host and what they point to must outlive the cache. Unknown methods and
/// options, and layers that a method does not support, are errors that name them.
LHK_API lhk_status lhk_cache_create(const lhk_cache_config *config, const lhk_registry *registry, const lhk_host *host,
                                    lhk_cache *LHK_NULLABLE *LHK_NONNULL out, lhk_error *LHK_NULLABLE error);
LHK_API void lhk_cache_destroy(lhk_cache *LHK_NULLABLE cache);

/// Tokens held by `layer`; all layers agree between the steps of a model.
LHK_API int64_t lhk_cache_length(const lhk_cache *cache, uint32_t layer);
LHK_API int64_t lhk_cache_capacity(const lhk_cache *cache);
/// Bytes that a call may use besides the stores and indices: rows with positions applied, workspaces of the methods.
LHK_API uint64_t lhk_cache_workspace_bytes(const lhk_cache *cache);
/// Bindings 0 to 4 are the configuration's, in the order of its members; from 5 on follow the stores that layers have of
/// their own, each once, by their first layers. Past the last: LHK_ERROR_NOT_FOUND.
LHK_API lhk_status lhk_cache_get_binding(const lhk_cache *cache, uint32_t index, lhk_cache_binding *out);

/// Appends n rows k, v [n][kv_heads][head_dim] (F32, BF16 or F16; keys before positions) to `layer`.
/// n = 0 does nothing; an error (LHK_ERROR_CAPACITY: more than fits, or than `max_rows`) leaves the layer unchanged.
LHK_API lhk_status lhk_cache_append(lhk_cache *cache, uint32_t layer, const lhk_tensor *k, const lhk_tensor *v,
                                    lhk_error *LHK_NULLABLE error);

/// Attention of the last n = q->shape[0] tokens of `layer` over all it holds. q [n][query_heads][head_dim_k] before
/// positions (F32, BF16 or F16), out F32 [n][query_heads][head_dim_v], lse F32 [n][query_heads] or null.
LHK_API lhk_status lhk_cache_attend(lhk_cache *cache, uint32_t layer, const lhk_tensor *q, const lhk_tensor *out,
                                    const lhk_tensor *LHK_NULLABLE lse, lhk_error *LHK_NULLABLE error);

/// Forgets all tokens from `tokens` on, in all layers that hold more.
LHK_API lhk_status lhk_cache_truncate(lhk_cache *cache, int64_t tokens, lhk_error *LHK_NULLABLE error);

/// A second cache with the same content (shared prefix), from then on independent. Counters start at zero.
LHK_API lhk_status lhk_cache_fork(const lhk_cache *cache, lhk_cache *LHK_NULLABLE *LHK_NONNULL out,
                                  lhk_error *LHK_NULLABLE error);

/// Writes the content to a file: versioned, checksummed, written beside and renamed, so a failure leaves no half file.
LHK_API lhk_status lhk_cache_save(const lhk_cache *cache, const char *path, lhk_error *LHK_NULLABLE error);

/// Replaces the content by a file's. Header, shapes, methods and checksums are validated whole before anything
/// changes; on failure the cache is as it was. `capacity`, `max_rows`, attention and selectors without a state of their
/// own need not match those of the writer. Needs memory for both contents while it runs.
LHK_API lhk_status lhk_cache_load(lhk_cache *cache, const char *path, lhk_error *LHK_NULLABLE error);

LHK_API void lhk_cache_get_stats(const lhk_cache *cache, lhk_cache_stats *out);
LHK_API void lhk_cache_reset_stats(lhk_cache *cache);

/// Bytes of the stores' memory that the system has put into huge pages (2 MiB), which stream up to twice as fast. Stores of
/// 4 MiB and more ask for them; it is the system's choice. Counted by the regions that the system tells of, so memory
/// beside a store may be counted with it, up to the store's size. LHK_ERROR_UNSUPPORTED where the system does not tell.
LHK_API lhk_status lhk_cache_huge_page_bytes(const lhk_cache *cache, uint64_t *out, lhk_error *LHK_NULLABLE error);

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
