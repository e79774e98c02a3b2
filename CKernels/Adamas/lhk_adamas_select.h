// SPDX-License-Identifier: Apache-2.0
/// One call of `select`: its workspace, and what its tasks share.
#ifndef LHK_ADAMAS_SELECT_H
#define LHK_ADAMAS_SELECT_H

#include <lhk/panel.h>

#include "lhk_adamas_index.h"

static const float log2_e = 1.44269504088896341f;

/// Entries between chunks: as many may be written past the last one, and without them the beginnings, which are used most,
/// would share sets of the cache.
#define LHK_ADAMAS_SPARE 16

/// Elements of `size` bytes from what one worker writes on and on to what the next one does, when each has `count`. Processors
/// fetch lines beside and behind those that they write, and would take them from each other.
static inline int64_t lhk_adamas_apart(int64_t count, int64_t size) { return lhk_round_up(count * size + 256, 4096) / size; }

/// What a worker has seen of a row of scores: its candidates are chosen by it, so that few of a long context are. It only
/// ever leaves out what cannot be picked, however tasks are spread.
typedef struct select_seen {
    float bound;   ///< that many scores reach it as are wanted; before there are so many, the least of all numbers
    int32_t held;  ///< of the greatest, in `pool`
    float most, mass;  ///< of all scores seen, as `lhk_adamas_add_mass` has it
    bool ready;        ///< tables of this query head are made
} select_seen;

/// Workspace of a call. Rows of scores: query heads, then, where lists go by sums, KV heads. Scores themselves are not kept
/// but for candidates: tokens that may be picked or be read for their values. Chunk c of a KV head has them from
/// c * (chunk + LHK_ADAMAS_SPARE) on, in ascending order.
typedef struct select_room {
    int64_t chunk, chunks;  ///< chunk: tokens of one scan task
    int64_t lds;         ///< of a chunk's scores; more than the chunk, so that rows do not share sets of the cache
    int64_t stride;      ///< candidates that there is room for
    int32_t *candidates; ///< [slots][stride]: tokens; slots: as many as KV heads, see `lhk_adamas_slot`
    int64_t *found;      ///< [kv_heads][chunks]: how many
    float *scores;       ///< [slots][group, and one for sums][stride]: of the candidates
    float *most, *mass;  ///< [query_heads][chunks]
    uint64_t *planes;    ///< [query_heads][3][words]
    uint8_t *weights;    ///< [query_heads][rows of codes][4 channels][4 codes]
    uint8_t *tables;     ///< per worker [query_heads][lhk_adamas_table_bytes(dim_k)]: where others wrote, reading is slow
    float *queries;      ///< [query_heads][ldq]: exact scores and moving means only
    int64_t ldq;         ///< dim_k rounded up to 16
    float *factor, *offset, *base;  ///< [query_heads]; base: what the mean adds to every score, in log2
    select_seen *seen;   ///< per worker [rows], in steps of `seen_step`
    float *pool;         ///< per worker [rows][pool_room]
    int64_t rows, pool_room;
    float *chunk_scores, *crests;  ///< per worker [group + 1] of: [lds], [chunk/4]; in steps of `scores_step`, `crests_step`
    float *least, *peaks, *lanes;  ///< per worker [group + 1] of: 1, 1, [32]; in steps of `row_step`, twice, and `lanes_step`
    uint8_t *marks;      ///< per worker [chunk/64], in steps of `marks_step`
    int64_t seen_step, scores_step, crests_step, row_step, lanes_step, marks_step;
    int32_t *lists;             ///< [lists][list_room]
    int64_t *counts, *offsets;  ///< [lists], [lists + 1]
    float *rest_lse, *rest_mean;
    int32_t *tokens;  ///< per worker [stride]
    float *kept;      ///< per worker [stride]
    float *row;       ///< per worker [dim_v]
    int32_t *wide;    ///< [slots][wide_room], with `values`: tokens whose values are read for the remainder
    int64_t *wide_counts;  ///< [slots]
    float *shares;    ///< [slots][group][wide_room]: what each of them weighs
    float *gathered;  ///< [slots][group][dim_v rounded up to 16]: their weighted sum
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
    int64_t group, wanted;  ///< wanted: tokens that each row of a list picks
    uint32_t workers;
    bool whole;  ///< a KV head is all one worker's
    lhk_panels panels;
    bool words;  ///< values lie in panels, as 32-bit words
    bool apart;  ///< values for the remainder are read after all lists are made, by tasks of their own
} select_job;

/// Codes the query of one head (a task of `lhk_parallel_for`).
void lhk_adamas_query_task(void *context, int64_t head, uint32_t worker);
/// Where candidates of a KV head are kept: those that a worker alone sees, where it wrote others before, as memory that
/// another worker wrote is slow to write to.
static inline int64_t lhk_adamas_slot(const select_job *job, int64_t kv, uint32_t worker) { return job->whole ? worker : kv; }
static inline int64_t lhk_adamas_slot_rows(const select_job *job) {
    return job->group + (job->c->lists == LHK_ADAMAS_LISTS_KV);
}
/// Scans a KV head and makes its lists (likewise).
void lhk_adamas_head_task(void *context, int64_t kv, uint32_t worker);
/// Nothing is seen yet.
void lhk_adamas_scan_begin(const select_job *job);
/// Scans a chunk of tokens of one KV head for candidates, and weighs them all: task = chunk * kv_heads +
/// KV head, so that of few workers each sees much of the same head.
void lhk_adamas_scan_task(void *context, int64_t task, uint32_t worker);
/// Lists of one KV head and its query heads, and their remainders (likewise).
void lhk_adamas_pick_task(void *context, int64_t kv, uint32_t worker);

/// 2^-x of a whole x >= 0; 0 from 126 on.
static inline float lhk_adamas_halved(float x) {
    float factor;
    uint32_t bits = x < 126 ? (uint32_t)(127 - (int32_t)x) << 23 : 0;
    memcpy(&factor, &bits, sizeof factor);
    return factor;
}

/// Adds `mass` in units of 2^most to `*to_mass` in units of 2^*to. Both exponents are whole numbers, so nothing is rounded
/// but the sum.
static inline void lhk_adamas_add_mass(float *to, float *to_mass, float most, float mass) {
    float less = most < *to ? most : *to, more = most < *to ? *to : most, factor = lhk_adamas_halved(more - less);
    *to_mass = most < *to ? *to_mass + mass * factor : *to_mass * factor + mass;
    *to = more;
}

/// Moves the lists together and shows them.
void lhk_adamas_show(const select_job *job, lhk_selection *out);

/// A list of picked candidates, those that are always taken aside, and further ones whose values are to be read; ascending
/// numbers of candidates.
typedef struct select_list {
    const int32_t *candidates;  ///< their tokens
    const float *scores;        ///< and scores, [rows][stride]
    const int32_t *tokens;
    int64_t count;
    int32_t *wide;  ///< become tokens
    int64_t wide_count;
    float *shares;    ///< room: [rows][wide_count]
    float *gathered;  ///< room: [rows][dim_v rounded up to 16]
} select_list;

/// Estimated weight of all tokens that may be picked, in units of 2^most, `most` being the greatest score, rounded up.
float lhk_adamas_total(const select_job *job, int64_t head, float *most);
/// Remainders of the `rows` query heads from `head` on, which share the list, but for the values that are to be read; these
/// are noted in `list`. `mean` [dim_v] is that of all values.
void lhk_adamas_set_rest(const select_job *job, int64_t head, int64_t rows, const select_list *list, const float *mean);
/// Adds the values that are to be read, of the channels [begin, end), multiples of 16 but for the last.
void lhk_adamas_read_rest(const select_job *job, int64_t head, int64_t rows, const select_list *list, int64_t begin,
                          int64_t end);
/// Heads whose remainder is not finite go without.
void lhk_adamas_check_rest(const select_job *job, int64_t head, int64_t rows);
/// Whether values lie as 32-bit words.
bool lhk_adamas_words_in_panels(const lhk_panels *panels);
/// Channels of a task below.
#define LHK_ADAMAS_SLAB 64
static inline int64_t lhk_adamas_slabs(const lhk_adamas_config *c) {
    return (c->dim_v + LHK_ADAMAS_SLAB - 1) / LHK_ADAMAS_SLAB;
}
/// Reads values of one KV head's list: task = KV head * slabs + slab (a task of `lhk_parallel_for`).
void lhk_adamas_values_task(void *context, int64_t task, uint32_t worker);

#endif
