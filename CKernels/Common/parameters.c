// SPDX-License-Identifier: Apache-2.0
#include "parameters.h"

#include <lhk/support.h>

enum { max_parameters = 4096, max_name = 256 };

/// Elements of a contiguous F32 tensor, or -1.
static int64_t element_count(const lhk_tensor *tensor) {
    if (tensor->dtype != LHK_DTYPE_F32 || tensor->rank < 1 || tensor->rank > 4) return -1;
    int64_t count = 1;
    for (uint32_t axis = tensor->rank; axis-- > 0;) {
        const int64_t size = tensor->shape[axis];
        if (size < 0 || (size > 1 && tensor->stride[axis] != count)) return -1;
        if (__builtin_mul_overflow(count, size, &count) || count > INT64_MAX / 64) return -1;
    }
    return count && (!tensor->data || (uintptr_t)tensor->data % sizeof(float)) ? -1 : count;
}

static lhk_status check(const lhk_parameter *from, uint32_t count, lhk_error *error) {
    if (!from || count > max_parameters)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "its parameters are null, or more than %d", max_parameters);
    for (uint32_t i = 0; i < count; i++) {
        const char *name = from[i].name;
        if (!name || !*name || strlen(name) >= max_name)
            return lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "parameter %u has no name, or one of %d bytes or more", i, max_name);
        for (uint32_t j = 0; j < i; j++)
            if (!strcmp(name, from[j].name))
                return lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "parameter '%s' is given twice", name);
        if (element_count(&from[i].tensor) < 0)
            return lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "parameter '%s' is not a contiguous f32 tensor of rank 1 to 4", name);
    }
    return LHK_OK;
}

/// Lays out the copies behind `carver->base`; with a null base only adds up sizes.
static void lay_out(const lhk_parameter *from, uint32_t count, lhk_carver *carver) {
    lhk_parameter *to = lhk_carve(carver, count, sizeof *to);
    for (uint32_t i = 0; i < count; i++) {
        const size_t name_bytes = strlen(from[i].name) + 1, data_bytes = (size_t)element_count(&from[i].tensor) * sizeof(float);
        char *name = lhk_carve(carver, name_bytes, 1);
        float *data = lhk_carve(carver, data_bytes, 1);
        if (!carver->base) continue;
        memcpy(name, from[i].name, name_bytes);
        if (data_bytes) memcpy(data, from[i].tensor.data, data_bytes);
        to[i] = (lhk_parameter){name, from[i].tensor};
        to[i].tensor.data = data;
    }
}

lhk_status lhk_parameters_copy(const lhk_parameter *from, uint32_t count, const lhk_parameter **out, lhk_error *error) {
    *out = NULL;
    if (!count) return LHK_OK;
    lhk_status status = check(from, count, error);
    if (status) return status;
    lhk_carver carver = {0};
    lay_out(from, count, &carver);
    if (!carver.overflow) carver.base = aligned_alloc(LHK_ALIGNMENT, carver.used);
    if (!carver.base) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for its parameters");
    *out = (const lhk_parameter *)carver.base;
    carver.used = 0;
    lay_out(from, count, &carver);
    return LHK_OK;
}

void lhk_parameters_free(const lhk_parameter *parameters) { free((void *)parameters); }
