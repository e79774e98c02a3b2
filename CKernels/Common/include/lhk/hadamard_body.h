// SPDX-License-Identifier: Apache-2.0
/// Multiplication by Hadamard blocks and the rotation M = D H of `lhk/hadamard.h`, written once and included by each file
/// of an instruction set inside its target region.
///
/// The including file has included lhk/hadamard.h before the region, and defines LHK_HADAMARD(x), a name per instruction
/// set, and LHK_HADAMARD_LANES, the floats of a vector: 4, 8 or 16. Results have the same bits everywhere: additions in
/// ascending order of stride, and one multiplication by 1/sqrt(size) at the end.

#ifdef LHK_HADAMARD  // Swift's module of this folder reads every header alone

typedef float LHK_HADAMARD(vec) __attribute__((vector_size(4 * LHK_HADAMARD_LANES)));
typedef int32_t LHK_HADAMARD(ivec) __attribute__((vector_size(4 * LHK_HADAMARD_LANES)));

#if defined(__clang__)
#define LHK_HADAMARD_UNROLL _Pragma("clang loop unroll(full)")
#define LHK_HADAMARD_SWAP(x, ...) __builtin_shufflevector(x, x, __VA_ARGS__)
#else
#define LHK_HADAMARD_UNROLL _Pragma("GCC unroll 64")
#define LHK_HADAMARD_SWAP(x, ...) __builtin_shuffle(x, (LHK_HADAMARD(ivec)){__VA_ARGS__})
#endif

// x[i ^ stride] in lane i, and the numbers of the lanes.
#if LHK_HADAMARD_LANES == 4
#define LHK_HADAMARD_SWAP1(x) LHK_HADAMARD_SWAP(x, 1, 0, 3, 2)
#define LHK_HADAMARD_SWAP2(x) LHK_HADAMARD_SWAP(x, 2, 3, 0, 1)
#define LHK_HADAMARD_NUMBERS {0, 1, 2, 3}
#elif LHK_HADAMARD_LANES == 8
#define LHK_HADAMARD_SWAP1(x) LHK_HADAMARD_SWAP(x, 1, 0, 3, 2, 5, 4, 7, 6)
#define LHK_HADAMARD_SWAP2(x) LHK_HADAMARD_SWAP(x, 2, 3, 0, 1, 6, 7, 4, 5)
#define LHK_HADAMARD_SWAP4(x) LHK_HADAMARD_SWAP(x, 4, 5, 6, 7, 0, 1, 2, 3)
#define LHK_HADAMARD_NUMBERS {0, 1, 2, 3, 4, 5, 6, 7}
#else
#define LHK_HADAMARD_SWAP1(x) LHK_HADAMARD_SWAP(x, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14)
#define LHK_HADAMARD_SWAP2(x) LHK_HADAMARD_SWAP(x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13)
#define LHK_HADAMARD_SWAP4(x) LHK_HADAMARD_SWAP(x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11)
#define LHK_HADAMARD_SWAP8(x) LHK_HADAMARD_SWAP(x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7)
#define LHK_HADAMARD_NUMBERS {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
#endif

/// One stage within each vector: lane i takes x[i] + x[i ^ stride], or x[i ^ stride] - x[i] where i has the stride's bit.
#define LHK_HADAMARD_STAGE(stride, swap)                                                        \
    {                                                                                           \
        const LHK_HADAMARD(ivec) negated = ((lanes & (stride)) != 0) & INT32_MIN;               \
        LHK_HADAMARD_UNROLL                                                                     \
        for (int i = 0; i < n / LHK_HADAMARD_LANES; i++)                                        \
            v[i] = swap(v[i]) + (LHK_HADAMARD(vec))((LHK_HADAMARD(ivec))v[i] ^ negated);        \
    }

/// x = sqrt(n) H x for a constant n from LHK_HADAMARD_LANES to 256: the whole block in registers, as far as there are any.
LHK_ALWAYS_INLINE void LHK_HADAMARD(fixed)(float *x, const int n) {
    const LHK_HADAMARD(ivec) lanes = LHK_HADAMARD_NUMBERS;
    LHK_HADAMARD(vec) v[256 / LHK_HADAMARD_LANES];
    LHK_HADAMARD_UNROLL
    for (int i = 0; i < n / LHK_HADAMARD_LANES; i++) memcpy(&v[i], x + i * LHK_HADAMARD_LANES, sizeof v[i]);
    LHK_HADAMARD_STAGE(1, LHK_HADAMARD_SWAP1)
    LHK_HADAMARD_STAGE(2, LHK_HADAMARD_SWAP2)
#if LHK_HADAMARD_LANES >= 8
    LHK_HADAMARD_STAGE(4, LHK_HADAMARD_SWAP4)
#endif
#if LHK_HADAMARD_LANES >= 16
    LHK_HADAMARD_STAGE(8, LHK_HADAMARD_SWAP8)
#endif
    LHK_HADAMARD_UNROLL
    for (int stride = 1; stride < n / LHK_HADAMARD_LANES; stride *= 2) {
        LHK_HADAMARD_UNROLL
        for (int i = 0; i < n / LHK_HADAMARD_LANES; i++) {
            if (i & stride) continue;
            LHK_HADAMARD(vec) sum = v[i] + v[i + stride];
            v[i + stride] = v[i] - v[i + stride];
            v[i] = sum;
        }
    }
    LHK_HADAMARD_UNROLL
    for (int i = 0; i < n / LHK_HADAMARD_LANES; i++) memcpy(x + i * LHK_HADAMARD_LANES, &v[i], sizeof v[i]);
}

/// Stages of the strides [from, n) in memory.
static inline void LHK_HADAMARD(stages)(float *x, int64_t from, int64_t n) {
    for (int64_t stride = from; stride < n; stride *= 2)
        for (int64_t base = 0; base < n; base += 2 * stride)
            for (int64_t i = base; i < base + stride; i++) {
                float sum = x[i] + x[i + stride];
                x[i + stride] = x[i] - x[i + stride];
                x[i] = sum;
            }
}

/// x = H x for one block; n is a power of two.
static inline void LHK_HADAMARD(multiply)(float *x, int64_t n) {
    switch (n) {
        case 16: LHK_HADAMARD(fixed)(x, 16); break;
        case 32: LHK_HADAMARD(fixed)(x, 32); break;
        case 64: LHK_HADAMARD(fixed)(x, 64); break;
        case 128: LHK_HADAMARD(fixed)(x, 128); break;
        default:
            if (n < 16) {
                LHK_HADAMARD(stages)(x, 1, n);
                break;
            }
            for (int64_t i = 0; i < n; i += 256) LHK_HADAMARD(fixed)(x + i, 256);
            LHK_HADAMARD(stages)(x, 256, n);
    }
    float factor = 1 / sqrtf((float)n);
    for (int64_t i = 0; i < n; i++) x[i] *= factor;
}

/// x = H x over the blocks of `dim` <= LHK_HADAMARD_MAX_DIM channels. H is its own inverse.
static inline void LHK_HADAMARD(blocks)(float *x, int64_t dim) {
    for (int64_t size; dim > 0; x += size, dim -= size) {
        size = lhk_hadamard_block(dim);
        LHK_HADAMARD(multiply)(x, size);
    }
}

/// x = D x.
static inline void LHK_HADAMARD(flip)(float *x, int64_t dim) {
    for (int64_t base = 0; base < dim; base += 32) {
        uint32_t word = lhk_hadamard_signs[base / 32], bits[32];
        int64_t count = dim - base < 32 ? dim - base : 32;
        if (count == 32) {  // a constant count, for vector code
            memcpy(bits, x + base, sizeof bits);
            for (int c = 0; c < 32; c++) bits[c] ^= (word >> c) << 31;
            memcpy(x + base, bits, sizeof bits);
        } else {
            for (int64_t c = 0; c < count; c++) x[base + c] = word >> c & 1 ? -x[base + c] : x[base + c];
        }
    }
}

/// x = x M, the rotation of keys and queries.
static inline void LHK_HADAMARD(rotate)(float *x, int64_t dim) {
    LHK_HADAMARD(flip)(x, dim);
    LHK_HADAMARD(blocks)(x, dim);
}

/// The inverse of `rotate`.
static inline void LHK_HADAMARD(unrotate)(float *x, int64_t dim) {
    LHK_HADAMARD(blocks)(x, dim);
    LHK_HADAMARD(flip)(x, dim);
}

#undef LHK_HADAMARD_SWAP1
#undef LHK_HADAMARD_SWAP2
#undef LHK_HADAMARD_SWAP4
#undef LHK_HADAMARD_SWAP8
#undef LHK_HADAMARD_NUMBERS
#undef LHK_HADAMARD_STAGE
#undef LHK_HADAMARD_SWAP
#undef LHK_HADAMARD_UNROLL

#endif
