// SPDX-License-Identifier: Apache-2.0
// Instruction-set levels: detection, names, masks. The only file that executes CPUID.
#include "isa_detect.h"

#include <lhk/support.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

// Linux, arch/arm64 hwcap bits; spelled out because older headers lack the newer ones.
#define HWCAP_BIT_ASIMD (UINT64_C(1) << 1)
#define HWCAP_BIT_ASIMDDP (UINT64_C(1) << 20)
#define HWCAP2_BIT_I8MM (UINT64_C(1) << 13)
#define HWCAP2_BIT_BF16 (UINT64_C(1) << 14)

// XCR0 state components.
#define XCR0_YMM UINT64_C(0x06)  // SSE and AVX
#define XCR0_ZMM UINT64_C(0xe6)  // and opmask, ZMM_Hi256, Hi16_ZMM

static bool has(uint32_t word, uint32_t bits) { return (word & bits) == bits; }

lhk_isa lhk_isa_from_x86(const lhk_x86_words *words) {
    const uint32_t fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29;                // leaf 1 ECX
    const uint32_t avx2 = 1u << 5, avx512f = 1u << 16, avx512dq = 1u << 17, avx512bw = 1u << 30, avx512vl = 1u << 31;
    const uint32_t avx512vnni = 1u << 11;  // leaf 7.0 ECX
    const uint32_t avx512vbmi = 1u << 1, avx512vpopcntdq = 1u << 14;  // leaf 7.0 ECX; no CPU of this level has only one
    const uint32_t avx512bf16 = 1u << 5;   // leaf 7.1 EAX

    if (!has(words->leaf1_ecx, fma | osxsave | avx | f16c) || !has(words->leaf7_ebx, avx2) ||
        (words->xcr0 & XCR0_YMM) != XCR0_YMM)
        return LHK_ISA_SCALAR;
    lhk_isa isa = LHK_ISA_AVX2;
    if (!has(words->leaf7_ebx, avx512f | avx512dq | avx512bw | avx512vl) || (words->xcr0 & XCR0_ZMM) != XCR0_ZMM)
        return isa;
    isa |= LHK_ISA_AVX512;
    if (has(words->leaf7_ecx, avx512vnni)) isa |= LHK_ISA_AVX512VNNI;
    if (has(words->leaf7_ecx, avx512vbmi | avx512vpopcntdq)) isa |= LHK_ISA_AVX512POPCNT;
    if (has(words->leaf7_1_eax, avx512bf16)) isa |= LHK_ISA_AVX512BF16;
    return isa;
}

lhk_isa lhk_isa_from_hwcap(uint64_t hwcap, uint64_t hwcap2) {
    if (!(hwcap & HWCAP_BIT_ASIMD)) return LHK_ISA_SCALAR;
    lhk_isa isa = LHK_ISA_NEON;
    if (hwcap & HWCAP_BIT_ASIMDDP) isa |= LHK_ISA_NEON_DOTPROD;
    if (hwcap2 & HWCAP2_BIT_I8MM) isa |= LHK_ISA_NEON_I8MM;
    if (hwcap2 & HWCAP2_BIT_BF16) isa |= LHK_ISA_NEON_BF16;
    return isa;
}

#if defined(__x86_64__)
static uint64_t read_xcr0(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((uint64_t)high << 32) | low;
}

lhk_isa lhk_isa_detect(void) {
    lhk_x86_words words = {0};
    uint32_t eax, ebx, ecx, edx, subleaves;
    if (!__get_cpuid(1, &eax, &ebx, &words.leaf1_ecx, &edx)) return LHK_ISA_SCALAR;
    // Without OSXSAVE, XGETBV is an illegal instruction.
    if (words.leaf1_ecx & (1u << 27)) words.xcr0 = read_xcr0();
    if (__get_cpuid_count(7, 0, &subleaves, &words.leaf7_ebx, &words.leaf7_ecx, &edx) && subleaves >= 1)
        __get_cpuid_count(7, 1, &words.leaf7_1_eax, &ebx, &ecx, &edx);
    return lhk_isa_from_x86(&words);
}
#elif defined(__aarch64__) && defined(__linux__)
lhk_isa lhk_isa_detect(void) { return lhk_isa_from_hwcap(getauxval(AT_HWCAP), getauxval(AT_HWCAP2)); }
#elif defined(__aarch64__)
lhk_isa lhk_isa_detect(void) { return LHK_ISA_NEON; }
#else
lhk_isa lhk_isa_detect(void) { return LHK_ISA_SCALAR; }
#endif

/// Level names with the sets they stand for, in rising order per architecture.
static const struct {
    const char *name;
    lhk_isa level;
    lhk_isa up_to;
} levels[] = {
    {"scalar", LHK_ISA_SCALAR, LHK_ISA_SCALAR},
    {"avx2", LHK_ISA_AVX2, LHK_ISA_AVX2},
    {"avx512", LHK_ISA_AVX512, LHK_ISA_AVX2 | LHK_ISA_AVX512},
    {"avx512vnni", LHK_ISA_AVX512VNNI, LHK_ISA_AVX2 | LHK_ISA_AVX512 | LHK_ISA_AVX512VNNI},
    {"avx512popcnt", LHK_ISA_AVX512POPCNT, LHK_ISA_AVX2 | LHK_ISA_AVX512 | LHK_ISA_AVX512VNNI | LHK_ISA_AVX512POPCNT},
    {"avx512bf16", LHK_ISA_AVX512BF16,
     LHK_ISA_AVX2 | LHK_ISA_AVX512 | LHK_ISA_AVX512VNNI | LHK_ISA_AVX512POPCNT | LHK_ISA_AVX512BF16},
    {"neon", LHK_ISA_NEON, LHK_ISA_NEON},
    {"neon_dotprod", LHK_ISA_NEON_DOTPROD, LHK_ISA_NEON | LHK_ISA_NEON_DOTPROD},
    {"neon_i8mm", LHK_ISA_NEON_I8MM, LHK_ISA_NEON | LHK_ISA_NEON_DOTPROD | LHK_ISA_NEON_I8MM},
    {"neon_bf16", LHK_ISA_NEON_BF16, LHK_ISA_NEON | LHK_ISA_NEON_DOTPROD | LHK_ISA_NEON_I8MM | LHK_ISA_NEON_BF16},
};
enum { level_count = sizeof levels / sizeof levels[0] };

static int find_level(const char *name) {
    for (int i = 0; i < level_count; i++)
        if (!strcmp(levels[i].name, name)) return i;
    return -1;
}

static lhk_status unknown_level(const char *name, lhk_error *error) {
    return lhk_fail(error, LHK_ERROR_ARGUMENT, 0,
                    "unknown instruction set '%.40s'; known: scalar, avx2, avx512, avx512vnni, avx512popcnt, avx512bf16, neon, "
                    "neon_dotprod, neon_i8mm, neon_bf16",
                    name);
}

lhk_status lhk_isa_parse(const char *name, lhk_isa *out, lhk_error *error) {
    int index = find_level(name);
    if (index < 0) return unknown_level(name, error);
    *out = levels[index].up_to;
    return LHK_OK;
}

const char *lhk_isa_name(lhk_isa level) {
    for (int i = 0; i < level_count; i++)
        if (levels[i].level == level) return levels[i].name;
    return "unknown";
}

lhk_status lhk_isa_apply_mask(const char *name, lhk_isa detected, lhk_isa *out, lhk_error *error) {
    if (!name) {
        *out = detected;
        return LHK_OK;
    }
    int index = find_level(name);
    if (index < 0) return unknown_level(name, error);
    if ((detected & levels[index].level) != levels[index].level)
        return lhk_fail(error, LHK_ERROR_UNSUPPORTED, -1, "instruction set '%s' is not offered by this CPU", name);
    *out = detected & levels[index].up_to;
    return LHK_OK;
}
