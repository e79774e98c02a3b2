// SPDX-License-Identifier: Apache-2.0
/// Forks and saved bytes. Saved form: a header, the keys of the sample per head, the blocks in use; all else follows.
#include "lhk_adamas_index.h"

typedef struct saved_header {
    uint32_t version, reserved;
    uint32_t kv_heads, dim_k, scoring, center, passive, balance;
    int64_t sample, length;
} saved_header;

static saved_header header_of(const lhk_instance *index) {
    const lhk_adamas_config *c = &index->config;
    return (saved_header){.version = 3, .kv_heads = c->kv_heads, .dim_k = c->dim_k, .scoring = c->scoring,
                          .center = c->center, .passive = c->passive, .balance = c->balance,
                          .sample = c->sample, .length = index->length};
}

/// Rows of the sample, and bytes of blocks beyond it, that `length` tokens fill. Within the sample, codes follow from rows.
static int64_t saved_rows(const lhk_adamas_config *c, int64_t length) { return c->passive ? 0 : lhk_min(length, c->sample); }
static uint64_t saved_blocks(const lhk_adamas_config *c, const lhk_adamas_parts *p, int64_t length) {
    return c->passive || length < c->sample ? 0 : (uint64_t)lhk_adamas_blocks_for(length) * c->kv_heads * p->block_bytes;
}

static uint64_t saved_bytes(const lhk_instance *index, int64_t length) {
    const lhk_adamas_config *c = &index->config;
    lhk_adamas_parts p = lhk_adamas_parts_of(index);
    uint64_t row = (uint64_t)c->kv_heads * c->dim_k * sizeof(float);
    return sizeof(saved_header) + (uint64_t)saved_rows(c, length) * row + saved_blocks(c, &p, length);
}

uint64_t lhk_adamas_save_size(const lhk_instance *index) { return saved_bytes(index, index->length); }

/// Codes past `length` in the last block are whatever an earlier, longer sequence left; they are saved as zeros.
static void clear_tail(const lhk_adamas_config *c, uint8_t *block, int64_t used) {
    int64_t dim = c->dim_k;
    if (c->scoring == LHK_ADAMAS_ASYMMETRIC) {
        for (int64_t t = used; t < LHK_ADAMAS_BLOCK; t++) {
            for (int64_t r = 0; r < lhk_adamas_rows(dim); r++) block[lhk_adamas_place(dim, t) + r * LHK_ADAMAS_TILE] = 0;
            memset(block + lhk_adamas_scale_place(dim, t), 0, sizeof(uint16_t));
        }
        return;
    }
    for (int64_t r = 0; r < 2 * lhk_adamas_words(dim); r++)
        memset(block + (r * LHK_ADAMAS_BLOCK + used) * 8, 0, (size_t)((LHK_ADAMAS_BLOCK - used) * 8));
}

void lhk_adamas_save(const lhk_instance *index, uint8_t *out) {
    const lhk_adamas_config *c = &index->config;
    lhk_adamas_parts p = lhk_adamas_parts_of(index);
    saved_header header = header_of(index);
    uint64_t row = c->dim_k * sizeof(float), rows = (uint64_t)saved_rows(c, index->length) * row;
    uint64_t blocks = saved_blocks(c, &p, index->length);
    memcpy(out, &header, sizeof header);
    out += sizeof header;
    for (int64_t h = 0; rows && h < c->kv_heads; h++, out += rows) memcpy(out, p.raw + h * c->sample * c->dim_k, rows);
    if (!blocks) return;
    for (int64_t b = 0; b < lhk_adamas_blocks_for(index->length); b++)
        for (int64_t h = 0; h < c->kv_heads; h++)
            memcpy(out + (uint64_t)(b * c->kv_heads + h) * p.block_bytes, lhk_adamas_block(&p, b, h), p.block_bytes);
    if (index->length % LHK_ADAMAS_BLOCK == 0) return;
    out += blocks - c->kv_heads * p.block_bytes;
    for (int64_t h = 0; h < c->kv_heads; h++) clear_tail(c, out + (uint64_t)h * p.block_bytes, index->length % LHK_ADAMAS_BLOCK);
}

/// Scales of damaged bytes may not be finite; codes then count nothing.
static void clean_scales(const lhk_adamas_config *c, const lhk_adamas_parts *p, int64_t length) {
    for (int64_t b = 0; c->scoring == LHK_ADAMAS_ASYMMETRIC && b < lhk_adamas_blocks_for(length); b++)
        for (int64_t head = 0; head < c->kv_heads; head++) {
            uint8_t *block = lhk_adamas_block(p, b, head);
            for (int64_t t = 0; t < LHK_ADAMAS_BLOCK; t++) {
                uint16_t *scale = (uint16_t *)(block + lhk_adamas_scale_place(c->dim_k, t));
                *scale = (*scale & 0x7c00) == 0x7c00 ? 0 : *scale;
            }
        }
}

lhk_status lhk_adamas_load(lhk_instance *index, const uint8_t *bytes, uint64_t count, lhk_error *error) {
    const lhk_adamas_config *c = &index->config;
    saved_header h, own = header_of(index);
    if (count < sizeof h) return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "adamas: saved index is cut off");
    memcpy(&h, bytes, sizeof h);
    own.length = h.length;
    if (memcmp(&h, &own, sizeof h))
        return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "adamas: saved index is of another version, shape, scoring or sample");
    if (h.length < 0 || h.length > c->capacity)
        return lhk_fail(error, LHK_ERROR_CAPACITY, 1, "adamas: saved index holds %lld tokens, capacity is %lld",
                        (long long)h.length, (long long)c->capacity);
    if (count != saved_bytes(index, h.length))
        return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "adamas: saved index has %llu bytes, %llu expected",
                        (unsigned long long)count, (unsigned long long)saved_bytes(index, h.length));
    lhk_adamas_parts p = lhk_adamas_parts_of(index);
    uint64_t row = c->dim_k * sizeof(float), rows = (uint64_t)saved_rows(c, h.length) * row;
    bytes += sizeof h;
    for (int64_t head = 0; rows && head < c->kv_heads; head++, bytes += rows)
        memcpy(p.raw + head * c->sample * c->dim_k, bytes, rows);
    uint64_t blocks = saved_blocks(c, &p, h.length);
    if (blocks) {
        lhk_host serial = {.struct_size = sizeof serial, .workers = 1};
        for (int64_t b = 0; b < lhk_adamas_blocks_for(h.length); b++)
            for (int64_t head = 0; head < c->kv_heads; head++, bytes += p.block_bytes)
                memcpy(lhk_adamas_block(&p, b, head), bytes, p.block_bytes);
        clean_scales(c, &p, h.length);
        lhk_adamas_code_sample(index, &serial);
        for (int64_t b = 0; b < lhk_adamas_blocks_for(h.length); b++)
            for (int64_t head = 0; lhk_adamas_moves(c, b) && head < c->kv_heads; head++) lhk_adamas_move(index, &p, b, head);
    }
    index->length = h.length;
    index->summed = 0;
    return LHK_OK;
}

lhk_status lhk_adamas_fork(const lhk_instance *source, lhk_instance *destination, lhk_error *error) {
    const lhk_adamas_config *c = &source->config;
    if (memcmp(c, &destination->config, sizeof *c))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "adamas: fork between indices of different shapes or options");
    lhk_adamas_parts from = lhk_adamas_parts_of(source), to = lhk_adamas_parts_of(destination);
    destination->length = source->length;
    destination->summed = 0;
    if (c->passive) return LHK_OK;
    memcpy(to.levels, from.levels, c->kv_heads * sizeof *to.levels);
    memcpy(to.balance, from.balance, (size_t)c->kv_heads * c->dim_k * sizeof *to.balance);
    bool moving = c->center == LHK_ADAMAS_CENTER_MOVING;
    size_t means = moving ? (size_t)lhk_max(1, lhk_adamas_blocks_for(source->length)) : 1;
    uint64_t blocks = saved_blocks(c, &from, source->length) / c->kv_heads;
    for (int64_t h = 0; h < c->kv_heads; h++) {
        memcpy(lhk_adamas_mean(c, &to, 0, h), lhk_adamas_mean(c, &from, 0, h), means * c->dim_k * sizeof *to.mean);
        memcpy(lhk_adamas_block(&to, 0, h), lhk_adamas_block(&from, 0, h), blocks);
        memcpy(to.raw + h * c->sample * c->dim_k, from.raw + h * c->sample * c->dim_k,
               (size_t)saved_rows(c, source->length) * c->dim_k * sizeof *to.raw);
    }
    if (!c->remainder) return LHK_OK;
    size_t width = (size_t)c->kv_heads * c->dim_v * sizeof(float);
    memcpy(to.sums, from.sums, (size_t)(source->summed / LHK_ADAMAS_BLOCK + 1) * width);
    memcpy(to.partial, from.partial, width);
    destination->summed = source->summed;
    return LHK_OK;
}
