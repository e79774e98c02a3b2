// SPDX-License-Identifier: Apache-2.0
/// The tile operations in plain C, for any processor.
#include "lhk_commvq_product.h"
#include "lhk_commvq_train_plan.h"
#include "lhk_commvq_vector.h"

#define LHK_NAME(x) lhk_commvq_portable_##x

LHK_ALWAYS_INLINE void LHK_NAME(halves)(const uint16_t *from, lhk_commvq_floats *to) {
    for (int i = 0; i < 16; i++) (*to)[i] = lhk_f16_to_f32(from[i]);
}

LHK_ALWAYS_INLINE void LHK_NAME(add)(lhk_commvq_floats *sum, const lhk_commvq_floats *x, float factor) {
    *sum += *x * factor;
}

LHK_ALWAYS_INLINE void LHK_NAME(sums)(const int8_t *table, int64_t pairs, const uint8_t *codes, int32_t exponent, bool first,
                                      int16_t (*sums)[2][LHK_COMMVQ_BLOCK]) {
    for (int64_t j = 0; j < pairs; j++, table += LHK_COMMVQ_STAGE * 32)
        for (int t = 0; t < LHK_COMMVQ_BLOCK; t++) {
            int32_t x = 0, y = 0;
            for (int r = 0; r < LHK_COMMVQ_STAGE; r++) {
                const int8_t *level = table + r * 32;
                const uint8_t both = codes[r * LHK_COMMVQ_BLOCK + lhk_commvq_place(t)];
                const int a = both & 15, b = both >> 4;
                x += level[a] - level[16 + b];
                y += level[16 + a] + level[b];
            }
            sums[j][0][t] = (int16_t)((first ? 0 : sums[j][0][t]) + x * (1 << exponent));
            sums[j][1][t] = (int16_t)((first ? 0 : sums[j][1][t]) + y * (1 << exponent));
        }
}

/// The high half of a product, rounded, as processors have it.
LHK_ALWAYS_INLINE int32_t LHK_NAME(high)(int32_t a, int32_t b) { return (a * b + 0x4000) >> 15; }

LHK_ALWAYS_INLINE void LHK_NAME(dots)(const int rows, int64_t pairs, const int16_t (*sums)[2][LHK_COMMVQ_BLOCK],
                                      const int16_t *turns, const int16_t *q, int32_t (*acc)[LHK_COMMVQ_BLOCK]) {
    memset(acc, 0, (size_t)rows * sizeof *acc);
    for (int64_t j = 0; j < pairs; j++, turns += 2 * LHK_COMMVQ_BLOCK)
        for (int t = 0; t < LHK_COMMVQ_BLOCK; t++) {
            const int32_t x = sums[j][0][t], y = sums[j][1][t], c = turns[t], s = turns[LHK_COMMVQ_BLOCK + t];
            const int32_t kx = LHK_NAME(high)(x, c) - LHK_NAME(high)(y, s), ky = LHK_NAME(high)(y, c) + LHK_NAME(high)(x, s);
            for (int r = 0; r < rows; r++) acc[r][t] += q[(r * pairs + j) * 2] * kx + q[(r * pairs + j) * 2 + 1] * ky;
        }
}

LHK_ALWAYS_INLINE void LHK_NAME(bit_dots)(const int rows, const uint8_t *bits, int64_t n, const int16_t *w,
                                          int32_t (*acc)[LHK_COMMVQ_MAX_BITS]) {
    memset(acc, 0, (size_t)rows * sizeof *acc);
    for (int quad = 0; quad < 16; quad++)
        for (int64_t k = 0; k < n; k += 2) {
            const uint32_t byte = *bits++;
            for (int r = 0; r < rows; r++)
                for (int i = 0; i < 4; i++) {
                    const int32_t weight = w[r * LHK_COMMVQ_BLOCK + quad * 4 + i];
                    acc[r][k] += byte >> i & 1 ? weight : 0;
                    acc[r][k + 1] += byte >> (4 + i) & 1 ? weight : 0;
                }
        }
}

LHK_ALWAYS_INLINE uint32_t LHK_NAME(nibble)(const uint8_t *codes, int64_t level, int64_t place) {
    return codes[level / 2 * LHK_COMMVQ_BLOCK + place] >> (level % 2 * 4) & 15;
}

LHK_ALWAYS_INLINE void LHK_NAME(product_sums)(const lhk_commvq_side_tables *s, int64_t pairs, const uint8_t *codes,
                                              int16_t (*sums)[2][LHK_COMMVQ_BLOCK]) {
    for (int64_t j = 0; j < pairs; j++)
        for (int64_t t = 0; t < LHK_COMMVQ_BLOCK; t++) {
            int32_t x = -LHK_COMMVQ_KEY_BIAS, y = x;
            for (int64_t e = s->first[j]; e < s->first[j + 1]; e++) {
                const uint32_t nibble = LHK_NAME(nibble)(codes, s->level[e], lhk_commvq_place(t));
                x += (int8_t)s->table[e * 32 + nibble];
                y += (int8_t)s->table[e * 32 + 16 + nibble];
            }
            sums[j][0][t] = (int16_t)(x * 256);
            sums[j][1][t] = (int16_t)(y * 256);
        }
}

#define LHK_COMMVQ_TURN_BYTES 0

LHK_ALWAYS_INLINE void LHK_NAME(product_dots)(const int rows, const lhk_commvq_side_tables *s, int64_t dim, int64_t blocks,
                                              const uint8_t *const *codes, int16_t (*w)[LHK_COMMVQ_CHUNK * LHK_COMMVQ_BLOCK],
                                              uint32_t (*acc)[LHK_COMMVQ_ROWS]) {
    for (int64_t c = 0; c < dim; c++) {
        uint32_t sum[LHK_COMMVQ_ROWS] = {0};
        for (int64_t i = 0; i < blocks * LHK_COMMVQ_BLOCK; i++) {
            uint8_t steps = 0;
            for (int64_t e = s->first[c]; e < s->first[c + 1]; e++)
                steps = (uint8_t)(steps + s->table[e * 16 + LHK_NAME(nibble)(codes[i / LHK_COMMVQ_BLOCK], s->level[e],
                                                                             lhk_commvq_place(i % LHK_COMMVQ_BLOCK))]);
            for (int r = 0; r < rows; r++) sum[r] += (uint32_t)(w[r][i] * steps);
        }
        for (int r = 0; r < rows; r++) acc[c][r] = sum[r];
    }
}

#include "lhk_commvq_encode.h"
#include "lhk_commvq_encode_values.h"
#include "lhk_commvq_product_encode.h"
#include "lhk_commvq_product_read.h"
#include "lhk_commvq_read.h"
#include "lhk_commvq_unpack.h"
#include "lhk_commvq_score.h"
#include "lhk_commvq_accumulate.h"
#include "lhk_commvq_product_accumulate.h"
#include "lhk_commvq_train.h"
