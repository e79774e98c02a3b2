// SPDX-License-Identifier: Apache-2.0
/// The remainder of a tile, what it skips: a part of lhk_sale_body.h, which includes it.
///
/// A skipped key counts as its segment's mean: its weight is exp(scale q.mean), at most exp(T_i), which no estimate of a skipped
/// key exceeds; its value is the segment's mean value.

static void LHK_NAME(add_rest)(lhk_sale_rest *rest) {
    for (int64_t c = 0; c < rest->dim_v; c++) {
        float *to = rest->sum + c * LHK_SALE_TILE_ROWS;
        lhk_sale_floats sum[LHK_SALE_TILE_ROWS / 16];
        LHK_UNROLL
        for (int i = 0; i < LHK_SALE_TILE_ROWS / 16; i++) sum[i] = LHK_SALE_LOAD(to + 16 * i);
        for (int32_t s = 0; s < rest->waiting; s++) {
            lhk_sale_floats value = LHK_SALE_SPLAT(rest->value[s][c]);
            LHK_UNROLL
            for (int i = 0; i < LHK_SALE_TILE_ROWS / 16; i++)
                sum[i] = LHK_SALE_FMA(LHK_SALE_LOAD(rest->weight[s] + 16 * i), value, sum[i]);
        }
        for (int i = 0; i < LHK_SALE_TILE_ROWS / 16; i++) LHK_SALE_STORE(to + 16 * i, sum[i]);
    }
    rest->waiting = 0;
}

static void LHK_NAME(rest)(lhk_sale_tile *t, int64_t skipped, const float *value) {
    lhk_sale_rest *rest = &t->remainder;
    float *weight = rest->weight[rest->waiting];
    for (int r = 0; r < LHK_SALE_TILE_ROWS; r += 16) {
        lhk_sale_floats x = (LHK_SALE_LOAD(t->products + r) - LHK_SALE_LOAD(t->threshold + r)) * rest->log2_scale;
        x = LHK_SALE_PICK(x < 0, x, LHK_SALE_SPLAT(0));
        LHK_NAME(exp2)(&x);
        x *= (float)skipped;
        LHK_SALE_STORE(weight + r, x);
        LHK_SALE_STORE(rest->mass + r, LHK_SALE_LOAD(rest->mass + r) + x);
    }
    rest->value[rest->waiting++] = value;
    if (rest->waiting == LHK_SALE_REST_SEGMENTS) LHK_NAME(add_rest)(rest);
}

static void LHK_NAME(finish)(lhk_sale_tile *t) {
    lhk_sale_rest *rest = &t->remainder;
    LHK_NAME(add_rest)(rest);
    for (int r = 0; r < LHK_SALE_TILE_ROWS; r += 16) {
        lhk_sale_floats mass = LHK_SALE_LOAD(rest->mass + r), inverse = 1 / LHK_SALE_PICK(mass > 0, mass, LHK_SALE_SPLAT(1));
        for (int64_t c = 0; c < rest->dim_v; c++) {
            float *sum = rest->sum + c * LHK_SALE_TILE_ROWS + r;
            LHK_SALE_STORE(sum, LHK_SALE_LOAD(sum) * inverse);
        }
    }
}
