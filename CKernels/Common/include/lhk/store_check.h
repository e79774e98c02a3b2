// SPDX-License-Identifier: Apache-2.0
/// What every store refuses, in the same words: shapes and capacity at creation, rows of a call, saved bytes.
#ifndef LHK_STORE_CHECK_H
#define LHK_STORE_CHECK_H

#include <lhk/support.h>
#include <longhand/roles.h>

/// `supports` apart from options.
static inline lhk_status lhk_store_check_problem(const lhk_variant *self, const lhk_problem *problem, lhk_error *error) {
    if (problem->kv_heads == 0 || problem->head_dim_k == 0 || problem->head_dim_v == 0)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "store: heads and head dimensions must not be 0");
    if (problem->head_dim_k > self->head_dim_max || problem->head_dim_v > self->head_dim_max)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, 1, "store: head dimension %u/%u is over %u", problem->head_dim_k,
                        problem->head_dim_v, self->head_dim_max);
    if (problem->keys < 0 || problem->keys > INT32_MAX)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "store: capacity %lld is not within 0 and %d tokens",
                        (long long)problem->keys, INT32_MAX);
    return LHK_OK;
}

/// Bytes of a state: a header, and blocks of `block_tokens` tokens for the problem's capacity.
static inline lhk_status lhk_store_size_blocks(const lhk_problem *problem, uint64_t header, uint32_t block_tokens,
                                               uint64_t block_bytes, lhk_sizes *out, lhk_error *error) {
    uint64_t blocks = (uint64_t)lhk_round_up(problem->keys, block_tokens) / block_tokens, bytes;
    if (!lhk_multiply(blocks, block_bytes, &bytes) || bytes > INT64_MAX / 2)
        return lhk_fail(error, LHK_ERROR_OVERFLOW, 1, "store: capacity of %lld tokens overflows", (long long)problem->keys);
    out->state_bytes = header + bytes;
    out->workspace_bytes = 0;
    return LHK_OK;
}

static inline lhk_status lhk_store_check_state(uint64_t given, uint64_t needed, lhk_error *error) {
    if (given >= needed) return LHK_OK;
    return lhk_fail(error, LHK_ERROR_CAPACITY, 3, "store: state of %llu bytes given, %llu needed", (unsigned long long)given,
                    (unsigned long long)needed);
}

/// Rows to append to a store that holds `length` of `capacity` tokens.
static inline lhk_status lhk_store_check_append(const lhk_tensor *k, const lhk_tensor *v, uint32_t heads, uint32_t dim_k,
                                                uint32_t dim_v, int64_t length, int64_t capacity, lhk_error *error) {
    lhk_status status = lhk_check_rows(k, heads, dim_k, "store: k", 2, error);
    if (!status) status = lhk_check_rows(v, heads, dim_v, "store: v", 3, error);
    if (status) return status;
    if (v->shape[0] != k->shape[0])
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 3, "store: k and v have different numbers of rows");
    if (k->shape[0] > capacity - length)
        return lhk_fail(error, LHK_ERROR_CAPACITY, 2, "store: %lld tokens do not fit: %lld of %lld in use",
                        (long long)k->shape[0], (long long)length, (long long)capacity);
    return LHK_OK;
}

static inline lhk_status lhk_store_check_range(uint32_t head, uint32_t heads, int64_t begin, int64_t count, int64_t length,
                                               lhk_error *error) {
    if (head < heads && begin >= 0 && count >= 0 && begin <= length - count) return LHK_OK;
    return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "store: rows %lld..%lld of head %u are not held", (long long)begin,
                    (long long)(begin + count), head);
}

static inline lhk_status lhk_store_check_truncate(int64_t tokens, int64_t length, lhk_error *error) {
    if (tokens >= 0 && tokens <= length) return LHK_OK;
    return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "store: cannot truncate %lld tokens to %lld", (long long)length,
                    (long long)tokens);
}

/// Bytes of the blocks that hold `length` tokens.
static inline uint64_t lhk_store_used(int64_t length, uint32_t block_tokens, uint64_t block_bytes) {
    return (uint64_t)lhk_round_up(length, block_tokens) / block_tokens * block_bytes;
}

static inline lhk_status lhk_store_check_saved_length(int64_t length, int64_t capacity, lhk_error *error) {
    if (length >= 0 && length <= capacity) return LHK_OK;
    return lhk_fail(error, LHK_ERROR_CAPACITY, 1, "store: saved state holds %lld tokens, capacity is %lld", (long long)length,
                    (long long)capacity);
}

/// A saved state of `count` bytes, which should be a header and the blocks of the `length` tokens that it says it holds;
/// `used` gets the bytes of these.
static inline lhk_status lhk_store_check_saved(int64_t length, int64_t capacity, uint64_t count, uint64_t header,
                                               uint32_t block_tokens, uint64_t block_bytes, uint64_t *used,
                                               lhk_error *error) {
    lhk_status status = lhk_store_check_saved_length(length, capacity, error);
    if (status) return status;
    *used = lhk_store_used(length, block_tokens, block_bytes);
    if (count != header + *used)
        return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "store: saved state has %llu bytes, %llu expected",
                        (unsigned long long)count, (unsigned long long)(header + *used));
    return LHK_OK;
}

// ---- stores of codes: tokens [sinks, encoded) are codes, the first `sinks` and those from `encoded` on are exact rows ----

/// Exact rows among the first `length` tokens.
static inline int64_t lhk_store_exact_rows(int64_t sinks, int64_t length, int64_t encoded) {
    sinks = lhk_min(sinks, length);
    return sinks + length - lhk_max(encoded, sinks);
}

/// The token of exact row i.
static inline int64_t lhk_store_exact_token(int64_t sinks, int64_t length, int64_t encoded, int64_t i) {
    sinks = lhk_min(sinks, length);
    return i < sinks ? i : lhk_max(encoded, sinks) + i - sinks;
}

/// Checks what a saved state says that it holds, against a store with room for `slots` exact rows after the codes.
static inline lhk_status lhk_store_check_saved_rows(int64_t length, int64_t encoded, int64_t capacity, int64_t slots,
                                                    lhk_error *error) {
    lhk_status status = lhk_store_check_saved_length(length, capacity, error);
    if (status) return status;
    if (encoded < 0 || encoded > length || length - encoded > slots)
        return lhk_fail(error, LHK_ERROR_CORRUPT, 1, "store: saved state holds %lld tokens, %lld of them as codes",
                        (long long)length, (long long)encoded);
    return LHK_OK;
}

#endif
