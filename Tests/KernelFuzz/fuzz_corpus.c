// SPDX-License-Identifier: Apache-2.0
/// Bugs that attention kernels really had, one builder each. Parts of an entry vary what the report left open.
#include "fuzz_corpus.h"

#include <lhk_fuzz.h>
#include <string.h>

/// Builds part `part` of a case; false when there are no more. The problem arrives as fuzz_plain(1, 1, 8).
typedef bool (*builder)(uint32_t part, fuzz_problem *p);

static const lhk_dtype types[] = {LHK_DTYPE_F32, LHK_DTYPE_BF16, LHK_DTYPE_F16};

static void set_types(fuzz_problem *p, lhk_dtype dtype) { p->query_dtype = p->kv_dtype = p->out_dtype = dtype; }

static void set_size(fuzz_problem *p, int64_t rows, int64_t keys, int64_t dim) {
    p->rows[0] = rows;
    p->keys[0] = p->valid[0] = keys;
    p->dim_k = p->dim_v = dim;
}

static void set_heads(fuzz_problem *p, int64_t kv_heads, int64_t group) {
    p->kv_heads = kv_heads;
    p->query_heads = kv_heads * group;
}

static void set_causal(fuzz_problem *p) { p->flags |= LHK_ATTENTION_CAUSAL; }

static void set_offset(fuzz_problem *p, int64_t offset) {
    p->flags |= LHK_ATTENTION_OFFSET;
    p->offset = offset;
}

static bool fully_masked_leading_block_with_sinks(uint32_t part, fuzz_problem *p) {
    set_size(p, 64, 40, 512);
    set_causal(p);
    set_offset(p, -33);
    p->sinks = part & 1 ? FUZZ_SINKS_NORMAL : FUZZ_SINKS_NONE;
    p->sink_tokens = 4;
    p->left = part & 1 ? 7 : -1;
    p->poison_hidden = true;
    set_types(p, types[part / 2 % 3]);
    return part < 6;
}

static bool window_excludes_a_whole_block(uint32_t part, fuzz_problem *p) {
    set_size(p, 640, 640, 16);
    set_causal(p);
    p->left = part == 0 ? 10 : part == 1 ? 63 : 0;
    p->poison_hidden = true;
    if (part == 2) set_offset(p, 300);
    return part < 3;
}

static bool more_rows_than_keys(uint32_t part, fuzz_problem *p) {
    set_size(p, part == 0 ? 257 : 64, part == 0 ? 100 : 1, 32);
    set_causal(p);
    set_heads(p, 2, 2);
    return part < 2;
}

static bool one_key_ragged_rows(uint32_t part, fuzz_problem *p) {
    static const int64_t rows[] = {1, 3, 0, 17, 1, 64}, keys[] = {1, 1, 1, 1, 0, 1};
    p->sequences = 6;
    memcpy(p->rows, rows, sizeof rows);
    memcpy(p->keys, keys, sizeof keys);
    memcpy(p->valid, keys, sizeof keys);
    set_heads(p, 2, 3);
    if (part) set_causal(p);
    return part < 2;
}

static bool empty_chunk_of_a_split(uint32_t part, fuzz_problem *p) {
    set_size(p, 3, part, 64);  // the split law cuts 0 or 1 keys into a part without any
    set_heads(p, 1, 4);
    return part < 2;
}

static bool all_logits_below_minus_200000(uint32_t part, fuzz_problem *p) {
    set_size(p, 17, 100, 64);
    p->values = FUZZ_NEGATIVE_LOGITS;
    set_types(p, types[part % 3]);
    if (part >= 3) set_causal(p);
    return part < 6;
}

static bool first_block_masked_and_rest_negative(uint32_t part, fuzz_problem *p) {
    set_size(p, 88, 448, 64);
    set_heads(p, 1, 7);
    p->values = FUZZ_MILD_NEGATIVE;
    set_causal(p);
    p->left = 130;
    p->poison_hidden = true;
    set_types(p, types[part]);
    return part < 3;
}

static bool softcap_without_mask_one_past_a_tile(uint32_t part, fuzz_problem *p) {
    static const int64_t keys[] = {65, 17, 33, 129};
    set_size(p, 5, keys[part % 4], 64);
    p->softcap = part < 4 ? 50 : 5;
    p->values = part < 4 ? FUZZ_HUGE_LOGITS : FUZZ_NORMAL;
    p->has_lengths = true;
    p->keys[0] = 140;  // what lies after the keys is NaN
    return part < 8;
}

static bool nan_past_the_valid_length(uint32_t part, fuzz_problem *p) {
    static const int64_t valid[] = {0, 1, 15, 16, 63, 64, 65, 100, 127};
    set_size(p, part & 1 ? 1 : 20, 128, 40);
    p->has_lengths = true;
    p->valid[0] = valid[part % 9];
    if (part & 2) set_causal(p);
    set_types(p, types[part % 3]);
    return part < 18;
}

static bool nan_at_masked_positions(uint32_t part, fuzz_problem *p) {
    set_size(p, 70, 130, 64);
    set_heads(p, 1, 2);
    p->poison_hidden = true;
    p->nan_key = 100;  // seen by the later rows only
    set_causal(p);
    set_types(p, types[part % 3]);
    if (part >= 3) p->left = 20;
    return part < 6;
}

static bool nan_in_a_query(uint32_t part, fuzz_problem *p) {
    set_size(p, 40, 64, 64);
    p->nan_row = part & 1 ? 39 : 0;
    set_types(p, types[part / 2 % 3]);
    if (part >= 6) set_causal(p);
    return part < 12;
}

static bool nan_in_every_lane(uint32_t part, fuzz_problem *p) {
    set_size(p, 2, 70, 16);
    p->nan_key = part % 70;
    if (part >= 70) set_types(p, LHK_DTYPE_BF16);
    return part < 140;
}

static bool scores_beyond_f16(uint32_t part, fuzz_problem *p) {
    set_size(p, 9, 70, 80);
    p->values = FUZZ_BEYOND_F16;
    set_types(p, types[part]);
    return part < 3;
}

static bool value_sums_beyond_f16(uint32_t part, fuzz_problem *p) {
    set_size(p, 1, 65536, 8);
    p->values = FUZZ_LARGE_VALUES;
    set_types(p, part ? LHK_DTYPE_BF16 : LHK_DTYPE_F16);
    return part < 2;
}

static bool softmax_over_f16_operands(uint32_t part, fuzz_problem *p) {
    set_size(p, 33, 97, part ? 128 : 64);
    set_types(p, LHK_DTYPE_F16);
    p->values = FUZZ_OUTLIERS;
    set_causal(p);
    return part < 2;
}

static bool workspace_for_many_workers(uint32_t part, fuzz_problem *p) {
    set_size(p, 1, part ? 700 : 64, 64);
    p->many_workers = true;  // over guarded workspaces of exactly the reported size, full of NaN
    set_heads(p, 2, 4);
    return part < 2;
}

static bool split_scratch_of_long_keys(uint32_t part, fuzz_problem *p) {
    set_size(p, 1 + (int64_t)part, 5003, 40);
    p->many_workers = true;
    set_heads(p, 1, part ? 3 : 8);
    set_causal(p);
    return part < 3;
}

static bool tiled_long_prompt(uint32_t part, fuzz_problem *p) {
    set_size(p, part ? 700 : 513, part ? 700 : 1031, 32);
    set_causal(p);
    set_types(p, types[part]);
    return part < 3;
}

static bool sequences_at_65536(uint32_t part, fuzz_problem *p) {
    set_size(p, part & 2 ? 1 : 65536 + (part & 1), 65536 + (part & 1), 8);
    set_causal(p);
    if (!(part & 2)) p->left = 40;
    return part < 4;
}

static bool offsets_beyond_32_bits(uint32_t part, fuzz_problem *p) {
    set_size(p, part ? 18 : 3, part ? 3 : 18, 8);  // rows 2^28 elements apart
    set_types(p, LHK_DTYPE_BF16);
    p->sparse = true;
    p->wants_lse = false;
    if (part == 0) p->k.row_pad = p->v.row_pad = (INT64_C(1) << 28) - 8;
    if (part == 1) p->q.row_pad = p->out.row_pad = (INT64_C(1) << 28) - 8;
    return part < 2;
}

static bool causal_alignment_without_past(uint32_t part, fuzz_problem *p) {
    set_size(p, 5, 12, 16);
    set_causal(p);
    if (part == 1) set_offset(p, 0);
    if (part == 2) set_offset(p, 3);
    p->poison_hidden = true;
    return part < 3;
}

static bool window_off_by_one(uint32_t part, fuzz_problem *p) {
    set_size(p, 1, 2049, 16);
    set_causal(p);
    p->left = part == 0 ? 2047 : part == 1 ? 2048 : 2049;
    p->poison_hidden = true;  // at 2047 the first key is one too far and NaN
    return part < 3;
}

static bool sink_logits_counted_once(uint32_t part, fuzz_problem *p) {
    set_size(p, 33, 130, 64);  // laws: a row alone, and the merge of two parts of the keys
    set_heads(p, 2, 4);
    set_causal(p);
    p->sinks = part & 1 ? FUZZ_SINKS_EXTREME : FUZZ_SINKS_NORMAL;
    if (part & 2) p->left = 31;
    if (part & 2) p->sink_tokens = 4;
    return part < 4;
}

static bool skip_bound_over_all_rows(uint32_t part, fuzz_problem *p) {
    static const int64_t tiles[] = {1, 3, 16, 64};
    set_size(p, 70, 300, 32);
    set_heads(p, 1, 2);
    p->selection = FUZZ_SELECT_BLOCKS;
    p->tile_rows = tiles[part % 4];
    p->density = part < 4 ? 10 : 50;
    p->right = part & 1 ? 5 : -1;
    p->poison_hidden = true;
    return part < 8;
}

static bool alibi_with_48_heads(uint32_t part, fuzz_problem *p) {
    set_size(p, 9, 70, 16);
    set_heads(p, part ? 12 : 48, part ? 4 : 1);
    p->slopes = FUZZ_SLOPES_GEOMETRIC;
    set_causal(p);
    return part < 2;
}

static bool odd_head_sizes(uint32_t part, fuzz_problem *p) {
    static const int64_t sizes[] = {59, 16, 48, 80, 112, 144, 176, 208, 240, 1, 2, 3, 575, 576};
    set_size(p, 18, 35, sizes[part % 14]);
    set_types(p, types[part / 14 % 3]);
    set_causal(p);
    return part < 42;
}

static bool lowest_finite_weights(uint32_t part, fuzz_problem *p) {
    set_size(p, 4, 50, 16);
    p->selection = FUZZ_SELECT_TOKENS;
    p->log_weights = p->lowest_weights = true;
    p->density = 60;
    set_types(p, types[part]);
    return part < 3;
}

static bool sparse_bf16_and_runs_past_the_end(uint32_t part, fuzz_problem *p) {
    set_size(p, 65, 190, 64);
    set_types(p, LHK_DTYPE_BF16);
    p->selection = part & 1 ? FUZZ_SELECT_TOKENS : FUZZ_SELECT_BLOCKS;
    p->density = 58;
    p->tile_rows = 32;
    p->past_end = true;
    p->poison_hidden = true;
    return part < 4;
}

static bool bias_added_after_the_mask(uint32_t part, fuzz_problem *p) {
    set_size(p, 40, 90, 64);
    p->slopes = FUZZ_SLOPES_MIXED;
    p->poison_hidden = true;
    set_causal(p);
    set_offset(p, part ? -10 : 20);
    p->left = part == 2 ? 8 : -1;
    return part < 3;
}

static const struct {
    lhk_fuzz_corpus_entry entry;
    builder build;
} corpus[] = {
    {{1, 0, "corpus_01_fully_masked_leading_block_with_sinks", NULL}, fully_masked_leading_block_with_sinks},
    {{2, 0, "corpus_02_window_excludes_a_whole_block", NULL}, window_excludes_a_whole_block},
    {{3, 0, "corpus_03_more_rows_than_keys", NULL}, more_rows_than_keys},
    {{3, 0, "corpus_03_one_key_ragged_rows", NULL}, one_key_ragged_rows},
    {{3, 0, "corpus_03_empty_chunk_of_a_split", NULL}, empty_chunk_of_a_split},
    {{4, 0, "corpus_04_all_logits_below_minus_200000", NULL}, all_logits_below_minus_200000},
    {{5, 0, "corpus_05_first_block_masked_and_rest_negative", NULL}, first_block_masked_and_rest_negative},
    {{6, 0, "corpus_06_softcap_without_mask_one_past_a_tile", NULL}, softcap_without_mask_one_past_a_tile},
    {{7, 0, "corpus_07_nan_past_the_valid_length", NULL}, nan_past_the_valid_length},
    {{8, 0, "corpus_08_nan_at_masked_positions", NULL}, nan_at_masked_positions},
    {{8, 0, "corpus_08_nan_in_a_query", NULL}, nan_in_a_query},
    {{9, 0, "corpus_09_nan_in_every_lane", NULL}, nan_in_every_lane},
    {{10, 0, "corpus_10_scores_beyond_f16", NULL}, scores_beyond_f16},
    {{10, 0, "corpus_10_value_sums_beyond_f16", NULL}, value_sums_beyond_f16},
    {{11, 0, "corpus_11_softmax_over_f16_operands", NULL}, softmax_over_f16_operands},
    {{12, 0, "corpus_12_quantised_keys_and_head_sizes", "operands here are f32, bf16 and f16; belongs to quantised stores"},
     NULL},
    {{13, 0, "corpus_13_quantised_values_give_nan", "operands here are f32, bf16 and f16; belongs to quantised stores"},
     NULL},
    {{14, 0, "corpus_14_workspace_for_many_workers", NULL}, workspace_for_many_workers},
    {{15, 0, "corpus_15_split_scratch_of_long_keys", NULL}, split_scratch_of_long_keys},
    {{16, 0, "corpus_16_tiled_long_prompt", NULL}, tiled_long_prompt},
    {{17, 0, "corpus_17_sequences_at_65536", NULL}, sequences_at_65536},
    {{17, 0, "corpus_17_offsets_beyond_32_bits", NULL}, offsets_beyond_32_bits},
    {{18, 0, "corpus_18_causal_alignment_without_past", NULL}, causal_alignment_without_past},
    {{19, 0, "corpus_19_window_off_by_one", NULL}, window_off_by_one},
    {{20, 0, "corpus_20_sink_logits_counted_once", NULL}, sink_logits_counted_once},
    {{21, 0, "corpus_21_skip_bound_over_all_rows", NULL}, skip_bound_over_all_rows},
    {{22, 0, "corpus_22_alibi_with_48_heads", NULL}, alibi_with_48_heads},
    {{23, 0, "corpus_23_odd_head_sizes", NULL}, odd_head_sizes},
    {{24, 0, "corpus_24_lowest_finite_weights", NULL}, lowest_finite_weights},
    {{25, 0, "corpus_25_sparse_bf16_and_runs_past_the_end", NULL}, sparse_bf16_and_runs_past_the_end},
    {{26, 0, "corpus_26_rotation_of_some_caches_only", "positions are applied before the kernel; belongs to the cache's tests"},
     NULL},
    {{27, 0, "corpus_27_position_shift", "positions are applied before the kernel; belongs to the position methods' tests"},
     NULL},
    {{28, 0, "corpus_28_corrupt_cache_file", "kernels read no files; belongs to the cache's save and load tests"}, NULL},
    {{29, 0, "corpus_29_cpu_detection", "the host decides the levels; belongs to the tests of detection and of the loader"},
     NULL},
    {{30, 0, "corpus_30_bias_added_after_the_mask", NULL}, bias_added_after_the_mask},
};

uint32_t lhk_fuzz_corpus_count(void) { return sizeof corpus / sizeof *corpus; }

lhk_fuzz_corpus_entry lhk_fuzz_corpus_get(uint32_t index) { return corpus[index].entry; }

bool fuzz_corpus_problem(uint32_t index, uint32_t part, uint64_t seed, fuzz_problem *problem) {
    if (index >= lhk_fuzz_corpus_count() || !corpus[index].build) return false;
    *problem = fuzz_plain(1, 1, 8);
    problem->seed = seed;
    problem->index = (uint64_t)index * 1000 + part;
    problem->name = corpus[index].entry.name;
    problem->values = FUZZ_NORMAL;
    return corpus[index].build(part, problem);
}
