// SPDX-License-Identifier: Apache-2.0
/// Encoding of a group: minimum and range, as the paper has it, or both fitted to the codes.
#include "lhk_kivi_store.h"

#define LHK_KIVI_ROUNDS 4  ///< of fitting

/// Scale of `range` in `levels` steps, rounded to f16. Rounded up where the range would not be covered to half a step: below
/// the normal numbers of f16 rounding to nearest could lose half of it.
static uint16_t scale_of(float range, float levels) {
    uint16_t scale = lhk_f32_to_f16(range / levels);
    if (scale < 0x7c00u && lhk_f16_to_f32(scale) * (levels + 0.5f) < range) scale++;
    return scale;
}

/// Codes of x for parameters as they are kept; the sum of squared errors.
static double take_codes(const float *x, int64_t n, int32_t levels, const uint16_t *parameters, uint8_t *codes) {
    const float scale = lhk_f16_to_f32(parameters[0]), minimum = lhk_f16_to_f32(parameters[1]);
    const float inverse = scale > 0 ? 1 / scale : 0;
    double errors = 0;
    for (int64_t i = 0; i < n; i++) {
        const float place = ((x[i] - minimum) * inverse + 0x1.8p23f) - 0x1.8p23f;  // to nearest even
        codes[i] = (uint8_t)(place > 0 ? place < (float)levels ? place : (float)levels : 0);
        const double off = (double)x[i] - (double)(minimum + scale * (float)codes[i]);
        errors += off * off;
    }
    return errors;
}

/// Least squares: the scale and minimum that serve these codes best. False when there is no other than the present one.
static bool refit(const float *x, int64_t n, const uint8_t *codes, uint16_t *parameters) {
    double q = 0, qq = 0, s = 0, qs = 0;
    for (int64_t i = 0; i < n; i++) {
        q += codes[i];
        qq += codes[i] * codes[i];
        s += (double)x[i];
        qs += codes[i] * (double)x[i];
    }
    const double determinant = (double)n * qq - q * q;
    if (!(determinant > 0)) return false;
    const double scale = ((double)n * qs - q * s) / determinant;
    const uint16_t fitted[] = {lhk_f32_to_f16((float)scale), lhk_f32_to_f16((float)((s - scale * q) / (double)n))};
    if (!(scale > 0) || !memcmp(fitted, parameters, sizeof fitted)) return false;
    memcpy(parameters, fitted, sizeof fitted);
    return true;
}

bool lhk_kivi_encode(uint32_t bits, bool fit, const float *x, int64_t n, uint8_t *codes, uint16_t *parameters) {
    const int32_t levels = (1 << bits) - 1;
    float low = x[0], high = x[0];
    for (int64_t i = 1; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    parameters[1] = lhk_f32_to_f16(low);
    const float minimum = lhk_f16_to_f32(parameters[1]);
    parameters[0] = isfinite(minimum) ? scale_of(high > minimum ? high - minimum : 0, (float)levels) : LHK_KIVI_NAN;
    if (parameters[0] >= 0x7c00u || lhk_row_nonfinite(x, LHK_DTYPE_F32, n)) {
        memset(codes, 0, (size_t)n);
        parameters[0] = LHK_KIVI_NAN;
        parameters[1] = 0;
        return false;
    }
    double errors = take_codes(x, n, levels, parameters, codes);
    uint16_t next[] = {parameters[0], parameters[1]};
    uint8_t tried[LHK_KIVI_MAX_GROUP];
    memcpy(tried, codes, (size_t)n);
    for (int round = 0; fit && round < LHK_KIVI_ROUNDS && refit(x, n, tried, next); round++) {
        const double now = take_codes(x, n, levels, next, tried);
        if (!(now < errors)) break;
        errors = now;
        memcpy(codes, tried, (size_t)n);
        memcpy(parameters, next, sizeof next);
    }
    return true;
}

void lhk_kivi_pack_run(uint32_t bits, const uint8_t *codes, uint8_t *run) {
    const int64_t bytes = 4 * (int64_t)bits;
    memset(run, 0, (size_t)bytes);
    for (int64_t i = 0; i < LHK_KIVI_RUN; i++) run[i % bytes] |= (uint8_t)(codes[i] << (i / bytes * bits));
}
