// SPDX-License-Identifier: Apache-2.0
/// The insides of the cache object, shared by the files of its name.
#ifndef LHK_CACHE_INTERNAL_H
#define LHK_CACHE_INTERNAL_H

#include <longhand/cache.h>
#include <stdbool.h>

#include "pages.h"
#include "spec.h"

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

enum { slot_store, slot_prefill, slot_decode, slot_attention, slot_position, slot_count };

/// A method bound to one layer: the chosen variant and the memory of its instance.
typedef struct lhk_bound {
    const lhk_variant *LHK_NULLABLE variant;  ///< null: the slot is empty in this layer
    lhk_pages state;
    uint64_t state_bytes;
    uint64_t workspace_bytes;
    bool created;  ///< the state is initialised and must be destroyed
} lhk_bound;

/// A store that some layers have in place of the configuration's.
typedef struct lhk_own_store {
    struct lhk_own_store *LHK_NULLABLE next;
    lhk_spec spec;
    lhk_registration method;
} lhk_own_store;

typedef struct lhk_bound_layer {
    lhk_cache_layer shape;  ///< its arrays are copies, owned; `store` is the text of `own_store`
    const lhk_own_store *LHK_NULLABLE own_store;
    lhk_dtype kv_dtype;     ///< of the store's panels
    lhk_bound bound[slot_count];
} lhk_bound_layer;

struct lhk_cache {
    const lhk_registry *registry;
    const lhk_host *host;
    int64_t capacity, max_rows;
    uint32_t layer_count;
    lhk_bound_layer *layers;
    lhk_spec specs[slot_count];
    lhk_registration methods[slot_count];  ///< `method` null: position `none`
    lhk_own_store *LHK_NULLABLE own_stores;  ///< in the order of their first layers, each with another text
    bool shared_selector;  ///< prefill and decode are one specification: the prefill instances serve both
    lhk_pages selector_workspace, attention_workspace;
    uint64_t selector_workspace_bytes, attention_workspace_bytes;
    lhk_pages rows;  ///< f32 keys or queries of one call with positions applied
    lhk_cache_stats stats;
};

static inline const lhk_spec *lhk_cache_spec(const lhk_cache *cache, uint32_t index, int slot) {
    const lhk_own_store *own = slot == slot_store ? cache->layers[index].own_store : NULL;
    return own ? &own->spec : &cache->specs[slot];
}
static inline const lhk_registration *lhk_cache_method(const lhk_cache *cache, uint32_t index, int slot) {
    const lhk_own_store *own = slot == slot_store ? cache->layers[index].own_store : NULL;
    return own ? &own->method : &cache->methods[slot];
}

static inline const lhk_store_ops *lhk_store_of(const lhk_bound_layer *layer) {
    return (const lhk_store_ops *)layer->bound[slot_store].variant->ops;
}
static inline const lhk_selector_ops *lhk_selector_of(const lhk_bound *bound) {
    return (const lhk_selector_ops *)bound->variant->ops;
}
static inline lhk_instance *lhk_instance_of(const lhk_bound *bound) { return (lhk_instance *)bound->state.data; }

/// What messages call a slot.
const char *lhk_slot_word(int slot);

/// Whether `config` can be bound at all; its layers are looked at by lhk_cache_configure.
lhk_status lhk_cache_check_config(const lhk_cache_config *config, lhk_error *LHK_NULLABLE error);
/// Finds the methods of `config` and copies its layers. After a failure the cache can be destroyed.
lhk_status lhk_cache_configure(lhk_cache *cache, const lhk_cache_config *config, lhk_error *LHK_NULLABLE error);

/// The problem that `slot` of layer `index` is bound for. It points into the cache.
lhk_problem lhk_cache_problem(const lhk_cache *cache, uint32_t index, int slot);

/// Maps and creates a fresh instance of `bound->variant` for that slot and layer.
lhk_status lhk_bound_create(const lhk_cache *cache, uint32_t index, int slot, lhk_bound *bound,
                            lhk_error *LHK_NULLABLE error);
/// Destroys and unmaps the instance, if any; keeps the variant.
void lhk_bound_destroy(lhk_bound *bound);

/// Reports the failure `inner` of a method: "layer 3: attention 'flash': ...".
lhk_status lhk_cache_fail(const lhk_cache *cache, uint32_t index, int slot, lhk_status status, lhk_error *inner,
                          lhk_error *LHK_NULLABLE error);

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
