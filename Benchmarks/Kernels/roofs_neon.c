// SPDX-License-Identifier: Apache-2.0
// Roof loops of AArch64.
#if defined(__aarch64__)
#include "roofs_loops.h"
#include <arm_neon.h>

static float fma_neon(int64_t rounds) {
    float32x4_t a[ROOF_WIDE_CHAINS], x = vdupq_n_f32(1e-9f), y = vdupq_n_f32(1.0f);
    ROOF_UNROLL
    for (int i = 0; i < ROOF_WIDE_CHAINS; i++) a[i] = vdupq_n_f32((float)i);
    for (int64_t r = 0; r < rounds; r++)
        ROOF_UNROLL
        for (int i = 0; i < ROOF_WIDE_CHAINS; i++) a[i] = vfmaq_f32(a[i], x, y);
    ROOF_UNROLL
    for (int i = 1; i < ROOF_WIDE_CHAINS; i++) a[0] = vaddq_f32(a[0], a[i]);
    return vaddvq_f32(a[0]);
}

static float read_neon(const uint8_t *data, uint64_t bytes) {
    uint8x16_t a = vdupq_n_u8(0), b = a;
    const uint8_t *second = data + bytes / 2;
    for (uint64_t i = 0; i < bytes / 2; i += 32) {
        a = vorrq_u8(a, vorrq_u8(vld1q_u8(data + i), vld1q_u8(data + i + 16)));
        b = vorrq_u8(b, vorrq_u8(vld1q_u8(second + i), vld1q_u8(second + i + 16)));
    }
    return (float)vmaxvq_u8(vorrq_u8(a, b));
}

LHK_TARGET_BEGIN("arch=armv8.2-a+dotprod")
static float int8_dotprod(int64_t rounds) {
    int32x4_t a[ROOF_WIDE_CHAINS];
    int8x16_t x = vdupq_n_s8(1);
    ROOF_UNROLL
    for (int i = 0; i < ROOF_WIDE_CHAINS; i++) a[i] = vdupq_n_s32(i);
    for (int64_t r = 0; r < rounds; r++)
        ROOF_UNROLL
        for (int i = 0; i < ROOF_WIDE_CHAINS; i++) a[i] = vdotq_s32(a[i], x, x);
    ROOF_UNROLL
    for (int i = 1; i < ROOF_WIDE_CHAINS; i++) a[0] = vaddq_s32(a[0], a[i]);
    return (float)vaddvq_s32(a[0]);
}
LHK_TARGET_END

LHK_TARGET_BEGIN(LHK_FEATURES_NEON_I8MM)
static float int8_i8mm(int64_t rounds) {
    int32x4_t a[ROOF_WIDE_CHAINS];
    int8x16_t x = vdupq_n_s8(1);
    ROOF_UNROLL
    for (int i = 0; i < ROOF_WIDE_CHAINS; i++) a[i] = vdupq_n_s32(i);
    for (int64_t r = 0; r < rounds; r++)
        ROOF_UNROLL
        for (int i = 0; i < ROOF_WIDE_CHAINS; i++) a[i] = vmmlaq_s32(a[i], x, x);
    ROOF_UNROLL
    for (int i = 1; i < ROOF_WIDE_CHAINS; i++) a[0] = vaddq_s32(a[0], a[i]);
    return (float)vaddvq_s32(a[0]);
}
LHK_TARGET_END

LHK_TARGET_BEGIN(LHK_FEATURES_NEON_BF16)
static float bf16_bfmmla(int64_t rounds) {
    float32x4_t a[ROOF_WIDE_CHAINS];
    // Ones that the compiler does not know: gcc writes the constant as an f16 immediate, which this level lacks.
    uint16_t one = 0x3f80;
    __asm__("" : "+r"(one));
    bfloat16x8_t x = vreinterpretq_bf16_u16(vdupq_n_u16(one));
    ROOF_UNROLL
    for (int i = 0; i < ROOF_WIDE_CHAINS; i++) a[i] = vdupq_n_f32((float)i);
    for (int64_t r = 0; r < rounds; r++)
        ROOF_UNROLL
        for (int i = 0; i < ROOF_WIDE_CHAINS; i++) a[i] = vbfmmlaq_f32(a[i], x, x);
    ROOF_UNROLL
    for (int i = 1; i < ROOF_WIDE_CHAINS; i++) a[0] = vaddq_f32(a[0], a[i]);
    return vaddvq_f32(a[0]);
}
LHK_TARGET_END

const roof_loop roof_arch_loops[] = {
    {"fmla", LHK_DTYPE_F32, LHK_ISA_NEON, ROOF_WIDE_CHAINS * 4 * 2, fma_neon},
    {"bfmmla", LHK_DTYPE_BF16, LHK_ISA_NEON_BF16, ROOF_WIDE_CHAINS * 16 * 2, bf16_bfmmla},
    {"sdot", LHK_DTYPE_I8, LHK_ISA_NEON_DOTPROD, ROOF_WIDE_CHAINS * 16 * 2, int8_dotprod},
    {"smmla", LHK_DTYPE_I8, LHK_ISA_NEON_I8MM, ROOF_WIDE_CHAINS * 32 * 2, int8_i8mm},
};
const uint32_t roof_arch_loop_count = sizeof roof_arch_loops / sizeof *roof_arch_loops;
const roof_reader roof_arch_readers[] = {{LHK_ISA_NEON, read_neon}};
const uint32_t roof_arch_reader_count = sizeof roof_arch_readers / sizeof *roof_arch_readers;
#endif
