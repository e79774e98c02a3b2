// SPDX-License-Identifier: Apache-2.0
/// CommVQ: a store of 1 to 3 bits per channel. Keys are sums of codebook vectors that commute with rotary positions, values
/// are bits times a real codebook; both are read without decoding the cache. Source: arXiv 2506.18879.
#ifndef LONGHAND_COMMVQ_H
#define LONGHAND_COMMVQ_H

#include <longhand/roles.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

#define LHK_COMMVQ_CODES 16u  ///< complex vectors per level of a key's codebook

/// Rows of one layer to train on, before rotary positions and after what a model does to keys else (k-norm).
typedef struct lhk_commvq_samples {
    uint32_t struct_size;
    uint32_t bits;  ///< 1 or 2; for `lhk_commvq_train_product` up to 3
    uint32_t kv_heads, head_dim_k, head_dim_v;  ///< dimensions: multiples of 64 up to 256
    uint32_t rotated;      ///< rotated dimensions of a key; 0: all
    uint32_t interleaved;  ///< as in lhk_position_params
    uint32_t query_heads;  ///< a multiple of kv_heads
    int64_t tokens;  ///< to learn from, at least 16
    int64_t check;   ///< tokens after those, by which the result is judged; 0: by the same ones
    int64_t key_steps;     ///< of expectation and maximisation, per level, at least 1
    int64_t value_rounds;  ///< of bits and least squares
    uint64_t seed;         ///< the same codebooks for the same seed, on any processor and with any number of workers
    const float *keys;     ///< [kv_heads][tokens + check][head_dim_k], finite
    const float *values;   ///< [kv_heads][tokens + check][head_dim_v], finite
    /// [query_heads][tokens + check][head_dim_k] before positions, finite: errors of keys count as these see them.
    const float *queries;
} lhk_commvq_samples;

/// Where training puts its results: the store's parameters of the layer.
typedef struct lhk_commvq_codebooks {
    uint32_t struct_size;
    uint32_t reserved;
    float *keys;     ///< `commvq.key_codebook` [kv_heads][bits * head_dim_k / 8][16][head_dim_k], planar, of weighted keys
    float *weights;  ///< `commvq.key_weight` [kv_heads][head_dim_k / 2]: what pairs of keys are multiplied by
    float *values;   ///< `commvq.value_codebook` [kv_heads][bits * head_dim_v][head_dim_v]
    float *offsets;  ///< `commvq.value_offset` [kv_heads][head_dim_v]
    double *key_error;    ///< [kv_heads]: energy that codes leave of the weighted keys of tokens judged, as a fraction
    double *value_error;  ///< [kv_heads]
} lhk_commvq_codebooks;

/// Trains the codebooks of a layer: keys by expectation and maximisation, level by level (paper, section 4.2, with the normal
/// equations of a level in closed form), values by turns of least squares and a search for bits. Allocates what it needs.
/// LHK_ERROR_ARGUMENT, LHK_ERROR_UNSUPPORTED or LHK_ERROR_MEMORY leave the results undefined. [thread-safe]
LHK_API lhk_status lhk_commvq_train(const lhk_host *host, const lhk_commvq_samples *samples, lhk_commvq_codebooks *out,
                                    lhk_error *LHK_NULLABLE error);

// ---- form=product: the same store with sparse levels, looked up by byte shuffles ----

#define LHK_COMMVQ_PRODUCT_BITS 3u     ///< most bits per channel
#define LHK_COMMVQ_PRODUCT_WIDTH 8u    ///< most channels of a level

/// Where training for `form=product` puts its results. A level is 16 vectors that are zero outside of a few channels, its
/// support: up to 8, of keys up to 4 pairs. There are bits * head_dim / 4 levels, a nibble of code each; most channels lie in
/// the support of one level, some in that of none or of several, whose vectors then add up. Summed over channels, supports
/// that hold a channel, beyond the first one, are at most as many as levels (of keys: pairs in place of channels).
typedef struct lhk_commvq_product {
    uint32_t struct_size;
    uint32_t reserved;
    float *keys;     ///< `commvq.product_keys` [kv_heads][bits * head_dim_k / 4][16][head_dim_k], planar, of weighted keys
    float *weights;  ///< `commvq.product_weight` [kv_heads][head_dim_k / 2]: what pairs of keys are multiplied by
    float *centre;   ///< `commvq.product_centre` [kv_heads][head_dim_k], planar: added to the sum of levels
    float *values;   ///< `commvq.product_values` [kv_heads][bits * head_dim_v / 4][16][head_dim_v], along axes
    float *axes;     ///< `commvq.product_axes` [kv_heads][head_dim_v axes][head_dim_v], orthonormal rows
    float *offsets;  ///< `commvq.product_offset` [kv_heads][head_dim_v]: added to the sum along axes
    double *key_error;    ///< [kv_heads]: energy that codes leave of the weighted keys of tokens judged, as a fraction
    double *value_error;  ///< [kv_heads]
} lhk_commvq_product;

/// Trains levels for `form=product`: pairs of keys before positions, and axes of values, are grouped and given levels so that
/// least is left of a sample (dynamic programming on errors measured), levels are fitted by k-means, and the axes, principal
/// ones at first, turn to where the levels leave least (Optimized Product Quantization, CVPR 2013, section 3.1). Codes are
/// meant to be sought level by level, in order. As `lhk_commvq_train`, with samples->bits from 1 to LHK_COMMVQ_PRODUCT_BITS;
/// key_steps: most steps of k-means; value_rounds: the same of values, and turns of their axes, 0 being 1. Errors are those
/// left with the scale that is best for each token and head. [thread-safe]
LHK_API lhk_status lhk_commvq_train_product(const lhk_host *host, const lhk_commvq_samples *samples, lhk_commvq_product *out,
                                            lhk_error *LHK_NULLABLE error);

/// The family's plugin object (store `commvq`), for `lhk_registry_register`. Static storage.
LHK_API const lhk_plugin *lhk_commvq_plugin(void);
/// The object behind it, for the entry of the shared library.
extern const lhk_plugin lhk_commvq_plugin_object;

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
