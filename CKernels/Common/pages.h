// SPDX-License-Identifier: Apache-2.0
/// Zero-filled memory whose untouched pages cost nothing.
#ifndef LHK_PAGES_H
#define LHK_PAGES_H

#include <longhand/abi.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

/// A mapping of at least one page; `data` null: none.
typedef struct lhk_pages {
    void *LHK_NULLABLE data;
    uint64_t bytes;
} lhk_pages;

/// Maps `bytes` bytes aligned to a page. Large mappings are aligned to 2 MiB and advised for huge pages, which halve
/// the time of streaming through them.
lhk_status lhk_pages_map(uint64_t bytes, lhk_pages *out, lhk_error *LHK_NULLABLE error);
void lhk_pages_unmap(lhk_pages *pages);

/// Calls `visit` for every region of this process's memory with the bytes of it that lie in huge pages now.
/// LHK_ERROR_UNSUPPORTED where the system does not tell.
lhk_status lhk_pages_visit_huge(void (*visit)(void *context, uintptr_t begin, uintptr_t end, uint64_t huge_bytes),
                                void *context, lhk_error *LHK_NULLABLE error);

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
