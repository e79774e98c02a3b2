// SPDX-License-Identifier: Apache-2.0
// Roof loops of x86-64. Products are of the form x * 1 + tiny, so that no value becomes subnormal or infinite.
#if defined(__x86_64__)
#include <immintrin.h>

#include "roofs_loops.h"

/// Keeps an accumulator in a register: gcc otherwise copies it to the stack each round.
#define KEEP(x) __asm__("" : "+v"(x))

#define FEATURES_AVX512VNNI LHK_FEATURES_AVX512 ",avx512vnni"

LHK_TARGET_BEGIN(LHK_FEATURES_AVX2)
static float finish_avx2(__m256 sum) {
    float lanes[8];
    _mm256_storeu_ps(lanes, sum);
    return lanes[0] + lanes[7];
}

static float fma_avx2(int64_t rounds) {
    __m256 a[ROOF_CHAINS], x = _mm256_set1_ps(1.0000001f), y = _mm256_set1_ps(1e-9f);
    ROOF_UNROLL
    for (int i = 0; i < ROOF_CHAINS; i++) a[i] = _mm256_set1_ps((float)i);
    for (int64_t r = 0; r < rounds; r++)
        ROOF_UNROLL
        for (int i = 0; i < ROOF_CHAINS; i++) a[i] = _mm256_fmadd_ps(a[i], x, y);
    ROOF_UNROLL
    for (int i = 1; i < ROOF_CHAINS; i++) a[0] = _mm256_add_ps(a[0], a[i]);
    return finish_avx2(a[0]);
}

/// Three instructions in place of vpdpbusd. The multiplications must be of something that changes: they are cheap to
/// hoist otherwise.
static float int8_avx2(int64_t rounds) {
    __m256i a[ROOF_CHAINS], ones = _mm256_set1_epi16(1), x = _mm256_set1_epi8(1);
    ROOF_UNROLL
    for (int i = 0; i < ROOF_CHAINS; i++) a[i] = _mm256_set1_epi32(i);
    for (int64_t r = 0; r < rounds; r++)
        ROOF_UNROLL
        for (int i = 0; i < ROOF_CHAINS; i++) {
            a[i] = _mm256_add_epi32(a[i], _mm256_madd_epi16(_mm256_maddubs_epi16(a[i], x), ones));
            KEEP(a[i]);
        }
    ROOF_UNROLL
    for (int i = 1; i < ROOF_CHAINS; i++) a[0] = _mm256_add_epi32(a[0], a[i]);
    return finish_avx2(_mm256_cvtepi32_ps(a[0]));
}

static float read_avx2(const uint8_t *data, uint64_t bytes) {
    __m256i a = _mm256_setzero_si256(), b = a;
    const uint8_t *second = data + bytes / 2;
    for (uint64_t i = 0; i < bytes / 2; i += 64) {
        a = _mm256_or_si256(a, _mm256_loadu_si256((const __m256i *)(data + i)));
        a = _mm256_or_si256(a, _mm256_loadu_si256((const __m256i *)(data + i + 32)));
        b = _mm256_or_si256(b, _mm256_loadu_si256((const __m256i *)(second + i)));
        b = _mm256_or_si256(b, _mm256_loadu_si256((const __m256i *)(second + i + 32)));
    }
    return finish_avx2(_mm256_castsi256_ps(_mm256_or_si256(a, b)));
}
LHK_TARGET_END

LHK_TARGET_BEGIN(LHK_FEATURES_AVX512)
static float fma_avx512(int64_t rounds) {
    __m512 a[ROOF_WIDE_CHAINS], x = _mm512_set1_ps(1.0000001f), y = _mm512_set1_ps(1e-9f);
    ROOF_UNROLL
    for (int i = 0; i < ROOF_WIDE_CHAINS; i++) a[i] = _mm512_set1_ps((float)i);
    for (int64_t r = 0; r < rounds; r++)
        ROOF_UNROLL
        for (int i = 0; i < ROOF_WIDE_CHAINS; i++) a[i] = _mm512_fmadd_ps(a[i], x, y);
    ROOF_UNROLL
    for (int i = 1; i < ROOF_WIDE_CHAINS; i++) a[0] = _mm512_add_ps(a[0], a[i]);
    return _mm512_reduce_add_ps(a[0]);
}

static float int8_avx512(int64_t rounds) {
    __m512i a[ROOF_WIDE_CHAINS], ones = _mm512_set1_epi16(1), x = _mm512_set1_epi8(1);
    ROOF_UNROLL
    for (int i = 0; i < ROOF_WIDE_CHAINS; i++) a[i] = _mm512_set1_epi32(i);
    for (int64_t r = 0; r < rounds; r++)
        ROOF_UNROLL
        for (int i = 0; i < ROOF_WIDE_CHAINS; i++) {
            a[i] = _mm512_add_epi32(a[i], _mm512_madd_epi16(_mm512_maddubs_epi16(a[i], x), ones));
            KEEP(a[i]);
        }
    ROOF_UNROLL
    for (int i = 1; i < ROOF_WIDE_CHAINS; i++) a[0] = _mm512_add_epi32(a[0], a[i]);
    return (float)_mm512_reduce_add_epi32(a[0]);
}

static float read_avx512(const uint8_t *data, uint64_t bytes) {
    __m512i a = _mm512_setzero_si512(), b = a;
    const uint8_t *second = data + bytes / 2;
    for (uint64_t i = 0; i < bytes / 2; i += 128) {
        a = _mm512_or_si512(a, _mm512_loadu_si512(data + i));
        b = _mm512_or_si512(b, _mm512_loadu_si512(second + i));
        a = _mm512_or_si512(a, _mm512_loadu_si512(data + i + 64));
        b = _mm512_or_si512(b, _mm512_loadu_si512(second + i + 64));
    }
    return (float)_mm512_reduce_or_epi32(_mm512_or_si512(a, b));
}
LHK_TARGET_END

LHK_TARGET_BEGIN(FEATURES_AVX512VNNI)
static float int8_avx512vnni(int64_t rounds) {
    __m512i a[ROOF_WIDE_CHAINS], x = _mm512_set1_epi8(1);
    ROOF_UNROLL
    for (int i = 0; i < ROOF_WIDE_CHAINS; i++) a[i] = _mm512_set1_epi32(i);
    for (int64_t r = 0; r < rounds; r++)
        ROOF_UNROLL
        for (int i = 0; i < ROOF_WIDE_CHAINS; i++) {
            a[i] = _mm512_dpbusd_epi32(a[i], x, x);
            KEEP(a[i]);
        }
    ROOF_UNROLL
    for (int i = 1; i < ROOF_WIDE_CHAINS; i++) a[0] = _mm512_add_epi32(a[0], a[i]);
    return (float)_mm512_reduce_add_epi32(a[0]);
}
LHK_TARGET_END

LHK_TARGET_BEGIN(LHK_FEATURES_AVX512BF16)
static float bf16_avx512bf16(int64_t rounds) {
    __m512 a[ROOF_WIDE_CHAINS];
    __m512bh x = (__m512bh)_mm512_set1_epi32(0x3f803f80);
    ROOF_UNROLL
    for (int i = 0; i < ROOF_WIDE_CHAINS; i++) a[i] = _mm512_set1_ps((float)i);
    for (int64_t r = 0; r < rounds; r++)
        ROOF_UNROLL
        for (int i = 0; i < ROOF_WIDE_CHAINS; i++) a[i] = _mm512_dpbf16_ps(a[i], x, x);
    ROOF_UNROLL
    for (int i = 1; i < ROOF_WIDE_CHAINS; i++) a[0] = _mm512_add_ps(a[0], a[i]);
    return _mm512_reduce_add_ps(a[0]);
}
LHK_TARGET_END

const roof_loop roof_arch_loops[] = {
    {"vfmadd ymm", LHK_DTYPE_F32, LHK_ISA_AVX2, ROOF_CHAINS * 8 * 2, fma_avx2},
    {"vfmadd zmm", LHK_DTYPE_F32, LHK_ISA_AVX512, ROOF_WIDE_CHAINS * 16 * 2, fma_avx512},
    {"vdpbf16ps zmm", LHK_DTYPE_BF16, LHK_ISA_AVX512BF16, ROOF_WIDE_CHAINS * 32 * 2, bf16_avx512bf16},
    {"vpmaddubsw ymm", LHK_DTYPE_I8, LHK_ISA_AVX2, ROOF_CHAINS * 32 * 2, int8_avx2},
    {"vpmaddubsw zmm", LHK_DTYPE_I8, LHK_ISA_AVX512, ROOF_WIDE_CHAINS * 64 * 2, int8_avx512},
    {"vpdpbusd zmm", LHK_DTYPE_I8, LHK_ISA_AVX512VNNI, ROOF_WIDE_CHAINS * 64 * 2, int8_avx512vnni},
};
const uint32_t roof_arch_loop_count = sizeof roof_arch_loops / sizeof *roof_arch_loops;
const roof_reader roof_arch_readers[] = {{LHK_ISA_AVX2, read_avx2}, {LHK_ISA_AVX512, read_avx512}};
const uint32_t roof_arch_reader_count = sizeof roof_arch_readers / sizeof *roof_arch_readers;
#endif
