// SPDX-License-Identifier: Apache-2.0
#include "fuzz_corpus.h"

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
    if (part >= 4) {  // one row, whose keys the kernel splits by itself
        set_size(p, 1, 3001, 16);
        p->left = part & 2 ? 2000 : -1;
    }
    return part < 8;
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
    set_type(p, part / 14);
    set_causal(p);
    return part < 42;
}

static bool lowest_finite_weights(uint32_t part, fuzz_problem *p) {
    set_size(p, 4, 50, 16);
    p->selection = FUZZ_SELECT_TOKENS;
    p->log_weights = p->lowest_weights = true;
    p->density = 60;
    set_type(p, part);
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

const fuzz_corpus_case fuzz_corpus_sizes[] = {
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
    {{26, 0, "corpus_26_rotation_of_some_caches_only",
      "the cache applies positions, before any kernel: Tests/CoreTests/CacheTests.swift"}, NULL},
    {{27, 0, "corpus_27_position_shift", "a case of position methods; distances: Tests/RopeTests/RotationTests.swift"}, NULL},
    {{28, 0, "corpus_28_damaged_bytes",
      "a case of stores and of selectors with an index; files: Tests/CoreTests/CacheFileTests.swift"}, NULL},
    {{29, 0, "corpus_29_cpu_detection",
      "the host and the loader decide: Tests/CoreTests/IsaTests.swift, Tests/CoreTests/LoaderTests.swift"}, NULL},
    {{30, 0, "corpus_30_bias_added_after_the_mask", NULL}, bias_added_after_the_mask},
};
const uint32_t fuzz_corpus_sizes_count = sizeof fuzz_corpus_sizes / sizeof *fuzz_corpus_sizes;
