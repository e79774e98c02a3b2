// SPDX-License-Identifier: Apache-2.0
#define _POSIX_C_SOURCE 200809L  // setenv
#include "lhk_openblas.h"

#include <dlfcn.h>
#include <lhk/support.h>
#include <pthread.h>
#include <stdatomic.h>
#include <strings.h>

#if defined(__APPLE__)
#define LHK_OPENBLAS_DEFAULT "libopenblas.dylib"
#define LHK_OPENBLAS_ADVICE "install OpenBLAS"
#else
#define LHK_OPENBLAS_DEFAULT "libopenblas.so.0"
#define LHK_OPENBLAS_ADVICE "install libopenblas-dev"
#endif

static pthread_mutex_t load_lock = PTHREAD_MUTEX_INITIALIZER;
static lhk_openblas library_storage;  // written once, before `loaded` is published
static _Atomic(const lhk_openblas *) loaded;

const lhk_openblas *lhk_openblas_loaded(void) {
    return atomic_load_explicit(&loaded, memory_order_acquire);
}

const char *lhk_linear_core_name(void) {
    const lhk_openblas *blas = lhk_openblas_loaded();
    return blas ? blas->core : NULL;
}

/// The OpenBLAS core type for a mask; null leaves the choice to OpenBLAS. Prescott is the lowest one for x86-64 (SSE3).
static const char *lhk_core_type(lhk_isa isa) {
#if defined(__x86_64__)
    if (isa & LHK_ISA_AVX512) return "SkylakeX";
    if (isa & LHK_ISA_AVX2) return "Haswell";
    return "Prescott";
#else
    (void)isa;
    return NULL;
#endif
}

/// What the kernels of an OpenBLAS core need; names in any case, as OpenBLAS takes them. AVX without AVX2 has no bit of
/// its own and counts as AVX2.
static lhk_isa lhk_core_isa(const char *core) {
    static const char *const avx512[] = {"SkylakeX", "Cooperlake", "SapphireRapids"};
    static const char *const avx2[] = {
        "Haswell", "Zen", "Excavator", "Sandybridge", "Bulldozer", "Piledriver", "Steamroller"};
    for (size_t i = 0; i < sizeof avx512 / sizeof avx512[0]; i++) {
        if (strcasecmp(core, avx512[i]) == 0) return LHK_ISA_AVX512;
    }
    for (size_t i = 0; i < sizeof avx2 / sizeof avx2[0]; i++) {
        if (strcasecmp(core, avx2[i]) == 0) return LHK_ISA_AVX2;
    }
    return 0;
}

/// Sets a variable and returns a copy of its earlier value (null when it was not set, or memory is short).
static char *lhk_set_variable(const char *name, const char *value) {
    const char *old = getenv(name);
    char *copy = old ? strdup(old) : NULL;
    setenv(name, value, 1);
    return copy;
}

static void lhk_restore_variable(const char *name, char *old) {
    if (old) setenv(name, old, 1);
    else unsetenv(name);
    free(old);
}

/// Whether all of `needed` lies within the mask.
static bool lhk_within(lhk_isa isa, lhk_isa needed) {
    if (isa & LHK_ISA_AVX512) isa |= LHK_ISA_AVX2;
    return (needed & ~isa) == 0;
}

bool lhk_openblas_within(lhk_isa isa, const lhk_openblas *blas) {
    return lhk_within(isa, blas->isa);
}

/// dlopen with the environment that OpenBLAS reads while it is being opened. The user's core type is kept where the mask
/// allows it.
static void *lhk_open(lhk_isa isa, const char *library) {
    const char *wanted = getenv("OPENBLAS_CORETYPE");
    const char *core = wanted && lhk_within(isa, lhk_core_isa(wanted)) ? NULL : lhk_core_type(isa);
    char *wanted_copy = core ? lhk_set_variable("OPENBLAS_CORETYPE", core) : NULL;
    // One thread from the start: OpenBLAS would otherwise create a pool that competes with the caller's.
    char *threads = lhk_set_variable("OPENBLAS_NUM_THREADS", "1");
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    lhk_restore_variable("OPENBLAS_NUM_THREADS", threads);
    if (core) lhk_restore_variable("OPENBLAS_CORETYPE", wanted_copy);
    return handle;
}

/// Fills `blas` from an open handle; false when a symbol is missing.
static bool lhk_bind(void *handle, lhk_openblas *blas) {
    void *sgemm = dlsym(handle, "cblas_sgemm");
    void *core = dlsym(handle, "openblas_get_corename"), *threads = dlsym(handle, "openblas_set_num_threads");
    if (!sgemm || !core || !threads) return false;
    char *(*core_name)(void);
    void (*set_threads)(int);
    // ISO C has no conversion from object to function pointers; POSIX defines them by representation.
    memcpy(&blas->sgemm, &sgemm, sizeof sgemm);
    memcpy(&core_name, &core, sizeof core);
    memcpy(&set_threads, &threads, sizeof threads);
    set_threads(1);
    blas->handle = handle;
    blas->core = core_name();
    blas->isa = lhk_core_isa(blas->core);
    return true;
}

static lhk_status lhk_load_locked(lhk_isa isa, const char *library, lhk_error *error) {
    const lhk_openblas *before = lhk_openblas_loaded();
    void *handle = before ? dlopen(library, RTLD_NOW | RTLD_LOCAL) : lhk_open(isa, library);
    if (!handle) {
        if (strchr(library, '/')) return lhk_fail(error, LHK_ERROR_NOT_FOUND, 1, "%s", dlerror());
        return lhk_fail(error, LHK_ERROR_NOT_FOUND, 1, "%s not found: " LHK_OPENBLAS_ADVICE, library);
    }
    lhk_openblas blas = {0};
    lhk_status status = LHK_OK;
    if (before && before->handle != handle) {
        status = lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "%s: another BLAS library is already loaded", library);
    } else if (!before && !lhk_bind(handle, &blas)) {
        status = lhk_fail(
            error, LHK_ERROR_NOT_FOUND, 1, "%s is not an OpenBLAS library: " LHK_OPENBLAS_ADVICE, library);
    } else if (!lhk_openblas_within(isa, before ? before : &blas)) {
        status = lhk_fail(
            error, LHK_ERROR_UNSUPPORTED, 0, "%s runs %s kernels, which the ISA mask excludes", library,
            before ? before->core : blas.core);
    }
    if (status != LHK_OK || before) {
        dlclose(handle);
        return status;
    }
    library_storage = blas;
    atomic_store_explicit(&loaded, &library_storage, memory_order_release);
    return LHK_OK;
}

lhk_status lhk_linear_load(lhk_isa isa, const char *library, lhk_error *error) {
    pthread_mutex_lock(&load_lock);
    lhk_status status = lhk_load_locked(isa, library ? library : LHK_OPENBLAS_DEFAULT, error);
    pthread_mutex_unlock(&load_lock);
    return status;
}
