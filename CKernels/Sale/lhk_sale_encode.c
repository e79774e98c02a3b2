// SPDX-License-Identifier: Apache-2.0
/// Codes of keys. Plain code, the same bits on every processor: it reads each key once, which is little beside the
/// estimates.
#include <lhk/support.h>

#include "lhk_sale_kernel.h"

lhk_status lhk_sale_get_layout(uint32_t head_dim, uint32_t bits, lhk_sale_layout *out, lhk_error *error) {
    if (bits != 4 && bits != 8) return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "sale: codes have 4 or 8 bits, not %u", bits);
    if (head_dim < 1 || head_dim > LHK_SALE_MAX_HEAD_DIM)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, 0, "sale: head dimension %u is not 1 to %d", head_dim,
                        LHK_SALE_MAX_HEAD_DIM);
    *out = (lhk_sale_layout){.struct_size = sizeof *out, .bits = bits, .head_dim = head_dim};
    out->padded_dim = (uint32_t)lhk_round_up(head_dim, 4);
    out->scale_offset = (uint64_t)LHK_SALE_SEGMENT * out->padded_dim;
    out->mean_offset = out->scale_offset + LHK_SALE_SEGMENT * sizeof(float);
    out->energy_offset = out->mean_offset + (uint64_t)lhk_round_up((int64_t)head_dim * 4, LHK_ALIGNMENT);
    out->bytes = out->energy_offset + (uint64_t)lhk_round_up(out->padded_dim, LHK_ALIGNMENT);
    return LHK_OK;
}

/// Scale of `count` keys that share one, and what codes are products with: NaN and 0 where something is not finite.
static float scale_of(const float *rows, int64_t stride, int64_t count, const float *mean, int64_t dim, float levels,
                      float *inverse) {
    uint32_t largest = 0;
    for (int64_t t = 0; t < count; t++)
        for (int64_t c = 0; c < dim; c++) {
            float x = rows[t * stride + c] - mean[c];
            uint32_t bits;
            memcpy(&bits, &x, 4);
            bits &= 0x7fffffffu;
            largest = bits > largest ? bits : largest;
        }
    float top;
    memcpy(&top, &largest, 4);
    bool usable = top > 0x1p-113f && top < INFINITY;
    *inverse = usable ? levels / top : 0;
    return usable ? top / levels : top <= 0x1p-113f ? 0 : NAN;
}

void lhk_sale_encode_segment(const lhk_sale_layout *l, const float *rows, int64_t stride, uint8_t *segment) {
    const int64_t dim = l->head_dim, padded = l->padded_dim, together = l->bits == 8 ? LHK_SALE_BLOCK : 1;
    const float levels = (float)LHK_SALE_KEY_LEVELS(l->bits);
    const uint8_t zero = LHK_SALE_KEY_OFFSET(l->bits);
    float *scales = (float *)(segment + l->scale_offset), *mean = (float *)(segment + l->mean_offset);
    float *energy = (float *)(segment + l->energy_offset);
    for (int64_t c = 0; c < dim; c++) mean[c] = 0;
    for (int64_t t = 0; t < LHK_SALE_SEGMENT; t++)
        for (int64_t c = 0; c < dim; c++) mean[c] += rows[t * stride + c];
    for (int64_t c = 0; c < dim; c++) mean[c] *= 1.0f / LHK_SALE_SEGMENT;
    memset(segment, zero, l->scale_offset);
    memset(mean + dim, 0, l->bytes - l->mean_offset - (uint64_t)dim * sizeof(float));
    for (int64_t t = 0; t < LHK_SALE_SEGMENT; t++)
        for (int64_t c = 0; c < dim; c++) {
            float x = rows[t * stride + c] - mean[c];
            energy[c / 4] += x * x;
        }
    for (int64_t g = 0; g < padded / 4; g++) energy[g] *= 1.0f / (4 * LHK_SALE_SEGMENT);
    for (int64_t first = 0; first < LHK_SALE_SEGMENT; first += together) {
        float inverse, scale = scale_of(rows + first * stride, stride, together, mean, dim, levels, &inverse);
        for (int64_t t = first; t < first + together; t++) {
            uint8_t *to = segment + t / 16 * padded * 16 + t % 16 * 4;
            scales[t] = scale;
            for (int64_t c = 0; c < dim && inverse != 0; c++) {
                float shifted = (rows[t * stride + c] - mean[c]) * inverse + 0x1.8p23f;
                int32_t code;  // the integer, to nearest even, in the low bits
                memcpy(&code, &shifted, 4);
                to[c / 4 * 64 + c % 4] = (uint8_t)(code - 0x4b400000 + zero);
            }
        }
    }
}
