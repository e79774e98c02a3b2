// SPDX-License-Identifier: Apache-2.0
/// Test doubles of all roles, small enough to be checked by reading. Not fast, not part of any product.
///
/// store `plain` [fail_at=N]: f32 rows, no panels; an append that would reach N tokens fails.
/// selector `all`: everything. selector `recent` count=N [fail_at=N]: the last N tokens; its index counts tokens and
/// refuses to select when it is not in step with the store.
/// attention `naive`: softmax in double precision over all or chosen keys, with causal mask and scale.
/// position `shift`: adds the position to the first channel of each head.
#ifndef TEST_PLUGIN_H
#define TEST_PLUGIN_H

#include <longhand/longhand.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

const lhk_plugin *lhk_test_plugin(void);

/// A copy of that plugin with one fault, and the text its refusal must contain; null past the last fault. The copy is
/// static: one thread at a time.
const lhk_plugin *LHK_NULLABLE lhk_test_faulty_plugin(uint32_t fault, const char *LHK_NULLABLE *LHK_NONNULL expected);

/// A method whose variants differ by `isa_required`, `exactness` and cost, to see which is chosen: `test.first/1` (cost
/// 3), `test.second/1` (cost 2, needs AVX2), `test.third/1` (cost 1, heuristic).
const lhk_method *lhk_test_choice(void);

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
