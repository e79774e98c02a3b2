// SPDX-License-Identifier: Apache-2.0
// Discovery of plugin files. Search order and rules: see lhk_registry_discover.
#define _GNU_SOURCE
#include <dirent.h>
#include <lhk/support.h>
#include <limits.h>
#include <unistd.h>

#include "plugin_file.h"
#include "registry_internal.h"

/// Folder of installed plugins, set by the build that installs them, e.g. -DLHK_PLUGIN_DIR='"/usr/lib/longhand/plugins"'.
#if !defined(LHK_PLUGIN_DIR)
#define LHK_PLUGIN_DIR ""
#endif

#define NAME_PREFIX "libLonghand"
#define NAME_SUFFIX "Plugin.so"

/// What a folder that cannot be read means.
typedef enum folder_kind {
    folder_requested,  ///< named by the caller: an error, and a rejection
    folder_configured,  ///< named by the environment: a rejection
    folder_usual,      ///< part of the usual search: nothing when it does not exist, else a rejection
} folder_kind;

/// Loads the file at the absolute `path`; keeps a failure as a rejection.
static lhk_status load_file(lhk_registry *registry, const char *path, lhk_error *error) {
    lhk_error inner = {.struct_size = sizeof inner};
    const lhk_plugin *plugin = NULL;
    lhk_status status = lhk_plugin_file_open(path, &plugin, &inner);
    if (!status) status = lhk_registry_register(registry, plugin, path, &inner);
    if (!status) return LHK_OK;
    lhk_registry_reject(registry, path, inner.text);
    return lhk_fail(error, status, -1, "%.300s: %s", path, inner.text);
}

lhk_status lhk_registry_load(lhk_registry *registry, const char *path, lhk_error *error) {
    // A bare name given to dlopen would be searched in the system's library folders.
    char *absolute = realpath(path, NULL);
    if (!absolute) {
        int reason = errno;
        lhk_registry_reject(registry, path, strerror(reason));
        return lhk_fail(error, reason == ENOENT ? LHK_ERROR_NOT_FOUND : LHK_ERROR_IO, 1, "%.300s: %s", path,
                        strerror(reason));
    }
    lhk_status status = load_file(registry, absolute, error);
    free(absolute);
    return status;
}

static int is_plugin_name(const struct dirent *entry) {
    size_t length = strlen(entry->d_name), prefix = strlen(NAME_PREFIX), suffix = strlen(NAME_SUFFIX);
    return length >= prefix + suffix && !strncmp(entry->d_name, NAME_PREFIX, prefix) &&
           !strcmp(entry->d_name + length - suffix, NAME_SUFFIX);
}

/// Byte order, whatever the locale.
static int compare_names(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static lhk_status reject_folder(lhk_registry *registry, const char *path, const char *reason, folder_kind kind,
                                lhk_error *error) {
    lhk_registry_reject(registry, path, reason);
    if (kind != folder_requested) return LHK_OK;
    return lhk_fail(error, LHK_ERROR_IO, 1, "plugin folder '%.300s': %s", path, reason);
}

static lhk_status search_folder(lhk_registry *registry, const char *path, folder_kind kind, lhk_error *error) {
    if (path[0] != '/')
        return reject_folder(registry, path, path[0] ? "not an absolute path" : "an empty entry", kind, error);
    struct dirent **names;
    int count = scandir(path, &names, is_plugin_name, compare_names);
    if (count < 0) {
        if (kind == folder_usual && (errno == ENOENT || errno == ENOTDIR)) return LHK_OK;
        return reject_folder(registry, path, strerror(errno), kind, error);
    }
    for (int i = 0; i < count; i++) {
        char *file;
        if (asprintf(&file, "%s%s%s", path, path[strlen(path) - 1] == '/' ? "" : "/", names[i]->d_name) >= 0) {
            load_file(registry, file, NULL);  // kept as a rejection when it fails
            free(file);
        }
        free(names[i]);
    }
    free(names);
    return LHK_OK;
}

/// Searches the folders of a list separated by ':'; all of them even if one is an error. Gives the first error.
static lhk_status search_list(lhk_registry *registry, const char *list, folder_kind kind, lhk_error *error) {
    lhk_status first = LHK_OK;
    for (const char *at = list;; at++) {
        size_t length = strcspn(at, ":");
        char *path = strndup(at, length);
        if (!path) return lhk_fail(error, LHK_ERROR_MEMORY, -1, "no memory to search for plugins");
        lhk_status status = search_folder(registry, path, kind, first ? NULL : error);
        if (!first) first = status;
        free(path);
        at += length;
        if (!*at) return first;
    }
}

/// Cuts the last component of an absolute path; false at the root.
static bool cut_last_component(char *path) {
    char *slash = strrchr(path, '/');
    if (!slash || slash == path) return false;
    *slash = 0;
    return true;
}

/// The running executable's folder, and the installed folder beside the folder that it is in.
static void search_beside_executable(lhk_registry *registry) {
    char path[PATH_MAX + sizeof "/lib/longhand/plugins"];
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX);
    if (length <= 0 || length >= PATH_MAX) return;
    path[length] = 0;
    if (!cut_last_component(path)) return;
    search_folder(registry, path, folder_usual, NULL);
    if (!cut_last_component(path)) path[0] = 0;
    strcat(path, "/lib/longhand/plugins");
    search_folder(registry, path, folder_usual, NULL);
}

lhk_status lhk_registry_discover(lhk_registry *registry, const char *search_path, lhk_error *error) {
    lhk_registry_mark_discovered(registry);
    lhk_status status = LHK_OK;
    if (search_path && search_path[0]) status = search_list(registry, search_path, folder_requested, error);
    // Not from the environment of a privileged program.
    const char *configured = secure_getenv("LONGHAND_PLUGIN_PATH");
    if (configured && configured[0]) search_list(registry, configured, folder_configured, NULL);
    search_beside_executable(registry);
    if (LHK_PLUGIN_DIR[0]) search_folder(registry, LHK_PLUGIN_DIR, folder_usual, NULL);
    return status;
}
