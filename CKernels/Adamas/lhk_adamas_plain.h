// SPDX-License-Identifier: Apache-2.0
/// Words in plain C, for files that have no instruction for them.
#if defined(LHK_ADAMAS_PLAIN_GREATER)
LHK_ALWAYS_INLINE uint32_t LHK_NAME(greater)(const float *y, float t) {
    uint32_t bits = 0;
    for (int c = 0; c < 16; c++) bits |= (uint32_t)(y[c] > t) << c;
    return bits;
}
#endif

#if defined(LHK_ADAMAS_PLAIN_KEEP)
LHK_ALWAYS_INLINE void LHK_NAME(power)(lhk_adamas_floats *x, float shift) {
    lhk_adamas_floats bits = *x * 0x1p23f + shift;
    bits = (lhk_adamas_floats)((lhk_adamas_ints)bits & (bits > 0) & (bits < 0x1p31f));  // others have no integer
    *x = (lhk_adamas_floats)__builtin_convertvector(bits, lhk_adamas_ints);
}

LHK_ALWAYS_INLINE float LHK_NAME(greatest)(const lhk_adamas_floats *x) {
    float s[16];
    memcpy(s, x, sizeof s);
    for (int half = 8; half; half /= 2)
        for (int j = 0; j < half; j++) s[j] = s[j] > s[j + half] ? s[j] : s[j + half];
    return s[0];
}

LHK_ALWAYS_INLINE int64_t LHK_NAME(compress)(const float *x, uint32_t bits, float *out) {
    int64_t n = 0;
    for (; bits; bits &= bits - 1) out[n++] = x[__builtin_ctz(bits)];
    return n;
}

LHK_ALWAYS_INLINE int64_t LHK_NAME(keep)(const float *x, float least, int32_t first, int32_t *which, float *kept) {
    int64_t n = 0;
    for (uint32_t bits = LHK_NAME(at_least)(x, least); bits; bits &= bits - 1) {
        int lane = __builtin_ctz(bits);
        which[n] = first + lane;
        kept[n++] = x[lane];
    }
    return n;
}
#endif

LHK_ALWAYS_INLINE LHK_NAME(vwords) LHK_NAME(vxor)(LHK_NAME(vwords) h, uint64_t q) { return h ^ q; }
#if !defined(LHK_ADAMAS_TERNARY)
LHK_ALWAYS_INLINE LHK_NAME(vwords) LHK_NAME(vleast)(LHK_NAME(vwords) h, LHK_NAME(vwords) l, uint64_t q) { return (h | l) ^ q; }
LHK_ALWAYS_INLINE LHK_NAME(vwords) LHK_NAME(vmost)(LHK_NAME(vwords) h, LHK_NAME(vwords) l, uint64_t q) { return (h & l) ^ q; }
#endif
