// SPDX-License-Identifier: Apache-2.0
/// Longhand: attention kernels for long contexts on CPUs. This header includes the whole public C API; kernels that can
/// be called directly have their own headers beside it (`longhand/flash_attention.h`, ...).
#ifndef LONGHAND_H
#define LONGHAND_H

#include <longhand/abi.h>
#include <longhand/cache.h>
#include <longhand/hadamard.h>
#include <longhand/host.h>
#include <longhand/plugin.h>
#include <longhand/problem.h>
#include <longhand/reference.h>
#include <longhand/registry.h>
#include <longhand/roles.h>
#include <longhand/types.h>
#include <longhand/version.h>

#endif
