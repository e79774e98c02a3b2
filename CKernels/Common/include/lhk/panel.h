// SPDX-License-Identifier: Apache-2.0
/// The packed layout of keys and values that the fused attention kernels read (see `lhk_panels`): index arithmetic, in
/// one place for the stores that keep it and the kernels that build it on the fly. `panel_pack.h` packs rows.
///
/// Within one block of one head, element (token t, channel c), with G tokens or channels interleaved:
///   key   at  (t/16)*(padded_k*16) + (c/G)*(16*G) + (t%16)*G + c%G     16 tokens side by side: broadcast q, no
///   value at  (t/G)*(padded_v*G) + c*G + t%G                           horizontal sums; pairs feed the bf16 dot product
#ifndef LHK_PANEL_H
#define LHK_PANEL_H

#include <lhk/support.h>
#include <longhand/roles.h>

#define LHK_PANEL_TOKENS 16   ///< tokens side by side in a key tile
#define LHK_BLOCK_TOKENS 256  ///< tokens per block of our own panels: K and V of 128 channels in f32 fill 256 KiB of L2

static inline uint32_t lhk_panel_group(lhk_dtype dtype) { return dtype == LHK_DTYPE_BF16 ? 2 : 1; }

/// Fills the layout members of `panels` for one head; strides are left to the caller.
static inline void lhk_panel_layout(lhk_panels *panels, lhk_dtype dtype, uint32_t dim_k, uint32_t dim_v,
                                    uint32_t block_tokens) {
    panels->dtype = dtype;
    panels->group = lhk_panel_group(dtype);
    panels->block_tokens = block_tokens;
    panels->padded_dim_k = (uint32_t)lhk_round_up(dim_k, panels->group);
    panels->padded_dim_v = (uint32_t)lhk_round_up(dim_v, 16);
    panels->value_offset = (uint64_t)block_tokens * panels->padded_dim_k * lhk_dtype_size(dtype);
}

/// Bytes of one block of one head.
static inline uint64_t lhk_panel_block_bytes(const lhk_panels *p) {
    return (uint64_t)p->block_tokens * ((uint64_t)p->padded_dim_k + p->padded_dim_v) * lhk_dtype_size(p->dtype);
}

static inline int64_t lhk_panel_key_index(const lhk_panels *p, int64_t t, int64_t c) {
    int64_t g = p->group;
    return t / 16 * (p->padded_dim_k * INT64_C(16)) + c / g * (16 * g) + t % 16 * g + c % g;
}

static inline int64_t lhk_panel_value_index(const lhk_panels *p, int64_t t, int64_t c) {
    int64_t g = p->group;
    return t / g * (p->padded_dim_v * g) + c * g + t % g;
}

/// One element of a row in the panel's own bits.
LHK_ALWAYS_INLINE uint32_t lhk_panel_bits(const void *row, lhk_dtype from, lhk_dtype to, int64_t c) {
    if (from == to && to != LHK_DTYPE_F32) return ((const uint16_t *)row)[c];
    float value = lhk_load_element(row, from, c);
    if (to == LHK_DTYPE_BF16) return lhk_f32_to_bf16(value);
    if (to == LHK_DTYPE_F16) return lhk_f32_to_f16(value);
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

#endif
