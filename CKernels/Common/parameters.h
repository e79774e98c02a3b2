// SPDX-License-Identifier: Apache-2.0
/// Own copies of calibrated parameters.
#ifndef LHK_PARAMETERS_H
#define LHK_PARAMETERS_H

#include <longhand/types.h>

LHK_ASSUME_NONNULL_BEGIN

/// Copies names and tensors into one piece of memory; `out` is null when there are none. Fails for a null array or name, a
/// name given twice, a tensor that is not contiguous F32 of rank 1 to 4, and sizes that overflow.
lhk_status lhk_parameters_copy(const lhk_parameter *LHK_NULLABLE from, uint32_t count,
                               const lhk_parameter *LHK_NULLABLE *LHK_NONNULL out, lhk_error *error);

void lhk_parameters_free(const lhk_parameter *LHK_NULLABLE parameters);

LHK_ASSUME_NONNULL_END
#endif
