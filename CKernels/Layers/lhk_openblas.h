// SPDX-License-Identifier: Apache-2.0
/// The OpenBLAS library of this process, opened at run time so that it can be told which kernels to use.
#ifndef LHK_OPENBLAS_H
#define LHK_OPENBLAS_H

#include <stdbool.h>

#include "longhand_layers.h"

/// cblas_sgemm as libopenblas.so.0 has it, with 32-bit sizes. Spelt here so that building needs no headers of OpenBLAS.
typedef void lhk_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                       const float *b, int ldb, float beta, float *c, int ldc);
/// Values of its first three arguments, which the interface of CBLAS fixes.
enum { LHK_BLAS_ROW_MAJOR = 101, LHK_BLAS_NO_TRANS = 111, LHK_BLAS_TRANS = 112 };

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
