// SPDX-License-Identifier: Apache-2.0
/// Attention kernels for the fuzz harness of `LonghandVerify`: the direct call, its reference, and a kernel with faults.
#ifndef LHK_SUBJECTS_H
#define LHK_SUBJECTS_H

#include <lhk_fuzz.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

/// `lhk_flash_attention`; its modes are LHK_FLASH_PATH_*.
lhk_fuzz_subject lhk_fuzz_flash_attention(void);

/// `lhk_flash_attention_reference` as a kernel.
lhk_fuzz_subject lhk_fuzz_reference(void);

/// Faults of the demonstration kernel: what a checker must find.
#define LHK_FUZZ_FAULT_NONE 0u
#define LHK_FUZZ_FAULT_LAST_KEY 1u         ///< drops the last visible key
#define LHK_FUZZ_FAULT_CAUSAL 2u           ///< shows one key too many on the right
#define LHK_FUZZ_FAULT_WINDOW 3u           ///< shows one key too many on the left
#define LHK_FUZZ_FAULT_SOFTCAP 4u          ///< ignores the softcap
#define LHK_FUZZ_FAULT_LEAK 5u             ///< multiplies hidden values by zero instead of skipping them
#define LHK_FUZZ_FAULT_NAN_TO_ZERO 6u      ///< gives 0 for rows that should be NaN
#define LHK_FUZZ_FAULT_GROUP 7u            ///< reads a wrong KV head
#define LHK_FUZZ_FAULT_MAXIMUM 8u          ///< starts the running maximum at 0
#define LHK_FUZZ_FAULT_RESCALE 9u          ///< forgets to rescale the sum of values when the maximum grows
#define LHK_FUZZ_FAULT_SINK_TWICE 10u      ///< adds the sink logit twice
#define LHK_FUZZ_FAULT_ALIBI 11u           ///< uses the signed distance
#define LHK_FUZZ_FAULT_WEIGHTS 12u         ///< ignores the log weights of a selection
#define LHK_FUZZ_FAULT_REST 13u            ///< ignores the remainder of a selection
#define LHK_FUZZ_FAULT_LENGTH 14u          ///< ignores kv_lengths
#define LHK_FUZZ_FAULT_GAP 15u             ///< writes one element past a row
#define LHK_FUZZ_FAULT_READ_PAST 16u       ///< reads 64 bytes past the last key
#define LHK_FUZZ_FAULT_WORKSPACE 17u       ///< uses more workspace than it reports
#define LHK_FUZZ_FAULT_STALE 18u           ///< adds what it found in the workspace
#define LHK_FUZZ_FAULT_WORKERS 19u         ///< rounds differently for other numbers of workers
#define LHK_FUZZ_FAULT_PRECISION 20u       ///< results are off by 1 part in 10,000
#define LHK_FUZZ_FAULT_LSE 21u             ///< log-sum-exp without the maximum
#define LHK_FUZZ_FAULT_WRITES_INPUT 22u    ///< scales q in place
#define LHK_FUZZ_FAULT_STATS 23u           ///< counts one pair too few
#define LHK_FUZZ_FAULT_TILE 24u            ///< takes the run list of the wrong query tile
#define LHK_FUZZ_FAULT_COUNT 25u

/// A plain f32 kernel with one fault, and arithmetic rounded as bf16 units do when the host offers them.
lhk_fuzz_subject lhk_fuzz_demonstration(uint32_t fault);

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
