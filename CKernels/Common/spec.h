// SPDX-License-Identifier: Apache-2.0
/// Method specifications: `name[:key=value[,key=value...]]`.
#ifndef LHK_SPEC_H
#define LHK_SPEC_H

#include <longhand/types.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

#define LHK_SPEC_BYTES 1024
#define LHK_SPEC_OPTIONS 32

/// A parsed specification. Its pointers lead into itself: it must not be copied or moved.
typedef struct lhk_spec {
    char text[LHK_SPEC_BYTES];   ///< as given
    char words[LHK_SPEC_BYTES];  ///< the same cut into strings
    const char *name;
    lhk_option options[LHK_SPEC_OPTIONS];
    uint32_t option_count;
} lhk_spec;

/// Parses `text`: a name and keys of `a-z 0-9 _ - .`, values of printable ASCII without commas and not empty, every key
/// once, at most 1023 characters and 32 options. LHK_ERROR_ARGUMENT says what is wrong.
lhk_status lhk_spec_parse(const char *text, lhk_spec *out, lhk_error *LHK_NULLABLE error);

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
