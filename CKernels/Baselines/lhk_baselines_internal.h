// SPDX-License-Identifier: Apache-2.0
/// What the three selectors share: all score pages of keys for a tile of query rows and take the greatest.
#ifndef LHK_BASELINES_INTERNAL_H
#define LHK_BASELINES_INTERNAL_H

#include <lhk/support.h>
#include <longhand/baselines.h>
#include <longhand/reference.h>

#define LHK_BASELINES_TILE_ROWS 64    ///< of `pooled`
#define LHK_BASELINES_LOCAL_KEYS 128  ///< `pooled` keeps the pages of the last ones, and one page more
#define LHK_BASELINES_LEAST_PAGES 3   ///< of `quest`
#define LHK_BASELINES_MOST_PAGE 4096

/// Options and shape. `passive` instances select everything: dense layers, and layers with a window of their own.
typedef struct lhk_baselines_config {
    uint32_t query_heads, kv_heads, dim, layer;
    int64_t rows, keys;  ///< at most
    int64_t page;        ///< keys of a page; 1 for `random`
    int64_t budget;      ///< pages of a list, in decode
    int64_t seed;
    float mass, share;   ///< of `pooled`; share 0: by mass
    uint32_t passive, reserved;
} lhk_baselines_config;

typedef struct lhk_baselines_kind lhk_baselines_kind;

struct lhk_instance {
    const lhk_variant *variant;
    lhk_baselines_config config;
    int64_t length;
    int64_t built;  ///< complete pages that the index describes
};

/// What sets a selector apart.
struct lhk_baselines_kind {
    const char *name;
    uint32_t vectors;  ///< that describe a page, each of `dim` floats; 0: the selector keeps no index
    bool prefill;      ///< selects for calls of several rows, by tiles; otherwise for single rows
    lhk_status (*read_options)(const lhk_problem *problem, lhk_baselines_config *config, lhk_error *error);
    /// Describes a page of `count` keys [count][dim] as out [vectors][dim].
    void (*describe)(const float *keys, int64_t count, int64_t dim, float *out);
    /// The score of a page from its description and the mean query of the tile; null: `lhk_baselines_draw`.
    float (*score)(const float *query, const float *page, int64_t dim, float scale);
};
extern const lhk_baselines_kind lhk_baselines_quest, lhk_baselines_pooled, lhk_baselines_random;

static inline const lhk_baselines_kind *lhk_baselines_kind_of(const lhk_variant *variant) { return variant->data; }

/// Pages for the rows that end at position `last`: [from, to) are ranked, all others below `end` are always kept, and `wanted`
/// of the ranked ones are taken (prefill by mass: as many as reach it, and `wanted` does not count).
typedef struct lhk_baselines_reach {
    int64_t from, to, end, wanted;
} lhk_baselines_reach;
lhk_baselines_reach lhk_baselines_reach_of(const lhk_baselines_kind *kind, const lhk_baselines_config *c, int64_t last,
                                           int64_t keys);

/// Whether a call selects at all; otherwise every key is taken.
bool lhk_baselines_selects(const lhk_baselines_kind *kind, const lhk_baselines_config *c, int64_t rows, int64_t keys,
                           const lhk_attention_params *params);
/// Position of row 0.
int64_t lhk_baselines_origin(int64_t rows, int64_t keys, const lhk_attention_params *params);

/// A number from 0 to 1 that seed, layer, query head, position of the row and token decide.
float lhk_baselines_draw(const lhk_baselines_config *c, int64_t head, int64_t position, int64_t token);

/// Reads options and shape.
lhk_status lhk_baselines_configure(const lhk_baselines_kind *kind, const lhk_problem *problem, lhk_baselines_config *out,
                                   lhk_error *error);
/// Exact workspace of a call of the full size; false on overflow.
bool lhk_baselines_workspace(const lhk_baselines_kind *kind, const lhk_baselines_config *c, uint32_t workers, uint64_t *bytes);

/// The index: [page][kv_head][vectors][dim] behind the instance.
float *lhk_baselines_page(const lhk_instance *state, int64_t page, int64_t kv_head);

extern const lhk_life_ops lhk_baselines_life_ops, lhk_baselines_stateless_life_ops;
extern const lhk_selector_ops lhk_baselines_selector_ops, lhk_baselines_stateless_selector_ops;
extern const lhk_selector_reference lhk_baselines_quest_formula, lhk_baselines_pooled_formula, lhk_baselines_random_formula;

#endif
