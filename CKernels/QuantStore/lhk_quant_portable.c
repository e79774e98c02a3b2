// SPDX-License-Identifier: Apache-2.0
/// The tile operations in plain C, for any processor.
#include "lhk_quant_vector.h"

#define LHK_NAME(x) lhk_quant_portable_##x
#define LHK_HADAMARD(x) lhk_quant_portable_hadamard_##x
#define LHK_HADAMARD_LANES 4
#include <lhk/hadamard_body.inc>

#define LHK_QUANT_PLANES 0
#define LHK_QUANT_PLAIN_WEIGHTS
#define LHK_QUANT_BIAS(bits) ((bits) == 8 ? LHK_QUANT_ZERO : 0)

LHK_ALWAYS_INLINE void LHK_NAME(halves)(const uint16_t *from, lhk_quant_floats *to) {
    for (int i = 0; i < 16; i++) (*to)[i] = lhk_f16_to_f32(from[i]);
}

LHK_ALWAYS_INLINE void LHK_NAME(dot)(const int bits, const int planes, const int rows, const uint8_t *codes, int64_t steps,
                                     const uint8_t *w, int64_t ldw, int64_t plane, lhk_quant_ints (*acc)[2]) {
    (void)planes;
    (void)plane;
    for (int64_t s = 0; s < steps; s++, codes += 16 * bits, w += 8)
        for (int r = 0; r < rows; r++) {
            int16_t four[4];
            memcpy(four, w + r * ldw, 8);
            for (int u = 0; u < 2; u++)
                for (int x = 0; x < 16; x++) {
                    const uint8_t *at = codes + (bits == 8 ? u * 64 : 0) + x * 4;
                    int32_t sum = 0;
                    for (int i = 0; i < 4; i++) sum += four[i] * (bits == 8 ? at[i] : at[i] >> (4 * u) & 15);
                    acc[r][u][x] += sum;
                }
        }
}

#include "lhk_quant_body.h"
#define LHK_QUANT_PLAIN_PAIRS
#include "lhk_quant_unpack.h"
