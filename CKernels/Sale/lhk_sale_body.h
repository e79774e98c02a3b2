// SPDX-License-Identifier: Apache-2.0
/// The work on a tile of queries, written once and included by every ISA file inside its target region.
///
/// The including file defines LHK_NAME(x), a name per ISA; LHK_SALE_STRIP, rows that meet a block of keys together (their
/// 2 x 16 sums each should fit the registers beside the keys), and LHK_SALE_SCORE_ROWS, a divisor of 64, the same for one
/// vector of 16 floats per row; and
///   LHK_SALE_FMA(a, b, c)       a * b + c, fused or not
///   LHK_NAME(halves)(from, to)  16 half-precision numbers
///   LHK_NAME(dot)(keys, tile_bytes, order, codes, steps, acc)   acc[r][u][x] += sum over steps s and i < 4 of byte i of
///       key word [u][order[s] / 64][x] (unsigned, at most 127) times byte i of code word [s][r] (signed)
///   LHK_NAME(some_clear)(x)     whether some lane has its sign bit clear

#include "lhk_sale_tile_body.h"
#include "lhk_sale_rest_body.h"

/// Products of all rows with the segment's mean.
LHK_ALWAYS_INLINE void LHK_NAME(meet_mean)(const lhk_sale_tile *t, const float *mean, float *out) {
    lhk_sale_floats sum[LHK_SALE_TILE_ROWS / 16] = {0};
    for (int64_t c = 0; c < t->layout->head_dim; c++) {
        lhk_sale_floats m = LHK_SALE_SPLAT(mean[c]);
        LHK_UNROLL
        for (int i = 0; i < LHK_SALE_TILE_ROWS / 16; i++)
            sum[i] = LHK_SALE_FMA(LHK_SALE_LOAD(t->channels + c * LHK_SALE_TILE_ROWS + 16 * i), m, sum[i]);
    }
    for (int i = 0; i < LHK_SALE_TILE_ROWS / 16; i++) LHK_SALE_STORE(out + 16 * i, sum[i]);
}

/// C standard deviations, per row and in units of the row's scale, of what the steps after each stage add to products with keys of the segment.
LHK_ALWAYS_INLINE void LHK_NAME(deviations)(const lhk_sale_tile *t, const float *energy, float (*out)[LHK_SALE_TILE_ROWS]) {
    const int64_t steps = t->layout->padded_dim / 4;
    lhk_sale_floats sum[LHK_SALE_TILE_ROWS / 16] = {0};
    for (int64_t s = steps, stage = 2; stage >= 0; stage--) {
        for (int64_t end = lhk_sale_stage(steps, stage); s > end; s--) {
            int64_t g = t->order[s - 1] / 64;
            LHK_UNROLL
            for (int i = 0; i < LHK_SALE_TILE_ROWS / 16; i++)
                sum[i] += LHK_SALE_LOAD(t->energy + g * LHK_SALE_TILE_ROWS + 16 * i) * energy[g];
        }
        for (int i = 0; i < LHK_SALE_TILE_ROWS / 16; i++)
            for (int x = 0; x < 16; x++) out[stage][16 * i + x] = t->screen * sqrtf(sum[i][x]) * t->unit[16 * i + x];
    }
}

/// The same in units of the sums of a block, and the offset of the keys' codes for the steps after the stage, which sums begin
/// without.
LHK_ALWAYS_INLINE void LHK_NAME(slacks)(const lhk_sale_tile *t, const float (*deviations)[LHK_SALE_TILE_ROWS], float key_unit,
                                        int32_t (*out)[LHK_SALE_PADDED_ROWS]) {
    const lhk_sale_floats far = LHK_SALE_SPLAT(0x1p25f);
    for (int r = 0; r < LHK_SALE_TILE_ROWS; r += 16) {
        for (int stage = 0; stage < 3; stage++) {
            lhk_sale_floats x = LHK_SALE_LOAD(deviations[stage] + r) * key_unit;
            x = LHK_SALE_PICK(x < far, x, far);  // also where x is NaN
            lhk_sale_ints whole = __builtin_convertvector(x, lhk_sale_ints) + 1, late;
            memcpy(&late, t->late[stage] + r, sizeof late);
            whole += late * LHK_SALE_KEY_OFFSET(8);
            memcpy(out[stage] + r, &whole, sizeof whole);
        }
    }
    for (int stage = 0; stage < 3; stage++)
        for (int r = LHK_SALE_TILE_ROWS; r < LHK_SALE_PADDED_ROWS; r++) out[stage][r] = 0;
}

/// Where the sums of a block begin, so that they come out at 0 or above for estimates above the threshold:
/// scale_q scale_k dot > rest  <=>  dot - floor(rest / scale_q / scale_k) - 1 >= 0. `rest` is divided by scale_q; what is
/// NaN is kept.
LHK_ALWAYS_INLINE void LHK_NAME(starts)(const lhk_sale_tile *t, const float *rest, float key_unit, int32_t *out) {
    const lhk_sale_floats far = LHK_SALE_SPLAT(0x1p25f);
    for (int r = 0; r < LHK_SALE_TILE_ROWS; r += 16) {
        lhk_sale_floats x = LHK_SALE_LOAD(rest + r) * key_unit;
        x = LHK_SALE_PICK(x > -far, x, -far);  // also where x is NaN
        x = LHK_SALE_PICK(x < far, x, far);
        lhk_sale_ints whole = __builtin_convertvector(x, lhk_sale_ints), sum;
        whole += __builtin_convertvector(whole, lhk_sale_floats) > x;  // -1: truncation went up
        memcpy(&sum, t->sum + r, sizeof sum);
        whole = -whole - 1 - sum * LHK_SALE_KEY_OFFSET(8);
        memcpy(out + r, &whole, sizeof whole);
    }
    for (int r = t->rows; r < LHK_SALE_PADDED_ROWS; r++) out[r] = LHK_SALE_NEVER;
}

/// Which halves of a block, 16 keys each, have some sum that is 0 or above: a bit each.
LHK_ALWAYS_INLINE uint32_t LHK_NAME(halves_over)(lhk_sale_ints (*acc)[2]) {
    uint32_t over = 0;
    LHK_UNROLL
    for (int u = 0; u < 2; u++) {
        lhk_sale_ints all = acc[0][u];
        LHK_UNROLL
        for (int r = 1; r < LHK_SALE_STRIP; r++) all &= acc[r][u];
        over |= (uint32_t)LHK_NAME(some_clear)(&all) << u;
    }
    return over;
}

static uint32_t LHK_NAME(block8)(const uint8_t *keys, int64_t tile_bytes, const int32_t *order, const uint32_t *codes,
                                 int64_t steps, const int32_t *starts) {
    lhk_sale_ints acc[LHK_SALE_STRIP][2];
    LHK_UNROLL
    for (int r = 0; r < LHK_SALE_STRIP; r++) acc[r][0] = acc[r][1] = (lhk_sale_ints){0} + starts[r];
    LHK_NAME(dot)(keys, tile_bytes, order, codes, steps, acc);
    return LHK_NAME(halves_over)(acc);
}

/// The same with screening, for the `wanted` halves: sums begin with the first stage's slack, and change to the next one's at
/// its end.
static uint32_t LHK_NAME(screened8)(const uint8_t *keys, int64_t tile_bytes, const int32_t *order, const uint32_t *codes,
                                    int64_t steps, const int32_t *starts, const int32_t *slacks, uint32_t wanted) {
    lhk_sale_ints acc[LHK_SALE_STRIP][2];
    LHK_UNROLL
    for (int r = 0; r < LHK_SALE_STRIP; r++) acc[r][0] = acc[r][1] = (lhk_sale_ints){0} + (starts[r] + slacks[r]);
    int64_t done = 0;
    for (int stage = 0; stage < 3; stage++, slacks += LHK_SALE_PADDED_ROWS) {
        const int64_t end = lhk_sale_stage(steps, stage);
        LHK_NAME(dot)(keys, tile_bytes, order + done, codes + done * LHK_SALE_STRIP, end - done, acc);
        if (!(LHK_NAME(halves_over)(acc) & wanted)) return 0;
        done = end;
        LHK_UNROLL
        for (int r = 0; r < LHK_SALE_STRIP; r++) {
            int32_t change = (stage < 2 ? slacks[LHK_SALE_PADDED_ROWS + r] : 0) - slacks[r];
            acc[r][0] += change;
            acc[r][1] += change;
        }
    }
    LHK_NAME(dot)(keys, tile_bytes, order + done, codes + done * LHK_SALE_STRIP, steps - done, acc);
    return LHK_NAME(halves_over)(acc);
}

/// `scales` and `extra` of the 32 keys, `limit` per row: kept unless all of dot * scales * scale_q + extra <= limit.
static uint32_t LHK_NAME(block4)(const uint8_t *keys, int64_t tile_bytes, const int32_t *order, const uint32_t *codes,
                                 int64_t steps, const int32_t *sums, const float *row_scales, const float *limits,
                                 const float *scales, const float *extra) {
    lhk_sale_ints acc[LHK_SALE_STRIP][2];
    uint32_t over = 0;
    LHK_UNROLL
    for (int r = 0; r < LHK_SALE_STRIP; r++)
        acc[r][0] = acc[r][1] = (lhk_sale_ints){0} - LHK_SALE_KEY_OFFSET(4) * sums[r];
    LHK_NAME(dot)(keys, tile_bytes, order, codes, steps, acc);
    LHK_UNROLL
    for (int u = 0; u < 2; u++) {
        lhk_sale_floats scale = LHK_SALE_LOAD(scales + 16 * u), add = LHK_SALE_LOAD(extra + 16 * u);
        lhk_sale_ints below = (lhk_sale_ints){0} - 1;
        LHK_UNROLL
        for (int r = 0; r < LHK_SALE_STRIP; r++) {
            lhk_sale_floats dots = __builtin_convertvector(acc[r][u], lhk_sale_floats) * scale;
            below &= LHK_SALE_FMA(dots, LHK_SALE_SPLAT(row_scales[r]), add) <= limits[r];
        }
        over |= (uint32_t)LHK_NAME(some_clear)(&below) << u;
    }
    return over;
}

/// Products of the tile's mean with the 128 keys less their mean.
static void LHK_NAME(meet_keys)(const lhk_sale_tile *t, const float *key_mean, const uint8_t *const *keys, lhk_dtype dtype,
                                float *out) {
    float base = 0;
    for (int64_t c = 0; c < t->layout->head_dim; c++) base += t->mean[c] * key_mean[c];
    for (int i = 0; i < LHK_SALE_SEGMENT_TILES; i++) {
        lhk_sale_floats sum = {0}, key[2] = {0};
        for (int64_t c = 0; c < t->layout->head_dim;) {
            int n = dtype == LHK_DTYPE_BF16  ? LHK_NAME(key_channels)(LHK_DTYPE_BF16, keys[i], c, key)
                    : dtype == LHK_DTYPE_F16 ? LHK_NAME(key_channels)(LHK_DTYPE_F16, keys[i], c, key)
                                             : LHK_NAME(key_channels)(LHK_DTYPE_F32, keys[i], c, key);
            for (int j = 0; j < n && c < t->layout->head_dim; j++, c++)
                sum = LHK_SALE_FMA(LHK_SALE_SPLAT(t->mean[c]), key[j], sum);
        }
        LHK_SALE_STORE(out + 16 * i, sum - base);
    }
}

static uint32_t LHK_NAME(test)(lhk_sale_tile *t, const uint8_t *segment, const uint8_t *next, const uint8_t *const *keys,
                        lhk_dtype dtype) {
    const lhk_sale_layout *l = t->layout;
    const float *scales = (const float *)(segment + l->scale_offset), *mean = (const float *)(segment + l->mean_offset);
    const int64_t steps = l->padded_dim / 4, tile_bytes = l->padded_dim * INT64_C(16);
    float rest[LHK_SALE_PADDED_ROWS], row_scales[LHK_SALE_PADDED_ROWS], extra[LHK_SALE_SEGMENT];
    float deviations[3][LHK_SALE_TILE_ROWS];
    int32_t starts[LHK_SALE_PADDED_ROWS], slacks[3][LHK_SALE_PADDED_ROWS];
    const int strips = (t->rows + LHK_SALE_STRIP - 1) / LHK_SALE_STRIP;
    uint32_t kept = 0;
    int strip = 0;
    LHK_NAME(meet_mean)(t, mean, t->products);
    for (int r = 0; r < LHK_SALE_TILE_ROWS; r++)
        rest[r] = (t->threshold[r] - t->products[r]) * (l->bits == 8 ? t->unit[r] : 1);
    if (l->bits == 4) {
        for (int r = 0; r < LHK_SALE_PADDED_ROWS; r++) {
            row_scales[r] = r < t->rows ? t->scale[r] : 0;
            if (r >= t->rows) rest[r] = INFINITY;
        }
        LHK_NAME(meet_keys)(t, mean, keys, dtype, extra);
    }
    if (t->screen > 0) LHK_NAME(deviations)(t, (const float *)(segment + l->energy_offset), deviations);
    for (int b = 0; b < 4; b++) {
        const uint8_t *block = segment + 2 * b * tile_bytes;
        uint32_t found = 0;
        // Codes come from beyond the second level, and with screening not in order of address.
        const uint8_t *ahead = b < 3 ? block + 2 * tile_bytes : next;
        for (int64_t s = 0; s < (t->screen > 0 ? lhk_sale_stage(steps, 1) : steps); s++) {
            __builtin_prefetch(ahead + t->order[s]);
            __builtin_prefetch(ahead + t->order[s] + tile_bytes);
        }
        if (l->bits == 8) LHK_NAME(starts)(t, rest, 1 / scales[32 * b], starts);
        if (t->screen > 0) LHK_NAME(slacks)(t, (const float (*)[LHK_SALE_TILE_ROWS])deviations, 1 / scales[32 * b], slacks);
        // One strip is enough to keep keys, and the one that kept the last ones is a good guess to begin with.
        for (int i = 0; i < strips; i++, strip = strip + 1 < strips ? strip + 1 : 0) {
            const int r = strip * LHK_SALE_STRIP;
            const uint32_t *codes = t->codes + strip * steps * LHK_SALE_STRIP;
            if (l->bits == 4)
                found |= LHK_NAME(block4)(block, tile_bytes, t->order, codes, steps, t->sum + r, row_scales + r, rest + r,
                                         scales + 32 * b, extra + 32 * b);
            else if (t->screen > 0)
                found |= LHK_NAME(screened8)(block, tile_bytes, t->order, codes, steps, starts + r, slacks[0] + r, ~found);
            else
                found |= LHK_NAME(block8)(block, tile_bytes, t->order, codes, steps, starts + r);
            if (found && t->block == LHK_SALE_BLOCK) found = 3;
            if (found == 3) break;
        }
        kept |= found << 2 * b;
    }
    return kept;
}

const lhk_sale_kernel LHK_NAME(kernel) = {
    .strip_rows = LHK_SALE_STRIP, .encode = LHK_NAME(encode), .thresholds = LHK_NAME(thresholds), .test = LHK_NAME(test),
    .rest = LHK_NAME(rest), .finish = LHK_NAME(finish)};
