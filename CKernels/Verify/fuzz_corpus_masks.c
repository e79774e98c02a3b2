// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "fuzz_corpus.h"

static bool fully_masked_leading_block_with_sinks(uint32_t part, fuzz_problem *p) {
    set_size(p, 64, 40, 512);
    set_causal(p);
    set_offset(p, -33);
    p->sinks = part & 1 ? FUZZ_SINKS_NORMAL : FUZZ_SINKS_NONE;
    p->sink_tokens = 4;
    p->left = part & 1 ? 7 : -1;
    p->poison_hidden = true;
    set_type(p, part / 2);
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
    set_type(p, part);
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
    set_type(p, part);
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
    set_type(p, part);
    return part < 18;
}

static bool nan_at_masked_positions(uint32_t part, fuzz_problem *p) {
    set_size(p, 70, 130, 64);
    set_heads(p, 1, 2);
    p->poison_hidden = true;
    p->nan_key = 100;  // seen by the later rows only
    set_causal(p);
    set_type(p, part);
    if (part >= 3) p->left = 20;
    return part < 6;
}

/// A value that the later rows see and the earlier ones must not, in every mode and through every selection.
static bool nan_value_seen_by_some_rows(uint32_t part, fuzz_problem *p) {
    set_size(p, 40, 70, 32);
    set_heads(p, 1, 2);
    set_causal(p);
    set_type(p, part);
    p->nan_value = 50;
    uint32_t arrangement = part / 3;
    if (arrangement < 2) p->mode = arrangement + 1;
    else p->selection = FUZZ_SELECT_BLOCKS + (int)arrangement - 2;
    if (p->selection == FUZZ_SELECT_BLOCKS) p->density = 100;
    return part < 15;
}

static bool nan_in_a_query(uint32_t part, fuzz_problem *p) {
    set_size(p, 40, 64, 64);
    p->nan_row = part & 1 ? 39 : 0;
    set_type(p, part / 2);
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
    set_type(p, part);
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
    set_type(p, part);
    return part < 3;
}

const fuzz_corpus_case fuzz_corpus_masks[] = {
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
    {{8, 0, "corpus_08_nan_value_seen_by_some_rows", NULL}, nan_value_seen_by_some_rows},
    {{8, 0, "corpus_08_nan_in_a_query", NULL}, nan_in_a_query},
    {{9, 0, "corpus_09_nan_in_every_lane", NULL}, nan_in_every_lane},
    {{10, 0, "corpus_10_scores_beyond_f16", NULL}, scores_beyond_f16},
    {{10, 0, "corpus_10_value_sums_beyond_f16", NULL}, value_sums_beyond_f16},
    {{11, 0, "corpus_11_softmax_over_f16_operands", NULL}, softmax_over_f16_operands},
    {{12, 0, "corpus_12_quantised_keys_and_head_sizes", "a case of stores, where groups are packed"}, NULL},
    {{13, 0, "corpus_13_quantised_values_give_nan", "a case of stores; random cases of attention read every store found"},
     NULL},
    {{14, 0, "corpus_14_workspace_for_many_workers", NULL}, workspace_for_many_workers},
    {{15, 0, "corpus_15_split_scratch_of_long_keys", NULL}, split_scratch_of_long_keys},
    {{16, 0, "corpus_16_tiled_long_prompt", NULL}, tiled_long_prompt},
};
const uint32_t fuzz_corpus_masks_count = sizeof fuzz_corpus_masks / sizeof *fuzz_corpus_masks;
