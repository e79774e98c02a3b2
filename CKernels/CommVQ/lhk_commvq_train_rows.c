// SPDX-License-Identifier: Apache-2.0
/// What both forms of training do with a layer's rows: checks, norms and weights, principal axes.
#include <longhand/reference.h>

#include "lhk_commvq_train_plan.h"

lhk_status lhk_commvq_check_samples(const lhk_commvq_samples *s, uint32_t most_bits, lhk_error *error) {
    if (s->bits < 1 || s->bits > most_bits)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "commvq training: %u bits; must be 1 to %u", s->bits, most_bits);
    if (s->kv_heads < 1 || s->kv_heads > 1024 || s->head_dim_k % 64 || s->head_dim_v % 64 || !s->head_dim_k || !s->head_dim_v ||
        s->head_dim_k > LHK_COMMVQ_MAX_DIM || s->head_dim_v > LHK_COMMVQ_MAX_DIM)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, 1, "commvq training: %u KV heads of dimensions %u/%u; these must be "
                        "multiples of 64 up to %d", s->kv_heads, s->head_dim_k, s->head_dim_v, LHK_COMMVQ_MAX_DIM);
    if (s->query_heads < 1 || s->query_heads % s->kv_heads || s->query_heads > 65536)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "commvq training: %u query heads are no multiple of %u KV heads",
                        s->query_heads, s->kv_heads);
    if (s->tokens < 16 || s->tokens > INT32_MAX || s->check < 0 || s->check > INT32_MAX)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "commvq training: %lld tokens; at least 16 are needed",
                        (long long)s->tokens);
    if (s->key_steps < 1 || s->value_rounds < 0)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "commvq training: no steps");
    const int64_t total = s->tokens + s->check;
    if (lhk_row_nonfinite(s->keys, LHK_DTYPE_F32, total * s->kv_heads * s->head_dim_k) ||
        lhk_row_nonfinite(s->values, LHK_DTYPE_F32, total * s->kv_heads * s->head_dim_v) ||
        lhk_row_nonfinite(s->queries, LHK_DTYPE_F32, total * s->query_heads * s->head_dim_k))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "commvq training: queries, keys or values are not finite");
    return LHK_OK;
}

void lhk_commvq_take_weights(const lhk_commvq_samples *s, const uint16_t *channels, uint32_t head, float *out) {
    const int64_t dim = s->head_dim_k, pairs = dim / 2, total = s->tokens + s->check, group = s->query_heads / s->kv_heads;
    double squares[LHK_COMMVQ_MAX_PAIRS] = {0}, sum = 0;
    const float *row = s->queries + (int64_t)head * group * total * dim;
    for (int64_t i = 0; i < group * total; i++, row += dim)
        for (int64_t j = 0; j < pairs; j++)
            for (int part = 0; part < 2; part++) {
                const double x = (double)row[channels[j + part * pairs]];
                squares[j] += x * x;
            }
    for (int64_t j = 0; j < pairs; j++) sum += squares[j] / (double)pairs;
    for (int64_t j = 0; j < pairs; j++) out[j] = sum > 0 ? (float)fmax(sqrt(squares[j] / sum), 0.125) : 1;
}

static void take_norms(const float *rows, uint32_t heads, int64_t tokens, int64_t dim, float *out) {
    for (int64_t i = 0; i < tokens; i++) {
        double sum = 0;
        for (uint32_t h = 0; h < heads; h++)
            for (int64_t c = 0; c < dim; c++) {
                const double x = (double)rows[(h * tokens + i) * dim + c];
                sum += x * x;
            }
        out[i] = sum > 1e-24 && sum < 1e24 ? (float)(1 / sqrt(sum)) : 0;
    }
}

float *lhk_commvq_take_scales(const lhk_commvq_samples *s, uint16_t *channels) {
    const int64_t total = s->tokens + s->check;
    float *scales = malloc((size_t)total * 2 * sizeof *scales);
    if (!scales) return NULL;
    lhk_commvq_pair_channels(s->head_dim_k, s->rotated ? s->rotated : s->head_dim_k, s->interleaved, channels);
    take_norms(s->keys, s->kv_heads, total, s->head_dim_k, scales);
    take_norms(s->values, s->kv_heads, total, s->head_dim_v, scales + total);
    return scales;
}

void lhk_commvq_diagonalise(double *m, double *v, int64_t n) {
    memset(v, 0, (size_t)(n * n) * sizeof *v);
    for (int64_t i = 0; i < n; i++) v[i * n + i] = 1;
    for (int sweep = 0; sweep < 12; sweep++)
        for (int64_t p = 0; p < n; p++)
            for (int64_t q = p + 1; q < n; q++) {
                if (fabs(m[p * n + q]) <= 1e-12 * sqrt(fabs(m[p * n + p] * m[q * n + q]))) continue;
                const double theta = (m[q * n + q] - m[p * n + p]) / (2 * m[p * n + q]);
                const double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
                const double c = 1 / sqrt(t * t + 1), s = t * c;
                for (int64_t k = 0; k < n; k++) {
                    const double a = m[k * n + p], b = m[k * n + q];
                    m[k * n + p] = c * a - s * b;
                    m[k * n + q] = s * a + c * b;
                }
                for (int64_t k = 0; k < n; k++) {
                    const double a = m[p * n + k], b = m[q * n + k], x = v[p * n + k], y = v[q * n + k];
                    m[p * n + k] = c * a - s * b;
                    m[q * n + k] = s * a + c * b;
                    v[p * n + k] = c * x - s * y;
                    v[q * n + k] = s * x + c * y;
                }
            }
}
