// SPDX-License-Identifier: Apache-2.0
/// Keys of panels of type I8 (see `lhk_panels`).
#ifndef LHK_DENSE_KEYS8_H
#define LHK_DENSE_KEYS8_H

#include <lhk/panel.h>

/// Rotates (where p->rotation says so), quantises and packs `n` rows, `row_stride` bytes apart, as tokens [t, t+n).
void lhk_dense_pack_keys8(const lhk_panels *p, uint8_t *block, int64_t t, int64_t n, const uint8_t *rows,
                          int64_t row_stride, lhk_dtype from, int64_t dim);

/// The key of token t as it was before the rotation.
void lhk_dense_read_key8(const lhk_panels *p, const uint8_t *block, int64_t t, float *out, int64_t dim);

/// A query in the keys' coordinates, and its product with the key of token t.
void lhk_dense_rotate_query(const lhk_panels *p, const float *q, float *out, int64_t dim);
float lhk_dense_dot_key8(const lhk_panels *p, const uint8_t *block, int64_t t, const float *q, int64_t dim);

#endif
