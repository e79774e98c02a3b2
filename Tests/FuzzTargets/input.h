// SPDX-License-Identifier: Apache-2.0
/// What the fuzz targets in C share: numbers taken from the fuzzer's bytes, memory of exactly the bytes asked for, hosts,
/// and the entry that writes seeds.
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include <lhk/support.h>
#include <longhand/registry.h>

/// Bytes not yet read; zeros come after the last.
typedef struct fuzz_input {
    const uint8_t *data;
    size_t size;
} fuzz_input;

static inline uint64_t take(fuzz_input *in, size_t bytes) {
    uint64_t value = 0;
    size_t count = bytes < in->size ? bytes : in->size;
    memcpy(&value, in->data, count);
    in->data += count;
    in->size -= count;
    return value;
}

/// 0 to most.
static inline int64_t take_upto(fuzz_input *in, int64_t most) {
    return (int64_t)(take(in, most < 256 ? 1 : 2) % (uint64_t)(most + 1));
}

/// One time in `times`, roughly.
static inline bool take_rarely(fuzz_input *in, unsigned times) { return take(in, 1) % times == times - 1; }

/// Numbers near the limits of the integer types.
static inline int64_t take_extreme(fuzz_input *in) {
    static const int64_t bases[] = {0, 1 << 8, 1 << 16, INT32_MAX, UINT32_MAX, INT64_C(1) << 40, INT64_C(1) << 60,
                                    INT64_C(1) << 61, INT64_C(1) << 62, INT64_MAX, INT64_MIN, -(INT64_C(1) << 61)};
    int64_t base = bases[take(in, 1) % (sizeof bases / sizeof *bases)];
    return (int64_t)((uint64_t)base + (uint64_t)(int64_t)(int8_t)take(in, 1));
}

static inline float take_float(fuzz_input *in) {
    uint32_t bits = (uint32_t)take(in, 4);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/// SplitMix64 (Steele, Lea and Flood 2014).
static inline uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/// Uniform in [-1, 1).
static inline float next_uniform(uint64_t *state) { return (float)((int64_t)next_random(state) >> 39) * 0x1p-24f; }

/// Ends the run with a finding; libFuzzer keeps the input.
#define FUZZ_FOUND(...) (fprintf(stderr, "found: " __VA_ARGS__), fputc('\n', stderr), abort())

/// Memory whose end the address sanitizer guards to the byte; never null.
static inline void *exact(size_t bytes, size_t alignment) {
    void *memory = NULL;
    if (posix_memalign(&memory, alignment < sizeof(void *) ? sizeof(void *) : alignment, bytes)) FUZZ_FOUND("no memory");
    return memory;
}

// ---- hosts: one thread; the last task first, workers in turn ----

static inline void run_backward(void *context, int64_t tasks, lhk_task task, void *task_context) {
    uint64_t workers = (uintptr_t)context;
    for (int64_t i = tasks - 1; i >= 0; i--) task(task_context, i, (uint32_t)((uint64_t)i % workers));
}

/// One to five workers, and one of the instruction levels that this processor has.
static inline lhk_host take_host(fuzz_input *in) {
    static const char *const names[] = {"scalar", "avx2", "avx512", "avx512bf16", "neon", "neon_bf16"};
    static lhk_isa levels[6];
    static uint32_t count;
    for (int i = 0; !count && i < 6;) {
        lhk_isa level;
        for (uint32_t n = 0; i < 6; i++)
            if (!lhk_isa_parse(names[i], &level, NULL) && !(level & ~lhk_isa_detect())) levels[n++] = level, count = n;
    }
    uint32_t workers = 1 + (uint32_t)take_upto(in, 4);
    return (lhk_host){.struct_size = sizeof(lhk_host), .workers = workers, .isa = levels[take(in, 1) % count],
                      .context = (void *)(uintptr_t)workers, .parallel_for = workers > 1 ? run_backward : NULL};
}

// ---- entries ----

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/// Writes the target's seeds into a folder.
void write_seeds(const char *folder);

static inline void write_seed(const char *folder, int number, const void *data, size_t bytes) {
    char path[4096];
    snprintf(path, sizeof path, "%s/seed-%d", folder, number);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, bytes, file) != bytes || fclose(file)) {
        fprintf(stderr, "cannot write %s\n", path);
        exit(2);
    }
}

/// `TARGET --seeds FOLDER` writes seeds and ends.
#define FUZZ_INITIALIZE                                        \
    int LLVMFuzzerInitialize(int *argc, char ***argv) {        \
        if (*argc == 3 && !strcmp((*argv)[1], "--seeds")) {    \
            write_seeds((*argv)[2]);                           \
            exit(0);                                           \
        }                                                      \
        return 0;                                              \
    }

/// Seeds of a target that takes any bytes.
static inline void write_random_seeds(const char *folder, size_t bytes) {
    uint64_t state = 1;
    uint8_t seed[1024];
    for (int i = 0; i < 32; i++) {
        for (size_t b = 0; b < bytes; b++) seed[b] = (uint8_t)next_random(&state);
        write_seed(folder, i, seed, bytes);
    }
}

#endif
