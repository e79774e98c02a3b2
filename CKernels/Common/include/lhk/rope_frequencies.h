// SPDX-License-Identifier: Apache-2.0
/// From position parameters to frequencies: validation and the scaling formulas, all in double precision. For the method
/// `rope`, and for stores that turn keys back to where they were before it.
#ifndef LHK_ROPE_FREQUENCIES_H
#define LHK_ROPE_FREQUENCIES_H

#include <lhk/support.h>

#define LHK_ROPE_MOST_DIMS 576u  ///< rotated dimensions
#define LHK_ROPE_MAX_FREQUENCY 256.0  ///< keeps the largest angle below 2^48, within reach of the reduction
static const double lhk_rope_pi = 3.14159265358979323846;

/// The parameters with defaults filled in. Members past the caller's struct_size count as zero.
static inline lhk_position_params lhk_rope_complete(const lhk_position_params *given, uint32_t head_dim) {
    lhk_position_params p = {0};
    size_t known = given->struct_size < sizeof p ? given->struct_size : sizeof p;
    memcpy(&p, given, known);
    if (!p.dims) p.dims = head_dim;
    if (p.factor == 0) p.factor = 1;
    if (p.beta_fast == 0) p.beta_fast = 32;
    if (p.beta_slow == 0) p.beta_slow = 1;
    return p;
}

static inline lhk_status lhk_rope_validate(const lhk_position_params *p, uint32_t head_dim, lhk_error *error) {
    if (p->dims % 2 || p->dims < 2 || p->dims > head_dim || p->dims > LHK_ROPE_MOST_DIMS)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "rope: %u rotated dimensions; must be even, 2 to %u", p->dims,
                        head_dim < LHK_ROPE_MOST_DIMS ? head_dim : LHK_ROPE_MOST_DIMS);
    if (p->interleaved > 1)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "rope: interleaved is %u; must be 0 or 1", p->interleaved);
    if (!(p->base > 1) || !isfinite(p->base))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "rope: frequency base %g; must be given, finite and above 1",
                        p->base);
    if (p->scaling > LHK_SCALING_YARN)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "rope: unknown scaling %u", p->scaling);
    if (!(p->factor >= 1) || !isfinite(p->factor))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "rope: scaling factor %g; must be finite and at least 1",
                        p->factor);
    if (p->scaling == LHK_SCALING_NTK && p->dims < 4)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "rope: ntk scaling needs at least 4 rotated dimensions");
    if (p->scaling == LHK_SCALING_YARN && p->original_context < 1)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "rope: yarn needs the original context, at least 1, not %lld",
                        (long long)p->original_context);
    if (!(p->beta_slow > 0) || !(p->beta_fast >= p->beta_slow) || !isfinite(p->beta_fast))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1,
                        "rope: beta_fast %g and beta_slow %g; must be finite, 0 < slow <= fast", p->beta_fast,
                        p->beta_slow);
    if (!(p->attention_factor >= 0) || !isfinite(p->attention_factor))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "rope: attention factor %g; must be finite and not negative",
                        p->attention_factor);
    if (p->factor_count && (p->factor_count != p->dims / 2 || !p->factors))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "rope: %u frequency factors%s; %u rotated dimensions need %u",
                        p->factor_count, p->factors ? "" : " without an array", p->dims, p->dims / 2);
    return LHK_OK;
}

/// Pair at which a wave makes `rotations` turns over the original context (YaRN, section 3.2).
static inline double lhk_rope_yarn_pair(const lhk_position_params *p, double rotations) {
    return p->dims * log((double)p->original_context / (2 * lhk_rope_pi * rotations)) / (2 * log(p->base));
}

typedef struct lhk_rope_ramp {
    double low, width;
} lhk_rope_ramp;

static inline lhk_rope_ramp lhk_rope_yarn_ramp(const lhk_position_params *p) {
    double low = fmax(floor(lhk_rope_yarn_pair(p, p->beta_fast)), 0);
    double high = fmin(ceil(lhk_rope_yarn_pair(p, p->beta_slow)), p->dims - 1.0);
    return (lhk_rope_ramp){low, fmax(high - low, 0.001)};
}

/// Frequencies [dims / 2] of heads of `head_dim` in radians per token, the rotated dimensions, their pairing and magnitude.
static inline lhk_status lhk_rope_frequencies(const lhk_position_params *params, uint32_t head_dim, double *frequencies,
                                              uint32_t *dims, uint32_t *interleaved, double *magnitude, lhk_error *error) {
    lhk_position_params p = lhk_rope_complete(params, head_dim);
    lhk_status status = lhk_rope_validate(&p, head_dim, error);
    if (status) return status;
    *dims = p.dims;
    *interleaved = p.interleaved;
    *magnitude = 1;
    const double scale = p.factor;
    double base = p.base;
    lhk_rope_ramp ramp = {0, 1};
    if (p.scaling == LHK_SCALING_NTK) base *= pow(scale, p.dims / (p.dims - 2.0));
    if (p.scaling == LHK_SCALING_YARN) {
        ramp = lhk_rope_yarn_ramp(&p);
        *magnitude = 1 + 0.1 * log(scale);
    }
    if (p.attention_factor > 0) *magnitude = p.attention_factor;
    for (uint32_t t = 0; t < p.dims / 2; t++) {
        double frequency = pow(base, -2.0 * t / p.dims);
        if (p.factor_count) frequency /= p.factors[t];
        if (p.scaling == LHK_SCALING_LINEAR) frequency /= scale;
        if (p.scaling == LHK_SCALING_YARN) {
            double slow = fmin(fmax((t - ramp.low) / ramp.width, 0), 1);
            frequency = frequency / scale * slow + frequency * (1 - slow);
        }
        if (!(frequency >= 0 && frequency <= LHK_ROPE_MAX_FREQUENCY))
            return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "rope: frequency factor %g gives pair %u the frequency %g",
                            p.factor_count ? p.factors[t] : 1, t, frequency);
        frequencies[t] = frequency;
    }
    return LHK_OK;
}

#endif
