// SPDX-License-Identifier: Apache-2.0
#if defined(__x86_64__)
#include <immintrin.h>
#include <lhk/support.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "lhk_layers_table.h"

#define LHK_LANES 8
#define LHK_VFMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define LHK_VSUM(v) lhk_sum8(v)
#define LHK_TABLE lhk_layers_avx2
#define LHK_LINEAR_TILE_COLUMNS 2

LHK_TARGET_BEGIN(LHK_FEATURES_AVX2)

static inline float lhk_sum8(__m256 v) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

#include "lhk_layers_body.h"

LHK_TARGET_END
#endif
