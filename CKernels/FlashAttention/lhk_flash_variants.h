// SPDX-License-Identifier: Apache-2.0
/// The variant table as data.
#ifndef LHK_FLASH_VARIANTS_H
#define LHK_FLASH_VARIANTS_H

#include "lhk_flash_plan.h"

typedef struct lhk_flash_variant {
    const lhk_flash_kernel *kernel;
    lhk_dtype dtype;  ///< of the panels
    lhk_isa isa;
    double gigaflops;
} lhk_flash_variant;

/// The fastest variant for panels of `dtype` among those that `isa` allows; there always is a portable one.
const lhk_flash_variant *lhk_flash_best_variant(lhk_dtype dtype, lhk_isa isa);

/// Whether the direct path is the cheaper one for `rows` query rows per KV head and `keys` keys. Measured on one core: in
/// decode one softmax over all scores saves 5 to 12 % of the time, in prefill nothing. From two splits' worth of keys on,
/// decode gains more from sharing the keys among workers, which only the blockwise path does.
bool lhk_flash_prefers_direct(int64_t rows, int64_t keys);

extern const lhk_plugin lhk_flash_attention_plugin_object;

#endif
