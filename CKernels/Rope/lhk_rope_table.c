// SPDX-License-Identifier: Apache-2.0
/// From position parameters to the method's table; the formulas are in lhk/rope_frequencies.h.
#include <lhk/rope_frequencies.h>

#include "lhk_rope_internal.h"

_Static_assert(LHK_ROPE_MOST_DIMS == LHK_ROPE_MAX_DIMS, "one limit");

lhk_status lhk_rope_table_init(const lhk_position_params *params, uint32_t head_dim, lhk_rope_table *out,
                               lhk_error *error) {
    lhk_rope_table table = {.struct_size = sizeof table};
    lhk_status status = lhk_rope_frequencies(params, head_dim, table.frequencies, &table.dims, &table.interleaved,
                                             &table.magnitude, error);
    if (!status) *out = table;
    return status;
}
