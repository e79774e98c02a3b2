// SPDX-License-Identifier: Apache-2.0
// Rounding of activations to integers; included by lhk_packed_body.h. Loops over a block have constant trip counts and
// integer reductions, so that the compiler vectorises them for each ISA; every ISA gives the same bits.

/// One block: the scale, and codes as whole numbers. Magnitudes are compared as integers, where NaN and infinity are
/// largest. Adding 1.5 * 2^23 rounds to nearest even and leaves the code in the low bits.
LHK_ALWAYS_INLINE float lhk_quantize_block(const float *restrict x, int32_t *restrict q, const float limit) {
    uint32_t bits[LHK_BLOCK], largest = 0;
    memcpy(bits, x, sizeof bits);
    for (int c = 0; c < LHK_BLOCK; c++) {
        uint32_t magnitude = bits[c] & 0x7fffffffu;
        largest = magnitude > largest ? magnitude : largest;
    }
    float most;
    memcpy(&most, &largest, 4);
    const bool finite = largest < 0x7f800000u, zero = most < 0x1p-100f;
    const float inverse = finite && !zero ? limit / most : 0, magic = 12582912.0f;
    for (int c = 0; c < LHK_BLOCK; c++) {
        float shifted = (finite ? x[c] : 0) * inverse + magic;
        int32_t code;
        memcpy(&code, &shifted, 4);
        q[c] = code - 0x4b400000;
    }
    return !finite ? NAN : zero ? 0 : most / limit;
}

/// Codes as int8: as they are, or a high and a low part of seven bits, q = 128 high + low with low from -64 to 63.
LHK_ALWAYS_INLINE void lhk_store_codes(const int32_t *restrict q, uint8_t *restrict high, uint8_t *restrict low, bool fine) {
    if (!fine) {
        for (int c = 0; c < LHK_BLOCK; c++) high[c] = (uint8_t)q[c];
        return;
    }
    for (int c = 0; c < LHK_BLOCK; c++) {
        int32_t h = (q[c] + 64) >> 7;
        high[c] = (uint8_t)h;
        low[c] = (uint8_t)(q[c] - 128 * h);
    }
}

LHK_ALWAYS_INLINE void lhk_quantize_rows(const float *rows, size_t ldx, size_t m, const lhk_activations *a, const bool fine) {
    for (size_t i = 0; i < m; i++) {
        uint8_t *record = a->rows + i * a->stride;
        for (size_t b = 0; b < a->blocks; b++) {
            int32_t q[LHK_BLOCK], half[2] = {0, 0};
            const float scale = lhk_quantize_block(rows + i * ldx + b * LHK_BLOCK, q, fine ? 16319.0f : 127.0f);
            for (int c = 0; c < LHK_BLOCK / 2; c++) half[0] += q[c];
            for (int c = LHK_BLOCK / 2; c < LHK_BLOCK; c++) half[1] += q[c];
            const int32_t sum = half[0] + half[1];
            const lhk_activation_tail tail = {scale, scale * (float)sum, sum, half[0]};
            lhk_store_codes(q, record, record + LHK_BLOCK, fine);
            memcpy(record + lhk_activation_codes(fine), &tail, sizeof tail);
            record += lhk_activation_bytes(fine);
        }
    }
}

static void lhk_quantize(const float *rows, size_t ldx, size_t m, const lhk_activations *a) {
    if (a->fine)
        lhk_quantize_rows(rows, ldx, m, a, true);
    else
        lhk_quantize_rows(rows, ldx, m, a, false);
}
