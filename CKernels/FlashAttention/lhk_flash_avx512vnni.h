// SPDX-License-Identifier: Apache-2.0
/// The product of 8-bit codes for AVX-512 VNNI: four channels of sixteen keys in one instruction.
#ifndef LHK_FLASH_AVX512VNNI_H
#define LHK_FLASH_AVX512VNNI_H

typedef __m512i keys8;
LHK_ALWAYS_INLINE keys8 load8(const uint8_t *p) { return _mm512_loadu_si512((const void *)p); }
LHK_ALWAYS_INLINE sum8 dot8(sum8 sum, const uint32_t *words, keys8 keys) {
    return (sum8)_mm512_dpbusd_epi32((__m512i)sum, keys, _mm512_set1_epi32((int32_t)*words));
}

#endif
