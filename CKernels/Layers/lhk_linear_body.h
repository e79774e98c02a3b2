// SPDX-License-Identifier: Apache-2.0
// y = x * w^T for few rows of x: every weight is read once, straight from its row, where a BLAS would first copy it
// into a packed panel. Each output is one chain of FMAs over k per lane, whatever the tile, so a row of y does not
// depend on the number of rows computed with it.

enum { LHK_LINEAR_GROUP = 8 };  // rows of w that pass over all rows of x together, from the L1 or L2 cache

/// `mr` rows by `nr` columns; both are constants at every call, so that the accumulators become registers.
static inline __attribute__((always_inline)) void lhk_linear_tile(
    const lhk_linear_shape *s, const float *x, const float *w, float *y, const int mr, const int nr) {
    vf acc[4][8];
    for (int i = 0; i < mr; i++) {
        for (int j = 0; j < nr; j++) acc[i][j] = (vf){0};
    }
    size_t k = 0;
    for (; k + LHK_LANES <= s->k; k += LHK_LANES) {
        vf xs[4];
        for (int i = 0; i < mr; i++) xs[i] = lhk_load(x + (size_t)i * s->ldx + k);
        for (int j = 0; j < nr; j++) {
            const float *row = w + (size_t)j * s->k + k;
            // The same place in the next group of rows; past the end of w it is a hint that does nothing.
            __builtin_prefetch((const void *)((uintptr_t)row + LHK_LINEAR_GROUP * s->k * sizeof(float)));
            vf ws = lhk_load(row);
            for (int i = 0; i < mr; i++) acc[i][j] = LHK_VFMA(xs[i], ws, acc[i][j]);
        }
    }
    if (k < s->k) {
        for (int j = 0; j < nr; j++) {
            vf ws = lhk_load_part(w + (size_t)j * s->k + k, s->k - k, 0);
            for (int i = 0; i < mr; i++) {
                acc[i][j] = LHK_VFMA(lhk_load_part(x + (size_t)i * s->ldx + k, s->k - k, 0), ws, acc[i][j]);
            }
        }
    }
    for (int i = 0; i < mr; i++) {
        for (int j = 0; j < nr; j++) y[(size_t)i * s->ldy + j] = LHK_VSUM(acc[i][j]);
    }
}

/// `mr` rows by `columns` columns, in tiles of `nr` columns and then single ones.
static inline __attribute__((always_inline)) void lhk_linear_strip(
    const lhk_linear_shape *s, const float *x, const float *w, float *y, size_t columns, const int mr, const int nr) {
    size_t j = 0;
    for (; j + (size_t)nr <= columns; j += (size_t)nr) lhk_linear_tile(s, x, w + j * s->k, y + j, mr, nr);
    for (; j < columns; j++) lhk_linear_tile(s, x, w + j * s->k, y + j, mr, 1);
}

static void lhk_linear_small(
    const lhk_linear_shape *s, const float *x, const float *w, float *y, size_t begin, size_t end) {
    for (size_t j = begin; j < end; j += LHK_LINEAR_GROUP) {
        size_t columns = end - j < LHK_LINEAR_GROUP ? end - j : LHK_LINEAR_GROUP, i = 0;
        const float *ws = w + j * s->k;
        for (; i + 4 <= s->m; i += 4) {
            lhk_linear_strip(s, x + i * s->ldx, ws, y + i * s->ldy + j, columns, 4, LHK_LINEAR_TILE_COLUMNS);
        }
        for (; i + 2 <= s->m; i += 2) lhk_linear_strip(s, x + i * s->ldx, ws, y + i * s->ldy + j, columns, 2, 4);
        for (; i < s->m; i++) lhk_linear_strip(s, x + i * s->ldx, ws, y + i * s->ldy + j, columns, 1, 8);
    }
}
