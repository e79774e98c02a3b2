// SPDX-License-Identifier: Apache-2.0
/// A fast 64-bit checksum against accidental damage. Not cryptographic.
#ifndef LHK_CHECKSUM_H
#define LHK_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/// Checksum of `count` bytes at any alignment. Any change within one aligned 8-byte word changes it for certain, other
/// damage with probability 1 - 2^-64. The same on all CPUs of one byte order.
uint64_t lhk_checksum(const void *bytes, size_t count);

#endif
