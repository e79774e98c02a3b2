// SPDX-License-Identifier: Apache-2.0
// Saved caches. A file is, in this machine's byte order:
//
//   file_header
//   description: text, one line per method and layer; equal for caches that can read each other's files
//   file_section[section_count]
//   the sections, in the order of layers, each: store, prefill selector, decode selector (those that keep state)
//
// Description and sections are padded with zeros to 8 bytes; the checksums cover the padding, so no byte of the file can
// change unnoticed. The header's own checksum covers its other members.
#define _GNU_SOURCE
#include "cache_file.h"

#include <fcntl.h>
#include <lhk/support.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checksum.h"

uint64_t lhk_file_padded(uint64_t bytes) { return (bytes + 7) / 8 * 8; }

uint64_t lhk_file_header_checksum(const lhk_file_header *header) {
    return lhk_checksum(header, offsetof(lhk_file_header, header_checksum));
}

bool lhk_file_keeps(const lhk_bound *bound) { return bound->variant && bound->variant->life->save; }

uint32_t lhk_file_section_count(const lhk_cache *cache) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < cache->layer_count; i++)
        for (int slot = slot_store; slot <= slot_decode; slot++)
            count += lhk_file_keeps(&cache->layers[i].bound[slot]);
    return count;
}

/// Position parameters decide what the keys of the store are.
static uint64_t position_checksum(const lhk_position_params *params) {
    lhk_position_params plain;
    memset(&plain, 0, sizeof plain);
    plain.dims = params->dims;
    plain.interleaved = params->interleaved;
    plain.scaling = params->scaling;
    plain.base = params->base;
    plain.factor = params->factor;
    plain.original_context = params->original_context;
    plain.attention_factor = params->attention_factor;
    plain.beta_fast = params->beta_fast;
    plain.beta_slow = params->beta_slow;
    plain.factor_count = params->factor_count;
    uint64_t sums[2] = {lhk_checksum(&plain, sizeof plain), 0};
    if (params->factor_count) sums[1] = lhk_checksum(params->factors, params->factor_count * sizeof(float));
    return lhk_checksum(sums, sizeof sums);
}

/// Writes what a saved state of that slot and layer means.
static void describe_method(FILE *stream, const lhk_cache *cache, uint32_t index, int slot) {
    const lhk_bound *bound = &cache->layers[index].bound[slot];
    if (slot == slot_decode && cache->shared_selector) bound = &cache->layers[index].bound[slot_prefill];
    if (slot == slot_position ? bound->variant != NULL : lhk_file_keeps(bound))
        fprintf(stream, "%s version %s", lhk_cache_spec(cache, index, slot)->text,
                lhk_cache_method(cache, index, slot)->method->version);
    else
        fputs("without state", stream);
}

lhk_status lhk_file_describe(const lhk_cache *cache, char **text, uint64_t *bytes, lhk_error *error) {
    static const char *const names[] = {"store", "prefill", "decode", "attention", "position"};
    size_t length = 0;
    FILE *stream = open_memstream(text, &length);
    if (!stream) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for the description of the cache");
    for (int slot = slot_store; slot < slot_count; slot++) {
        if (slot == slot_attention) continue;  // leaves no trace in the content
        fprintf(stream, "%s ", names[slot]);
        describe_method(stream, cache, 0, slot);
        fputc('\n', stream);
    }
    for (uint32_t i = 0; i < cache->layer_count; i++) {
        const lhk_cache_layer *shape = &cache->layers[i].shape;
        fprintf(stream, "layer %u: %u query heads, %u kv heads, head dimensions %u and %u, panels %s", i,
                shape->query_heads, shape->kv_heads, shape->head_dim_k, shape->head_dim_v,
                lhk_dtype_name(cache->layers[i].kv_dtype));
        if (cache->methods[slot_position].method)
            fprintf(stream, ", position parameters %016llx", (unsigned long long)position_checksum(&shape->position));
        // The stores above are those of layer 0, whether they are the configuration's or its own.
        if (cache->layers[i].own_store != cache->layers[0].own_store) {
            fputs(", store ", stream);
            describe_method(stream, cache, i, slot_store);
        }
        fputc('\n', stream);
    }
    bool failed = ferror(stream);
    if (fclose(stream) || failed) {
        free(*text);
        return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for the description of the cache");
    }
    *bytes = length;
    return LHK_OK;
}

// ---- save ----

typedef struct writer {
    const lhk_cache *cache;
    int file;
    uint64_t at;  ///< bytes written
    lhk_error *error;
} writer;

static lhk_status write_at(const writer *out, const void *data, uint64_t bytes, uint64_t at) {
    const uint8_t *from = data;
    while (bytes) {
        ssize_t wrote = pwrite(out->file, from, bytes > (1u << 30) ? 1u << 30 : (size_t)bytes, (off_t)at);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0)
            return lhk_fail(out->error, LHK_ERROR_IO, -1, "cannot be written: %s", strerror(wrote ? errno : ENOSPC));
        from += wrote;
        at += (uint64_t)wrote;
        bytes -= (uint64_t)wrote;
    }
    return LHK_OK;
}

static lhk_status write_section(writer *out, uint32_t index, int slot, lhk_file_section *section) {
    const lhk_bound_layer *layer = &out->cache->layers[index];
    const lhk_life_ops *life = layer->bound[slot].variant->life;
    const lhk_instance *state = lhk_instance_of(&layer->bound[slot]);
    const uint64_t bytes = life->save_size(state), padded = lhk_file_padded(bytes);
    uint8_t *buffer = bytes <= SIZE_MAX / 2 ? malloc(padded ? (size_t)padded : 1) : NULL;
    if (!buffer)
        return lhk_fail(out->error, LHK_ERROR_MEMORY, -1, "no memory for %llu bytes of layer %u", (unsigned long long)bytes,
                        index);
    memset(buffer + bytes, 0, padded - bytes);
    life->save(state, buffer);
    *section = (lhk_file_section){bytes, lhk_checksum(buffer, padded), lhk_cache_length(out->cache, index)};
    lhk_status status = write_at(out, buffer, padded, out->at);
    out->at += padded;
    free(buffer);
    return status;
}

/// Writes everything; the header last, so that a file cut short has none.
static lhk_status write_content(writer *out, uint8_t *directory, uint64_t description_bytes) {
    const uint32_t sections = lhk_file_section_count(out->cache);
    const uint64_t table_at = lhk_file_padded(description_bytes);
    const uint64_t directory_bytes = table_at + sections * sizeof(lhk_file_section);
    lhk_file_section *table = (lhk_file_section *)(directory + table_at);
    out->at = sizeof(lhk_file_header) + directory_bytes;
    lhk_status status = LHK_OK;
    uint32_t next = 0;
    for (uint32_t i = 0; i < out->cache->layer_count; i++)
        for (int slot = slot_store; !status && slot <= slot_decode; slot++)
            if (lhk_file_keeps(&out->cache->layers[i].bound[slot])) status = write_section(out, i, slot, &table[next++]);
    if (!status) status = write_at(out, directory, directory_bytes, sizeof(lhk_file_header));
    if (status) return status;
    lhk_file_header header = {.version = LHK_FILE_VERSION,
                              .byte_order = LHK_FILE_BYTE_ORDER,
                              .layer_count = out->cache->layer_count,
                              .section_count = sections,
                              .file_bytes = out->at,
                              .description_bytes = description_bytes,
                              .directory_checksum = lhk_checksum(directory, directory_bytes)};
    memcpy(header.magic, LHK_FILE_MAGIC, sizeof header.magic);
    header.header_checksum = lhk_file_header_checksum(&header);
    status = write_at(out, &header, sizeof header, 0);
    if (!status && fsync(out->file))
        status = lhk_fail(out->error, LHK_ERROR_IO, -1, "cannot be written: %s", strerror(errno));
    return status;
}

static lhk_status write_file(const lhk_cache *cache, int file, lhk_error *error) {
    writer out = {.cache = cache, .file = file, .error = error};
    char *text = NULL;
    uint64_t bytes = 0;
    lhk_status status = lhk_file_describe(cache, &text, &bytes, error);
    if (status) return status;
    uint8_t *directory = calloc(1, lhk_file_padded(bytes) + lhk_file_section_count(cache) * sizeof(lhk_file_section));
    if (directory) {
        memcpy(directory, text, bytes);
        status = write_content(&out, directory, bytes);
    } else {
        status = lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for the description of the cache");
    }
    free(directory);
    free(text);
    return status;
}

lhk_status lhk_cache_save(const lhk_cache *cache, const char *path, lhk_error *error) {
    lhk_error inner = {.struct_size = sizeof inner};
    struct stat info;
    // Renaming over a device or a pipe would replace it.
    if (!stat(path, &info) && !S_ISREG(info.st_mode))
        return lhk_fail(error, LHK_ERROR_IO, 1, "cache file '%.300s': exists and is not a regular file", path);
    char *beside;
    if (asprintf(&beside, "%s.%ld.part", path, (long)getpid()) < 0)
        return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for the name of a file");
    lhk_status status = LHK_OK;
    int file = open(beside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file < 0) {
        status = lhk_fail(&inner, LHK_ERROR_IO, -1, "cannot be created: %s", strerror(errno));
    } else {
        status = write_file(cache, file, &inner);
        if (close(file) && !status) status = lhk_fail(&inner, LHK_ERROR_IO, -1, "cannot be written: %s", strerror(errno));
        if (!status && rename(beside, path))
            status = lhk_fail(&inner, LHK_ERROR_IO, -1, "cannot be put in place: %s", strerror(errno));
        if (status) unlink(beside);
    }
    free(beside);
    return status ? lhk_fail(error, status, 1, "cache file '%.300s': %s", path, inner.text) : LHK_OK;
}
