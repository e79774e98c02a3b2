// SPDX-License-Identifier: Apache-2.0
/// The online softmax of a strip, written once and included by every ISA file inside its target region.
///
/// The including file defines LHK_ISA(x), a name per ISA; the vector type `vec` of LHK_LANES floats with vload, vstore,
/// vset, vadd, vsub, vmul, vfma, vmax (its second operand when either is NaN), vsum, vgreatest, and vpow2(x, n): x * 2^n
/// for integral n, 0 where n < -126 in effect; vround. Scores are in log2 units, so exp is exp2 and LSE is converted once.
/// LHK_SOFTMAX_BF16 asks for probabilities in bf16 too, with vstore_bf16(p, x), which rounds to nearest even.

/// 2^x for x <= 127. x - round(x) in [-1/2, 1/2] goes through the minimax polynomial of degree 6 (relative error 2e-9
/// before rounding); -inf gives 0, NaN stays NaN.
LHK_ALWAYS_INLINE vec LHK_ISA(exp2)(vec x) {
    x = vmax(vset(-200), x);
    vec n = vround(x), f = vsub(x, n), y = vset(1.534580201e-4f);
    y = vfma(y, f, vset(1.3399931138e-3f));
    y = vfma(y, f, vset(9.6184889942e-3f));
    y = vfma(y, f, vset(5.5503287772e-2f));
    y = vfma(y, f, vset(2.4022646890e-1f));
    y = vfma(y, f, vset(6.9314720573e-1f));
    y = vfma(y, f, vset(1.0f));
    return vpow2(y, n);
}

/// tanh: an odd polynomial near 0 (Cephes), where the exponential form would cancel, and 1 - 2/(e^2x + 1) elsewhere. Free of
/// branches and calls, so that the loop over it becomes vector code.
LHK_ALWAYS_INLINE float LHK_ISA(tanh)(float x) {
    float a = fabsf(x), square = a * a, near = -5.70498872745e-3f * square + 2.06390887954e-2f;
    near = near * square - 5.37397155531e-2f;
    near = near * square + 1.33314422036e-1f;
    near = near * square - 3.33332819422e-1f;
    near = a + a * square * near;
    float y = (a > 20 ? 20 : a) * 2.8853900818f, n = (y + 0x1.8p23f) - 0x1.8p23f, f = y - n;
    float power = ((1.534580201e-4f * f + 1.3399931138e-3f) * f + 9.6184889942e-3f) * f + 5.5503287772e-2f;
    power = ((power * f + 2.4022646890e-1f) * f + 6.9314720573e-1f) * f + 1;
    int32_t exponent = (int32_t)(n < 64 ? n : 0);  // a NaN n takes 0 and stays NaN in `power`
    uint32_t bits = (uint32_t)(exponent + 127) << 23;
    float scale;
    memcpy(&scale, &bits, 4);
    float far = 1 - 2 / (power * scale + 1);
    return copysignf(a < 0.625f ? near : far, x);
}

LHK_ALWAYS_INLINE void LHK_ISA(hide)(float *row, int32_t from, int32_t to) {
    for (int32_t x = from; x < to; x++) row[x] = -INFINITY;
}

/// -inf for what row r does not see. In contiguous columns that is three runs; gathered keys are looked at one by one.
static void LHK_ISA(mask)(const lhk_flash_strip *s, int32_t r, float *row) {
    int32_t first = lhk_flash_first(s), width = lhk_flash_width(s), begin = s->begin - first, end = s->end - first;
    int32_t low = s->low[r], high = s->high[r], sink = s->sink;
    LHK_ISA(hide)(row, 0, begin);
    LHK_ISA(hide)(row, end, width);
    if (s->index) {
        const int32_t *keys = s->index + first;
        for (int32_t x = begin; x < end; x++) {
            bool visible = (keys[x] < high) & ((keys[x] >= low) | (keys[x] < sink));
            row[x] = visible ? row[x] : -INFINITY;
        }
        return;
    }
    int32_t stop = high - first < end ? high - first : end, sinks = sink - first > begin ? sink - first : begin;
    LHK_ISA(hide)(row, stop > begin ? stop : begin, end);
    LHK_ISA(hide)(row, sinks, low - first < stop ? low - first : stop);
}

/// Softcap, ALiBi and log weights, then the mask.
static void LHK_ISA(modify)(const lhk_flash_strip *s, float *scores, int64_t lds) {
    int32_t first = lhk_flash_first(s), width = lhk_flash_width(s);
    for (int32_t r = 0; r < s->rows; r++) {
        float *row = scores + r * lds;
        if (s->softcap != 0)
            for (int32_t x = 0; x < width; x++) row[x] = s->softcap * LHK_ISA(tanh)(row[x]);
        if (s->biased)
            for (int32_t column = s->begin; column < s->end; column++) {
                int64_t key = s->index ? s->index[column] : s->base + column, distance = s->position[r] - key;
                float *score = &row[column - first];
                *score -= s->slope[r] * (float)(distance < 0 ? -distance : distance);
                if (s->log_weights) *score += s->log_weights[column] * 1.44269504089f;
            }
        if (s->masked) LHK_ISA(mask)(s, r, row);
    }
}

/// Moves the running maximum of row r to cover `scores`, rescaling l and o. The maximum is left behind by up to 2^8
/// (FlashAttention-4's lazy rescale): exact in real arithmetic, and most blocks then touch o only to add to it.
LHK_ALWAYS_INLINE float LHK_ISA(advance)(const lhk_flash_strip *s, int32_t r, const float *scores, int32_t width) {
    vec greatest = vset(-INFINITY);
    for (int32_t x = 0; x < width; x += LHK_LANES) greatest = vmax(vload(scores + x), greatest);
    float candidate = vgreatest(greatest), m = s->m[r];
    if (candidate > m + 8) {
        if (m != -INFINITY) {
            float factor = exp2f(m - candidate);
            s->l[r] *= factor;
            for (int64_t c = 0; c < s->padded_v; c += LHK_LANES)
                vstore(s->o + r * s->padded_v + c, vmul(vload(s->o + r * s->padded_v + c), vset(factor)));
        }
        s->m[r] = m = candidate;
    }
    return m == -INFINITY ? 0 : m;
}

static void LHK_ISA(softmax)(const lhk_flash_strip *s, float *scores, int64_t lds, int32_t width) {
    for (int32_t r = 0; r < s->rows; r++) {
        float *row = scores + r * lds;
        vec m = vset(LHK_ISA(advance)(s, r, row, width)), sum = vset(0);
        for (int32_t x = 0; x < width; x += LHK_LANES) {
            vec p = LHK_ISA(exp2)(vsub(vload(row + x), m));
            sum = vadd(sum, p);
            vstore(row + x, p);
        }
        s->l[r] += vsum(sum);
    }
}

#ifdef LHK_SOFTMAX_BF16
static void LHK_ISA(pack_bf16)(float *x, int64_t dim, int64_t padded, uint32_t rotation, void *to) {
    (void)dim, (void)rotation;
    uint16_t *out = to;
    int64_t c = 0;
    for (; c + LHK_LANES <= padded; c += LHK_LANES) vstore_bf16(out + c, vload(x + c));
    for (; c < padded; c++) out[c] = lhk_f32_to_bf16(x[c]);
}

/// The softmax with probabilities rounded to bf16 at the start of each row's storage. The sum is of the unrounded ones.
static void LHK_ISA(softmax_bf16)(const lhk_flash_strip *s, float *scores, int64_t lds, int32_t width) {
    for (int32_t r = 0; r < s->rows; r++) {
        float *row = scores + r * lds;
        uint16_t *rounded = (uint16_t *)row;
        vec m = vset(LHK_ISA(advance)(s, r, row, width)), sum = vset(0);
        for (int32_t x = 0; x < width; x += LHK_LANES) {
            vec p = LHK_ISA(exp2)(vsub(vload(row + x), m));
            sum = vadd(sum, p);
            vstore_bf16(rounded + x, p);
        }
        s->l[r] += vsum(sum);
    }
}
#endif
