// SPDX-License-Identifier: Apache-2.0
/// Baseline kernels: four-lane vectors of the compiler, no instruction above the architecture's baseline.
#include <lhk/hadamard.h>

#include "lhk_flash_kernel.h"

typedef float vec __attribute__((vector_size(16)));
typedef int32_t ivec __attribute__((vector_size(16)));
#define LHK_LANES 4

LHK_ALWAYS_INLINE vec vload(const float *p) { vec x; memcpy(&x, p, 16); return x; }
LHK_ALWAYS_INLINE void vstore(float *p, vec x) { memcpy(p, &x, 16); }
LHK_ALWAYS_INLINE vec vset(float x) { return (vec){x, x, x, x}; }
LHK_ALWAYS_INLINE vec vadd(vec a, vec b) { return a + b; }
LHK_ALWAYS_INLINE vec vsub(vec a, vec b) { return a - b; }
LHK_ALWAYS_INLINE vec vmul(vec a, vec b) { return a * b; }
LHK_ALWAYS_INLINE vec vfma(vec a, vec b, vec c) { return a * b + c; }
LHK_ALWAYS_INLINE vec vselect(ivec mask, vec a, vec b) { return (vec)((mask & (ivec)a) | (~mask & (ivec)b)); }
LHK_ALWAYS_INLINE vec vmax(vec a, vec b) { return vselect(a > b, a, b); }
LHK_ALWAYS_INLINE vec vround(vec x) { return (x + vset(0x1.8p23f)) - vset(0x1.8p23f); }
LHK_ALWAYS_INLINE vec vpow2(vec x, vec n) {
    ivec bits = (__builtin_convertvector(vselect(n > vset(-127), n, vset(0)), ivec) + 127) << 23;
    return vselect(n < vset(-126), vset(0), x * (vec)bits);
}
LHK_ALWAYS_INLINE float vsum(vec x) { return (x[0] + x[2]) + (x[1] + x[3]); }
LHK_ALWAYS_INLINE float vgreatest(vec x) {
    float a = x[0] > x[1] ? x[0] : x[1], b = x[2] > x[3] ? x[2] : x[3];
    return a > b ? a : b;
}

#define LHK_ISA(x) lhk_flash_portable_##x
#include "lhk_flash_softmax.h"

#define LHK_ROWS 2
#define LHK_UNITS 1
#define LHK_PANEL_F16 0
#define LHK_PANEL_BF16 0
#define LHK_PANEL_BF16_DOT 0
#define LHK_NAME(x) lhk_flash_f32_portable_##x
LHK_ALWAYS_INLINE vec vload_panel(const uint8_t *p) { vec x; memcpy(&x, p, 16); return x; }
#include "lhk_flash_body.h"

#undef LHK_PANEL_F16
#undef LHK_NAME
#define LHK_PANEL_F16 1
#define LHK_NAME(x) lhk_flash_f16_portable_##x
#define vload_panel vload_panel_f16
LHK_ALWAYS_INLINE vec vload_panel_f16(const uint8_t *p) {
    uint16_t x[4];
    memcpy(x, p, 8);
    return (vec){lhk_f16_to_f32(x[0]), lhk_f16_to_f32(x[1]), lhk_f16_to_f32(x[2]), lhk_f16_to_f32(x[3])};
}
#include "lhk_flash_body.h"

#undef LHK_PANEL_F16
#undef LHK_PANEL_BF16
#undef LHK_NAME
#define LHK_PANEL_F16 0
#define LHK_PANEL_BF16 1
#define LHK_NAME(x) lhk_flash_bf16_portable_##x
LHK_ALWAYS_INLINE vec vload_bf16_even(const uint8_t *p) { ivec x; memcpy(&x, p, 16); return (vec)(x << 16); }
LHK_ALWAYS_INLINE vec vload_bf16_odd(const uint8_t *p) { ivec x; memcpy(&x, p, 16); return (vec)(x & -65536); }
#include "lhk_flash_body.h"

#define LHK_HADAMARD(x) lhk_flash_portable_hadamard_##x
#define LHK_HADAMARD_LANES 4
#include <lhk/hadamard_body.inc>

// Codes as floats, whose sums of products are exact below 2^24: the baseline of x86 has no multiplication that fits.
#undef LHK_NAME
#define LHK_NAME(x) lhk_flash_i8_portable_##x
#define LHK_I8_ROWS 2
#define LHK_I8_UNITS 1
#define LHK_I8_WORDS 4
#define LHK_I8_VALUES lhk_flash_bf16_portable_values
#define LHK_I8_SOFTMAX lhk_flash_portable_softmax
#define LHK_I8_WEIGHTS LHK_DTYPE_F32
typedef struct keys8 { vec channel[4]; } keys8;
typedef vec sum8;
LHK_ALWAYS_INLINE vec vcode(ivec x) { return __builtin_convertvector(x >> 24, vec); }
LHK_ALWAYS_INLINE keys8 load8(const uint8_t *p) {
    ivec x;
    memcpy(&x, p, 16);
    x ^= (int32_t)0x80808080;
    return (keys8){{vcode(x << 24), vcode(x << 16), vcode(x << 8), vcode(x)}};
}
LHK_ALWAYS_INLINE vec dot8(vec sum, const uint32_t *words, keys8 keys) {
    float q[4];
    memcpy(q, words, 16);
    for (int c = 0; c < 4; c++) sum = vfma(vset(q[c]), keys.channel[c], sum);
    return sum;
}
LHK_ALWAYS_INLINE vec start8(int32_t bias) {
    (void)bias;  // these codes are signed
    return vset(0);
}
LHK_ALWAYS_INLINE vec float8(vec sum) { return sum; }
#include "lhk_flash_i8_body.h"
