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
    float *queries;             ///< [query_heads][ldq]: exact scores and moving means only
    int64_t ldq;                ///< dim_k rounded up to 16
    float *factor, *offset, *base;  ///< [query_heads]; base: what the mean adds to every score, in log2
    int32_t *lists;             ///< [lists][list_room]
    int64_t *counts, *offsets;  ///< [lists], [lists + 1]
    float *rest_lse, *rest_mean;
    int32_t *tokens;  ///< per worker [stride + 16]
    float *kept;      ///< per worker [stride + 16]
    float *row;       ///< per worker [dim_v]
    int32_t *wide;    ///< per worker [wide_room]: tokens whose values are read for the remainder
    float *shares;    ///< per worker [group][wide_room]: what each of them weighs
    float *least;     ///< per worker [group]: scores from which values are read
    float *gathered;  ///< per worker [group][dim_v rounded up to 16]: their weighted sum
    int64_t wide_room;
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
/// Lists of one KV head and its query heads, and their remainders (likewise).
void lhk_adamas_pick_task(void *context, int64_t kv, uint32_t worker);
/// Moves the lists together and shows them.
void lhk_adamas_show(const select_job *job, lhk_selection *out);

/// A list of picked tokens, those that are always taken aside, and further tokens whose values are to be read; ascending.
typedef struct select_list {
    const int32_t *tokens;
    int64_t count;
    const int32_t *wide;
    int64_t wide_count;
    float *shares;    ///< room: [rows][wide_count]
    float *gathered;  ///< room: [rows][dim_v rounded up to 16]
} select_list;

/// Estimated weight of all tokens that may be picked, in units of 2^most, `most` being the greatest score.
float lhk_adamas_total(const select_job *job, int64_t head, float *most);
/// Remainders of the `rows` query heads from `head` on, which share the list. `mean` [dim_v] is that of all values.
void lhk_adamas_set_rest(const select_job *job, int64_t head, int64_t rows, const select_list *list, const float *mean);

#endif
