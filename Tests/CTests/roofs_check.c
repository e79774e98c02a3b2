// SPDX-License-Identifier: Apache-2.0
/// The measurements of the machine's limits run, and find what a level has. Under an emulator their figures mean nothing.
#include <roofs.h>

#include "driver.h"

static void check_compute(const lhk_host *host, const driver_level *level, lhk_dtype dtype, const char *expected) {
    const char *instruction;
    const double rate = lhk_roof_compute(host, dtype, &instruction);
    driver_result(!strcmp(instruction, expected) && (rate > 0) == (strcmp(expected, "none") != 0),
               "%s: the roof of %s is %s, expected %s", level->name, lhk_dtype_name(dtype), instruction, expected);
}

#if defined(__x86_64__)
static const char *f32_of(lhk_isa isa) {
    return isa & LHK_ISA_AVX512 ? "vfmadd zmm" : isa & LHK_ISA_AVX2 ? "vfmadd ymm" : "multiply and add, 4 lanes";
}
static const char *bf16_of(lhk_isa isa) { return isa & LHK_ISA_AVX512BF16 ? "vdpbf16ps zmm" : "none"; }
static const char *i8_of(lhk_isa isa) {
    return isa & LHK_ISA_AVX512VNNI ? "vpdpbusd zmm" : isa & LHK_ISA_AVX512 ? "vpmaddubsw zmm" : isa & LHK_ISA_AVX2 ? "vpmaddubsw ymm" : "none";
}
#else
static const char *f32_of(lhk_isa isa) { return isa ? "fmla" : "multiply and add, 4 lanes"; }
static const char *bf16_of(lhk_isa isa) { return isa & LHK_ISA_NEON_BF16 ? "bfmmla" : "none"; }
static const char *i8_of(lhk_isa isa) {
    return isa & LHK_ISA_NEON_I8MM ? "smmla" : isa & LHK_ISA_NEON_DOTPROD ? "sdot" : "none";
}
#endif

void driver_check_roofs(const driver_level *level) {
    lhk_host host;
    lhk_roof_memory memory;
    lhk_error error = {.struct_size = sizeof error};
    if (!driver_result(!lhk_host_serial(&host, &error), "%s: a host for the roofs", level->name)) return;
    host.isa = level->isa;
    check_compute(&host, level, LHK_DTYPE_F32, f32_of(level->isa));
    check_compute(&host, level, LHK_DTYPE_BF16, bf16_of(level->isa));
    check_compute(&host, level, LHK_DTYPE_I8, i8_of(level->isa));
    const lhk_status status = lhk_roof_memory_create(&host, 1 << 20, 1, &memory, &error);
    if (!driver_result(!status, "%s: memory for the roofs", level->name)) return;
    driver_result(lhk_roof_read(&host, &memory, 1) > 0, "%s: memory can be read", level->name);
    lhk_roof_memory_destroy(&memory);
}
