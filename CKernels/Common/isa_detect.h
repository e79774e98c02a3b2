// SPDX-License-Identifier: Apache-2.0
/// Pure decisions about instruction-set levels, apart from reading the CPU so that any CPU can be put before them.
#ifndef LHK_ISA_DETECT_H
#define LHK_ISA_DETECT_H

#include <longhand/host.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

/// Every level bit that this ABI knows.
#define LHK_ISA_KNOWN                                                                                              \
    (LHK_ISA_AVX2 | LHK_ISA_AVX512 | LHK_ISA_AVX512VNNI | LHK_ISA_AVX512POPCNT | LHK_ISA_AVX512BF16 | LHK_ISA_NEON | \
     LHK_ISA_NEON_DOTPROD | LHK_ISA_NEON_I8MM | LHK_ISA_NEON_BF16)

/// What CPUID and XGETBV say. Words of leaves the CPU does not have are 0; `xcr0` is 0 without OSXSAVE.
typedef struct lhk_x86_words {
    uint32_t leaf1_ecx;
    uint32_t leaf7_ebx;    ///< subleaf 0
    uint32_t leaf7_ecx;    ///< subleaf 0
    uint32_t leaf7_1_eax;  ///< subleaf 1
    uint64_t xcr0;
} lhk_x86_words;

/// Levels of an x86 CPU: the feature bits, and the register state that the operating system saves (XCR0 bits 1 and 2
/// for YMM; also 5, 6 and 7 for opmask and ZMM).
lhk_isa lhk_isa_from_x86(const lhk_x86_words *words);

/// Levels of an AArch64 CPU from the AT_HWCAP and AT_HWCAP2 words of Linux.
lhk_isa lhk_isa_from_hwcap(uint64_t hwcap, uint64_t hwcap2);

/// `detected` masked by the level `name`, as LONGHAND_ISA asks; null leaves it unmasked. LHK_ERROR_ARGUMENT for an
/// unknown name, LHK_ERROR_UNSUPPORTED for a level that is not in `detected`.
lhk_status lhk_isa_apply_mask(const char *LHK_NULLABLE name, lhk_isa detected, lhk_isa *out,
                              lhk_error *LHK_NULLABLE error);

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
