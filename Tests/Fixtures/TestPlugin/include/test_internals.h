// SPDX-License-Identifier: Apache-2.0
/// Internal functions of the core that tests call directly.
#ifndef TEST_INTERNALS_H
#define TEST_INTERNALS_H

#include "../../../../CKernels/Common/checksum.h"
#include "../../../../CKernels/Common/isa_detect.h"

#endif
