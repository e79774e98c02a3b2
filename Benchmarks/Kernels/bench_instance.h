// SPDX-License-Identifier: Apache-2.0
#ifndef LONGHAND_BENCH_INSTANCE_H
#define LONGHAND_BENCH_INSTANCE_H

#include <longhand_bench.h>
#include <stdbool.h>

#include "pages.h"
#include "spec.h"

struct lhk_bench_instance {
    const lhk_variant *variant;
    lhk_problem problem;
    lhk_attention_params params;
    lhk_position_params position;
    lhk_spec spec;
    lhk_pages state, workspace;
    uint64_t workspace_bytes;
    bool created;
    bool is_selector;
};

static inline lhk_instance *bench_state(const lhk_bench_instance *instance) { return instance->state.data; }

#endif
