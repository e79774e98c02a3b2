// SPDX-License-Identifier: Apache-2.0
/// form=product: the tables of one head, as its kernels read them.
#ifndef LHK_COMMVQ_PRODUCT_H
#define LHK_COMMVQ_PRODUCT_H

#include "lhk_commvq_store.h"

/// Blocks whose values are summed up in integers together: 1024 tokens of weights of 15 bits and 127 steps fit 32 bits.
#define LHK_COMMVQ_CHUNK 16

/// What to ask memory for while a block of codes is scored: the keys of the next one, and the values that will be wanted once
/// all scores are there. A head's blocks lie far apart, so that no processor guesses it.
typedef struct lhk_commvq_ahead {
    const uint8_t *keys, *values;
    int64_t lines;  ///< of 64 bytes, of each
} lhk_commvq_ahead;

/// One head's side: see lhk_commvq_side.
typedef struct lhk_commvq_side_tables {
    const uint8_t *table;
    const uint16_t *level, *first, *support;
    const float *vectors, *norms;
} lhk_commvq_side_tables;

static inline lhk_commvq_side_tables lhk_commvq_side_at(const lhk_instance *store, const lhk_commvq_side *s, uint32_t head) {
    const uint64_t h = head;
    lhk_commvq_side_tables t = {.table = lhk_commvq_at(store, s->table) + h * s->entries * s->members * 16};
    t.level = (const uint16_t *)(const void *)lhk_commvq_at(store, s->level) + h * s->entries;
    t.first = (const uint16_t *)(const void *)lhk_commvq_at(store, s->first) + h * (s->units + 1);
    t.support = (const uint16_t *)(const void *)lhk_commvq_at(store, s->support) + h * s->levels * LHK_COMMVQ_PRODUCT_WIDTH;
    t.vectors = lhk_commvq_floats_at(store, s->vectors) + h * s->levels * LHK_COMMVQ_PRODUCT_WIDTH * 16;
    t.norms = lhk_commvq_floats_at(store, s->norms) + h * s->levels * 16;
    return t;
}

#endif
