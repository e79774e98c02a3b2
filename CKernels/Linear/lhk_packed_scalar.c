// SPDX-License-Identifier: Apache-2.0
// Plain C: the same steps as the vector kernels, for processors without them.
#include "lhk_packed_format.h"

typedef struct codes { uint8_t b[64]; } codes;
typedef struct ints { int32_t v[16]; } ints;
typedef struct floats { float v[16]; } floats;

#define LHK_PACKED_TABLE lhk_packed_scalar
#define LHK_TILE_ROWS 2
#define LHK_FINE_TILE_ROWS 2
#define LHK_TILE_PANELS 1
#define LHK_UNSIGNED_CODES 0

#define LHK_EACH for (int o = 0; o < 16; o++)

LHK_ALWAYS_INLINE void vsteps4(const uint8_t *p, codes *low, codes *high) {
    for (int i = 0; i < 64; i++) {
        low->b[i] = p[i] & 15;
        high->b[i] = p[i] >> 4;
    }
}
LHK_ALWAYS_INLINE codes vfifth(codes v, const uint8_t *bits) {
    for (int i = 0; i < 64; i++) v.b[i] |= (uint8_t)((bits[i / 8] >> (i & 7) & 1) << 4);
    return v;
}
LHK_ALWAYS_INLINE codes vstep8(const uint8_t *p) {
    codes v;
    memcpy(&v, p, sizeof v);
    return v;
}
LHK_ALWAYS_INLINE codes vflip(codes v) { return v; }
/// Codes without a sign are below 64, so that int8 holds them all.
LHK_ALWAYS_INLINE ints vdot(ints sum, codes w, bool is_signed, const uint8_t *x) {
    (void)is_signed;
    LHK_EACH for (int i = 0; i < 4; i++) sum.v[o] += (int8_t)w.b[4 * o + i] * (int8_t)x[i];
    return sum;
}
LHK_ALWAYS_INLINE ints vints(int32_t x) {
    ints v;
    LHK_EACH v.v[o] = x;
    return v;
}
LHK_ALWAYS_INLINE ints vshift_add(ints a, ints b, int shift) {
    LHK_EACH a.v[o] += b.v[o] * (1 << shift);
    return a;
}
LHK_ALWAYS_INLINE floats vfloat(ints x) {
    floats v;
    LHK_EACH v.v[o] = (float)x.v[o];
    return v;
}
LHK_ALWAYS_INLINE floats vset(float x) {
    floats v;
    LHK_EACH v.v[o] = x;
    return v;
}
LHK_ALWAYS_INLINE floats vmul(floats a, floats b) {
    LHK_EACH a.v[o] *= b.v[o];
    return a;
}
LHK_ALWAYS_INLINE floats vfma(floats a, floats b, floats c) {
    LHK_EACH c.v[o] += a.v[o] * b.v[o];
    return c;
}
LHK_ALWAYS_INLINE floats vhalf(const uint8_t *p) {
    floats v;
    LHK_EACH {
        uint16_t half;
        memcpy(&half, p + 2 * o, 2);
        v.v[o] = lhk_f16_to_f32(half);
    }
    return v;
}
LHK_ALWAYS_INLINE floats vbytes(const uint8_t *p) {
    floats v;
    LHK_EACH v.v[o] = p[o];
    return v;
}
LHK_ALWAYS_INLINE floats vsigned_bytes(const uint8_t *p) {
    floats v;
    LHK_EACH v.v[o] = (int8_t)p[o];
    return v;
}
LHK_ALWAYS_INLINE void vstore(float *p, floats v, size_t count) { memcpy(p, v.v, count * sizeof *p); }

#include "lhk_packed_body.h"
