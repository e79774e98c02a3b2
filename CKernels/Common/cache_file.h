// SPDX-License-Identifier: Apache-2.0
/// The format of saved caches, shared by cache_file.c (writing) and cache_load.c (reading).
#ifndef LHK_CACHE_FILE_H
#define LHK_CACHE_FILE_H

#include "cache_internal.h"

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

#define LHK_FILE_MAGIC "LHKCACHE"
#define LHK_FILE_VERSION 1u
#define LHK_FILE_BYTE_ORDER 0x01020304u

typedef struct lhk_file_header {
    char magic[8];
    uint32_t version;
    uint32_t byte_order;
    uint32_t layer_count;
    uint32_t section_count;
    uint64_t file_bytes;  ///< the whole file
    uint64_t description_bytes;
    uint64_t directory_checksum;  ///< of the description and the section table
    uint64_t header_checksum;     ///< of the members above
} lhk_file_header;

typedef struct lhk_file_section {
    uint64_t bytes;
    uint64_t checksum;
    int64_t tokens;  ///< that the layer holds
} lhk_file_section;

uint64_t lhk_file_padded(uint64_t bytes);
uint64_t lhk_file_header_checksum(const lhk_file_header *header);
/// Whether `bound` has a section.
bool lhk_file_keeps(const lhk_bound *bound);
uint32_t lhk_file_section_count(const lhk_cache *cache);
/// Gives the description, to be freed by the caller.
lhk_status lhk_file_describe(const lhk_cache *cache, char *LHK_NULLABLE *LHK_NONNULL text, uint64_t *bytes,
                             lhk_error *LHK_NULLABLE error);

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
