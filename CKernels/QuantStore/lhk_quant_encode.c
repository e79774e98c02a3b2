// SPDX-License-Identifier: Apache-2.0
/// Encoding of a block of channels: absmax for q8, minimum and range for q4. Plain code for every processor, so that all
/// variants keep the same bytes.
#include "lhk_quant_store.h"

/// Half-precision scale of `range` over `levels` steps, or NaN where it is not finite. Never so small that the range would
/// not be covered to half a step: below the normal numbers of f16, rounding could otherwise lose half of it.
static uint16_t scale_of(float range, float levels) {
    uint16_t scale = lhk_f32_to_f16(range / levels);
    if ((scale & 0x7fffu) >= 0x7c00u) return LHK_QUANT_NAN;
    if (lhk_f16_to_f32(scale) * (levels + 0.5f) < range) scale++;
    return scale;
}

static int32_t nearest(float x, int32_t low, int32_t high) {
    float rounded = (x + 0x1.8p23f) - 0x1.8p23f;  // to nearest even
    return rounded < (float)low ? low : rounded > (float)high ? high : (int32_t)rounded;
}

bool lhk_quant_encode(uint32_t bits, const float *x, int64_t n, uint8_t *codes, uint16_t *parameters) {
    float low = x[0], high = x[0];
    for (int64_t c = 1; c < n; c++) {
        low = x[c] < low ? x[c] : low;
        high = x[c] > high ? x[c] : high;
    }
    memset(codes, bits == 8 ? LHK_QUANT_ZERO : 0, LHK_QUANT_CHANNELS);
    float minimum = 0;
    if (bits == 8) {
        parameters[0] = scale_of(-low > high ? -low : high, 127);
    } else {
        parameters[1] = lhk_f32_to_f16(low);
        minimum = lhk_f16_to_f32(parameters[1]);
        parameters[0] = isfinite(minimum) ? scale_of(high > minimum ? high - minimum : 0, 15) : LHK_QUANT_NAN;
    }
    if (parameters[0] == LHK_QUANT_NAN || lhk_row_nonfinite(x, LHK_DTYPE_F32, n)) {
        parameters[0] = LHK_QUANT_NAN;
        if (bits == 4) parameters[1] = 0;
        return false;
    }
    float scale = lhk_f16_to_f32(parameters[0]), inverse = scale > 0 ? 1 / scale : 0;
    for (int64_t c = 0; c < n; c++)
        codes[c] = (uint8_t)(bits == 8 ? nearest(x[c] * inverse, -127, 127) + LHK_QUANT_ZERO
                                       : nearest((x[c] - minimum) * inverse, 0, 15));
    return true;
}
