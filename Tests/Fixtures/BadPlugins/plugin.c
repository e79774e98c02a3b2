// SPDX-License-Identifier: Apache-2.0
// One small plugin of a selector, built by the tests as a shared library again and again: sound, or with the fault that
// a -DFAULT_... names. NAME and ID set what it is called.
#include <longhand/longhand.h>

#if !defined(NAME)
#define NAME "tiny"
#endif
#if !defined(ID)
#define ID "test.tiny"
#endif
#if !defined(VERSION)
#define VERSION "1.0.0"
#endif

static lhk_status supports(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa, lhk_error *error) {
    (void)self, (void)problem, (void)isa, (void)error;
    return LHK_OK;
}

static lhk_status cost(const lhk_variant *self, const lhk_problem *problem, lhk_cost *out) {
    (void)self, (void)problem;
    out->time = 1;
    return LHK_OK;
}

static lhk_status sizes(const lhk_variant *self, const lhk_problem *problem, uint32_t workers, lhk_sizes *out,
                        lhk_error *error) {
    (void)self, (void)problem, (void)workers, (void)out, (void)error;
    return LHK_OK;
}

static lhk_status create(const lhk_variant *self, const lhk_problem *problem, lhk_instance *state, uint64_t bytes,
                         lhk_error *error) {
    (void)self, (void)problem, (void)state, (void)bytes, (void)error;
    return LHK_OK;
}

static lhk_status select_all(lhk_instance *selector, const lhk_host *host, const lhk_tensor *q, lhk_store_ref store,
                             const lhk_attention_params *params, const lhk_workspace *workspace, lhk_selection *out,
                             lhk_error *error) {
    (void)selector, (void)host, (void)q, (void)store, (void)params, (void)workspace, (void)error;
    out->kind = LHK_SELECTION_ALL;
#if defined(FAULT_SELECTION)  // tokens that do not ascend, in one list for whatever number of heads
    static const int64_t offsets[] = {0, 2};
    static const int32_t tokens[] = {1, 0};
    out->kind = LHK_SELECTION_TOKENS;
    out->list_count = 1;
    out->list_offsets = offsets;
    out->tokens = tokens;
#endif
    return LHK_OK;
}

static const lhk_life_ops life = {
    .struct_size = sizeof life, .supports = supports, .cost = cost, .sizes = sizes, .create = create};
static const lhk_selector_ops ops = {.struct_size = sizeof ops, .select = select_all};
static const lhk_variant variant = {
    .struct_size = sizeof variant, .id = "test.tiny/1", .summary = "does nothing", .life = &life, .ops = &ops};
static const lhk_variant *const variants[] = {&variant};

#if defined(FAULT_ROLE)
#define ROLE "longhand.evictor/7"
#else
#define ROLE LHK_ROLE_SELECTOR
#endif
static const lhk_method method = {sizeof method, 1, ROLE, NAME, "1.0.0", "a tiny plugin", variants, NULL};

#if defined(FAULT_DUPLICATE)
static const lhk_method *const methods[] = {&method, &method};
#else
static const lhk_method *const methods[] = {&method};
#endif
#if defined(FAULT_METHODS)
#define METHODS NULL
#else
#define METHODS methods
#endif
const lhk_plugin tiny = {sizeof tiny, sizeof methods / sizeof methods[0], ID, VERSION, METHODS};

#if defined(FAULT_UNRESOLVED)
extern void lhk_test_function_that_does_not_exist(void);
__attribute__((visibility("default"))) void lhk_test_caller(void) { lhk_test_function_that_does_not_exist(); }
#endif

#if !defined(FAULT_MAGIC)
#define FAULT_MAGIC LHK_ENTRY_MAGIC
#endif
#if !defined(FAULT_MAJOR)
#define FAULT_MAJOR LHK_ABI_MAJOR
#endif
#if !defined(MINOR)
#define MINOR LHK_ABI_MINOR
#endif
#if !defined(FAULT_SIZE)
#define FAULT_SIZE sizeof(lhk_entry)
#endif

#if defined(FAULT_FUNCTION)
LHK_EXPORT void lhk_plugin_entry(void);
void lhk_plugin_entry(void) {}
#elif defined(FAULT_SMALL)
extern LHK_EXPORT const uint32_t lhk_plugin_entry;
const uint32_t lhk_plugin_entry = LHK_ENTRY_MAGIC;
#elif !defined(FAULT_SYMBOL)
extern LHK_EXPORT const lhk_entry lhk_plugin_entry;
#if defined(FAULT_NULL)
const lhk_entry lhk_plugin_entry = {FAULT_MAGIC, FAULT_MAJOR, MINOR, FAULT_SIZE, NULL};
#elif defined(FAULT_WILD)
// Its plugin pointer must not be followed: the version is wrong.
const lhk_entry lhk_plugin_entry = {FAULT_MAGIC, FAULT_MAJOR, MINOR, FAULT_SIZE, (const lhk_plugin *)16};
#else
const lhk_entry lhk_plugin_entry = {FAULT_MAGIC, FAULT_MAJOR, MINOR, FAULT_SIZE, &tiny};
#endif
#endif
