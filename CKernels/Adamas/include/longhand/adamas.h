// SPDX-License-Identifier: Apache-2.0
/// Adamas: 2-bit codes of Hadamard-transformed keys, from which a query picks the keys worth reading (decode).
/// arXiv 2510.18413. Direct calls of its steps for those who keep their own cache, and the plugin.
///
/// The steps work on rows of one head: transform and code keys once, code each query, distances, the nearest. All of them
/// are exact integer arithmetic after the coding, and give the same bits on every instruction set.
#ifndef LONGHAND_ADAMAS_H
#define LONGHAND_ADAMAS_H

#include <longhand/plugin.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

#define LHK_ADAMAS_MOST_DIM 1024

/// Words of 64 bits per row of codes: two planes of ceil(dim/64) words, high bits before low bits. Channel c of a row is
/// bit c % 64 of word c / 64 of each plane; bits past `dim` are zero.
static inline int64_t lhk_adamas_code_words(int64_t dim) { return 2 * ((dim + 63) / 64); }

/// Codes rows of keys or queries: y = H x with the orthonormal Hadamard matrix of `lhk_hadamard` (blocks where dim is no
/// power of two), minus `mean` [dim] unless null, and per channel the number of the thresholds t[0] <= t[1] <= t[2] that y
/// exceeds: a code from 0 to 3, the lower one where y equals a threshold; a channel that is NaN has code 0.
/// x [rows][1][dim], F32, BF16 or F16, last stride 1, dim from 1 to LHK_ADAMAS_MOST_DIM; codes [rows][lhk_adamas_code_words].
/// LHK_ERROR_ARGUMENT or _OVERFLOW otherwise; then nothing was written. [thread-safe with distinct outputs]
LHK_API lhk_status lhk_adamas_encode(const lhk_tensor *x, const float *LHK_NULLABLE mean, const float *thresholds,
                                     uint64_t *codes, const lhk_host *host, lhk_error *LHK_NULLABLE error);

/// The thresholds that split `count` >= 1 transformed values into four buckets of equal size: the order statistics at
/// floor(count/4), floor(count/2) and floor(3 count/4). Values that are infinite or NaN count as 0. [thread-safe]
LHK_API void lhk_adamas_quartiles(const float *values, int64_t count, float *thresholds);

/// distances[j] = sum over channels of |query code - code of row j|, from 0 to 3 dim: the Manhattan distance, by population
/// counts on the thermometer planes h|l, h and h&l. [thread-safe with distinct outputs]
LHK_API lhk_status lhk_adamas_distances(const uint64_t *query, const uint64_t *codes, int64_t rows, int64_t dim,
                                        uint16_t *distances, const lhk_host *host, lhk_error *LHK_NULLABLE error);

/// The `budget` rows of least distance, ascending by row number: among equal distances the later rows. Takes all rows where
/// there are no more. tokens [min(budget, rows)]; returns their number. Two passes that count; nothing is sorted.
/// [thread-safe with distinct outputs]
LHK_API int64_t lhk_adamas_nearest(const uint16_t *distances, int64_t rows, int64_t budget, int32_t *tokens);

/// The plugin `longhand.adamas` with the selector `adamas`, for `lhk_registry_register`. Static storage.
LHK_API const lhk_plugin *lhk_adamas_plugin(void);
/// The object behind it, for the entry of the shared library.
extern const lhk_plugin lhk_adamas_plugin_object;

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
