// SPDX-License-Identifier: Apache-2.0
#include <longhand/version.h>

const char *lhk_version(void) { return LHK_VERSION; }
