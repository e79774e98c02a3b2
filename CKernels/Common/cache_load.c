// SPDX-License-Identifier: Apache-2.0
// Reading saved caches. The file is not trusted: no size in it leads to an allocation or a read before it was compared
// with the file's true size and with what this cache can hold, and the cache changes only when all was read.
#define _GNU_SOURCE
#include <fcntl.h>
#include <lhk/support.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache_file.h"
#include "checksum.h"

typedef struct reader {
    const lhk_cache *cache;
    int file;
    uint64_t size;  ///< of the file
    lhk_file_header header;
    uint64_t directory_bytes;
    uint8_t *directory;  ///< description and section table
    const lhk_file_section *table;
    lhk_bound *fresh;  ///< [section_count] the new instances
    lhk_error *error;
} reader;

static lhk_status corrupt(const reader *in, const char *text) {
    return lhk_fail(in->error, LHK_ERROR_CORRUPT, -1, "%s", text);
}

static lhk_status read_at(const reader *in, void *data, uint64_t bytes, uint64_t at) {
    uint8_t *to = data;
    while (bytes) {
        ssize_t got = pread(in->file, to, bytes > (1u << 30) ? 1u << 30 : (size_t)bytes, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return lhk_fail(in->error, LHK_ERROR_IO, -1, "cannot be read: %s", strerror(errno));
        if (got == 0) return corrupt(in, "it is truncated");
        to += got;
        at += (uint64_t)got;
        bytes -= (uint64_t)got;
    }
    return LHK_OK;
}

static lhk_status read_header(reader *in) {
    lhk_file_header *header = &in->header;
    if (in->size < sizeof *header) return corrupt(in, "it is too short to be a saved cache");
    lhk_status status = read_at(in, header, sizeof *header, 0);
    if (status) return status;
    if (memcmp(header->magic, LHK_FILE_MAGIC, sizeof header->magic)) return corrupt(in, "it is not a saved cache");
    if (header->byte_order != LHK_FILE_BYTE_ORDER) return corrupt(in, "it is damaged or of another byte order");
    if (header->version != LHK_FILE_VERSION)
        return lhk_fail(in->error, LHK_ERROR_CORRUPT, -1, "it has format version %u, not %u", header->version,
                        LHK_FILE_VERSION);
    if (header->header_checksum != lhk_file_header_checksum(header)) return corrupt(in, "its header is damaged");
    if (header->file_bytes != in->size)
        return lhk_fail(in->error, LHK_ERROR_CORRUPT, -1, "it has %llu bytes, not %llu", (unsigned long long)in->size,
                        (unsigned long long)header->file_bytes);
    if (header->layer_count != in->cache->layer_count)
        return lhk_fail(in->error, LHK_ERROR_ARGUMENT, -1, "it holds %u layers, the cache has %u", header->layer_count,
                        in->cache->layer_count);
    return LHK_OK;
}

/// Reports the first line in which the description of the file and that of the cache differ.
static lhk_status explain_difference(const reader *in, const char *theirs, const char *ours) {
    for (const char *text = theirs; *text; text++)
        if ((*text < 0x20 && *text != '\n') || *text > 0x7e) return corrupt(in, "its description is not text");
    size_t a = strcspn(theirs, "\n"), b = strcspn(ours, "\n");
    while (a == b && theirs[a] && ours[b] && !strncmp(theirs, ours, a)) {
        theirs += a + 1;
        ours += b + 1;
        a = strcspn(theirs, "\n");
        b = strcspn(ours, "\n");
    }
    return lhk_fail(in->error, LHK_ERROR_ARGUMENT, -1,
                    "it was written by another configuration: it has '%.*s', the cache '%.*s'",
                    (int)lhk_min((int64_t)a, 160), theirs, (int)lhk_min((int64_t)b, 160), ours);
}

static lhk_status read_directory(reader *in) {
    // A line of the description takes less than 256 bytes, but for the specifications of the methods.
    const uint64_t most_text = (LHK_SPEC_BYTES + 256) * ((uint64_t)in->cache->layer_count + 5);
    const uint64_t most_sections = 3 * (uint64_t)in->cache->layer_count;
    if (in->header.description_bytes > most_text || in->header.section_count > most_sections)
        return corrupt(in, "its description or section table is too large");
    const uint64_t table_at = lhk_file_padded(in->header.description_bytes);
    in->directory_bytes = table_at + in->header.section_count * sizeof(lhk_file_section);
    if (in->directory_bytes > in->size - sizeof in->header) return corrupt(in, "it is truncated");
    in->directory = malloc(in->directory_bytes + 1);
    if (!in->directory) return lhk_fail(in->error, LHK_ERROR_MEMORY, -1, "no memory for its description");
    lhk_status status = read_at(in, in->directory, in->directory_bytes, sizeof in->header);
    if (status) return status;
    if (lhk_checksum(in->directory, in->directory_bytes) != in->header.directory_checksum)
        return corrupt(in, "its description is damaged");
    in->table = (const lhk_file_section *)(in->directory + table_at);

    char *ours = NULL;
    uint64_t bytes = 0;
    status = lhk_file_describe(in->cache, &ours, &bytes, in->error);
    if (status) return status;
    if (bytes != in->header.description_bytes || memcmp(ours, in->directory, bytes)) {
        char *theirs = strndup((const char *)in->directory, in->header.description_bytes);
        status = theirs ? explain_difference(in, theirs, ours)
                        : lhk_fail(in->error, LHK_ERROR_MEMORY, -1, "no memory for its description");
        free(theirs);
    }
    free(ours);
    if (!status && in->header.section_count != lhk_file_section_count(in->cache))
        status = corrupt(in, "its number of sections does not match its description");
    return status;
}

/// Checks sizes and token counts of all sections before any is read.
static lhk_status check_sections(const reader *in) {
    uint64_t at = sizeof in->header + in->directory_bytes;
    uint32_t next = 0;
    for (uint32_t i = 0; i < in->cache->layer_count; i++) {
        int64_t tokens = in->table[next].tokens;  // of the store, which always has a section
        for (int slot = slot_store; slot <= slot_decode; slot++) {
            const lhk_bound *bound = &in->cache->layers[i].bound[slot];
            if (!lhk_file_keeps(bound)) continue;
            const lhk_file_section *section = &in->table[next++];
            if (section->tokens != tokens || tokens < 0) return corrupt(in, "its token counts disagree");
            if (tokens > in->cache->capacity)
                return lhk_fail(in->error, LHK_ERROR_CAPACITY, -1, "it holds %lld tokens, the cache at most %lld",
                                (long long)tokens, (long long)in->cache->capacity);
            // Saved content is the state's content of the tokens held, so twice the state is a generous bound.
            if (section->bytes > 2 * bound->state_bytes + 65536 || section->bytes > in->size - at ||
                lhk_file_padded(section->bytes) > in->size - at)
                return corrupt(in, "a section is larger than it can be");
            at += lhk_file_padded(section->bytes);
        }
    }
    return at == in->size ? LHK_OK : corrupt(in, "its sections do not fill it");
}

static lhk_status read_section(reader *in, uint32_t index, int slot, uint32_t next, uint8_t *buffer, uint64_t at) {
    const lhk_file_section *section = &in->table[next];
    const uint64_t padded = lhk_file_padded(section->bytes);
    lhk_status status = read_at(in, buffer, padded, at);
    if (status) return status;
    if (lhk_checksum(buffer, padded) != section->checksum)
        return lhk_fail(in->error, LHK_ERROR_CORRUPT, -1, "its content of layer %u is damaged", index);
    lhk_bound *fresh = &in->fresh[next];
    fresh->variant = in->cache->layers[index].bound[slot].variant;
    status = lhk_bound_create(in->cache, index, slot, fresh, in->error);
    if (status) return status;
    lhk_error inner = {.struct_size = sizeof inner};
    status = fresh->variant->life->load(lhk_instance_of(fresh), buffer, section->bytes, &inner);
    if (!status && slot == slot_store) {
        const lhk_store_ops *ops = fresh->variant->ops;
        if (ops->length(lhk_instance_of(fresh)) != section->tokens)
            status = lhk_fail(&inner, LHK_ERROR_CORRUPT, -1, "the number of tokens is not the one in the section table");
    }
    return status ? lhk_cache_fail(in->cache, index, slot, status, &inner, in->error) : LHK_OK;
}

static lhk_status read_sections(reader *in) {
    uint64_t largest = 0, at = sizeof in->header + in->directory_bytes;
    for (uint32_t i = 0; i < in->header.section_count; i++)
        if (in->table[i].bytes > largest) largest = in->table[i].bytes;
    uint8_t *buffer = malloc((size_t)lhk_file_padded(largest) + 8);
    in->fresh = calloc(in->header.section_count, sizeof *in->fresh);
    lhk_status status = LHK_OK;
    if (!buffer || !in->fresh)
        status = lhk_fail(in->error, LHK_ERROR_MEMORY, -1, "no memory for %llu bytes of content",
                          (unsigned long long)largest);
    uint32_t next = 0;
    for (uint32_t i = 0; !status && i < in->cache->layer_count; i++)
        for (int slot = slot_store; !status && slot <= slot_decode; slot++) {
            if (!lhk_file_keeps(&in->cache->layers[i].bound[slot])) continue;
            status = read_section(in, i, slot, next, buffer, at);
            at += lhk_file_padded(in->table[next++].bytes);
        }
    free(buffer);
    return status;
}

/// Puts the new instances in the place of the old, which end up in `in->fresh`.
static void swap_in(lhk_cache *cache, reader *in) {
    uint32_t next = 0;
    for (uint32_t i = 0; i < cache->layer_count; i++)
        for (int slot = slot_store; slot <= slot_decode; slot++) {
            lhk_bound *bound = &cache->layers[i].bound[slot];
            if (!lhk_file_keeps(bound)) continue;
            lhk_bound old = *bound;
            *bound = in->fresh[next];
            in->fresh[next++] = old;
        }
}

static lhk_status read_file(lhk_cache *cache, int file, lhk_error *error) {
    reader in = {.cache = cache, .file = file, .error = error};
    struct stat info;
    if (fstat(file, &info)) return lhk_fail(error, LHK_ERROR_IO, -1, "cannot be read: %s", strerror(errno));
    if (!S_ISREG(info.st_mode)) return lhk_fail(error, LHK_ERROR_IO, -1, "not a regular file");
    in.size = (uint64_t)info.st_size;
    lhk_status status = read_header(&in);
    if (!status) status = read_directory(&in);
    if (!status) status = check_sections(&in);
    if (!status) status = read_sections(&in);
    if (!status) swap_in(cache, &in);
    for (uint32_t i = 0; in.fresh && i < in.header.section_count; i++) lhk_bound_destroy(&in.fresh[i]);
    free(in.fresh);
    free(in.directory);
    return status;
}

lhk_status lhk_cache_load(lhk_cache *cache, const char *path, lhk_error *error) {
    // Without O_NONBLOCK, opening a FIFO would wait for a writer.
    int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) {
        int reason = errno;
        return lhk_fail(error, reason == ENOENT ? LHK_ERROR_NOT_FOUND : LHK_ERROR_IO, 1, "cache file '%.300s': %s", path,
                        strerror(reason));
    }
    lhk_error inner = {.struct_size = sizeof inner};
    lhk_status status = read_file(cache, file, &inner);
    close(file);
    return status ? lhk_fail(error, status, 1, "cache file '%.300s': %s", path, inner.text) : LHK_OK;
}
