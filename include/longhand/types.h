// SPDX-License-Identifier: Apache-2.0
/// Element types, instruction-set bits, strided tensor views, options and byte counts.
#ifndef LONGHAND_TYPES_H
#define LONGHAND_TYPES_H

#include <longhand/abi.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

/// Element type of a tensor. A set of them is a bit mask of `LHK_DTYPE_BIT`.
typedef uint32_t lhk_dtype;
#define LHK_DTYPE_NONE 0u
#define LHK_DTYPE_F32 1u
#define LHK_DTYPE_BF16 2u
#define LHK_DTYPE_F16 3u
#define LHK_DTYPE_I8 4u
#define LHK_DTYPE_BIT(dtype) (UINT64_C(1) << (dtype))

/// Instruction-set levels: a closed list, each an exact feature set, so that a word never means two things.
/// A variant requires one level; a host offers a set. x86 levels also require that the operating system saves the
/// registers (XCR0). Scalar code needs no bit.
typedef uint64_t lhk_isa;
#define LHK_ISA_SCALAR 0x0ull
#define LHK_ISA_AVX2 0x1ull         ///< AVX2 + FMA + F16C
#define LHK_ISA_AVX512 0x2ull       ///< AVX2 level and AVX-512 F, BW, VL, DQ
#define LHK_ISA_AVX512VNNI 0x4ull   ///< AVX512 level and VNNI
#define LHK_ISA_AVX512BF16 0x8ull   ///< AVX512 level and BF16
#define LHK_ISA_AVX512POPCNT 0x10ull  ///< AVX512 level, VPOPCNTDQ and VBMI
#define LHK_ISA_NEON 0x100ull       ///< AArch64 baseline
#define LHK_ISA_NEON_DOTPROD 0x200ull
#define LHK_ISA_NEON_I8MM 0x400ull
#define LHK_ISA_NEON_BF16 0x800ull

/// A strided view of a tensor of up to four dimensions. The last dimension usually has stride 1.
/// The view does not own its data. Element (i,j,...) lies at `data + (i*stride[0] + j*stride[1] + ...) * element size`.
/// Strides may be any non-negative number (0 broadcasts); outputs must not overlap themselves or any input.
typedef struct lhk_tensor {
    void *LHK_NULLABLE data;  ///< aligned to its element type; may be null when a dimension is 0
    lhk_dtype dtype;
    uint32_t rank;
    int64_t shape[4];
    int64_t stride[4];  ///< in elements
} lhk_tensor;

/// One `key=value` of a method specification such as `adamas:budget=128`.
typedef struct lhk_option {
    const char *key;
    const char *value;
} lhk_option;

/// A tensor that calibration found for one layer, such as the thresholds `sale.tau` [query_heads]. Names begin with the
/// method's. The tensor is F32 and contiguous (row-major).
typedef struct lhk_parameter {
    const char *name;
    lhk_tensor tensor;
} lhk_parameter;

/// Exact memory needs of an instance. State and workspace are provided by the caller, aligned to `LHK_ALIGNMENT`.
typedef struct lhk_sizes {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t state_bytes;      ///< lives as long as the instance; must be zero-filled before `create`
    uint64_t workspace_bytes;  ///< has no meaning between calls; may hold anything
} lhk_sizes;
#define LHK_ALIGNMENT 64u

/// Memory lent for the duration of one call.
typedef struct lhk_workspace {
    void *LHK_NULLABLE data;  ///< aligned to LHK_ALIGNMENT
    uint64_t bytes;
} lhk_workspace;

/// Relative cost of a variant for a problem. Comparable only among variants of one method on one host.
typedef struct lhk_cost {
    uint32_t struct_size;
    uint32_t reserved;
    double time;   ///< estimated nanoseconds on one worker
    double bytes;  ///< estimated memory traffic in bytes
} lhk_cost;

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
