// SPDX-License-Identifier: Apache-2.0
/// Keeps the codes in step with the store, and the running sums of values.
#include "lhk_adamas_index.h"

typedef struct append_job {
    lhk_instance *index;
    lhk_adamas_parts parts;
    const lhk_tensor *k;  ///< null: raw rows of the sample
    int64_t first, end;   ///< tokens; row 0 of k is token `origin`
    int64_t origin, first_block;
} append_job;

/// Spreads 12 bits over the even bits of 24.
static uint32_t spread(uint32_t x) {
    x = (x | x << 8) & 0x00ff00ffu;
    x = (x | x << 4) & 0x0f0f0f0fu;
    x = (x | x << 2) & 0x33333333u;
    return (x | x << 1) & 0x55555555u;
}

/// The bits of the channels of a group, of 16 channels a word.
static uint32_t group_bits(const uint16_t *bits, int64_t g) {
    int64_t at = LHK_ADAMAS_GROUP * g;
    return (bits[at / 16] | (uint32_t)bits[at / 16 + 1] << 16) >> at % 16 & 0xfff;
}

/// Writes the codes of token t, whose high and low bits are given.
static void put_bytes(uint8_t *block, int64_t dim, int64_t t, const uint16_t *high, const uint16_t *low) {
    uint8_t *to = block + lhk_adamas_place(dim, t);
    for (int64_t g = 0; g < lhk_adamas_groups(dim); g++) {
        int64_t count = lhk_adamas_group_rows(dim, g);
        uint32_t codes = spread(group_bits(low, g)) | spread(group_bits(high, g)) << 1;
        for (int64_t b = 0; b < count; b++, to += LHK_ADAMAS_TILE)
            *to = (uint8_t)((codes >> (6 * b) & 63) | (codes >> (6 * count + 2 * b) & 3) << 6);
    }
}

/// Codes the transformed key y, which is changed, less `mean`, as token t of a block.
static void put_key(const append_job *job, int64_t head, const float *mean, uint8_t *block, int64_t t, float *y) {
    const lhk_adamas_config *c = &job->index->config;
    uint16_t high[LHK_ADAMAS_MOST_DIM / 16 + 3] = {0}, low[LHK_ADAMAS_MOST_DIM / 16 + 3] = {0};
    int64_t words = lhk_adamas_words(c->dim_k);
    bool tiles = c->scoring == LHK_ADAMAS_ASYMMETRIC;
    uint16_t *scale = tiles ? (uint16_t *)(block + lhk_adamas_scale_place(c->dim_k, t)) : NULL;
    lhk_adamas_kernel_of(job->index)->code(y, c->center ? mean : NULL, c->dim_k,
                                           job->parts.levels[head].thresholds, scale, high, low);
    if (tiles) {
        put_bytes(block, c->dim_k, t, high, low);
        return;
    }
    uint64_t *planes = (uint64_t *)block;
    for (int64_t w = 0; w < words; w++) {
        memcpy(&planes[w * LHK_ADAMAS_BLOCK + t], high + 4 * w, 8);
        memcpy(&planes[(words + w) * LHK_ADAMAS_BLOCK + t], low + 4 * w, 8);
    }
}

static void load_key(const append_job *job, int64_t row, int64_t head, float *y) {
    const lhk_adamas_config *c = &job->index->config;
    const void *from = lhk_row(job->k, row, head);
    if (job->k->dtype == LHK_DTYPE_F32) memcpy(y, from, c->dim_k * sizeof *y);
    else for (int64_t i = 0; i < c->dim_k; i++) y[i] = lhk_load_element(from, job->k->dtype, i);
}

void lhk_adamas_move(const lhk_instance *index, const lhk_adamas_parts *parts, int64_t block, int64_t head) {
    const lhk_adamas_config *c = &index->config;
    const lhk_adamas_levels *l = &parts->levels[head];
    float *mean = lhk_adamas_mean(c, parts, block, head);
    if (block == 0) return;
    const float *before = lhk_adamas_mean(c, parts, block - 1, head);
    if (!lhk_adamas_moves(c, block)) memcpy(mean, before, c->dim_k * sizeof *mean);
    else lhk_adamas_kernel_of(index)->mean(lhk_adamas_block(parts, block - 1, head), c->dim_k, l->step, l->floor, l->unit,
                                           before, mean);
}

/// Codes the tokens of one block and head.
static void code_block(const append_job *job, int64_t b, int64_t head) {
    const lhk_adamas_config *c = &job->index->config;
    int64_t begin = lhk_max(job->first, b * LHK_ADAMAS_BLOCK), end = lhk_min(job->end, (b + 1) * LHK_ADAMAS_BLOCK);
    uint8_t *block = lhk_adamas_block(&job->parts, b, head);
    float y[LHK_ADAMAS_MOST_DIM + 16] __attribute__((aligned(64)));
    if (c->center == LHK_ADAMAS_CENTER_MOVING && begin % LHK_ADAMAS_BLOCK == 0)
        lhk_adamas_move(job->index, &job->parts, b, head);
    const float *mean = lhk_adamas_mean(c, &job->parts, b, head);
    for (int64_t token = begin; token < end; token++) {
        if (job->k) load_key(job, token - job->origin, head, y);
        else memcpy(y, job->parts.raw + (head * c->sample + token) * c->dim_k, c->dim_k * sizeof *y);
        lhk_adamas_transform(c, job->parts.balance + head * c->dim_k, y, lhk_adamas_kernel_of(job->index));
        put_key(job, head, mean, block, token % LHK_ADAMAS_BLOCK, y);
    }
}

static void code_task(void *context, int64_t task, uint32_t worker) {
    (void)worker;
    const append_job *job = context;
    code_block(job, job->first_block + task / job->index->config.kv_heads, task % job->index->config.kv_heads);
}

/// Where means move, a block waits for the one before.
static void code_head_task(void *context, int64_t head, uint32_t worker) {
    (void)worker;
    const append_job *job = context;
    for (int64_t b = job->first_block; b * LHK_ADAMAS_BLOCK < job->end; b++) code_block(job, b, head);
}

static void code_tokens(append_job *job, const lhk_host *host, int64_t first, int64_t end) {
    if (first >= end) return;
    job->first = first;
    job->end = end;
    job->first_block = first / LHK_ADAMAS_BLOCK;
    int64_t blocks = (end - 1) / LHK_ADAMAS_BLOCK - job->first_block + 1;
    int64_t heads = job->index->config.kv_heads;
    bool moving = job->index->config.center == LHK_ADAMAS_CENTER_MOVING;
    lhk_parallel_for(host, moving ? heads : blocks * heads, moving ? code_head_task : code_task, job);
}

static void raw_task(void *context, int64_t head, uint32_t worker) {
    (void)worker;
    const append_job *job = context;
    const lhk_adamas_config *c = &job->index->config;
    for (int64_t token = job->first; token < job->end; token++)
        load_key(job, token - job->origin, head, job->parts.raw + (head * c->sample + token) * c->dim_k);
}

static void calibrate_task(void *context, int64_t head, uint32_t worker) {
    (void)worker;
    const append_job *job = context;
    const lhk_adamas_config *c = &job->index->config;
    lhk_adamas_calibrate(c, job->parts.raw + head * c->sample * c->dim_k, c->sample, job->parts.balance + head * c->dim_k,
                         lhk_adamas_mean(c, &job->parts, 0, head), &job->parts.levels[head], lhk_adamas_kernel_of(job->index));
}

void lhk_adamas_code_sample(lhk_instance *index, const lhk_host *host) {
    append_job job = {.index = index, .parts = lhk_adamas_parts_of(index)};
    lhk_parallel_for(host, index->config.kv_heads, calibrate_task, &job);
    code_tokens(&job, host, 0, index->config.sample);
}

lhk_status lhk_adamas_append(lhk_instance *index, const lhk_host *host, const lhk_tensor *k, const lhk_tensor *v,
                             lhk_error *error) {
    const lhk_adamas_config *c = &index->config;
    lhk_status status = lhk_check_rows(k, c->kv_heads, c->dim_k, "adamas: k", 2, error);
    (void)v;  // values are read from the store, rounded as attention reads them
    if (status) return status;
    int64_t n = k->shape[0], first = index->length, end = first + n;
    if (n > c->capacity - first)
        return lhk_fail(error, LHK_ERROR_CAPACITY, 2, "adamas: %lld tokens do not fit: %lld of %lld in use", (long long)n,
                        (long long)first, (long long)c->capacity);
    index->length = end;
    if (c->passive || c->scoring == LHK_ADAMAS_EXACT || n == 0) return LHK_OK;
    append_job job = {.index = index, .parts = lhk_adamas_parts_of(index), .k = k, .origin = first};
    if (first < c->sample) {
        job.first = first;
        job.end = lhk_min(end, c->sample);
        lhk_parallel_for(host, c->kv_heads, raw_task, &job);
        if (end >= c->sample) lhk_adamas_code_sample(index, host);
    }
    code_tokens(&job, host, lhk_max(first, c->sample), end);
    return LHK_OK;
}

// ---- sums of values ----

typedef struct sum_job {
    lhk_instance *index;
    lhk_adamas_parts parts;
    lhk_store_ref store;
    float *scratch;  ///< [workers][dim_v]
    int64_t first_block;
    lhk_status failed;
} sum_job;

/// to += values of tokens [begin, end), one after the other.
static bool add_values(const sum_job *job, int64_t head, int64_t begin, int64_t end, float *row, float *to) {
    int64_t dim = job->index->config.dim_v;
    for (int64_t token = begin; token < end; token++) {
        if (job->store.ops->read_rows(job->store.instance, (uint32_t)head, token, 1, NULL, row, NULL)) return false;
        for (int64_t c = 0; c < dim; c++) to[c] += row[c];
    }
    return true;
}

/// Sums a whole block into the place of the sums before the next one.
static void sum_task(void *context, int64_t task, uint32_t worker) {
    sum_job *job = context;
    const lhk_adamas_config *c = &job->index->config;
    int64_t b = job->first_block + task / c->kv_heads, head = task % c->kv_heads;
    float *to = job->parts.sums + ((b + 1) * c->kv_heads + head) * c->dim_v;
    memset(to, 0, c->dim_v * sizeof *to);
    if (!add_values(job, head, b * LHK_ADAMAS_BLOCK, (b + 1) * LHK_ADAMAS_BLOCK, job->scratch + worker * c->dim_v, to))
        __atomic_store_n(&job->failed, LHK_ERROR_ARGUMENT, __ATOMIC_RELAXED);
}

lhk_status lhk_adamas_sum_values(lhk_instance *index, const lhk_host *host, lhk_store_ref store, float *scratch,
                                 lhk_error *error) {
    const lhk_adamas_config *c = &index->config;
    sum_job job = {index, lhk_adamas_parts_of(index), store, scratch, index->summed / LHK_ADAMAS_BLOCK, LHK_OK};
    int64_t width = (int64_t)c->kv_heads * c->dim_v, whole = index->length / LHK_ADAMAS_BLOCK;
    if (whole > job.first_block) {
        lhk_parallel_for(host, (whole - job.first_block) * c->kv_heads, sum_task, &job);
        for (int64_t b = job.first_block; b < whole; b++) {
            float *to = job.parts.sums + (b + 1) * width;
            for (int64_t i = 0; i < width; i++) to[i] += to[i - width];
        }
        index->summed = whole * LHK_ADAMAS_BLOCK;
    }
    if (index->summed % LHK_ADAMAS_BLOCK == 0) memset(job.parts.partial, 0, (size_t)width * sizeof(float));
    for (int64_t head = 0; head < c->kv_heads; head++)
        if (!add_values(&job, head, index->summed, index->length, scratch, job.parts.partial + head * c->dim_v))
            job.failed = LHK_ERROR_ARGUMENT;
    index->summed = index->length;
    if (!job.failed) return LHK_OK;
    index->summed = 0;
    return lhk_fail(error, job.failed, 3, "adamas: the store does not hold the tokens of the index");
}
