// SPDX-License-Identifier: Apache-2.0
/// One call of `select`: its workspace, and what its tasks share.
#ifndef LHK_ADAMAS_SELECT_H
#define LHK_ADAMAS_SELECT_H

#include "lhk_adamas_index.h"

static const float log2_e = 1.44269504088896341f;

/// Workspace of a call. Rows of scores are [query_heads][stride], then, where lists go by sums, [kv_heads][stride].
typedef struct select_room {
    int64_t stride;  ///< tokens of a row of scores, a multiple of the block
    int64_t chunks;
    float *scores, *peaks;
    float *most, *mass;         ///< [query_heads][chunks]
    uint64_t *planes;           ///< [query_heads][3][words]
    int32_t *weights;           ///< [query_heads][groups][4]
    float *queries;             ///< [query_heads][dim_k], exact scores only
    float *factor, *offset, *base;  ///< [query_heads]; base: what the mean adds to every score, in log2
    int32_t *lists;             ///< [lists][list_room]
    int64_t *counts, *offsets;  ///< [lists], [lists + 1]
    float *rest_lse, *rest_mean;
    int32_t *tokens;  ///< per worker [stride + 16]
    float *kept;      ///< per worker [stride + 16]
    float *row;       ///< per worker [dim_v]
    int64_t list_room, list_count;
} select_room;

typedef struct select_job {
    lhk_instance *index;
    const lhk_adamas_config *c;
    const lhk_adamas_kernel *kernel;
    lhk_adamas_parts parts;
    select_room room;
    const lhk_tensor *q;
    lhk_store_ref store;
    float scale;  ///< of scores
    int64_t group;
} select_job;

/// Codes the query of one head (a task of `lhk_parallel_for`).
void lhk_adamas_query_task(void *context, int64_t head, uint32_t worker);

#endif
