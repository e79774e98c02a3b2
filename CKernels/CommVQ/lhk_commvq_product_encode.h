// SPDX-License-Identifier: Apache-2.0
/// Encoding with form=product, included by every ISA file after the encoders of the other form. Sixteen tokens are the lanes:
/// channels are columns [channel][64 tokens], so that a level takes a few products and compares, and no sum across lanes.
/// No FMA, one order of sums: all variants keep the same bytes.

/// Columns of a block: what is to be coded, what levels leave of it, and a scale's sums.
typedef struct LHK_NAME(columns) {
    _Alignas(64) float x[LHK_COMMVQ_MAX_DIM][LHK_COMMVQ_BLOCK], rest[LHK_COMMVQ_MAX_DIM][LHK_COMMVQ_BLOCK];
    lhk_commvq_floats dot[4], square[4];  ///< of tokens with what stands for them, and of that with itself
} LHK_NAME(columns);

/// Codes of a level for 64 tokens, whose vectors are taken from the rest.
LHK_ALWAYS_INLINE void LHK_NAME(code_level)(const lhk_commvq_side_tables *t, int64_t level,
                                            float (*rest)[LHK_COMMVQ_BLOCK], uint8_t *codes) {
    const uint16_t *support = t->support + level * LHK_COMMVQ_PRODUCT_WIDTH;
    const float *vectors = t->vectors + level * LHK_COMMVQ_PRODUCT_WIDTH * 16, *norms = t->norms + level * 16;
    int width = 0;
    while (width < (int)LHK_COMMVQ_PRODUCT_WIDTH && support[width] != UINT16_MAX) width++;
    memset(codes, 0, LHK_COMMVQ_BLOCK);
    if (width == 0) return;
    for (int from = 0; from < LHK_COMMVQ_BLOCK; from += 16) {
        lhk_commvq_floats x[LHK_COMMVQ_PRODUCT_WIDTH], best = (lhk_commvq_floats){0} - INFINITY;
        lhk_commvq_ints code = {0};
        for (int i = 0; i < width; i++) memcpy(&x[i], rest[support[i]] + from, sizeof x[i]);
        for (int k = 0; k < 16; k++) {
            lhk_commvq_floats nearness = (lhk_commvq_floats){0} - norms[k];
            for (int i = 0; i < width; i++) nearness += x[i] * vectors[i * 16 + k];
            const lhk_commvq_ints nearer = (lhk_commvq_ints)(nearness > best);
            best = (lhk_commvq_floats)(((lhk_commvq_ints)nearness & nearer) | ((lhk_commvq_ints)best & ~nearer));
            code = (k & nearer) | (code & ~nearer);
        }
        for (int n = 0; n < 16; n++) codes[from + n] = (uint8_t)code[n];
        for (int i = 0; i < width; i++)
            for (int n = 0; n < 16; n++) rest[support[i]][from + n] -= vectors[i * 16 + codes[from + n]];
    }
}

/// Codes of all levels, two to a byte at the places of tokens [t0, t0 + count), which are columns 0, 1, ...
static void LHK_NAME(code_side)(const lhk_commvq_side *side, const lhk_commvq_side_tables *t, int64_t t0, int64_t count,
                                LHK_NAME(columns) * columns, uint8_t *out) {
    uint8_t codes[2][LHK_COMMVQ_BLOCK];
    for (int64_t g = 0; g < side->levels; g += 2, out += LHK_COMMVQ_BLOCK) {
        for (int i = 0; i < 2; i++) LHK_NAME(code_level)(t, g + i, columns->rest, codes[i]);
        for (int64_t n = 0; n < count; n++) out[lhk_commvq_place(t0 + n)] = (uint8_t)(codes[0][n] | codes[1][n] << 4);
    }
}

/// Adds a head to the scales' sums: x + more and x - rest + more of each channel, `more` being constant.
LHK_ALWAYS_INLINE void LHK_NAME(add_fit)(LHK_NAME(columns) * columns, int64_t dim, const float *more) {
    for (int64_t c = 0; c < dim; c++)
        for (int v = 0; v < 4; v++) {
            lhk_commvq_floats x, rest;
            memcpy(&x, columns->x[c] + 16 * v, sizeof x);
            memcpy(&rest, columns->rest[c] + 16 * v, sizeof rest);
            const lhk_commvq_floats all = more ? x + more[c] : x, coded = all - rest;
            columns->dot[v] += all * coded;
            columns->square[v] += coded * coded;
        }
}

LHK_ALWAYS_INLINE void LHK_NAME(put_scales)(const LHK_NAME(columns) * columns, const float *inverse, int64_t count,
                                            uint16_t *out) {
    float dots[LHK_COMMVQ_BLOCK], squares[LHK_COMMVQ_BLOCK];
    memcpy(dots, columns->dot, sizeof dots);
    memcpy(squares, columns->square, sizeof squares);
    for (int64_t i = 0; i < count; i++) out[i] = LHK_NAME(scale)(inverse[i], dots[i], squares[i]);
}

static void LHK_NAME(product_encode_keys)(const lhk_commvq_append_job *job, int64_t begin, int64_t end) {
    const lhk_commvq_layout *l = &job->layout;
    const int64_t count = end - begin, t0 = begin % LHK_COMMVQ_BLOCK, dim = l->dim_k;
    uint8_t *block = lhk_commvq_block(job->store, l, begin);
    LHK_NAME(columns) columns;
    float inverse[LHK_COMMVQ_BLOCK], turns[LHK_COMMVQ_BLOCK][LHK_COMMVQ_MAX_DIM], key[LHK_COMMVQ_BLOCK][LHK_COMMVQ_MAX_DIM];
    memset(columns.dot, 0, sizeof columns.dot);
    memset(columns.square, 0, sizeof columns.square);
    for (int64_t i = 0; i < count; i++) LHK_NAME(turn_of)(job->store, l, begin + i, turns[i]);
    LHK_NAME(norms)(job, begin, end, false, inverse);
    for (uint32_t head = 0; head < l->kv_heads; head++) {
        const lhk_commvq_side_tables t = lhk_commvq_side_at(job->store, &l->key, head);
        const float *base = lhk_commvq_floats_at(job->store, l->key_base) + (int64_t)head * dim;
        LHK_NAME(take_keys)(job, head, begin, end, inverse, (const float (*)[LHK_COMMVQ_MAX_DIM])turns, key);
        for (int64_t c = 0; c < dim; c++)
            for (int64_t i = 0; i < LHK_COMMVQ_BLOCK; i++) {
                columns.x[c][i] = i < count ? key[i][c] : 0;
                columns.rest[c][i] = i < count ? key[i][c] - base[c] : 0;
            }
        LHK_NAME(code_side)(&l->key, &t, t0, count, &columns, lhk_commvq_key_codes(l, block, head));
        LHK_NAME(add_fit)(&columns, dim, NULL);
    }
    LHK_NAME(put_scales)(&columns, inverse, count, (uint16_t *)(void *)block + t0);
}

/// x [dim][64], of one head's values over their norm, along the axes: rest = axes times (x - offset).
LHK_ALWAYS_INLINE void LHK_NAME(to_axes)(const float *axes, const float *offset, int64_t dim, LHK_NAME(columns) * columns) {
    for (int64_t c = 0; c < dim; c++)
        for (int i = 0; i < LHK_COMMVQ_BLOCK; i++) columns->x[c][i] -= offset[c];
    for (int64_t a = 0; a < dim; a += 4)
        for (int v = 0; v < LHK_COMMVQ_BLOCK; v += 16) {
            lhk_commvq_floats sum[4] = {{0}}, x;
            for (int64_t c = 0; c < dim; c++) {
                memcpy(&x, columns->x[c] + v, sizeof x);
                LHK_UNROLL
                for (int i = 0; i < 4; i++) sum[i] += x * axes[(a + i) * dim + c];
            }
            LHK_UNROLL
            for (int i = 0; i < 4; i++) memcpy(columns->rest[a + i] + v, &sum[i], sizeof sum[i]);
        }
    memcpy(columns->x, columns->rest, (size_t)dim * sizeof *columns->x);
}

static void LHK_NAME(product_encode_values)(const lhk_commvq_append_job *job, int64_t begin, int64_t end) {
    const lhk_commvq_layout *l = &job->layout;
    const int64_t count = end - begin, t0 = begin % LHK_COMMVQ_BLOCK, dim = l->dim_v;
    uint8_t *block = lhk_commvq_block(job->store, l, begin);
    LHK_NAME(columns) columns;
    float inverse[LHK_COMMVQ_BLOCK], row[LHK_COMMVQ_MAX_DIM];
    memset(columns.dot, 0, sizeof columns.dot);
    memset(columns.square, 0, sizeof columns.square);
    LHK_NAME(norms)(job, begin, end, true, inverse);
    for (uint32_t head = 0; head < l->kv_heads; head++) {
        const lhk_commvq_side_tables t = lhk_commvq_side_at(job->store, &l->value, head);
        const float *offset = lhk_commvq_floats_at(job->store, l->value_offset) + (int64_t)head * dim;
        for (int64_t i = 0; i < LHK_COMMVQ_BLOCK; i++) {
            const float factor = i < count && !isnan(inverse[i]) ? inverse[i] : 0;
            if (factor != 0) lhk_commvq_load_row(job, begin + i, head, true, row);
            for (int64_t c = 0; c < dim; c++) columns.x[c][i] = factor != 0 ? row[c] * factor : 0;
        }
        LHK_NAME(to_axes)(lhk_commvq_floats_at(job->store, l->axes) + (int64_t)head * dim * dim, offset, dim, &columns);
        LHK_NAME(code_side)(&l->value, &t, t0, count, &columns, lhk_commvq_value_bits(l, block, head));
        LHK_NAME(add_fit)(&columns, dim, lhk_commvq_floats_at(job->store, l->axis_offset) + (int64_t)head * dim);
    }
    uint16_t *scales = (uint16_t *)(void *)block + LHK_COMMVQ_BLOCK + t0;
    LHK_NAME(put_scales)(&columns, inverse, count, scales);
    for (int64_t i = 0; i < count; i++)
        if (scales[i] == LHK_COMMVQ_NAN)
            atomic_store_explicit(&((lhk_commvq_state *)job->store)->values_nonfinite, 1, memory_order_relaxed);
}

void LHK_NAME(encode)(const lhk_commvq_append_job *job, int64_t begin, int64_t end) {
    const bool product = lhk_commvq(job->store)->product;
    (product ? LHK_NAME(product_encode_keys) : LHK_NAME(encode_keys))(job, begin, end);
    (product ? LHK_NAME(product_encode_values) : LHK_NAME(encode_values))(job, begin, end);
}
