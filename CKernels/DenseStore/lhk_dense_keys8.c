// SPDX-License-Identifier: Apache-2.0
/// Keys of 8 bits: rotated, quantised per token, packed; and the way back.
///
/// A key is multiplied by M = D H (`lhk/hadamard.h`), which spreads outliers over all channels, and then kept as codes
/// round(127 x / max|x|) with one scale max|x| / 127. Source: FlashAttention-3 (arXiv 2407.08608, section 3.3) for the
/// rotation, SageAttention (2410.02367) for the codes.
#include "lhk_dense_keys8.h"

#include <lhk/hadamard.h>

#define LHK_HADAMARD(x) lhk_dense_hadamard_##x
#define LHK_HADAMARD_LANES 4
#include <lhk/hadamard_body.inc>

static float *scales_of(const lhk_panels *p, const uint8_t *block) { return (float *)(block + p->key_scale_offset); }

/// max|x| / 127; NaN when a channel is not finite, 0 when all are too small for the division to make sense.
static float scale_of(const float *x, int64_t dim) {
    float largest = 0;
    for (int64_t c = 0; c < dim; c++) {
        float magnitude = fabsf(x[c]);
        if (!(magnitude <= 3.40282347e38f)) return NAN;
        largest = magnitude > largest ? magnitude : largest;
    }
    return largest < LHK_PANEL_TINY ? 0 : largest / 127;
}

void lhk_dense_pack_keys8(const lhk_panels *p, uint8_t *block, int64_t t, int64_t n, const uint8_t *rows,
                          int64_t row_stride, lhk_dtype from, int64_t dim) {
    float x[LHK_HADAMARD_MAX_DIM];
    for (int64_t i = 0; i < n; i++) {
        for (int64_t c = 0; c < dim; c++) x[c] = lhk_load_element(rows + i * row_stride, from, c);
        if (p->rotation) lhk_dense_hadamard_rotate(x, dim);
        float scale = scale_of(x, dim), inverse = scale > 0 ? 1 / scale : 0;
        scales_of(p, block)[t + i] = scale;
        uint8_t *codes = block + lhk_panel_key_index(p, t + i, 0);
        for (int64_t c = 0; c < dim; c++) {
            // Adding 1.5 * 2^23 rounds to nearest even; the quotient may exceed 127 by a rounding.
            float code = inverse > 0 ? (x[c] * inverse + 0x1.8p23f) - 0x1.8p23f : 0;
            codes[c / 4 * 64 + c % 4] = (uint8_t)((int32_t)code + 128);
        }
    }
}

void lhk_dense_read_key8(const lhk_panels *p, const uint8_t *block, int64_t t, float *out, int64_t dim) {
    float scale = scales_of(p, block)[t];
    const uint8_t *codes = block + lhk_panel_key_index(p, t, 0);
    for (int64_t c = 0; c < dim; c++) out[c] = (float)(codes[c / 4 * 64 + c % 4] - 128) * scale;
    if (p->rotation) lhk_dense_hadamard_unrotate(out, dim);
}

void lhk_dense_rotate_query(const lhk_panels *p, const float *q, float *out, int64_t dim) {
    memcpy(out, q, (size_t)dim * sizeof *q);
    if (p->rotation) lhk_dense_hadamard_rotate(out, dim);
}

float lhk_dense_dot_key8(const lhk_panels *p, const uint8_t *block, int64_t t, const float *q, int64_t dim) {
    const uint8_t *codes = block + lhk_panel_key_index(p, t, 0);
    float sum = 0;
    for (int64_t c = 0; c < dim; c++) sum += q[c] * (float)(codes[c / 4 * 64 + c % 4] - 128);
    return sum * scales_of(p, block)[t];
}
