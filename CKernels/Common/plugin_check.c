// SPDX-License-Identifier: Apache-2.0
// Everything a plugin shows is data, so a malformed one is refused here and none of its code runs.
#define _GNU_SOURCE
#include "plugin_check.h"

#include <lhk/support.h>

#include "isa_detect.h"

enum { max_methods = 1024, max_variants = 1024, max_name = 64, max_id = 160, max_summary = 4096, max_option_sets = 64 };

/// True for 1 to `limit` characters that are letters, digits or in `others`.
static bool word_valid(const char *text, size_t limit, bool upper, const char *others) {
    size_t length = text ? strnlen(text, limit + 1) : 0;
    if (length == 0 || length > limit) return false;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (upper && c >= 'A' && c <= 'Z')) continue;
        if (!strchr(others, c)) return false;
    }
    return true;
}

bool lhk_name_valid(const char *name) {
    return word_valid(name, max_name, false, "_-.") && !strchr("_-.", name[0]);
}

/// True for one line of text, possibly empty, without control characters.
static bool line_valid(const char *text) {
    size_t length = text ? strnlen(text, max_summary + 1) : max_summary + 1;
    if (length > max_summary) return false;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) return false;
    return true;
}

/// `<words with dots>/<revision>`.
static bool variant_id_valid(const char *id) {
    if (!word_valid(id, max_id, false, "._-/")) return false;
    const char *slash = strchr(id, '/');
    return slash && slash != id && slash[1] && !strchr(slash + 1, '/');
}

/// Where in the plugin the check is, for messages.
typedef struct place {
    const lhk_plugin *plugin;
    const lhk_method *method;
    const lhk_variant *variant;
    lhk_error *error;
} place;

static lhk_status fault(const place *at, const char *text) {
    if (at->variant)
        return lhk_fail(at->error, LHK_ERROR_ABI, -1, "plugin '%s', variant '%s': %s", at->plugin->id, at->variant->id,
                        text);
    if (at->method)
        return lhk_fail(at->error, LHK_ERROR_ABI, -1, "plugin '%s', method '%s': %s", at->plugin->id, at->method->name,
                        text);
    return lhk_fail(at->error, LHK_ERROR_ABI, -1, "plugin '%s': %s", at->plugin->id, text);
}

static lhk_status check_life(const place *at, bool keeps_tokens) {
    const lhk_life_ops *life = at->variant->life;
    if (!life) return fault(at, "no life cycle table");
    if (life->struct_size < LHK_SIZE_THROUGH(lhk_life_ops, load)) return fault(at, "life cycle table is too short");
    if (!life->supports || !life->cost || !life->sizes || !life->create)
        return fault(at, "supports, cost, sizes or create is missing");
    int per_token = !!life->truncate + !!life->fork + !!life->save_size + !!life->save + !!life->load;
    if (per_token != 0 && per_token != 5)
        return fault(at, "truncate, fork, save_size, save and load must be given all or none");
    if (keeps_tokens && !per_token) return fault(at, "keeps tokens but has no truncate, fork, save_size, save and load");
    return LHK_OK;
}

static lhk_status check_store(const place *at) {
    const lhk_store_ops *ops = at->variant->ops;
    if (ops->struct_size < LHK_SIZE_THROUGH(lhk_store_ops, accumulate)) return fault(at, "store table is too short");
    if (ops->flags) return fault(at, "store table has unknown flags");
    if (!ops->append || !ops->length || !ops->bytes || !ops->read_rows || !ops->score || !ops->accumulate)
        return fault(at, "a required store function is missing");
    return check_life(at, true);
}

static lhk_status check_selector(const place *at) {
    const lhk_selector_ops *ops = at->variant->ops;
    if (ops->struct_size < LHK_SIZE_THROUGH(lhk_selector_ops, select)) return fault(at, "selector table is too short");
    if (ops->flags) return fault(at, "selector table has unknown flags");
    if (!ops->select) return fault(at, "the selector function 'select' is missing");
    return check_life(at, ops->append != NULL);
}

static lhk_status check_attention(const place *at) {
    const lhk_attention_ops *ops = at->variant->ops;
    if (ops->struct_size < LHK_SIZE_THROUGH(lhk_attention_ops, attend)) return fault(at, "attention table is too short");
    if (ops->flags) return fault(at, "attention table has unknown flags");
    if (!ops->attend) return fault(at, "the attention function 'attend' is missing");
    return check_life(at, false);
}

static lhk_status check_position(const place *at) {
    const lhk_position_ops *ops = at->variant->ops;
    if (ops->struct_size < LHK_SIZE_THROUGH(lhk_position_ops, apply)) return fault(at, "position table is too short");
    if (ops->flags) return fault(at, "position table has unknown flags");
    if (!ops->apply) return fault(at, "the position function 'apply' is missing");
    return check_life(at, false);
}

typedef struct known_role {
    const char *role, *word;
    lhk_status (*check)(const place *at);
    bool has_formula;
} known_role;

static const known_role *find_role(const char *role) {
    static const known_role roles[] = {{LHK_ROLE_STORE, "store", check_store, false},
                                       {LHK_ROLE_SELECTOR, "selector", check_selector, true},
                                       {LHK_ROLE_ATTENTION, "attention", check_attention, true},
                                       {LHK_ROLE_POSITION, "position", check_position, true}};
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
        if (!strcmp(roles[i].role, role)) return &roles[i];
    return NULL;
}

const char *lhk_role_word(const char *role) {
    const known_role *known = find_role(role);
    return known ? known->word : NULL;
}

/// Checks `at->method->variants[index]`.
static lhk_status check_variant(place *at, uint32_t index) {
    const lhk_variant *variant = at->method->variants[index];
    if (!variant) return fault(at, "a variant is null");
    if (variant->struct_size < LHK_SIZE_THROUGH(lhk_variant, data)) return fault(at, "a variant is too short");
    if (!variant_id_valid(variant->id)) return fault(at, "the id of a variant is not like 'longhand.flash.f32.avx2/1'");
    at->variant = variant;
    if (!line_valid(variant->summary)) return fault(at, "the summary is not one line of text");
    if (variant->exactness > LHK_HEURISTIC) return fault(at, "unknown exactness class");
    if (variant->isa_required & ~(lhk_isa)LHK_ISA_KNOWN) return fault(at, "requires an unknown instruction set");
    if (variant->head_dim_max && variant->head_dim_min > variant->head_dim_max)
        return fault(at, "head_dim_min is above head_dim_max");
    for (uint32_t i = 0; i < index; i++)
        if (!strcmp(at->method->variants[i]->id, variant->id)) return fault(at, "the id occurs twice");
    if (!variant->ops) return fault(at, "no operations table");
    return find_role(at->method->role)->check(at);
}

/// How the formula of every role begins.
typedef struct formula_head {
    uint32_t struct_size, reserved;
    void (*function)(void);
} formula_head;
_Static_assert(sizeof(formula_head) == LHK_SIZE_THROUGH(lhk_attention_reference, attend) &&
                   sizeof(formula_head) == LHK_SIZE_THROUGH(lhk_selector_reference, select) &&
                   sizeof(formula_head) == LHK_SIZE_THROUGH(lhk_position_reference, apply),
               "one head for the formulas of all roles");

static lhk_status check_reference(const place *at) {
    const lhk_reference *reference = at->method->reference;
    if (!reference) return LHK_OK;
    if (reference->struct_size < LHK_SIZE_THROUGH(lhk_reference, formula)) return fault(at, "the reference is too short");
    if (reference->option_set_count > max_option_sets || (reference->option_set_count && !reference->option_sets))
        return fault(at, "the reference has no option sets, or too many");
    for (uint32_t i = 0; i < reference->option_set_count; i++)
        if (!line_valid(reference->option_sets[i])) return fault(at, "an option set of the reference is not one line");
    if (!reference->formula) return LHK_OK;
    if (!find_role(at->method->role)->has_formula) return fault(at, "the reference has a formula, which this role has not");
    formula_head head;
    memcpy(&head.struct_size, reference->formula, sizeof head.struct_size);
    if (head.struct_size >= sizeof head) memcpy(&head, reference->formula, sizeof head);
    if (head.struct_size < sizeof head || !head.function)
        return fault(at, "the formula of the reference is too short or has no function");
    return LHK_OK;
}

/// Checks `at->plugin->methods[index]`.
static lhk_status check_method(place *at, uint32_t index) {
    const lhk_method *method = at->plugin->methods[index];
    if (!method) return fault(at, "a method is null");
    if (method->struct_size < LHK_SIZE_THROUGH(lhk_method, reference)) return fault(at, "a method is too short");
    if (!method->name || !lhk_name_valid(method->name))
        return fault(at, "the name of a method is not 1 to 64 of the characters a-z 0-9 _ - .");
    at->method = method;
    if (!method->role || !find_role(method->role)) return fault(at, "unknown role");
    if (!word_valid(method->version, max_name, true, ".+-")) return fault(at, "the version is not like '1.0.0'");
    if (!line_valid(method->summary)) return fault(at, "the summary is not one line of text");
    if (method->variant_count < 1 || method->variant_count > max_variants || !method->variants)
        return fault(at, "it has no variants, or too many");
    for (uint32_t i = 0; i < index; i++)
        if (!strcmp(at->plugin->methods[i]->role, method->role) && !strcmp(at->plugin->methods[i]->name, method->name))
            return fault(at, "the role and name occur twice");
    lhk_status status = check_reference(at);
    if (status) return status;
    for (uint32_t i = 0; i < method->variant_count; i++) {
        at->variant = NULL;
        status = check_variant(at, i);
        if (status) return status;
    }
    at->variant = NULL;
    return LHK_OK;
}

lhk_status lhk_plugin_check(const lhk_plugin *plugin, lhk_error *error) {
    if (!plugin) return lhk_fail(error, LHK_ERROR_ABI, -1, "the plugin object is null");
    if (plugin->struct_size < LHK_SIZE_THROUGH(lhk_plugin, methods))
        return lhk_fail(error, LHK_ERROR_ABI, -1, "the plugin object is too short: %u bytes", plugin->struct_size);
    if (!word_valid(plugin->id, max_id, true, "._-"))
        return lhk_fail(error, LHK_ERROR_ABI, -1, "the id of the plugin is not like 'longhand.flash-attention'");
    place at = {.plugin = plugin, .error = error};
    if (!word_valid(plugin->version, max_name, true, ".+-")) return fault(&at, "the version is not like '1.0.0'");
    if (plugin->method_count < 1 || plugin->method_count > max_methods || !plugin->methods)
        return fault(&at, "it has no methods, or too many");
    for (uint32_t i = 0; i < plugin->method_count; i++) {
        at.method = NULL;
        lhk_status status = check_method(&at, i);
        if (status) return status;
    }
    return LHK_OK;
}
