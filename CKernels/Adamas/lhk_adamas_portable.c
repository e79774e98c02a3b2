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

#define LHK_LANES 4
#define LHK_TILE 4
typedef int32_t LHK_NAME(vlanes) __attribute__((vector_size(16)));
typedef struct LHK_NAME(vtables) {
    uint8_t step[4];
} LHK_NAME(vtables);
LHK_ALWAYS_INLINE LHK_NAME(vtables) LHK_NAME(tables)(const uint8_t *step) {
    return (LHK_NAME(vtables)){{step[0], step[1], step[2], step[3]}};
}
LHK_ALWAYS_INLINE void LHK_NAME(unpack)(LHK_NAME(vlanes) w, LHK_NAME(vtables) tables, LHK_NAME(vlanes) *out) {
    const uint8_t *from = (const uint8_t *)&w;
    for (int i = 0; i < 4; i++)
        for (int b = 0; b < 16; b++) ((uint8_t *)&out[i])[b] = tables.step[from[b] >> (2 * i) & 3];
}
LHK_ALWAYS_INLINE LHK_NAME(vlanes) LHK_NAME(dot)(LHK_NAME(vlanes) sum, LHK_NAME(vlanes) steps, int32_t weights) {
    const uint8_t *a = (const uint8_t *)&steps;
    const int8_t *q = (const int8_t *)&weights;
    for (int i = 0; i < 4; i++)
        for (int b = 0; b < 4; b++) sum[i] += a[4 * i + b] * q[b];
    return sum;
}
LHK_ALWAYS_INLINE void LHK_NAME(halves)(const uint16_t *from, lhk_adamas_floats *to) {
    for (int i = 0; i < 16; i++) (*to)[i] = lhk_f16_to_f32(from[i]);
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
