// SPDX-License-Identifier: Apache-2.0
/// Cases with names of the roles other than attention: shapes and values that once went wrong somewhere.
#ifndef VERIFY_NAMED_H
#define VERIFY_NAMED_H

#include "verify.h"

typedef struct verify_named {
    const char *role, *name;
    uint32_t number;  ///< of the corpus, or another one that draws are made from
    uint32_t parts;
    verify_fixed (*build)(uint32_t part);
} verify_named;

/// Case `index` of a role, or null past the end.
const verify_named *verify_named_case(const char *role, uint32_t index);

#endif
