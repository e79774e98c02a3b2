// SPDX-License-Identifier: Apache-2.0
// Dequantisation of the GGUF block formats. All fields are little-endian; blocks have no alignment.
// The loops have constant trip counts and independent iterations, so that the compiler vectorises them for each ISA.

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the loads of this file need a little-endian machine"
#endif

static inline uint16_t lhk_u16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t lhk_u32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline float lhk_from_bits(uint32_t bits) {
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/// binary16 to binary32, exact. A subnormal h becomes 2^-14 + h, built from bits, minus 2^-14, so that no subnormal
/// f32 takes part and flush-to-zero modes of the caller change nothing. Without branches, so that it vectorises.
static inline float lhk_half(const uint8_t *p) {
    uint32_t h = lhk_u16(p), sign = (h & 0x8000u) << 16, rest = (h & 0x7fffu) << 13;
    uint32_t special = (rest >= 0x0f800000u) ? 0x38000000u : 0u;  // infinity and NaN: exponent all ones
    float normal = lhk_from_bits(rest + 0x38000000u + special);
    float subnormal = lhk_from_bits(rest + 0x38800000u) - 0x1p-14f;
    float magnitude = rest < 0x00800000u ? subnormal : normal;
    uint32_t bits;
    memcpy(&bits, &magnitude, sizeof bits);
    return lhk_from_bits(bits | sign);
}

static void lhk_dequantize_f16(const uint8_t *restrict src, float *restrict dst, size_t count) {
    for (size_t i = 0; i < count; i++) dst[i] = lhk_half(src + 2 * i);
}

static void lhk_dequantize_bf16(const uint8_t *restrict src, float *restrict dst, size_t count) {
    for (size_t i = 0; i < count; i++) dst[i] = lhk_from_bits((uint32_t)lhk_u16(src + 2 * i) << 16);
}

/// d, 16 bytes: low nibbles are elements 0-15, high nibbles 16-31; value d (q - 8).
static void lhk_dequantize_q4_0(const uint8_t *restrict src, float *restrict dst) {
    float d = lhk_half(src);
    for (int i = 0; i < 16; i++) {
        dst[i] = d * (float)((src[2 + i] & 15) - 8);
        dst[16 + i] = d * (float)((src[2 + i] >> 4) - 8);
    }
}

/// d, m, 16 bytes as in Q4_0; value d q + m.
static void lhk_dequantize_q4_1(const uint8_t *restrict src, float *restrict dst) {
    float d = lhk_half(src), m = lhk_half(src + 2);
    for (int i = 0; i < 16; i++) {
        dst[i] = d * (float)(src[4 + i] & 15) + m;
        dst[16 + i] = d * (float)(src[4 + i] >> 4) + m;
    }
}

/// Nibbles as in Q4_0 and a fifth bit from the 32 bits at `high`: bit i belongs to element i.
static inline void lhk_unpack_q5(const uint8_t *restrict high, const uint8_t *restrict low, int *restrict q) {
    uint32_t bits = lhk_u32(high);
    for (int i = 0; i < 16; i++) {
        q[i] = (int)((low[i] & 15u) | ((bits >> i & 1u) << 4));
        q[16 + i] = (int)((low[i] >> 4) | ((bits >> (16 + i) & 1u) << 4));
    }
}

/// d, 32 high bits, 16 bytes; value d (q - 16).
static void lhk_dequantize_q5_0(const uint8_t *restrict src, float *restrict dst) {
    float d = lhk_half(src);
    int q[32];
    lhk_unpack_q5(src + 2, src + 6, q);
    for (int i = 0; i < 32; i++) dst[i] = d * (float)(q[i] - 16);
}

/// d, m, 32 high bits, 16 bytes; value d q + m.
static void lhk_dequantize_q5_1(const uint8_t *restrict src, float *restrict dst) {
    float d = lhk_half(src), m = lhk_half(src + 2);
    int q[32];
    lhk_unpack_q5(src + 4, src + 8, q);
    for (int i = 0; i < 32; i++) dst[i] = d * (float)q[i] + m;
}

/// d, 32 signed bytes; value d q.
static void lhk_dequantize_q8_0(const uint8_t *restrict src, float *restrict dst) {
    float d = lhk_half(src);
    for (int i = 0; i < 32; i++) dst[i] = d * (float)(int8_t)src[2 + i];
}

/// Scale and minimum of group g of 8: six bits each in 12 bytes. Groups 0-3 lie in bytes g and g + 4; of groups 4-7 the
/// low four bits lie in byte g + 4 and the high two in the top bits of bytes g - 4 and g.
static inline void lhk_scale_min(const uint8_t *s, int g, float *scale, float *min) {
    if (g < 4) {
        *scale = (float)(s[g] & 63);
        *min = (float)(s[g + 4] & 63);
    } else {
        *scale = (float)((s[g + 4] & 15) | (s[g - 4] >> 6) << 4);
        *min = (float)((s[g + 4] >> 4) | (s[g] >> 6) << 4);
    }
}

/// d, dmin, 12 bytes of scales, 128 bytes: bytes 32 p to 32 p + 31 hold groups 2 p (low nibbles) and 2 p + 1 (high).
static void lhk_dequantize_q4_k(const uint8_t *restrict src, float *restrict dst) {
    float d = lhk_half(src), dmin = lhk_half(src + 2);
    for (int g = 0; g < 8; g++) {
        const uint8_t *q = src + 16 + 32 * (g / 2);
        int shift = 4 * (g & 1);
        float scale, min;
        lhk_scale_min(src + 4, g, &scale, &min);
        scale *= d;
        min *= dmin;
        for (int i = 0; i < 32; i++) dst[32 * g + i] = scale * (float)(q[i] >> shift & 15) - min;
    }
}

/// As Q4_K with 32 bytes of fifth bits before the nibbles: bit g of byte i belongs to element i of group g.
static void lhk_dequantize_q5_k(const uint8_t *restrict src, float *restrict dst) {
    float d = lhk_half(src), dmin = lhk_half(src + 2);
    const uint8_t *high = src + 16;
    for (int g = 0; g < 8; g++) {
        const uint8_t *q = src + 48 + 32 * (g / 2);
        int shift = 4 * (g & 1);
        float scale, min;
        lhk_scale_min(src + 4, g, &scale, &min);
        scale *= d;
        min *= dmin;
        for (int i = 0; i < 32; i++) {
            dst[32 * g + i] = scale * (float)((q[i] >> shift & 15) | (high[i] >> g & 1) << 4) - min;
        }
    }
}

/// 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 signed scales (one per 16 elements), d; value
/// d scale (q - 32). Each half of 128 elements has 64 low and 32 high bytes: its quarter t (32 elements) takes nibble
/// t / 2 of low bytes 32 (t % 2) + i and bit pair t of high byte i.
static void lhk_dequantize_q6_k(const uint8_t *restrict src, float *restrict dst) {
    float d = lhk_half(src + 208);
    for (int t = 0; t < 8; t++) {
        const uint8_t *low = src + 64 * (t / 4) + 32 * (t & 1), *high = src + 128 + 32 * (t / 4);
        int low_shift = 4 * (t / 2 & 1), high_shift = 2 * (t & 3);
        for (int part = 0; part < 2; part++) {
            float scale = d * (float)(int8_t)src[192 + 2 * t + part];
            for (int i = 16 * part; i < 16 * part + 16; i++) {
                int q = (low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4;
                dst[32 * t + i] = scale * (float)(q - 32);
            }
        }
    }
}

static void lhk_dequantize(int32_t type, const uint8_t *src, float *dst, size_t count) {
    switch (type) {
        case LHK_GGUF_F32: memcpy(dst, src, count * sizeof(float)); break;
        case LHK_GGUF_F16: lhk_dequantize_f16(src, dst, count); break;
        case LHK_GGUF_BF16: lhk_dequantize_bf16(src, dst, count); break;
#define LHK_CASE(name, number, elements, bytes)                            \
    case number:                                                           \
        for (size_t b = 0; b < count / (elements); b++) {                  \
            lhk_dequantize_##name(src + b * (bytes), dst + b * (elements)); \
        }                                                                  \
        break;
            LHK_GGUF_BLOCK_FORMATS(LHK_CASE)
#undef LHK_CASE
        default: break;
    }
}
