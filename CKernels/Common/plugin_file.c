// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "plugin_file.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <lhk/support.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plugin_check.h"

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define NATIVE_ELF_DATA ELFDATA2LSB
#else
#define NATIVE_ELF_DATA ELFDATA2MSB
#endif

static bool inside(uint64_t offset, uint64_t bytes, uint64_t size) { return offset <= size && bytes <= size - offset; }

/// Refuses files that end before their segments do. The dynamic loader maps segments without that check, so such a file
/// would kill the process with SIGBUS instead of giving an error.
static lhk_status check_elf(int file, uint64_t size, lhk_error *error) {
    Elf64_Ehdr header;
    if (size < sizeof header || pread(file, &header, sizeof header, 0) != (ssize_t)sizeof header ||
        memcmp(header.e_ident, ELFMAG, SELFMAG))
        return lhk_fail(error, LHK_ERROR_ABI, -1, "not a shared library (no ELF header)");
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != NATIVE_ELF_DATA || header.e_type != ET_DYN ||
        header.e_phentsize != sizeof(Elf64_Phdr))
        return lhk_fail(error, LHK_ERROR_ABI, -1, "not a 64-bit shared library of this machine's byte order");
    if (!inside(header.e_phoff, (uint64_t)header.e_phnum * sizeof(Elf64_Phdr), size) ||
        !inside(header.e_shoff, (uint64_t)header.e_shnum * header.e_shentsize, size))
        return lhk_fail(error, LHK_ERROR_ABI, -1, "the file is truncated (%llu bytes)", (unsigned long long)size);
    for (unsigned i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment;
        if (pread(file, &segment, sizeof segment, (off_t)(header.e_phoff + i * sizeof segment)) != (ssize_t)sizeof segment)
            return lhk_fail(error, LHK_ERROR_IO, -1, "cannot read its program headers");
        if (segment.p_type != PT_LOAD && segment.p_type != PT_DYNAMIC) continue;
        if (!inside(segment.p_offset, segment.p_filesz, size) || segment.p_filesz > segment.p_memsz)
            return lhk_fail(error, LHK_ERROR_ABI, -1, "the file is truncated (%llu bytes)", (unsigned long long)size);
    }
    return LHK_OK;
}

static lhk_status io_error(const char *what, lhk_error *error) {
    int reason = errno;
    return lhk_fail(error, reason == ENOENT ? LHK_ERROR_NOT_FOUND : LHK_ERROR_IO, -1, "%s: %s", what, strerror(reason));
}

static lhk_status check_file(const char *path, lhk_error *error) {
    struct stat info;
    if (stat(path, &info)) return io_error("cannot be read", error);
    if (!S_ISREG(info.st_mode)) return lhk_fail(error, LHK_ERROR_IO, -1, "not a regular file");
    // Without O_NONBLOCK, a FIFO put in the file's place meanwhile would block here.
    int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) return io_error("cannot be opened", error);
    lhk_status status = LHK_OK;
    if (fstat(file, &info)) status = io_error("cannot be read", error);
    if (!status) status = check_elf(file, (uint64_t)info.st_size, error);
    close(file);
    return status;
}

/// Whether the symbol at `address` is data of at least the entry's size; where the C library cannot tell, it is trusted.
static bool is_entry_data(const void *address) {
#if defined(__GLIBC__)
    Dl_info info;
    const Elf64_Sym *symbol = NULL;
    if (dladdr1(address, &info, (void **)&symbol, RTLD_DL_SYMENT) && symbol)
        return ELF64_ST_TYPE(symbol->st_info) == STT_OBJECT && symbol->st_size >= LHK_SIZE_THROUGH(lhk_entry, plugin);
#endif
    return address != NULL;
}

lhk_status lhk_plugin_file_open(const char *path, const lhk_plugin **out, lhk_error *error) {
    lhk_status status = check_file(path, error);
    if (status) return status;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *reason = dlerror();
        return lhk_fail(error, LHK_ERROR_ABI, -1, "cannot be loaded: %.400s", reason ? reason : "unknown reason");
    }
    const lhk_entry *entry = dlsym(library, LHK_ENTRY_SYMBOL);
    if (!entry) return lhk_fail(error, LHK_ERROR_ABI, -1, "does not export '%s'", LHK_ENTRY_SYMBOL);
    if (!is_entry_data(entry))
        return lhk_fail(error, LHK_ERROR_ABI, -1, "its symbol '%s' is not an entry object", LHK_ENTRY_SYMBOL);
    if (entry->magic != LHK_ENTRY_MAGIC)
        return lhk_fail(error, LHK_ERROR_ABI, -1, "its entry has the magic number %08x, not %08x", entry->magic,
                        LHK_ENTRY_MAGIC);
    if (entry->abi_major != LHK_ABI_MAJOR)
        return lhk_fail(error, LHK_ERROR_ABI, -1, "built for plugin ABI %u.%u; this library has ABI %u.%u",
                        entry->abi_major, entry->abi_minor, LHK_ABI_MAJOR, LHK_ABI_MINOR);
    if (entry->struct_size < LHK_SIZE_THROUGH(lhk_entry, plugin))
        return lhk_fail(error, LHK_ERROR_ABI, -1, "its entry is too short: %u bytes", entry->struct_size);
    *out = entry->plugin;
    return LHK_OK;
}
