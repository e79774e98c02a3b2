// SPDX-License-Identifier: Apache-2.0
#ifndef LHK_SALE_VARIANTS_H
#define LHK_SALE_VARIANTS_H

#include "lhk_sale_kernel.h"

/// `data` of a variant.
typedef struct lhk_sale_variant {
    const lhk_sale_kernel *kernel;
    double speed;  ///< see lhk_sale_variants.inc
} lhk_sale_variant;

#endif
