// SPDX-License-Identifier: Apache-2.0
/// The tests of the C code that need no Swift: for processors that are only emulated, and for sanitizers. Everything under
/// every instruction level that the processor has.
///
///     driver PART SEED FIRST COUNT LEVEL GOLDEN
///
/// PART is what to run, so that several can run at a time: `units` (detection, variants, rope, layers, caches, faults that
/// the fuzzer must catch), `random` (random problems [FIRST, FIRST + COUNT) of SEED for the direct call), `corpus` (old bugs
/// for the direct call), or `registry` (a fifth of COUNT cases for every registered variant; `registry:ROLE` for those of
/// one role). LEVEL is the highest level that the processor must turn out to have, or `any`; GOLDEN the file of expected
/// dequantised values. One line per check; exit code 1 when one failed.
#define _POSIX_C_SOURCE 200809L  // setenv
#include "driver.h"

#include <inttypes.h>
#include <longhand/flash_attention.h>
#include <longhand/registry.h>

#include "lhk_subjects.h"

static bool any_failed;

bool driver_result(bool passed, const char *format, ...) {
    va_list list;
    fputs(passed ? "PASS " : "FAIL ", stdout);
    va_start(list, format);
    vprintf(format, list);
    va_end(list);
    putchar('\n');
    fflush(stdout);  // whatever an illegal instruction kills later, this much was done
    any_failed |= !passed;
    return passed;
}

/// Levels that cannot be tested here: the memory sanitizer does not know the dot product of bf16 and demands that even its
/// unused lanes were written.
#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#define UNSEEN LHK_ISA_AVX512BF16
#endif
#endif
#if !defined(UNSEEN)
#define UNSEEN 0
#endif

static const char *const level_names[MOST_LEVELS] = {"scalar", "avx2", "avx512", "avx512bf16", "neon", "neon_dotprod",
                                                     "neon_i8mm", "neon_bf16"};

static driver_levels find_levels(lhk_isa detected) {
    driver_levels found = {0};
    for (int i = 0; i < MOST_LEVELS; i++) {
        driver_level level = {level_names[i], 0};
        if (lhk_isa_parse(level_names[i], &level.isa, NULL) || level.isa & ~detected) continue;
        snprintf(found.text + strlen(found.text), sizeof found.text - strlen(found.text), " %s", level_names[i]);
        found.levels[found.count] = level;
        found.isas[found.count++] = level.isa;
    }
    return found;
}

/// Whether LONGHAND_ISA takes the level if the processor has it, and refuses it else.
static bool is_mask_right(const char *name, lhk_isa detected) {
    lhk_host host = {.struct_size = sizeof host};
    lhk_error error = {.struct_size = sizeof error};
    lhk_isa level = 0;
    if (lhk_isa_parse(name, &level, &error)) return false;
    setenv("LONGHAND_ISA", name, 1);
    lhk_status status = lhk_host_serial(&host, &error);
    unsetenv("LONGHAND_ISA");
    return level & ~detected ? status == LHK_ERROR_UNSUPPORTED : !status && host.isa == level;
}

static void check_detection(const char *expected_name, lhk_isa detected) {
    lhk_isa expected = 0;
    if (strcmp(expected_name, "any")) {
        bool known = !lhk_isa_parse(expected_name, &expected, NULL);
        driver_result(known && detected == expected, "detected levels are those of %s (0x%" PRIx64 ")", expected_name, detected);
    }
    for (int i = 0; i < MOST_LEVELS; i++)
        driver_result(is_mask_right(level_names[i], detected), "LONGHAND_ISA=%s is taken where the processor has it, else refused",
                      level_names[i]);
}

/// Each level takes the kernels written for it.
static void check_variants(const driver_level *level) {
    static const lhk_dtype dtypes[] = {LHK_DTYPE_F32, LHK_DTYPE_F16, LHK_DTYPE_BF16, LHK_DTYPE_I8};
    for (int i = 0; i < 4; i++) {
        const lhk_problem problem = {.struct_size = sizeof problem, .query_heads = 4, .kv_heads = 2, .head_dim_k = 64,
                                     .head_dim_v = 64, .query_dtype = LHK_DTYPE_F32, .kv_dtype = dtypes[i],
                                     .output_dtype = LHK_DTYPE_F32, .query_rows = 16, .keys = 1024};
        const lhk_host host = {.struct_size = sizeof host, .workers = 1, .isa = level->isa};
        lhk_error error = {.struct_size = sizeof error};
        const lhk_variant *variant = NULL;
        // The dot products of the bf16 levels serve bf16 and 8-bit panels only, those of DotProd and I8MM only the latter;
        // others take the kernels of the level below.
        bool i8 = dtypes[i] == LHK_DTYPE_I8, plain_neon = level->isa == LHK_ISA_NEON;
        const char *word = level->isa && !(i8 && plain_neon) ? level->name : "portable";
        const char *bf16 = strstr(word, "bf16"), *suffix = bf16 ? bf16 : strstr(word, "dotprod");
        if (!suffix) suffix = strstr(word, "i8mm");
        size_t length = strlen(word);
        if (suffix && !i8 && !(bf16 && dtypes[i] == LHK_DTYPE_BF16)) length = (size_t)(suffix - word) - (suffix[-1] == '_');
        char id[64];
        snprintf(id, sizeof id, "longhand.flash.%s.%.*s/2", lhk_dtype_name(dtypes[i]), (int)length, word);
        lhk_status status = lhk_method_resolve(lhk_flash_attention_plugin()->methods[0], &problem, &host, &variant, &error);
        driver_result(!status && !strcmp(variant->id, id), "%s: %s panels are read by %s", level->name,
                   lhk_dtype_name(dtypes[i]), status ? error.text : variant->id);
    }
}

typedef struct fuzz_session {
    lhk_fuzz_options options;
    const char *levels;
    char text[8192];
} fuzz_session;

static void check_random(fuzz_session *f) {
    lhk_fuzz_report report = {.struct_size = sizeof report, .text = f->text, .text_size = sizeof f->text};
    lhk_status status = lhk_fuzz_run(&f->options, &report);
    bool passed = driver_result(!status && report.cases == f->options.case_count,
                             "%s: random cases %" PRIu64 " to %" PRIu64 " of seed %" PRIu64 ", %" PRIu64 " calls under%s",
                             f->options.subject.name, f->options.first_case,
                             f->options.first_case + f->options.case_count - 1, f->options.seed, report.calls, f->levels);
    if (passed) return;
    printf("%s", f->text);
    if (report.failures)
        printf("    replay: LONGHAND_FUZZ_SEED=%" PRIu64 " LONGHAND_FUZZ_FIRST=%" PRIu64
               " LONGHAND_FUZZ_CASES=1 and the same script\n",
               f->options.seed, report.first_failure);
}

static void check_corpus(fuzz_session *f) {
    uint32_t entries = 0, failures = 0;
    for (uint32_t i = 0; i < lhk_fuzz_corpus_count(); i++) {
        lhk_fuzz_corpus_entry entry = lhk_fuzz_corpus_get(i);
        if (entry.elsewhere) continue;
        lhk_fuzz_report report = {.struct_size = sizeof report, .text = f->text, .text_size = sizeof f->text};
        entries++;
        if (!lhk_fuzz_corpus_run(i, &f->options, &report) && report.cases) continue;
        failures++;
        printf("%s: %s", entry.name, f->text);
    }
    driver_result(entries && !failures, "%s: %u old bugs under%s", f->options.subject.name, entries, f->levels);
}

/// The checker can fail here too: a fault of masks, one of rounding, and one that a guard page catches.
static void check_faults(fuzz_session *f) {
    static const uint32_t faults[] = {LHK_FUZZ_FAULT_CAUSAL, LHK_FUZZ_FAULT_PRECISION, LHK_FUZZ_FAULT_READ_PAST};
    static const char *const names[] = {"causal mask", "precision", "read past the end"};
    lhk_fuzz_options options = f->options;
    options.first_case = 0;
    options.case_count = 40;
    for (int i = 0; i < 3; i++) {
        options.subject = lhk_fuzz_demonstration(faults[i]);
        lhk_fuzz_report report = {.struct_size = sizeof report};
        lhk_status status = lhk_fuzz_run(&options, &report);
        driver_result(status == LHK_ERROR_CORRUPT && report.failures, "a kernel with a fault is caught: %s", names[i]);
    }
}

static bool read_number(const char *text, uint64_t *out) {
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return *text && !*end && !errno;
}

static void run_units(const driver_levels *levels, fuzz_session *f, const char *expected, const char *golden) {
    check_detection(expected, lhk_isa_detect());
    for (uint32_t i = 0; i < levels->count; i++) {
        check_variants(&levels->levels[i]);
        driver_check_rope(&levels->levels[i], f->options.seed);
        driver_check_layers(&levels->levels[i], f->options.seed, golden);
        driver_check_linear(&levels->levels[i], f->options.seed);
        driver_check_cache(&levels->levels[i], f->options.seed);
        driver_check_roofs(&levels->levels[i]);
    }
    check_faults(f);
}

/// False: there is no such part.
static bool run_fuzz(const char *part, fuzz_session *f) {
    f->options.subject = lhk_fuzz_flash_attention();
    if (!strcmp(part, "random")) check_random(f);
    else if (!strcmp(part, "corpus")) check_corpus(f);
    else return false;
    return true;
}

int main(int argc, char **argv) {
    static fuzz_session f;
    lhk_fuzz_options *o = &f.options;
    bool usable = argc == 7 && read_number(argv[2], &o->seed) && read_number(argv[3], &o->first_case) &&
                  read_number(argv[4], &o->case_count);
    driver_levels levels = find_levels(lhk_isa_detect() & ~(lhk_isa)UNSEEN);
    lhk_host pool = driver_thread_host(3);
#if !defined(DRIVER_SANITIZED)  // sanitizers do not see into the OpenMP runtime
    lhk_error error = {.struct_size = sizeof error};
    if (lhk_host_openmp(3, &pool, &error)) return fprintf(stderr, "driver: %s\n", error.text), 2;
#endif
    f.levels = levels.text;
    o->struct_size = sizeof *o;
    o->isa_count = levels.count;
    o->isas = levels.isas;
    o->pool = &pool;
    if (usable && !strcmp(argv[1], "units")) run_units(&levels, &f, argv[5], argv[6]);
    else if (usable && (!strcmp(argv[1], "registry") || !strncmp(argv[1], "registry:", 9)))
        driver_check_registry(&pool, &levels, argv[1][8] ? argv[1] + 9 : NULL, o->seed, o->first_case, o->case_count / 5);
    else usable = usable && run_fuzz(argv[1], &f);
    if (usable) return any_failed;
    fputs("usage: driver units|random|corpus|registry[:ROLE] SEED FIRST COUNT LEVEL GOLDEN\n", stderr);
    return 2;
}
