// SPDX-License-Identifier: Apache-2.0
/// Estimated scores: a part of lhk_adamas_body.h, which includes it.
///
/// A code of a channel stands for a weight of that query, a byte. Weights of a group of 12 channels add up to 255 at most,
/// so bytes hold the sum of a group; groups are summed in 16 bits, which hold 257 of them. All of it is exact.

#if defined(LHK_ADAMAS_PERMUTE)
#include "lhk_adamas_permute.h"
#else
#define LHK_ADAMAS_TILES 1
typedef uint16_t LHK_NAME(vhalves) __attribute__((vector_size(LHK_BYTES)));

/// tables [rows of codes][2: nibbles][16]
static void LHK_NAME(tables)(const uint8_t *weights, int64_t dim, uint8_t *tables) {
    for (int64_t n = 0; n < 2 * lhk_adamas_rows(dim); n++, weights += 8)
        for (int i = 0; i < 16; i++) *tables++ = (uint8_t)(weights[i & 3] + weights[4 + (i >> 2)]);
}

/// Adds what `count` rows of codes stand for, at `codes`, to the sums of even and odd bytes.
LHK_ALWAYS_INLINE void LHK_NAME(add_group)(const int rows, const int64_t count, const uint8_t *codes, const uint8_t *tables,
                                           int64_t stride, int64_t ahead, LHK_NAME(vhalves) *even, LHK_NAME(vhalves) *odd) {
    LHK_NAME(vbytes) sum[4];
    LHK_UNROLL
    for (int64_t b = 0; b < count; b++) {
        LHK_NAME(vbytes) w, low, high;
        memcpy(&w, codes + LHK_ADAMAS_TILE * b, sizeof w);
        LHK_ADAMAS_FETCH(codes + LHK_ADAMAS_TILE * b + ahead);
        low = w & 15;
        high = w >> 4;
        LHK_UNROLL
        for (int r = 0; r < rows; r++) {
            const uint8_t *t = tables + r * stride + 32 * b;
            LHK_NAME(vbytes) more = LHK_NAME(look)(t, low) + LHK_NAME(look)(t + 16, high);
            sum[r] = b ? sum[r] + more : more;
        }
    }
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
        LHK_NAME(vhalves) pairs = (LHK_NAME(vhalves))sum[r];
        even[r] += pairs;  // and 256 times the odd ones, which are taken off in the end
        odd[r] += pairs >> 8;
    }
}

/// sums [rows][64 tokens] of a tile; what lies `ahead` bytes on is fetched.
LHK_ALWAYS_INLINE void LHK_NAME(sums)(const int rows, const uint8_t *tile, int64_t dim, const uint8_t *tables,
                                      int64_t stride, int64_t ahead, uint16_t *sums) {
    int64_t whole = lhk_adamas_rows(dim) / 3, rest = lhk_adamas_rows(dim) % 3;
    for (int64_t part = 0; part < LHK_ADAMAS_TILE; part += LHK_BYTES) {
        LHK_NAME(vhalves) even[4], odd[4];
        const uint8_t *codes = tile + part, *t = tables;
        LHK_UNROLL
        for (int r = 0; r < rows; r++) even[r] = odd[r] = (LHK_NAME(vhalves)){0};
        for (int64_t g = 0; g < whole; g++, codes += 3 * LHK_ADAMAS_TILE, t += 3 * 32)
            LHK_NAME(add_group)(rows, 3, codes, t, stride, ahead, even, odd);
        if (rest == 1) LHK_NAME(add_group)(rows, 1, codes, t, stride, ahead, even, odd);
        if (rest == 2) LHK_NAME(add_group)(rows, 2, codes, t, stride, ahead, even, odd);
        LHK_UNROLL
        for (int r = 0; r < rows; r++) {
            LHK_NAME(vhalves) first = even[r] - (odd[r] << 8);
            memcpy(sums + r * LHK_ADAMAS_TILE + part / 2, &first, sizeof first);
            memcpy(sums + r * LHK_ADAMAS_TILE + 32 + part / 2, &odd[r], sizeof first);
        }
    }
}
#endif

/// What the block's mean adds to every score of a query.
LHK_ALWAYS_INLINE float LHK_NAME(base_of)(const lhk_adamas_scan *s, int64_t row) {
    lhk_adamas_floats sum = {0}, q, m;
    if (!s->mean) return 0;
    int64_t whole = s->dim / 16 * 16;
    float tail[16] = {0};
    for (int64_t c = 0; c < whole; c += 16) {
        memcpy(&q, s->queries + row * s->ldq + c, sizeof q);
        memcpy(&m, s->mean + c, sizeof m);
        sum += q * m;
    }
    if (whole < s->dim) {
        memcpy(tail, s->mean + whole, (size_t)(s->dim - whole) * sizeof *tail);
        memcpy(&q, s->queries + row * s->ldq + whole, sizeof q);
        memcpy(&m, tail, sizeof m);
        sum += q * m;
    }
    return LHK_NAME(add_lanes)(&sum);
}

/// A query in the course of a block: what its scores are made of, where they go, and what was seen of them.
typedef struct LHK_NAME(row) {
    float factor, offset, base, most, shift;
    float *scores, *crests;
    lhk_adamas_floats peak, mass;
} LHK_NAME(row);

/// Scores of a query for a tile, from its sums and scales; and what is looked at in them while they are at hand.
LHK_ALWAYS_INLINE void LHK_NAME(finish)(const bool weigh, LHK_NAME(row) *row, int64_t t, const uint16_t *sums,
                                        const lhk_adamas_floats *scales) {
    typedef uint16_t halves16 __attribute__((vector_size(32)));
    const lhk_adamas_floats none = {0}, factor = none + row->factor, offset = none + row->offset, base = none + row->base;
    lhk_adamas_floats crest;
    LHK_UNROLL
    for (int u = 0; u < LHK_ADAMAS_TILE / 16; u++) {
        halves16 sum;
        memcpy(&sum, sums + 16 * u, sizeof sum);
        lhk_adamas_ints whole = __builtin_convertvector(sum, lhk_adamas_ints);
        lhk_adamas_floats x = __builtin_convertvector(whole, lhk_adamas_floats);
        LHK_NAME(fuse)(&x, &factor, &offset);
        LHK_NAME(fuse)(&x, &scales[u], &base);
        memcpy(row->scores + t + 16 * u, &x, sizeof x);
        if (u) LHK_NAME(raise)(&crest, &x);
        else crest = x;
        if (!weigh) continue;
        LHK_NAME(power)(&x, row->shift);
        row->mass += x;
    }
    memcpy(row->crests + t / 4, &crest, sizeof crest);
    LHK_NAME(raise)(&row->peak, &crest);
}

/// The rows of codes are read once for all `rows` queries.
LHK_ALWAYS_INLINE void LHK_NAME(estimates_of)(const int rows, const lhk_adamas_scan *s, int64_t first) {
    const int64_t stride = lhk_adamas_table_bytes(s->dim), bytes = lhk_adamas_tile_bytes(s->dim), tokens = s->tokens, dim = s->dim;
    const int64_t ahead = s->ahead && !first ? s->ahead - s->block : 0;
    const uint8_t *tile = s->block, *tables = s->tables + first * stride;
    const bool weigh = s->lanes != NULL;
    LHK_NAME(row) row[4];
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
        float most = weigh ? s->lanes[32 * (first + r) + 16] : 0;
        row[r] = (LHK_NAME(row)){s->factor[first + r], s->offset[first + r], LHK_NAME(base_of)(s, first + r), most,
                                 lhk_adamas_power_shift(most), s->scores + (first + r) * s->lds,
                                 s->crests + (first + r) * s->ldc, -INFINITY - (lhk_adamas_floats){0}, {0}};
    }
    for (int64_t t = 0; t < tokens;) {
        uint16_t sums[4 * LHK_ADAMAS_TILES * LHK_ADAMAS_TILE] __attribute__((aligned(64)));
        LHK_NAME(sums)(rows, tile, dim, tables, stride, ahead, sums);
        for (int u = 0; u < LHK_ADAMAS_TILES; u++, t += LHK_ADAMAS_TILE, tile += bytes) {
            lhk_adamas_floats scales[LHK_ADAMAS_TILE / 16];
            const uint16_t *from = (const uint16_t *)(tile + bytes) - LHK_ADAMAS_TILE;
            LHK_ADAMAS_FETCH((const uint8_t *)from + ahead);
            LHK_ADAMAS_FETCH((const uint8_t *)from + 64 + ahead);
            LHK_UNROLL
            for (int i = 0; i < LHK_ADAMAS_TILE / 16; i++) LHK_NAME(halves)(from + 16 * i, &scales[i]);
            LHK_UNROLL
            for (int r = 0; r < rows; r++) {
                const uint16_t *of = sums + (r * LHK_ADAMAS_TILES + u) * LHK_ADAMAS_TILE;
                if (weigh) LHK_NAME(finish)(true, &row[r], t, of, scales);
                else LHK_NAME(finish)(false, &row[r], t, of, scales);
            }
        }
    }
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
        float *lanes = s->lanes + 32 * (first + r);
        s->peaks[first + r] = LHK_NAME(greatest)(&row[r].peak);
        if (!weigh || s->peaks[first + r] > row[r].most) continue;
        lhk_adamas_floats all;
        memcpy(&all, lanes, sizeof all);
        all += row[r].mass;
        memcpy(lanes, &all, sizeof all);
    }
}

LHK_BY_ROWS(estimates, lhk_adamas_scan)
