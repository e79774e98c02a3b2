// SPDX-License-Identifier: Apache-2.0
/// Helpers for the insides of kernel families: errors, checked sizes, element conversions, options, ISA regions.
/// Everything is `static inline`, so a plugin needs no library, and no copy compiled for one ISA serves another.
#ifndef LHK_SUPPORT_H
#define LHK_SUPPORT_H

#include <errno.h>
#include <longhand/plugin.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/// Brackets functions that use instructions above the baseline. System headers are included before. An ISA file is
/// compiled without flags of its own; a missing feature is a compile error at the intrinsic.
#define LHK_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define LHK_TARGET_BEGIN(features) \
    LHK_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define LHK_TARGET_END LHK_PRAGMA(clang attribute pop)
#else
#define LHK_TARGET_BEGIN(features) LHK_PRAGMA(GCC push_options) LHK_PRAGMA(GCC target(features))
#define LHK_TARGET_END LHK_PRAGMA(GCC pop_options)
#endif
#define LHK_FEATURES_AVX2 "avx2,fma,f16c"
#define LHK_FEATURES_AVX512 "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq"
#define LHK_FEATURES_AVX512VNNI "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"
#define LHK_FEATURES_AVX512POPCNT "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vpopcntdq,avx512vbmi"
#define LHK_FEATURES_AVX512BF16 "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16"
#define LHK_FEATURES_AVX512VNNI_BF16 "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16"
#define LHK_FEATURES_NEON_DOTPROD "arch=armv8.2-a+dotprod"  // plain NEON is the baseline of AArch64
#define LHK_FEATURES_NEON_I8MM "arch=armv8.2-a+dotprod+i8mm"
#define LHK_FEATURES_NEON_BF16 "arch=armv8.2-a+bf16"
#define LHK_FEATURES_NEON_I8MM_BF16 "arch=armv8.2-a+dotprod+i8mm+bf16"
#define LHK_ALWAYS_INLINE static inline __attribute__((always_inline))

/// Fills `error` (if any) and returns `status`.
__attribute__((format(printf, 4, 5))) static inline lhk_status lhk_fail(lhk_error *error, lhk_status status,
                                                                        int32_t argument, const char *format, ...) {
    if (error) {
        error->status = status;
        error->argument = argument;
        va_list list;
        va_start(list, format);
        vsnprintf(error->text, sizeof error->text, format, list);
        va_end(list);
    }
    return status;
}

/// Size of a struct up to and including `member`: what `struct_size` must reach for the member to be there.
#define LHK_SIZE_THROUGH(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))

static inline int64_t lhk_round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }
static inline int64_t lhk_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t lhk_max(int64_t a, int64_t b) { return a > b ? a : b; }

/// product = a * b; false when it does not fit.
static inline bool lhk_multiply(uint64_t a, uint64_t b, uint64_t *product) {
    return !__builtin_mul_overflow(a, b, product);
}

/// Carves a workspace into aligned pieces. The same calls with a null base only add up sizes, so the size query and
/// the use cannot drift apart.
typedef struct lhk_carver {
    uint8_t *base;  ///< null: size query
    uint64_t used;
    bool overflow;
} lhk_carver;

static inline void *lhk_carve(lhk_carver *carver, uint64_t count, uint64_t size) {
    uint64_t bytes, end;
    if (!lhk_multiply(count, size, &bytes) || bytes > (UINT64_MAX >> 1) ||
        __builtin_add_overflow(carver->used, (bytes + LHK_ALIGNMENT - 1) / LHK_ALIGNMENT * LHK_ALIGNMENT, &end)) {
        carver->overflow = true;
        return NULL;
    }
    void *piece = carver->base ? carver->base + carver->used : NULL;
    carver->used = end;
    return piece;
}

// ---- element conversions (round to nearest even; NaN stays NaN) ----

static inline float lhk_bf16_to_f32(uint16_t value) {
    uint32_t bits = (uint32_t)value << 16;
    float out;
    memcpy(&out, &bits, 4);
    return out;
}

static inline uint16_t lhk_f32_to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x40u);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

static inline float lhk_f16_to_f32(uint16_t value) {
    uint32_t sign = (uint32_t)(value & 0x8000u) << 16, exponent = (value >> 10) & 31u, mantissa = value & 1023u, bits;
    if (exponent == 31) {
        bits = sign | 0x7f800000u | (mantissa << 13);
    } else if (exponent) {
        bits = sign | ((exponent + 112u) << 23) | (mantissa << 13);
    } else {
        float magnitude = (float)mantissa * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    float out;
    memcpy(&out, &bits, 4);
    return out;
}

static inline uint16_t lhk_f32_to_f16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) {  // below the least normal f16: adding 0.5 aligns and rounds the mantissa
        float shifted;
        memcpy(&shifted, &magnitude, 4);
        shifted += 0.5f;
        uint32_t out;
        memcpy(&out, &shifted, 4);
        return (uint16_t)(sign | (out - 0x3f000000u));
    }
    return (uint16_t)(sign | ((magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13));
}

static inline size_t lhk_dtype_size(lhk_dtype dtype) {
    switch (dtype) {
        case LHK_DTYPE_F32: return 4;
        case LHK_DTYPE_BF16:
        case LHK_DTYPE_F16: return 2;
        case LHK_DTYPE_I8: return 1;
        default: return 0;
    }
}

static inline const char *lhk_dtype_name(lhk_dtype dtype) {
    switch (dtype) {
        case LHK_DTYPE_NONE: return "none";
        case LHK_DTYPE_F32: return "f32";
        case LHK_DTYPE_BF16: return "bf16";
        case LHK_DTYPE_F16: return "f16";
        case LHK_DTYPE_I8: return "i8";
        default: return "unknown";
    }
}

/// Element `index` of an array of `dtype` (F32, BF16, F16) as float.
static inline float lhk_load_element(const void *data, lhk_dtype dtype, int64_t index) {
    if (dtype == LHK_DTYPE_F32) return ((const float *)data)[index];
    uint16_t half = ((const uint16_t *)data)[index];
    return dtype == LHK_DTYPE_BF16 ? lhk_bf16_to_f32(half) : lhk_f16_to_f32(half);
}

/// Whether a row of `dim` elements holds an infinity or NaN.
static inline bool lhk_row_nonfinite(const void *row, lhk_dtype dtype, int64_t dim) {
    uint32_t found = 0;
    if (dtype == LHK_DTYPE_F32) {
        const uint32_t *bits = (const uint32_t *)row;
        for (int64_t c = 0; c < dim; c++) found |= (bits[c] & 0x7f800000u) == 0x7f800000u;
    } else {
        const uint16_t *bits = (const uint16_t *)row;
        uint16_t exponent = dtype == LHK_DTYPE_BF16 ? 0x7f80u : 0x7c00u;
        for (int64_t c = 0; c < dim; c++) found |= (bits[c] & exponent) == exponent;
    }
    return found;
}

static inline void lhk_store_element(void *data, lhk_dtype dtype, int64_t index, float value) {
    if (dtype == LHK_DTYPE_F32)
        ((float *)data)[index] = value;
    else
        ((uint16_t *)data)[index] = dtype == LHK_DTYPE_BF16 ? lhk_f32_to_bf16(value) : lhk_f32_to_f16(value);
}

/// Address of row (i, j) of a rank-3 view.
static inline void *lhk_row(const lhk_tensor *tensor, int64_t i, int64_t j) {
    return (uint8_t *)tensor->data + (size_t)(i * tensor->stride[0] + j * tensor->stride[1]) * lhk_dtype_size(tensor->dtype);
}

/// Checks a rank-3 view [any][heads][dim] of F32, BF16 or F16 with last stride 1 whose offsets fit 63 bits.
static inline lhk_status lhk_check_rows(const lhk_tensor *t, int64_t heads, int64_t dim, const char *name,
                                        int32_t argument, lhk_error *error) {
    if (t->dtype != LHK_DTYPE_F32 && t->dtype != LHK_DTYPE_BF16 && t->dtype != LHK_DTYPE_F16)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "%s: element type %u is not f32, bf16 or f16", name, t->dtype);
    if (t->rank != 3 || t->shape[0] < 0 || t->shape[1] != heads || t->shape[2] != dim)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "%s: shape is not [rows][%lld][%lld]", name,
                        (long long)heads, (long long)dim);
    if (t->shape[0] == 0) return LHK_OK;
    if (!t->data) return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "%s: data is null", name);
    if ((uintptr_t)t->data % lhk_dtype_size(t->dtype))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "%s: data is not aligned to its elements", name);
    if (t->stride[0] < 0 || t->stride[1] < 0 || (t->stride[2] != 1 && dim > 1))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "%s: strides are negative or the last one is not 1", name);
    int64_t a, b, sum;
    if (__builtin_mul_overflow(t->stride[0], t->shape[0], &a) || __builtin_mul_overflow(t->stride[1], heads, &b) ||
        __builtin_add_overflow(a, b, &sum) || __builtin_add_overflow(sum, dim, &sum) || sum > INT64_MAX / 4)
        return lhk_fail(error, LHK_ERROR_OVERFLOW, argument, "%s: shape times stride overflows", name);
    return LHK_OK;
}

/// Checks an output F32 [rows][heads][dim] of the shape of `x`, whose rows must not overlap each other: it is the view of
/// an F32 x, or begins elsewhere.
static inline lhk_status lhk_check_output(const lhk_tensor *x, const lhk_tensor *out, const char *name, int32_t argument,
                                          lhk_error *error) {
    if (out->dtype != LHK_DTYPE_F32)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "%s: element type is %s, not f32", name,
                        lhk_dtype_name(out->dtype));
    lhk_status status = lhk_check_rows(out, x->shape[1], x->shape[2], name, argument, error);
    if (status) return status;
    if (out->shape[0] != x->shape[0])
        return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "%s: %lld tokens, but x has %lld", name,
                        (long long)out->shape[0], (long long)x->shape[0]);
    int inner = out->stride[0] < out->stride[1] ? 0 : 1;
    int64_t reach = x->shape[2];
    for (int step = 0; step < 2; step++) {
        int axis = step ? 1 - inner : inner;
        if (out->shape[axis] <= 1) continue;
        if (out->stride[axis] < reach)
            return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "%s: rows overlap each other", name);
        reach += out->stride[axis] * (out->shape[axis] - 1);
    }
    bool same = x->dtype == out->dtype && (x->shape[0] == 1 || x->stride[0] == out->stride[0]) &&
                (x->shape[1] == 1 || x->stride[1] == out->stride[1]);
    if (x->data == out->data && !same)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, argument, "%s: begins where x does, but is another view", name);
    return LHK_OK;
}

// ---- options of a method specification ----

/// Refuses options whose key is not among the `count` names.
static inline lhk_status lhk_options_known(const lhk_problem *problem, const char *method, const char *const *names,
                                           uint32_t count, lhk_error *error) {
    for (uint32_t i = 0; i < problem->option_count; i++) {
        bool known = false;
        for (uint32_t j = 0; j < count; j++) known |= !strcmp(problem->options[i].key, names[j]);
        if (!known)
            return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "%s has no option '%s'", method, problem->options[i].key);
    }
    return LHK_OK;
}

/// Value of option `key`, or null.
static inline const char *lhk_option_value(const lhk_problem *problem, const char *key) {
    for (uint32_t i = 0; i < problem->option_count; i++)
        if (!strcmp(problem->options[i].key, key)) return problem->options[i].value;
    return NULL;
}

/// Index of the layer in its model.
static inline uint32_t lhk_problem_layer(const lhk_problem *problem) {
    return problem->struct_size >= LHK_SIZE_THROUGH(lhk_problem, layer) ? problem->layer : 0;
}

/// Finds the calibrated parameter `name`, contiguous F32 of the given shape; null with LHK_OK when there is none.
static inline lhk_status lhk_problem_parameter(const lhk_problem *problem, const char *name, uint32_t rank,
                                               const int64_t *shape, const float **out, lhk_error *error) {
    *out = NULL;
    if (problem->struct_size < LHK_SIZE_THROUGH(lhk_problem, parameters)) return LHK_OK;
    for (uint32_t i = 0; i < problem->parameter_count; i++) {
        const lhk_tensor *tensor = &problem->parameters[i].tensor;
        if (strcmp(problem->parameters[i].name, name)) continue;
        bool fits = tensor->dtype == LHK_DTYPE_F32 && tensor->rank == rank;
        for (uint32_t axis = 0; fits && axis < rank; axis++) fits = tensor->shape[axis] == shape[axis];
        if (!fits)
            return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "parameter '%s' of layer %u has another shape than the layer asks for",
                            name, problem->layer);
        *out = tensor->data;
        return LHK_OK;
    }
    return LHK_OK;
}

/// Reads an integer option within [low, high]; leaves `out` alone when it is not given.
static inline lhk_status lhk_option_int(const lhk_problem *problem, const char *method, const char *key, int64_t low,
                                        int64_t high, int64_t *out, lhk_error *error) {
    const char *text = lhk_option_value(problem, key);
    if (!text) return LHK_OK;
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end || errno || value < low || value > high)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "%s: option %s=%s is not an integer from %lld to %lld", method, key,
                        text, (long long)low, (long long)high);
    *out = value;
    return LHK_OK;
}

/// Reads a finite real option within [low, high]; leaves `out` alone when it is not given.
static inline lhk_status lhk_option_float(const lhk_problem *problem, const char *method, const char *key, double low,
                                          double high, float *out, lhk_error *error) {
    const char *text = lhk_option_value(problem, key);
    if (!text) return LHK_OK;
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= low && value <= high))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "%s: option %s=%s is not a number from %g to %g", method, key, text,
                        low, high);
    *out = (float)value;
    return LHK_OK;
}

#endif
