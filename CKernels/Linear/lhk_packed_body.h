// SPDX-License-Identifier: Apache-2.0
// Kernels on packed weights, included once per ISA file, which defines before:
//   LHK_PACKED_TABLE         the table to fill
//   LHK_TILE_ROWS, _PANELS   tile of the many-row kernel that fills the registers
//   LHK_FINE_TILE_ROWS       rows of the same in 15 bits, which takes three registers for each sum instead of two
//   LHK_UNSIGNED_CODES       1 when products want unsigned codes: signed ones are read with 128 added
//   codes, ints, floats      64 bytes of a step; 16 int32; 16 f32
//   vsteps4(p, low, high)    the two steps of 64 bytes of nibbles;  vfifth(codes, bits) adds the fifth bits
//   vstep8(p)                a step of whole bytes;  vflip(codes) adds 128 to signed codes
//   vdot(sum, codes, is_signed, p)  per row of the panel, sum + its four codes times the four int8 at p
//   vints(i), vshift_add(low, high, shift), vfloat(ints)
//   vset(f), vmul, vfma, vhalf(p), vbytes(p), vsigned_bytes(p), vstore(p, floats, count)
// and, where an instruction multiplies two rows by eight inputs at a time, LHK_PAIRS and
//   vdeepen(codes[2])  two steps as the operands of `vdot2`, eight inputs deep
//   vpair(a, b), vunpair(a, b)  the sums of two rows, in place, as `vdot2` adds to them, and back
//   vdot2(a, b, codes[2], p, q)  adds the products of two steps with the eight int8 at p and those at q
// There is no include guard on purpose.

/// Codes of steps 2 j and 2 j + 1 of a block.
LHK_ALWAYS_INLINE void lhk_load_steps(const lhk_packed_format *f, const uint8_t *block, size_t j, codes out[2]) {
    if (f->code_bits == 8) {
        for (int s = 0; s < 2; s++) {
            out[s] = vstep8(block + (2 * j + (size_t)s) * LHK_STEP_BYTES);
            if (LHK_UNSIGNED_CODES && f->zero_shift < 0) out[s] = vflip(out[s]);
        }
        return;
    }
    vsteps4(block + j * LHK_STEP_BYTES, &out[0], &out[1]);
    if (f->code_bits == 4) return;
    for (int s = 0; s < 2; s++) out[s] = vfifth(out[s], block + 4 * LHK_STEP_BYTES + 8 * (2 * j + (size_t)s));
}

/// Scales of part `h` of a block (the block, or one of its halves) and its minima, if it has any.
LHK_ALWAYS_INLINE void lhk_load_scales(
    const lhk_packed_format *f, const uint8_t *head, const uint8_t *block, size_t h, floats *scale, floats *min) {
    const uint8_t *at = block + f->code_bytes;
    switch (f->scales) {
        case LHK_SCALES_F16: *scale = vhalf(at); break;
        case LHK_SCALES_F16_MIN:
            *scale = vhalf(at);
            *min = vhalf(at + 32);
            break;
        case LHK_SCALES_K_MIN:
            *scale = vmul(vhalf(head), vbytes(at));
            *min = vmul(vmul(vhalf(head + 32), vset(-1)), vbytes(at + 16));
            break;
        case LHK_SCALES_K16: *scale = vmul(vhalf(head), vsigned_bytes(at + 16 * h)); break;
    }
}

#ifdef LHK_PAIRS
/// Adds the products of steps [2 first, 2 end) of a block to the sums of mr > 1 rows of one panel. What goes in pairs are the
/// two parts of each row's codes, or two rows.
LHK_ALWAYS_INLINE void lhk_add_pairs(
    const lhk_packed_format *f, const uint8_t *block, const int first, const int end, const uint8_t *x, size_t stride,
    const int mr, const bool fine, ints (*high)[LHK_TILE_PANELS], ints (*low)[LHK_TILE_PANELS]) {
    ints *a[LHK_TILE_ROWS], *b[LHK_TILE_ROWS];
    const int count = fine ? mr : mr / 2, rows = fine ? 1 : 2;
    for (int i = 0; i < count; i++) {
        a[i] = fine ? high[i] : low[2 * i];
        b[i] = fine ? low[i] : low[2 * i + 1];
        vpair(a[i], b[i]);
    }
    _Pragma("GCC unroll 1")  // unrolled, the sums no longer stay in registers
    for (int j = first; j < end; j++) {
        codes w[2];
        lhk_load_steps(f, block, (size_t)j, w);
        vdeepen(w);
        for (int i = 0; i < count; i++) {
            const uint8_t *eight = x + (size_t)(i * rows) * stride + 8 * j;
            vdot2(a[i], b[i], w, eight, eight + (fine ? LHK_BLOCK : stride));
        }
    }
    for (int i = 0; i < count; i++) vunpair(a[i], b[i]);
}
#endif

/// `mr` rows of x times `nv` panels; all but the pointers are constants at every call, so that the sums are registers.
/// Sums of a block start at minus the code of zero times the sum of x, which is what symmetric codes are off by.
LHK_ALWAYS_INLINE void lhk_packed_tile(
    const lhk_packed_format *f, const uint8_t *const *panels, const lhk_activations *a, const uint8_t *x, float *const *y,
    size_t ldy, const size_t *columns, const int mr, const int nv, const bool fine) {
    const bool is_signed = f->code_bits == 8 && f->zero_shift < 0;
    const int zero_shift = is_signed && LHK_UNSIGNED_CODES ? 7 : f->zero_shift;
    const bool has_min = f->scales == LHK_SCALES_F16_MIN || f->scales == LHK_SCALES_K_MIN;
    const int halves = f->scales == LHK_SCALES_K16 ? 2 : 1, pairs = 4 / halves;
    floats sum[LHK_TILE_ROWS][LHK_TILE_PANELS];
    for (int i = 0; i < mr; i++)
        for (int v = 0; v < nv; v++) sum[i][v] = vset(0);
    const size_t stride = a->stride, tail_at = lhk_activation_codes(fine);
    size_t at = 0, head = 0;  // of the block and the head of its group
    for (size_t b = 0; b < a->blocks; b++) {
        if (b % f->group_blocks == 0) {
            head = at;
            at += f->head_bytes;
        }
        for (int h = 0; h < halves; h++) {
            ints high[LHK_TILE_ROWS][LHK_TILE_PANELS], low[LHK_TILE_ROWS][LHK_TILE_PANELS];
            for (int i = 0; i < mr; i++) {
                ints start = vints(0);
                if (zero_shift >= 0) {
                    lhk_activation_tail tail;
                    memcpy(&tail, x + (size_t)i * stride + tail_at, sizeof tail);
                    const int32_t of_half = h ? tail.sum - tail.half_sum : tail.half_sum;
                    start = vints((int32_t)-((uint32_t)(halves == 1 ? tail.sum : of_half) << zero_shift));
                }
                for (int v = 0; v < nv; v++) {
                    low[i][v] = start;
                    if (fine) high[i][v] = vints(0);
                }
            }
#ifdef LHK_PAIRS
            if (mr > 1)
                lhk_add_pairs(f, panels[0] + at, h * pairs, (h + 1) * pairs, x, stride, mr, fine, high, low);
            else
#endif
            for (int j = h * pairs; j < (h + 1) * pairs; j++) {
                codes w[LHK_TILE_PANELS][2];
                for (int v = 0; v < nv; v++) lhk_load_steps(f, panels[v] + at, (size_t)j, w[v]);
                for (int s = 0; s < 2; s++)
                    for (int i = 0; i < mr; i++) {
                        const uint8_t *four = x + (size_t)i * stride + 8 * j + 4 * s;
                        for (int v = 0; v < nv; v++) {
                            if (fine) {
                                high[i][v] = vdot(high[i][v], w[v][s], is_signed, four);
                                low[i][v] = vdot(low[i][v], w[v][s], is_signed, four + LHK_BLOCK);
                            } else {
                                low[i][v] = vdot(low[i][v], w[v][s], is_signed, four);
                            }
                        }
                    }
            }
            floats scale[LHK_TILE_PANELS], min[LHK_TILE_PANELS];
            for (int v = 0; v < nv; v++) lhk_load_scales(f, panels[v] + head, panels[v] + at, (size_t)h, &scale[v], &min[v]);
            for (int i = 0; i < mr; i++) {
                lhk_activation_tail tail;
                memcpy(&tail, x + (size_t)i * stride + tail_at, sizeof tail);
                for (int v = 0; v < nv; v++) {
                    ints total = fine ? vshift_add(low[i][v], high[i][v], 7) : low[i][v];
                    sum[i][v] = vfma(vfloat(total), vmul(scale[v], vset(tail.scale)), sum[i][v]);
                    if (has_min) sum[i][v] = vfma(min[v], vset(tail.offset), sum[i][v]);
                }
            }
        }
        at += f->block_bytes;
        x += lhk_activation_bytes(fine);
    }
    for (int i = 0; i < mr; i++)
        for (int v = 0; v < nv; v++) vstore(y[v] + (size_t)i * ldy, sum[i][v], columns[v]);
}

/// All rows times `nv` panels.
LHK_ALWAYS_INLINE void lhk_packed_rows_of(
    const lhk_packed_format *f, const lhk_packed_tiles *t, const uint8_t *const *panels, float *const *y, const size_t *columns,
    const int nv, const bool fine) {
    const lhk_activations a = t->x;
    size_t i = 0;
#define LHK_ROWS_OF(mr)                                                                                     \
    for (; i + (mr) <= t->m; i += (mr)) {                                                                   \
        float *to[LHK_TILE_PANELS];                                                                         \
        for (int v = 0; v < nv; v++) to[v] = y[v] + i * t->ldy;                                             \
        lhk_packed_tile(f, panels, &a, a.rows + i * a.stride, to, t->ldy, columns, mr, nv, fine);           \
    }
    if (!fine) LHK_ROWS_OF(LHK_TILE_ROWS)
    if (fine && nv > 1) LHK_ROWS_OF(LHK_FINE_TILE_ROWS)
    LHK_ROWS_OF(2)
    LHK_ROWS_OF(1)
#undef LHK_ROWS_OF
}

/// All panels. A last panel alone in a tile of several is computed as often and stored once.
LHK_ALWAYS_INLINE void lhk_packed_panels(const lhk_packed_format *f, const lhk_packed_tiles *t, const int nv, const bool fine) {
    const size_t bytes = lhk_panel_bytes(f, t->x.blocks * LHK_BLOCK);
    for (size_t p = 0; p < t->panels; p += (size_t)nv) {
        const uint8_t *panels[LHK_TILE_PANELS];
        float *y[LHK_TILE_PANELS];
        size_t columns[LHK_TILE_PANELS];
        for (int v = 0; v < nv; v++) {
            const size_t panel = p + (size_t)v < t->panels ? p + (size_t)v : p, first = panel * LHK_PANEL_ROWS;
            panels[v] = t->weights + panel * bytes;
            y[v] = t->y + first;
            columns[v] = p + (size_t)v >= t->panels ? 0 : (size_t)lhk_min((int64_t)(t->columns - first), LHK_PANEL_ROWS);
        }
        lhk_packed_rows_of(f, t, panels, y, columns, nv, fine);
    }
}

#define LHK_PACKED_FUNCTION(name, ...)                                                     \
    static void lhk_packed_##name(const lhk_packed_tiles *t) {                             \
        const lhk_packed_format f = LHK_PACKED_FORMAT(name, __VA_ARGS__);                  \
        if (t->x.fine && (t->m <= LHK_PACKED_FEW_ROWS || LHK_TILE_PANELS == 1))            \
            lhk_packed_panels(&f, t, 1, true);                                             \
        else if (t->x.fine)                                                                \
            lhk_packed_panels(&f, t, LHK_TILE_PANELS, true);                               \
        else                                                                               \
            lhk_packed_panels(&f, t, LHK_TILE_PANELS, false);                              \
    }
LHK_PACKED_FORMATS(LHK_PACKED_FUNCTION)
#undef LHK_PACKED_FUNCTION

static void lhk_packed_run(int32_t type, const lhk_packed_tiles *t) {
    switch (type) {
#define LHK_CASE(name, number, ...) \
    case number: lhk_packed_##name(t); break;
        LHK_PACKED_FORMATS(LHK_CASE)
#undef LHK_CASE
        default: break;
    }
}

#include "lhk_activations_body.h"

const lhk_packed_kernels LHK_PACKED_TABLE = {.quantize = lhk_quantize, .tiles = lhk_packed_run};
