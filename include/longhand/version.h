// SPDX-License-Identifier: Apache-2.0
/// The version of Longhand: the one place where it is written. Semantic versioning (semver.org); what it promises, and how
/// it goes with the ABI of plugins, is in `CHANGELOG.md`.
#ifndef LONGHAND_VERSION_H
#define LONGHAND_VERSION_H

#include <longhand/abi.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

/// Of these headers, as major.minor.patch.
#define LHK_VERSION "0.1.0"

/// Of the library that is linked or loaded. Static storage. Thread-safe.
LHK_API const char *lhk_version(void);

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
