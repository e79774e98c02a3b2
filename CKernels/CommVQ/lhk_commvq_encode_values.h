// SPDX-License-Identifier: Apache-2.0
/// Encoding of values, included by every ISA file after that of keys.

#define LHK_COMMVQ_SWEEPS 4  ///< most rounds over the bits of a value

/// out[n] += sum over rows of factor times row [n]; n is a multiple of 64.
LHK_ALWAYS_INLINE void LHK_NAME(add_rows)(const float *factors, const float *rows, int64_t count, int64_t n, float *out) {
    for (int64_t k = 0; k < n; k += 64) {
        lhk_commvq_floats sum[4], row;
        memcpy(sum, out + k, sizeof sum);
        for (int64_t i = 0; i < count; i++) {
            LHK_UNROLL
            for (int v = 0; v < 4; v++) {
                memcpy(&row, rows + i * n + k + 16 * v, sizeof row);
                sum[v] += factors[i] * row;
            }
        }
        memcpy(out + k, sum, sizeof sum);
    }
}

/// Bits whose sum of rows is near to value x: decided one by one, the longest row first, each with those before it taken out
/// (as receivers of several antennas do); then coordinate descent.
static void LHK_NAME(find_bits)(const lhk_commvq_value_tables *book, int64_t bits, int64_t dim, const float *x,
                                uint8_t *bit) {
    const float *gram = book->gram;
    _Alignas(64) float slope[LHK_COMMVQ_MAX_BITS], half[LHK_COMMVQ_MAX_BITS];  // of the error's square; bits as +-1/2
    float minus[LHK_COMMVQ_MAX_BITS], rest[LHK_COMMVQ_MAX_DIM];
    for (int64_t c = 0; c < dim; c++) rest[c] = x[c] - book->centre[c];
    memset(slope, 0, (size_t)bits * sizeof *slope);
    LHK_NAME(add_rows)(rest, book->white, dim, bits, slope);
    for (int64_t i = bits - 1; i >= 0; i--) {
        half[i] = slope[i] > 0 ? 0.5f : -0.5f;
        minus[i] = -half[i];
        for (int64_t k = 0; k < i; k += 16) {
            lhk_commvq_floats row, sum;
            memcpy(&row, book->lower + i * bits + k, sizeof row);
            memcpy(&sum, slope + k, sizeof sum);
            sum += minus[i] * row;
            memcpy(slope + k, &sum, sizeof sum);
        }
    }
    memset(slope, 0, (size_t)bits * sizeof *slope);
    LHK_NAME(add_rows)(rest, book->columns, dim, bits, slope);
    LHK_NAME(add_rows)(minus, gram, bits, bits, slope);
    for (int sweep = 0, flips = 1; sweep < LHK_COMMVQ_SWEEPS && flips; sweep++) {
        flips = 0;
        for (int64_t i = 0; i < bits; i++) {
            if (!(4 * half[i] * slope[i] + gram[i * bits + i] < 0)) continue;
            const float change = 2 * half[i];
            for (int64_t k = 0; k < bits; k++) slope[k] += change * gram[i * bits + k];
            half[i] = -half[i];
            flips++;
        }
    }
    for (int64_t k = 0; k < bits; k++) bit[k] = half[k] > 0;
}

/// A value of bits, without its scale: offset + (sums of four rows) in order. A factor of 0 or 1 makes fused and plain
/// products alike.
static void LHK_NAME(sum_rows)(const lhk_instance *store, const lhk_commvq_layout *l, uint32_t head, const uint8_t *bit,
                               float *out) {
    const int64_t bits = l->value_bits, dim = l->dim_v;
    const float *rows = lhk_commvq_floats_at(store, l->value_rows) + (int64_t)head * bits * dim;
    const float *offset = lhk_commvq_floats_at(store, l->value_offset) + (int64_t)head * dim;
    for (int64_t c = 0; c < dim; c += 16) {
        lhk_commvq_floats sum, row;
        memcpy(&sum, offset + c, sizeof sum);
        for (int64_t k = 0; k < bits; k += 4) {
            lhk_commvq_floats four = {0};
            LHK_UNROLL
            for (int i = 0; i < 4; i++) {
                memcpy(&row, rows + (k + i) * dim + c, sizeof row);
                LHK_NAME(add)(&four, &row, bit[k + i]);
            }
            sum += four;
        }
        memcpy(out + c, &sum, sizeof sum);
    }
}

static void LHK_NAME(encode_values)(const lhk_commvq_append_job *job, int64_t begin, int64_t end) {
    const lhk_commvq_layout *l = &job->layout;
    const int64_t t0 = begin % LHK_COMMVQ_BLOCK, dim = l->dim_v, bits = l->value_bits;
    uint8_t *block = lhk_commvq_block(job->store, l, begin);
    float inverse[LHK_COMMVQ_BLOCK], dots[LHK_COMMVQ_BLOCK] = {0}, squares[LHK_COMMVQ_BLOCK] = {0};
    _Alignas(64) float x[LHK_COMMVQ_MAX_DIM], sum[LHK_COMMVQ_MAX_DIM];
    uint8_t bit[LHK_COMMVQ_MAX_BITS];
    LHK_NAME(norms)(job, begin, end, true, inverse);
    for (uint32_t head = 0; head < l->kv_heads; head++) {
        const lhk_commvq_value_tables book = lhk_commvq_search(job->store, l, head);
        for (int64_t token = begin; token < end; token++) {
            const int64_t i = token - begin, t = t0 + i;
            const float factor = isnan(inverse[i]) ? 0 : inverse[i];
            lhk_commvq_load_row(job, token, head, true, x);
            for (int64_t c = 0; c < dim; c++) x[c] = factor != 0 ? x[c] * factor : 0;
            LHK_NAME(find_bits)(&book, bits, dim, x, bit);
            LHK_NAME(sum_rows)(job->store, l, head, bit, sum);
            dots[i] += LHK_NAME(dot16)(x, sum, dim);
            squares[i] += LHK_NAME(dot16)(sum, sum, dim);
            uint8_t *to = lhk_commvq_value_bits(l, block, head) + t / 4 * (bits / 2);
            for (int64_t k = 0; k < bits; k++) {
                uint8_t *byte = to + k / 2;
                const int place = (int)(k % 2 * 4 + t % 4);
                *byte = (uint8_t)((*byte & ~(1 << place)) | bit[k] << place);
            }
        }
    }
    uint16_t *scales = (uint16_t *)(void *)block + LHK_COMMVQ_BLOCK;
    for (int64_t i = 0; i < end - begin; i++) scales[t0 + i] = LHK_NAME(scale)(inverse[i], dots[i], squares[i]);
    for (int64_t i = 0; i < end - begin; i++)
        if (scales[t0 + i] == LHK_COMMVQ_NAN)
            atomic_store_explicit(&((lhk_commvq_state *)job->store)->values_nonfinite, 1, memory_order_relaxed);
}
