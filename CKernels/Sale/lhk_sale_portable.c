// SPDX-License-Identifier: Apache-2.0
/// The work on a tile in plain C, for any processor.
#include "lhk_sale_vector.h"

#define LHK_NAME(x) lhk_sale_portable_##x
#define LHK_SALE_STRIP 4
#define LHK_SALE_SCORE_ROWS 2

#define LHK_SALE_FMA(a, b, c) ((a) * (b) + (c))

LHK_ALWAYS_INLINE void LHK_NAME(halves)(const uint16_t *from, lhk_sale_floats *to) {
    for (int i = 0; i < 16; i++) (*to)[i] = lhk_f16_to_f32(from[i]);
}

LHK_ALWAYS_INLINE void LHK_NAME(dot)(const uint8_t *keys, int64_t tile_bytes, const int32_t *order, const uint32_t *codes,
                                     int64_t steps, lhk_sale_ints (*acc)[2]) {
    for (int64_t s = 0; s < steps; s++, codes += LHK_SALE_STRIP)
        for (int r = 0; r < LHK_SALE_STRIP; r++) {
            int8_t q[4];
            memcpy(q, codes + r, 4);
            for (int u = 0; u < 2; u++)
                for (int x = 0; x < 16; x++) {
                    const uint8_t *k = keys + u * tile_bytes + order[s] + 4 * x;
                    acc[r][u][x] += k[0] * q[0] + k[1] * q[1] + k[2] * q[2] + k[3] * q[3];
                }
        }
}

LHK_ALWAYS_INLINE bool LHK_NAME(some_clear)(const lhk_sale_ints *x) {
    int32_t all = -1;
    for (int i = 0; i < 16; i++) all &= (*x)[i];
    return all >= 0;
}

#include "lhk_sale_body.h"
