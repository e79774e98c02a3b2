// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "pages.h"

#include <lhk/support.h>
#include <sys/mman.h>
#include <unistd.h>

static const uint64_t huge_page = UINT64_C(2) << 20;
/// From here on, rounding the touched part up to a huge page wastes a third at most of a mapping that is used whole.
/// Measured on two Zen 4 cores: 24 stores of 6.3 MiB read in turn 1.11 times as fast as with small pages, and indices that
/// are read out of order (`sale` with screening) in three quarters of the time.
static const uint64_t huge_from = UINT64_C(4) << 20;

/// Unmaps a whole number of pages; `bytes` may be 0.
static void unmap(uint8_t *data, uint64_t bytes) {
    if (bytes) munmap(data, (size_t)bytes);
}

lhk_status lhk_pages_map(uint64_t bytes, lhk_pages *out, lhk_error *error) {
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t extra = bytes >= huge_from ? huge_page : 0;
    if (bytes > INT64_MAX - extra - page || bytes > SIZE_MAX - extra - page)
        return lhk_fail(error, LHK_ERROR_OVERFLOW, -1, "%llu bytes do not fit the address space",
                        (unsigned long long)bytes);
    uint64_t length = bytes ? (bytes + page - 1) / page * page : page;
    uint8_t *data = mmap(NULL, (size_t)(length + extra), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED)
        return lhk_fail(error, LHK_ERROR_MEMORY, -1, "the system gave no %llu bytes of memory: %s",
                        (unsigned long long)bytes, strerror(errno));
    if (extra) {
        uint64_t lead = (huge_page - (uintptr_t)data % huge_page) % huge_page;
        unmap(data, lead);
        unmap(data + lead + length, extra - lead);
        data += lead;
        madvise(data, (size_t)length, MADV_HUGEPAGE);  // only advice: systems without huge pages refuse it
    }
    *out = (lhk_pages){data, length};
    return LHK_OK;
}

void lhk_pages_unmap(lhk_pages *pages) {
    if (pages->data) munmap(pages->data, (size_t)pages->bytes);
    *pages = (lhk_pages){NULL, 0};
}

lhk_status lhk_pages_visit_huge(void (*visit)(void *context, uintptr_t begin, uintptr_t end, uint64_t huge_bytes),
                                void *context, lhk_error *error) {
    FILE *maps = fopen("/proc/self/smaps", "re");
    if (!maps) return lhk_fail(error, LHK_ERROR_UNSUPPORTED, -1, "this system does not tell which pages are huge");
    char line[512];
    unsigned long long begin = 0, end = 0, from, to, kilobytes;
    while (fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%llx-%llx ", &from, &to) == 2) {
            begin = from;
            end = to;
        } else if (sscanf(line, "AnonHugePages: %llu kB", &kilobytes) == 1) {
            visit(context, (uintptr_t)begin, (uintptr_t)end, kilobytes << 10);
        }
    }
    fclose(maps);
    return LHK_OK;
}
