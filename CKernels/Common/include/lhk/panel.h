// SPDX-License-Identifier: Apache-2.0
/// The packed layout of keys and values that the fused attention kernels read (see `lhk_panels`): index arithmetic, in
/// one place for the stores that keep it and the kernels that build it on the fly. `panel_pack.h` packs rows.
///
/// Within one block of one head, element (token t, channel c), with G tokens or channels interleaved:
///   key   at  (t/16)*(padded_k*16) + (c/G)*(16*G) + (t%16)*G + c%G     16 tokens side by side: broadcast q, no
///   value at  (t/G)*(padded_v*G) + c*G + t%G                           horizontal sums; pairs feed the bf16 dot product
/// where keys and values may differ in element type and G: i8 keys, four channels deep, go with bf16 values.
#ifndef LHK_PANEL_H
#define LHK_PANEL_H

#include <lhk/support.h>
#include <longhand/roles.h>

#define LHK_PANEL_TOKENS 16   ///< tokens side by side in a key tile
#define LHK_BLOCK_TOKENS 256  ///< tokens per block of our own panels: K and V of 128 channels in f32 fill 256 KiB of L2
/// Keys and queries of 8 bits whose largest magnitude is below this count as zero, so that 127 / magnitude is finite.
#define LHK_PANEL_TINY 0x1p-119f

static inline uint32_t lhk_panel_group(lhk_dtype dtype) {
    return dtype == LHK_DTYPE_I8 ? 4 : dtype == LHK_DTYPE_BF16 ? 2 : 1;
}
/// Element type of the values that go with keys of `dtype`.
static inline lhk_dtype lhk_panel_value_dtype(lhk_dtype dtype) { return dtype == LHK_DTYPE_I8 ? LHK_DTYPE_BF16 : dtype; }

/// Fills the layout members of `panels` for one head; strides are left to the caller.
static inline void lhk_panel_layout(lhk_panels *panels, lhk_dtype dtype, uint32_t dim_k, uint32_t dim_v,
                                    uint32_t block_tokens) {
    panels->dtype = dtype;
    panels->group = lhk_panel_group(dtype);
    panels->value_dtype = lhk_panel_value_dtype(dtype);
    panels->value_group = lhk_panel_group(panels->value_dtype);
    panels->block_tokens = block_tokens;
    panels->padded_dim_k = (uint32_t)lhk_round_up(dim_k, panels->group);
    panels->padded_dim_v = (uint32_t)lhk_round_up(dim_v, 16);
    panels->value_offset = (uint64_t)block_tokens * panels->padded_dim_k * lhk_dtype_size(dtype);
    panels->key_scale_offset = 0;
    if (dtype != LHK_DTYPE_I8) return;
    panels->key_scale_offset = panels->value_offset;
    panels->value_offset += (uint64_t)block_tokens * sizeof(float);
}

/// Asks a store for its panels. Members that its ABI did not have yet are filled in.
static inline lhk_panels lhk_panel_of(const lhk_store_ops *ops, const lhk_instance *store) {
    lhk_panels panels = {.struct_size = sizeof panels};
    ops->panels(store, &panels);
    if (!panels.value_dtype) panels.value_dtype = panels.dtype;
    if (!panels.value_group) panels.value_group = panels.group;
    return panels;
}

/// Bytes of one block of one head.
static inline uint64_t lhk_panel_block_bytes(const lhk_panels *p) {
    return p->value_offset + (uint64_t)p->block_tokens * p->padded_dim_v * lhk_dtype_size(p->value_dtype);
}

static inline int64_t lhk_panel_key_index(const lhk_panels *p, int64_t t, int64_t c) {
    int64_t g = p->group;
    return t / 16 * (p->padded_dim_k * INT64_C(16)) + c / g * (16 * g) + t % 16 * g + c % g;
}

static inline int64_t lhk_panel_value_index(const lhk_panels *p, int64_t t, int64_t c) {
    int64_t g = p->value_group;
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
