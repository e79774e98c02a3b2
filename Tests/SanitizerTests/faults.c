// SPDX-License-Identifier: Apache-2.0
/// Faults that the sanitizers must report, built and run as the tests are: `faults race|overflow|shift|uninitialised`.
/// Ends with exit code 0 when nobody objects.
#include "../CTests/driver.h"

/// Two neighbouring tasks write the same number.
static void race_task(void *context, int64_t task, uint32_t worker) {
    (void)worker;
    ((int64_t *)context)[task / 2] = task;
}

static int race(void) {
    int64_t slots[8] = {0};
    lhk_host host = driver_thread_host(3);
    lhk_parallel_for(&host, 16, race_task, slots);
    return slots[7] == 0;
}

/// `count` comes from outside, so that the compiler cannot see what is wrong.
static int overflow(int count) {
    float *row = malloc((size_t)count * sizeof *row);
    for (int i = 0; row && i <= count; i++) ((volatile float *)row)[i] = 1;
    free(row);
    return 0;
}

static int shift(int count) {
    volatile int distance = 31 + count;
    return (1 << distance) == 12345;
}

static int uninitialised(int count) {
    volatile float *workspace = malloc((size_t)count * sizeof *workspace);
    int above = workspace && workspace[count - 1] > 1;
    free((void *)workspace);
    return above ? 0 : printf("not above\n") < 0;
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "";
    if (!strcmp(name, "race")) return race();
    if (!strcmp(name, "overflow")) return overflow(argc);
    if (!strcmp(name, "shift")) return shift(argc);
    if (!strcmp(name, "uninitialised")) return uninitialised(argc);
    return fputs("usage: faults race|overflow|shift|uninitialised\n", stderr), 2;
}
