// SPDX-License-Identifier: Apache-2.0
/// The vector words of the strip kernels for AVX-512, shared by the files of that level and above.
#ifndef LHK_FLASH_AVX512_H
#define LHK_FLASH_AVX512_H

typedef __m512 vec;
#define LHK_LANES 16

LHK_ALWAYS_INLINE vec vload(const float *p) { return _mm512_loadu_ps(p); }
LHK_ALWAYS_INLINE void vstore(float *p, vec x) { _mm512_storeu_ps(p, x); }
LHK_ALWAYS_INLINE vec vset(float x) { return _mm512_set1_ps(x); }
LHK_ALWAYS_INLINE vec vadd(vec a, vec b) { return _mm512_add_ps(a, b); }
LHK_ALWAYS_INLINE vec vsub(vec a, vec b) { return _mm512_sub_ps(a, b); }
LHK_ALWAYS_INLINE vec vmul(vec a, vec b) { return _mm512_mul_ps(a, b); }
LHK_ALWAYS_INLINE vec vfma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
/// vfma(b, vset(*a), sum) with the broadcast inside the instruction.
LHK_ALWAYS_INLINE vec vfma_at(vec sum, const float *a, vec b) {
    __asm__("vfmadd231ps %1%{1to16%}, %2, %0" : "+v"(sum) : "m"(*a), "v"(b));
    return sum;
}
LHK_ALWAYS_INLINE vec vmax(vec a, vec b) { return _mm512_max_ps(a, b); }
LHK_ALWAYS_INLINE vec vround(vec x) {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
LHK_ALWAYS_INLINE vec vpow2(vec x, vec n) { return _mm512_scalef_ps(x, n); }
LHK_ALWAYS_INLINE float vsum(vec x) { return _mm512_reduce_add_ps(x); }
LHK_ALWAYS_INLINE float vgreatest(vec x) { return _mm512_reduce_max_ps(x); }

#define LHK_HADAMARD_LANES 16

/// Sums of i8 kernels. A vector of 32-bit numbers rather than __m512i, whose 64-bit ones gcc copies at every addition.
typedef int32_t sum8 __attribute__((vector_size(64)));
LHK_ALWAYS_INLINE sum8 start8(int32_t bias) { return (sum8)_mm512_set1_epi32(-bias); }
LHK_ALWAYS_INLINE vec float8(sum8 sum) { return _mm512_cvtepi32_ps((__m512i)sum); }

#endif
