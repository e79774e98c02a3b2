// SPDX-License-Identifier: Apache-2.0
/// Weights: floats as integers with one factor. Included by lhk_quant_body.h, which says what the words mean.

#ifdef LHK_QUANT_PLAIN_WEIGHTS
LHK_ALWAYS_INLINE void LHK_NAME(fma)(const lhk_quant_floats *a, float b, lhk_quant_floats *sum) { *sum += *a * b; }

LHK_ALWAYS_INLINE uint32_t LHK_NAME(spread)(const float *p, const float *scales, float *x, int64_t n) {
    uint32_t largest = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        x[i] = p[i] != 0 ? p[i] * scales[i] : 0;
        memcpy(&bits, x + i, 4);
        bits &= 0x7fffffffu;
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

LHK_ALWAYS_INLINE int32_t LHK_NAME(round)(const float *x, int64_t n, float inverse, const int planes, uint8_t *w,
                                          int64_t plane) {
    uint32_t sum = 0;
    for (int64_t i = 0; i < n; i++) {
        float shifted = x[i] * inverse + 0x1.8p23f;  // the integer in the low bits, to nearest even
        uint32_t weight;
        memcpy(&weight, &shifted, 4);
        weight -= 0x4b400000u;
        sum += weight;
#if LHK_QUANT_PLANES
        w[i] = (uint8_t)(planes == 2 ? weight >> 7 : weight);
        if (planes == 2) w[plane + i] = (uint8_t)(weight & 127);
#else
        uint16_t narrow = (uint16_t)weight;
        memcpy(w + 2 * i, &narrow, 2);
        (void)planes;
        (void)plane;
#endif
    }
    return (int32_t)sum;
}
#endif

/// n weights of x at `w`, and their sum. Returns their factor; `bits` are those of the largest magnitude.
LHK_ALWAYS_INLINE float LHK_NAME(weigh)(const float *x, int64_t n, uint32_t bits, const int planes, uint8_t *w,
                                        int64_t plane, int32_t *sum) {
    float inverse, factor = lhk_quant_factor(bits, planes, &inverse);
    *sum = LHK_NAME(round)(x, n, inverse, planes, w, plane);
    return factor;
}

/// Where a sum begins, so that it comes out without the codes' offset. Weights of a row that is not finite mean nothing, and
/// may overflow.
LHK_ALWAYS_INLINE int32_t LHK_NAME(bias)(const int bits, int32_t sum) {
    return (int32_t)(0u - (uint32_t)LHK_QUANT_BIAS(bits) * (uint32_t)sum);
}
