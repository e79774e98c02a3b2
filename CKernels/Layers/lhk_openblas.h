// SPDX-License-Identifier: Apache-2.0
/// The OpenBLAS library of this process, opened at run time so that it can be told which kernels to use.
#ifndef LHK_OPENBLAS_H
#define LHK_OPENBLAS_H

#include <cblas.h>
#include <stdbool.h>

#include "longhand_layers.h"

/// cblas_sgemm; the header is used for its types only.
typedef void lhk_sgemm(
    enum CBLAS_ORDER order, enum CBLAS_TRANSPOSE trans_a, enum CBLAS_TRANSPOSE trans_b, blasint m, blasint n, blasint k,
    float alpha, const float *a, blasint lda, const float *b, blasint ldb, float beta, float *c, blasint ldc);

typedef struct lhk_openblas {
    void *handle;
    lhk_sgemm *sgemm;
    const char *core;
    /// What the kernels of this core need.
    lhk_isa isa;
} lhk_openblas;

/// Whether the library's kernels stay inside the mask.
bool lhk_openblas_within(lhk_isa isa, const lhk_openblas *blas);

/// The loaded library, or null. Any thread.
const lhk_openblas *lhk_openblas_loaded(void);

#endif
