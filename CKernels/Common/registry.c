// SPDX-License-Identifier: Apache-2.0
// Methods by role and name under one lock. Entries are added, never changed or removed, so what a caller was given
// stays valid outside the lock.
#define _GNU_SOURCE
#include "registry_internal.h"

#include <lhk/support.h>
#include <pthread.h>

#include "plugin_check.h"

/// A growing array of pointers to separately allocated records: growth moves no record.
typedef struct pointer_list {
    void **items;
    uint32_t count, capacity;
} pointer_list;

typedef struct entry {
    const lhk_plugin *plugin;
    const lhk_method *method;
    const char *origin;
} entry;

typedef struct rejection {
    char *path, *reason;
} rejection;

struct lhk_registry {
    pthread_mutex_t lock;
    pointer_list entries;  ///< of entry, in the order of role, then name
    pointer_list origins;  ///< of char, owned
    pointer_list rejections;
    bool discovered;
};

static bool list_reserve(pointer_list *list, uint32_t more) {
    if (list->capacity - list->count >= more) return true;
    uint32_t capacity = (list->count + more) * 2;
    void **items = realloc(list->items, capacity * sizeof *items);
    if (!items) return false;
    list->items = items;
    list->capacity = capacity;
    return true;
}

static void list_insert(pointer_list *list, uint32_t index, void *item) {
    memmove(list->items + index + 1, list->items + index, (list->count - index) * sizeof *list->items);
    list->items[index] = item;
    list->count++;
}

/// The lock is not part of the registry's value, so readers of a const registry take it too.
static void lock(const lhk_registry *registry) { pthread_mutex_lock((pthread_mutex_t *)&registry->lock); }
static void unlock(const lhk_registry *registry) { pthread_mutex_unlock((pthread_mutex_t *)&registry->lock); }

lhk_status lhk_registry_create(lhk_registry **out, lhk_error *error) {
    lhk_registry *registry = calloc(1, sizeof *registry);
    if (!registry) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory for a registry");
    if (pthread_mutex_init(&registry->lock, NULL)) {
        free(registry);
        return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no lock for a registry");
    }
    *out = registry;
    return LHK_OK;
}

void lhk_registry_destroy(lhk_registry *registry) {
    if (!registry) return;
    for (uint32_t i = 0; i < registry->entries.count; i++) free(registry->entries.items[i]);
    for (uint32_t i = 0; i < registry->origins.count; i++) free(registry->origins.items[i]);
    for (uint32_t i = 0; i < registry->rejections.count; i++) {
        rejection *rejected = registry->rejections.items[i];
        free(rejected->path);
        free(rejected->reason);
        free(rejected);
    }
    free(registry->entries.items);
    free(registry->origins.items);
    free(registry->rejections.items);
    pthread_mutex_destroy(&registry->lock);
    free(registry);
}

/// Index of the first entry that is not before (role, name); `found` says whether it is that one.
static uint32_t position_of(const lhk_registry *registry, const char *role, const char *name, bool *found) {
    uint32_t index = 0;
    int order = -1;
    for (; index < registry->entries.count; index++) {
        const entry *other = registry->entries.items[index];
        order = strcmp(other->method->role, role);
        if (!order) order = strcmp(other->method->name, name);
        if (order >= 0) break;
    }
    *found = index < registry->entries.count && order == 0;
    return index;
}

/// Whether `plugin` may be added. `present` is set when the same plugin and version is there already.
static lhk_status check_clashes(const lhk_registry *registry, const lhk_plugin *plugin, bool *present, lhk_error *error) {
    *present = false;
    for (uint32_t i = 0; i < registry->entries.count; i++) {
        const entry *other = registry->entries.items[i];
        if (strcmp(other->plugin->id, plugin->id)) continue;
        *present = !strcmp(other->plugin->version, plugin->version);
        if (*present) return LHK_OK;
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "plugin '%s' %s: version %s is already registered (%.200s)",
                        plugin->id, plugin->version, other->plugin->version, other->origin);
    }
    for (uint32_t i = 0; i < plugin->method_count; i++) {
        const lhk_method *method = plugin->methods[i];
        bool taken;
        uint32_t index = position_of(registry, method->role, method->name, &taken);
        if (!taken) continue;
        const entry *other = registry->entries.items[index];
        return lhk_fail(error, LHK_ERROR_ARGUMENT, -1, "plugin '%s': %s '%s' is already registered by plugin '%s' (%.200s)",
                        plugin->id, lhk_role_word(method->role), method->name, other->plugin->id, other->origin);
    }
    return LHK_OK;
}

/// Adds all methods of `plugin`, or none when memory runs out. Called with the lock held.
static bool add_all(lhk_registry *registry, const lhk_plugin *plugin, const char *origin) {
    uint32_t count = plugin->method_count, made = 0;
    entry **entries = calloc(count, sizeof *entries);
    char *name = strdup(origin);
    bool ready = entries && name && list_reserve(&registry->entries, count) && list_reserve(&registry->origins, 1);
    for (; ready && made < count; made++) {
        entries[made] = malloc(sizeof **entries);
        if (!entries[made]) break;
        *entries[made] = (entry){plugin, plugin->methods[made], name};
    }
    if (!ready || made < count) {
        for (uint32_t i = 0; i < made; i++) free(entries[i]);
        free(entries);
        free(name);
        return false;
    }
    list_insert(&registry->origins, registry->origins.count, name);
    for (uint32_t i = 0; i < count; i++) {
        bool found;
        uint32_t index = position_of(registry, plugin->methods[i]->role, plugin->methods[i]->name, &found);
        list_insert(&registry->entries, index, entries[i]);
    }
    free(entries);
    return true;
}

lhk_status lhk_registry_register(lhk_registry *registry, const lhk_plugin *plugin, const char *origin, lhk_error *error) {
    if (!origin) return lhk_fail(error, LHK_ERROR_ARGUMENT, 2, "the origin of a plugin is null");
    lhk_status status = lhk_plugin_check(plugin, error);
    if (status) return status;
    lock(registry);
    bool present;
    status = check_clashes(registry, plugin, &present, error);
    if (!status && !present && !add_all(registry, plugin, origin))
        status = lhk_fail(error, LHK_ERROR_MEMORY, -1, "plugin '%s': no memory to register it", plugin->id);
    unlock(registry);
    return status;
}

static bool is_rejected(const lhk_registry *registry, const char *path, const char *reason) {
    for (uint32_t i = 0; i < registry->rejections.count; i++) {
        const rejection *other = registry->rejections.items[i];
        if (!strcmp(other->path, path) && !strcmp(other->reason, reason)) return true;
    }
    return false;
}

void lhk_registry_reject(lhk_registry *registry, const char *path, const char *reason) {
    rejection *rejected = calloc(1, sizeof *rejected);
    if (!rejected) return;
    rejected->path = strdup(path);
    rejected->reason = strdup(reason);
    lock(registry);
    bool keep = rejected->path && rejected->reason && !is_rejected(registry, path, reason) &&
                list_reserve(&registry->rejections, 1);
    if (keep) list_insert(&registry->rejections, registry->rejections.count, rejected);
    unlock(registry);
    if (keep) return;
    free(rejected->path);
    free(rejected->reason);
    free(rejected);
}

void lhk_registry_mark_discovered(lhk_registry *registry) {
    lock(registry);
    registry->discovered = true;
    unlock(registry);
}

uint32_t lhk_registry_count(const lhk_registry *registry) {
    lock(registry);
    uint32_t count = registry->entries.count;
    unlock(registry);
    return count;
}

static void fill(const entry *from, lhk_registration *out) {
    *out = (lhk_registration){
        .struct_size = sizeof *out, .plugin = from->plugin, .method = from->method, .origin = from->origin};
}

lhk_status lhk_registry_get(const lhk_registry *registry, uint32_t index, lhk_registration *out) {
    lock(registry);
    bool present = index < registry->entries.count;
    if (present) fill(registry->entries.items[index], out);
    unlock(registry);
    return present ? LHK_OK : LHK_ERROR_NOT_FOUND;
}

uint32_t lhk_registry_rejection_count(const lhk_registry *registry) {
    lock(registry);
    uint32_t count = registry->rejections.count;
    unlock(registry);
    return count;
}

lhk_status lhk_registry_get_rejection(const lhk_registry *registry, uint32_t index, lhk_rejection *out) {
    lock(registry);
    bool present = index < registry->rejections.count;
    if (present) {
        const rejection *from = registry->rejections.items[index];
        *out = (lhk_rejection){.struct_size = sizeof *out, .path = from->path, .reason = from->reason};
    }
    unlock(registry);
    return present ? LHK_OK : LHK_ERROR_NOT_FOUND;
}

/// Writes why `role` and `name` were not found and what is there instead. Called with the lock held.
static lhk_status not_found(const lhk_registry *registry, const char *role, const char *name, lhk_error *error) {
    const char *word = lhk_role_word(role);
    if (!word) return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "unknown role '%.60s'", role);
    if (!registry->entries.count) {
        uint32_t rejected = registry->rejections.count;
        const char *why = registry->discovered ? "no plugin was found" : "no plugin was registered";
        if (rejected)
            return lhk_fail(error, LHK_ERROR_NOT_FOUND, 2, "no %s '%.60s': %s (%u candidates rejected)", word, name, why,
                            rejected);
        return lhk_fail(error, LHK_ERROR_NOT_FOUND, 2, "no %s '%.60s': %s", word, name, why);
    }
    char list[320] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < registry->entries.count; i++) {
        const lhk_method *method = ((const entry *)registry->entries.items[i])->method;
        if (strcmp(method->role, role)) continue;
        int wrote = snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", method->name);
        if (wrote < 0 || (size_t)wrote >= sizeof list - used - 5) {
            snprintf(list + used, sizeof list - used, ", ...");
            break;
        }
        used += (size_t)wrote;
    }
    return lhk_fail(error, LHK_ERROR_NOT_FOUND, 2, "no %s '%.60s'; known: %s", word, name, used ? list : "none");
}

lhk_status lhk_registry_find(const lhk_registry *registry, const char *role, const char *name, lhk_registration *out,
                             lhk_error *error) {
    lock(registry);
    bool found;
    uint32_t index = position_of(registry, role, name, &found);
    lhk_status status = LHK_OK;
    if (found)
        fill(registry->entries.items[index], out);
    else
        status = not_found(registry, role, name, error);
    unlock(registry);
    return status;
}
