// SPDX-License-Identifier: Apache-2.0
/// Version, export and nullability macros, status codes and the caller-owned error text.
///
/// Every constant is an integer literal macro: usable in C static initialisers, in C++ and, imported as a typed
/// constant, in Swift. Every struct that crosses the plugin boundary begins with `struct_size`, set by its creator to
/// `sizeof`; a reader looks no further than that size, and absent members count as zero.
#ifndef LONGHAND_ABI_H
#define LONGHAND_ABI_H

#include <stddef.h>
#include <stdint.h>

/// Plugin ABI. A different major number means that layout or meaning changed: such a plugin is refused. A higher minor
/// number means that members were appended.
#define LHK_ABI_MAJOR 1u
#define LHK_ABI_MINOR 3u

#if defined(__cplusplus)
#define LHK_BEGIN_DECLS extern "C" {
#define LHK_END_DECLS }
#else
#define LHK_BEGIN_DECLS
#define LHK_END_DECLS
#endif

/// Marks the symbols that a shared library exports; everything else is built with hidden visibility. A plugin is built
/// with LHK_HIDE_API, so that its entry is all it exports.
#define LHK_EXPORT __attribute__((visibility("default")))
#if defined(LHK_HIDE_API)
#define LHK_API __attribute__((visibility("hidden")))
#else
#define LHK_API LHK_EXPORT
#endif

#if defined(__clang__)
#define LHK_NULLABLE _Nullable
#define LHK_NONNULL _Nonnull
#define LHK_ASSUME_NONNULL_BEGIN _Pragma("clang assume_nonnull begin")
#define LHK_ASSUME_NONNULL_END _Pragma("clang assume_nonnull end")
#else
#define LHK_NULLABLE
#define LHK_NONNULL
#define LHK_ASSUME_NONNULL_BEGIN
#define LHK_ASSUME_NONNULL_END
#endif

/// Result of every call that can fail; 0 is success.
typedef int32_t lhk_status;
#define LHK_OK 0
#define LHK_ERROR_ARGUMENT 1     ///< a shape, stride, alignment, range or flag of the call is invalid
#define LHK_ERROR_UNSUPPORTED 2  ///< valid, but this method or variant does not do it; the text says what
#define LHK_ERROR_OVERFLOW 3     ///< a size does not fit its integer type
#define LHK_ERROR_CAPACITY 4     ///< state or workspace is too small
#define LHK_ERROR_NOT_FOUND 5    ///< no plugin, method, file or option of that name
#define LHK_ERROR_ABI 6          ///< a plugin of another ABI, or one whose tables are malformed
#define LHK_ERROR_IO 7           ///< the operating system refused; the text carries its reason
#define LHK_ERROR_CORRUPT 8      ///< a file's content is damaged or of another version
#define LHK_ERROR_MEMORY 9       ///< the system gave no memory

/// Why a call failed. Owned by the caller; may be null wherever it is accepted. Untouched by a call that succeeds.
typedef struct lhk_error {
    uint32_t struct_size;  ///< sizeof(lhk_error), set by the caller
    lhk_status status;     ///< equals the returned status
    int32_t argument;      ///< index of the offending argument from 0, or -1
    uint32_t reserved;
    char text[496];  ///< one line in UTF-8, always terminated
} lhk_error;

#endif
