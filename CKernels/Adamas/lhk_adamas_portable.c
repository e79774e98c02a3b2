// SPDX-License-Identifier: Apache-2.0
/// Plain C, for any processor.
#include "lhk_adamas_kernel.h"

#define LHK_NAME(x) lhk_adamas_portable_##x
#define LHK_ADAMAS_WORD "portable"
#define LHK_ADAMAS_ISA LHK_ISA_SCALAR
#define LHK_ADAMAS_SPEED 0.03
#define LHK_HADAMARD(x) lhk_adamas_portable_hadamard_##x
#define LHK_HADAMARD_LANES 4
#include <lhk/hadamard_body.inc>

#define LHK_WORDS 2
typedef uint64_t LHK_NAME(vwords) __attribute__((vector_size(16)));
LHK_ALWAYS_INLINE LHK_NAME(vwords) LHK_NAME(vcount)(LHK_NAME(vwords) x) {
    x -= x >> 1 & 0x5555555555555555;
    x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f;
    x += x >> 8;
    x += x >> 16;
    return (x + (x >> 32)) & 255;
}
LHK_ALWAYS_INLINE void LHK_NAME(vminus)(LHK_NAME(vwords) sum, float *out) {
    for (int i = 0; i < LHK_WORDS; i++) out[i] = -(float)(int32_t)sum[i];
}

#define LHK_BYTES 16
typedef uint8_t LHK_NAME(vbytes) __attribute__((vector_size(16)));
LHK_ALWAYS_INLINE LHK_NAME(vbytes) LHK_NAME(look)(const uint8_t *table, LHK_NAME(vbytes) x) {
    for (int i = 0; i < 16; i++) x[i] = table[x[i]];
    return x;
}
LHK_ALWAYS_INLINE void LHK_NAME(halves)(const uint16_t *from, lhk_adamas_floats *to) {
    for (int i = 0; i < 16; i++) (*to)[i] = lhk_f16_to_f32(from[i]);
}
LHK_ALWAYS_INLINE void LHK_NAME(fuse)(lhk_adamas_floats *x, const lhk_adamas_floats *y, const lhk_adamas_floats *z) {
    for (int i = 0; i < 16; i++) (*x)[i] = fmaf((*x)[i], (*y)[i], (*z)[i]);
}
LHK_ALWAYS_INLINE uint32_t LHK_NAME(at_least)(const float *x, float least) {
    uint32_t bits = 0;
    for (int c = 0; c < 16; c++) bits |= (uint32_t)(x[c] >= least) << c;
    return bits;
}

#define LHK_ADAMAS_PLAIN_GREATER
#define LHK_ADAMAS_PLAIN_KEEP
#include "lhk_adamas_plain.h"
#include "lhk_adamas_body.h"
