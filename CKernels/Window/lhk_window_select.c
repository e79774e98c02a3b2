// SPDX-License-Identifier: Apache-2.0
/// Window plus sinks as lists of runs: the direct call.
#include "lhk_window_internal.h"

/// The pieces of a workspace. With a null base, their sizes only.
typedef struct lhk_window_lists {
    int64_t tiles;
    int64_t *offsets;  ///< [query_heads * tiles + 1]
    lhk_run *runs;     ///< [query_heads * tiles][up to 2], dense
    uint64_t bytes;
} lhk_window_lists;

static lhk_status lhk_window_check(const lhk_window_args *args, lhk_error *error) {
    const struct {
        const char *name;
        int64_t value, low;
    } numbers[] = {
        {"query heads", args->query_heads, 1}, {"rows", args->rows, 0},   {"keys", args->keys, 0},
        {"size", args->size, 1},               {"sinks", args->sinks, 0}, {"tile rows", args->tile_rows, 1},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].value < numbers[i].low || numbers[i].value > LHK_WINDOW_MAX_TOKENS)
            return lhk_fail(error, LHK_ERROR_ARGUMENT, 0, "window: %s is %lld; must be %lld to 2^48", numbers[i].name,
                            (long long)numbers[i].value, (long long)numbers[i].low);
    return LHK_OK;
}

static lhk_status lhk_window_carve(const lhk_window_args *args, void *base, lhk_window_lists *lists, lhk_error *error) {
    lhk_carver carver = {.base = base};
    uint64_t count;
    lists->tiles = (args->rows + args->tile_rows - 1) / args->tile_rows;
    carver.overflow = !lhk_multiply(args->query_heads, (uint64_t)lists->tiles, &count) || count > INT64_MAX / 2;
    if (!carver.overflow) {
        lists->offsets = lhk_carve(&carver, count + 1, sizeof *lists->offsets);
        lists->runs = lhk_carve(&carver, 2 * count, sizeof *lists->runs);
    }
    lists->bytes = carver.used;
    if (!carver.overflow) return LHK_OK;
    return lhk_fail(error, LHK_ERROR_OVERFLOW, 0, "window: %lld lists for each of %u heads overflow",
                    (long long)lists->tiles, args->query_heads);
}

lhk_status lhk_window_workspace(const lhk_window_args *args, uint64_t *bytes, lhk_error *error) {
    lhk_window_lists lists;
    lhk_status status = lhk_window_check(args, error);
    if (!status) status = lhk_window_carve(args, NULL, &lists, error);
    if (!status) *bytes = lists.bytes;
    return status;
}

/// Position of row 0. An offset beyond all keys is brought within reach of int64 arithmetic: nothing else changes.
static int64_t lhk_window_origin(const lhk_window_args *args) {
    if (!args->params || !(args->params->flags & LHK_ATTENTION_OFFSET)) return args->keys - args->rows;
    return lhk_max(-4 * LHK_WINDOW_MAX_TOKENS, lhk_min(args->params->offset, 4 * LHK_WINDOW_MAX_TOKENS));
}

/// Runs of the rows at positions [first, last]; returns how many.
static int lhk_window_tile(const lhk_window_args *args, int64_t first, int64_t last, lhk_run *runs) {
    lhk_run sink = {0, lhk_min(args->sinks, args->keys)};
    lhk_run window = {lhk_max(first - args->size + 1, 0), lhk_min(last + 1, args->keys)};
    if (window.begin <= sink.end) {
        sink.end = lhk_max(sink.end, window.end);
        window.end = window.begin;
    }
    int count = 0;
    if (sink.begin < sink.end) runs[count++] = sink;
    if (window.begin < window.end) runs[count++] = window;
    return count;
}

lhk_status lhk_window_select(const lhk_window_args *args, const lhk_workspace *workspace, lhk_selection *out,
                             lhk_error *error) {
    lhk_window_lists lists;
    lhk_status status = lhk_window_check(args, error);
    if (status) return status;
    const int64_t origin = lhk_window_origin(args), rows = args->rows;
    // The last tile's list begins latest. When it leaves no gap, the causal mask alone says the same.
    int64_t last_tile = rows ? (rows - 1) / args->tile_rows * args->tile_rows : 0;
    bool causal = args->params && args->params->flags & LHK_ATTENTION_CAUSAL;
    if (causal && origin + last_tile - args->size + 1 <= args->sinks) {
        *out = (lhk_selection){.struct_size = sizeof *out, .kind = LHK_SELECTION_ALL};
        return LHK_OK;
    }
    status = lhk_window_carve(args, workspace->data, &lists, error);
    if (status) return status;
    if (workspace->bytes < lists.bytes || !workspace->data)
        return lhk_fail(error, LHK_ERROR_CAPACITY, 1, "window: workspace of %llu bytes, needs %llu",
                        (unsigned long long)workspace->bytes, (unsigned long long)lists.bytes);
    if ((uintptr_t)workspace->data % LHK_ALIGNMENT)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "window: workspace is not aligned to %u bytes", LHK_ALIGNMENT);
    int64_t entries = 0, list = 0;
    for (uint32_t head = 0; head < args->query_heads; head++) {
        for (int64_t row = 0; row < rows; row += args->tile_rows) {
            lists.offsets[list++] = entries;
            int64_t last = lhk_min(row + args->tile_rows, rows) - 1;
            entries += lhk_window_tile(args, origin + row, origin + last, lists.runs + entries);
        }
    }
    lists.offsets[list] = entries;
    *out = (lhk_selection){
        .struct_size = sizeof *out,
        .kind = LHK_SELECTION_BLOCKS,
        .tile_rows = args->tile_rows,
        .list_count = list,
        .list_offsets = lists.offsets,
        .runs = lists.runs,
    };
    return LHK_OK;
}
