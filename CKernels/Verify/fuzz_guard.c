// SPDX-License-Identifier: Apache-2.0
#define _DEFAULT_SOURCE
#define _DARWIN_C_SOURCE
#include "fuzz_guard.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#include <sanitizer/msan_interface.h>
#define FUZZ_MEMORY_SANITIZER
#endif
#endif

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

static size_t page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }
static size_t round_up(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

bool fuzz_buffer_prepare(fuzz_buffer *buffer, size_t bytes, size_t alignment, bool at_start) {
    size_t page = page_size(), room = round_up(bytes, alignment);
    if (!buffer->mapping || buffer->capacity < room || at_start || buffer->capacity > room + ((size_t)1 << 26)) {
        fuzz_buffer_free(buffer);
        size_t capacity = round_up(room ? room : 1, page);
        uint8_t *mapping = mmap(NULL, capacity + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (mapping == MAP_FAILED) return false;
        buffer->mapping = mapping;
        buffer->capacity = capacity;
    }
    uint8_t *first = buffer->mapping + page;
    if (!buffer->writable && mprotect(first, buffer->capacity, PROT_READ | PROT_WRITE)) return false;
    buffer->writable = true;
    buffer->data = at_start ? first : first + buffer->capacity - room;
    buffer->bytes = bytes;
    buffer->slack = (size_t)(first + buffer->capacity - buffer->data) - bytes;
    if (buffer->slack > page) buffer->slack = page;
    memset(buffer->data + bytes, FUZZ_SLACK, buffer->slack);
    return true;
}

void fuzz_buffer_fill(fuzz_buffer *buffer) {
    uint16_t *words = (uint16_t *)buffer->data;
    for (size_t i = 0; i < buffer->bytes / 2; i++) words[i] = FUZZ_CANARY;
}

void fuzz_buffer_set(fuzz_buffer *buffer, int byte) {
    if (buffer->bytes) memset(buffer->data, byte, buffer->bytes);
}

void fuzz_buffer_forget(const fuzz_buffer *buffer) {
#if defined(FUZZ_MEMORY_SANITIZER)
    __msan_allocated_memory(buffer->data, buffer->bytes);
#else
    (void)buffer;
#endif
}

bool fuzz_buffer_slack_intact(const fuzz_buffer *buffer) {
    for (size_t i = 0; i < buffer->slack; i++)
        if (buffer->data[buffer->bytes + i] != FUZZ_SLACK) return false;
    return true;
}

void fuzz_buffer_protect(fuzz_buffer *buffer, bool writable) {
    mprotect(buffer->mapping + page_size(), buffer->capacity, writable ? PROT_READ | PROT_WRITE : PROT_READ);
    buffer->writable = writable;
}

void fuzz_buffer_free(fuzz_buffer *buffer) {
    if (buffer->mapping) munmap(buffer->mapping, buffer->capacity + 2 * page_size());
    *buffer = (fuzz_buffer){0};
}

// ---- calls that may fault ----

static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
#define FAULTS (sizeof faults / sizeof *faults)

enum { RETURNED, FAULTED, LEFT };

static _Thread_local sigjmp_buf *recovery;
static _Thread_local bool on_pool;
static struct sigaction previous[FAULTS];
static pthread_once_t installed = PTHREAD_ONCE_INIT;
static char last_words[4096];
static size_t last_words_size;

static void on_fault(int number, siginfo_t *info, void *machine) {
    (void)info, (void)machine;
    if (recovery && !on_pool) siglongjmp(*recovery, FAULTED);
    if (last_words_size && write(STDERR_FILENO, last_words, last_words_size) >= 0) _exit(1);
    for (size_t i = 0; i < FAULTS; i++)  // the instruction faults again, under the former handler
        if (faults[i] == number) sigaction(number, &previous[i], NULL);
}

static void install(void) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < FAULTS; i++) sigaction(faults[i], &action, &previous[i]);
}

bool fuzz_guarded(void (*body)(void *), void *context) {
    pthread_once(&installed, install);
    sigjmp_buf here;
    int reason = sigsetjmp(here, 1);
    if (reason == RETURNED) {
        recovery = &here;
        body(context);
    }
    recovery = NULL;
    return reason != FAULTED;
}

void fuzz_leave(void) {
    if (!recovery) abort();
    siglongjmp(*recovery, LEFT);
}

void fuzz_set_on_pool(bool value) { on_pool = value; }

void fuzz_set_last_words(const char *text) {
    last_words_size = 0;
    size_t size = strnlen(text, sizeof last_words);
    memcpy(last_words, text, size);
    last_words_size = size;
}
