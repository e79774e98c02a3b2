// SPDX-License-Identifier: Apache-2.0
// A copy of the test store's plugin in which one thing at a time is wrong.
#include <longhand/reference.h>

#include "test_parts.h"

typedef struct copy {
    lhk_store_ops ops;
    lhk_life_ops life;
    lhk_variant variant;
    lhk_method method;
    lhk_plugin plugin;
    lhk_reference reference;
    lhk_position_reference formula;
    const char *option_sets[1];
    const lhk_variant *variants[2];
    const lhk_method *methods[2];
} copy;

#define FAULTS(F)                                                                                        \
    F("object is too short", c->plugin.struct_size = 16)                                                 \
    F("id of the plugin", c->plugin.id = NULL)                                                           \
    F("id of the plugin", c->plugin.id = "")                                                             \
    F("id of the plugin", c->plugin.id = "two words")                                                    \
    F("version is not like", c->plugin.version = "\n")                                                   \
    F("no methods", c->plugin.method_count = 0)                                                          \
    F("no methods", c->plugin.method_count = UINT32_MAX)                                                 \
    F("no methods", c->plugin.methods = NULL)                                                            \
    F("a method is null", c->methods[0] = NULL)                                                          \
    F("a method is too short", c->method.struct_size = 8)                                                \
    F("name of a method", c->method.name = "")                                                           \
    F("name of a method", c->method.name = "Upper")                                                      \
    F("name of a method", c->method.name = "with:colon")                                                 \
    F("name of a method", c->method.name = "-dash")                                                      \
    F("unknown role", c->method.role = "longhand.store/2")                                               \
    F("unknown role", c->method.role = NULL)                                                             \
    F("version is not like", c->method.version = NULL)                                                   \
    F("summary", c->method.summary = "two\nlines")                                                       \
    F("no variants", c->method.variant_count = 0)                                                        \
    F("no variants", c->method.variants = NULL)                                                          \
    F("role and name occur twice", (c->plugin.method_count = 2, c->methods[1] = &c->method))             \
    F("a variant is null", c->variants[0] = NULL)                                                        \
    F("a variant is too short", c->variant.struct_size = 40)                                             \
    F("id of a variant", c->variant.id = "no-revision")                                                  \
    F("id of a variant", c->variant.id = "empty/")                                                       \
    F("id occurs twice", (c->method.variant_count = 2, c->variants[1] = &c->variant))                    \
    F("unknown exactness", c->variant.exactness = 3)                                                     \
    F("unknown instruction set", c->variant.isa_required = UINT64_C(1) << 40)                            \
    F("head_dim_min", (c->variant.head_dim_min = 9, c->variant.head_dim_max = 8))                        \
    F("no operations table", c->variant.ops = NULL)                                                      \
    F("no life cycle table", c->variant.life = NULL)                                                     \
    F("life cycle table is too short", c->life.struct_size = 24)                                         \
    F("supports, cost, sizes or create", c->life.create = NULL)                                          \
    F("all or none", c->life.load = NULL)                                                                \
    F("keeps tokens", (c->life.truncate = NULL, c->life.fork = NULL, c->life.save_size = NULL,           \
                       c->life.save = NULL, c->life.load = NULL))                                        \
    F("store table is too short", c->ops.struct_size = 8)                                                \
    F("unknown flags", c->ops.flags = 1)                                                                 \
    F("required store function", c->ops.score = NULL)                                                    \
    F("reference is too short", (c->method.reference = &c->reference, c->reference.struct_size = 16))     \
    F("no option sets", (c->method.reference = &c->reference, c->reference.option_set_count = 1))         \
    F("no option sets", (give_options(c, "size=1"), c->reference.option_set_count = 65))                  \
    F("is not one line", give_options(c, "size=1\nsize=2"))                                              \
    F("is not one line", give_options(c, NULL))                                                           \
    F("which this role has not", give_formula(c, LHK_ROLE_STORE))                                         \
    F("formula of the reference", give_formula(c, LHK_ROLE_POSITION))                                     \
    F("formula of the reference", (give_formula(c, LHK_ROLE_POSITION), c->formula.struct_size = 8))

static int give_options(copy *c, const char *set) {
    c->method.reference = &c->reference;
    c->reference.option_set_count = 1;
    c->reference.option_sets = c->option_sets;
    c->option_sets[0] = set;
    return 0;
}

/// A formula without a function, and the role that it is for.
static int give_formula(copy *c, const char *role) {
    c->method.role = role;
    c->method.reference = &c->reference;
    c->reference.formula = &c->formula;
    return 0;
}

const lhk_plugin *lhk_test_faulty_plugin(uint32_t fault, const char **expected) {
    static copy storage;
    copy *c = &storage;
    c->variant = *lhk_test_store.variants[0];
    c->life = *c->variant.life;
    c->ops = *(const lhk_store_ops *)c->variant.ops;
    c->method = lhk_test_store;
    c->plugin = (lhk_plugin){sizeof c->plugin, 1, "test.faulty", "1.0.0", c->methods};
    c->reference = (lhk_reference){.struct_size = sizeof c->reference};
    c->formula = (lhk_position_reference){.struct_size = sizeof c->formula};
    c->variant.life = &c->life;
    c->variant.ops = &c->ops;
    c->variants[0] = &c->variant;
    c->method.variants = c->variants;
    c->methods[0] = &c->method;
    uint32_t next = 0;
#define CASE(text, change)        \
    if (fault == next++) {        \
        *expected = text;         \
        (void)(change);           \
        return &c->plugin;        \
    }
    FAULTS(CASE)
    return NULL;
}
