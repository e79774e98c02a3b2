// SPDX-License-Identifier: Apache-2.0
/// State of a dense store, shared by the files of this family.
#ifndef LHK_DENSE_STORE_INTERNAL_H
#define LHK_DENSE_STORE_INTERNAL_H

#include <lhk/panel_pack.h>
#include <lhk/store_check.h>
#include <stdatomic.h>

/// Followed, at the next multiple of LHK_ALIGNMENT, by blocks [block][kv_head], so that the tokens in use are one
/// contiguous prefix: forks and files copy just that, and unused capacity is never touched.
typedef struct lhk_dense_state {
    const lhk_variant *variant;
    uint32_t kv_heads, dim_k, dim_v;
    uint32_t rotation;  ///< of keys of 8 bits: LHK_ROTATION_*
    _Atomic uint32_t values_nonfinite;
    int64_t capacity;
    int64_t length;
} lhk_dense_state;

#define LHK_DENSE_HEADER 64u
_Static_assert(sizeof(lhk_dense_state) <= LHK_DENSE_HEADER, "header fits before the first block");

extern const lhk_store_ops lhk_dense_store_ops;
extern const lhk_life_ops lhk_dense_life_ops;

/// Layout of the state's panels; all of `out` is written.
void lhk_dense_panels(const lhk_instance *store, lhk_panels *out);
/// The same for others: no more than out->struct_size bytes are written.
void lhk_dense_show_panels(const lhk_instance *store, lhk_panels *out);

static inline const lhk_dense_state *lhk_dense(const lhk_instance *store) { return (const lhk_dense_state *)store; }

/// Start of block `b` of `head`.
static inline uint8_t *lhk_dense_block(const lhk_panels *p, int64_t b, uint32_t head) {
    return (uint8_t *)p->base + (uint64_t)b * p->block_stride + head * p->head_stride;
}

#endif
