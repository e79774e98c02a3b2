// SPDX-License-Identifier: Apache-2.0
/// Memory between two inaccessible pages, and calls that survive touching them.
#ifndef FUZZ_GUARD_H
#define FUZZ_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// What untouched memory holds, as 16-bit words: a NaN in f32, bf16 and f16 alike, and none that arithmetic makes.
#define FUZZ_CANARY 0xFFFDu
/// What the bytes after an operand hold: NaN too, at any alignment.
#define FUZZ_SLACK 0xFF

/// A reusable mapping. Zeroed: empty.
typedef struct fuzz_buffer {
    uint8_t *mapping;   ///< first inaccessible page
    size_t capacity;    ///< accessible bytes
    uint8_t *data;
    size_t bytes;
    size_t slack;       ///< bytes after data[bytes] up to the inaccessible page, when alignment needs some
    bool writable;      ///< all of the accessible bytes are
} fuzz_buffer;

/// Makes the buffer writable with room for `bytes`, so that data ends at the upper page (or begins at the lower one),
/// aligned to `alignment`. Old content is kept only by chance. False: no memory.
bool fuzz_buffer_prepare(fuzz_buffer *buffer, size_t bytes, size_t alignment, bool at_start);
void fuzz_buffer_fill(fuzz_buffer *buffer);
/// Fills with one byte value.
void fuzz_buffer_set(fuzz_buffer *buffer, int byte);
/// Declares the content undefined, whatever it is: the memory sanitizer then reports a decision taken on it.
void fuzz_buffer_forget(const fuzz_buffer *buffer);
/// Whether the slack still holds the canary.
bool fuzz_buffer_slack_intact(const fuzz_buffer *buffer);
/// Makes all accessible bytes writable or not.
void fuzz_buffer_protect(fuzz_buffer *buffer, bool writable);
void fuzz_buffer_free(fuzz_buffer *buffer);

/// Calls body(context). False when it touched memory it must not, executed an instruction that is none, or aborted: on
/// this thread only; elsewhere the process ends, with its last words if it has any.
bool fuzz_guarded(void (*body)(void *), void *context);
/// Ends the body of the innermost fuzz_guarded of this thread at once, which then returns true.
__attribute__((noreturn)) void fuzz_leave(void);
/// Whether this thread takes part in the loop of a pool of threads, which cannot be left halfway: a fault then ends the
/// process, as one on another thread does.
void fuzz_set_on_pool(bool value);
/// What a fault on another thread writes to stderr before the process ends with exit code 1. Copied; "" for nothing.
void fuzz_set_last_words(const char *text);

#endif
