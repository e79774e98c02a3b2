// SPDX-License-Identifier: Apache-2.0
/// The registry of methods and the loader that discovers plugins.
#ifndef LONGHAND_REGISTRY_H
#define LONGHAND_REGISTRY_H

#include <longhand/roles.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

/// All methods known to a process or a part of it. All functions are thread-safe; entries are never removed.
typedef struct lhk_registry lhk_registry;

/// A registered method and where it came from.
typedef struct lhk_registration {
    uint32_t struct_size;
    uint32_t reserved;
    const lhk_plugin *plugin;
    const lhk_method *method;
    const char *origin;  ///< file path, or "built-in"; lives as long as the registry
} lhk_registration;

/// A candidate file that was not taken, with its reason in one line. Strings live as long as the registry.
typedef struct lhk_rejection {
    uint32_t struct_size;
    uint32_t reserved;
    const char *path;
    const char *reason;
} lhk_rejection;

LHK_API lhk_status lhk_registry_create(lhk_registry *LHK_NULLABLE *LHK_NONNULL out, lhk_error *LHK_NULLABLE error);

/// Frees the registry's own memory. Loaded plugins stay loaded: their code may be in use.
LHK_API void lhk_registry_destroy(lhk_registry *LHK_NULLABLE registry);

/// Registers a linked plugin object. Checks struct sizes, ids, names, roles and required functions before anything is
/// added; all its methods are added or none. A role and name already taken, or another version of a plugin already there,
/// is an error (LHK_ERROR_ARGUMENT); the same plugin id and version registered again is ignored, so that a plugin both
/// linked and found is no clash. `origin` is copied.
LHK_API lhk_status lhk_registry_register(lhk_registry *registry, const lhk_plugin *plugin, const char *origin,
                                         lhk_error *LHK_NULLABLE error);

/// Loads one plugin file. The entry's magic and ABI version are compared before any code of it runs (constructors of the
/// file aside). A failure is also kept as a rejection.
LHK_API lhk_status lhk_registry_load(lhk_registry *registry, const char *path, lhk_error *LHK_NULLABLE error);

/// Discovers plugins: files named `libLonghand*Plugin.so` in, in this order, the folders of `search_path` (separated by
/// ':', may be null), those of LONGHAND_PLUGIN_PATH, the running executable's folder, and the installed plugin folder
/// (`lib/longhand/plugins` beside the executable's `bin`, and the folder configured at build time). Never the current
/// directory: empty and relative entries are rejected with a reason. In each folder files are taken in byte order
/// of their names; the first plugin of an id wins. What does not load is kept as a rejection and is no error; an
/// entry of `search_path` that is not the absolute path of a readable folder is (the others are searched all the same).
LHK_API lhk_status lhk_registry_discover(lhk_registry *registry, const char *LHK_NULLABLE search_path,
                                         lhk_error *LHK_NULLABLE error);

LHK_API uint32_t lhk_registry_count(const lhk_registry *registry);
/// Registration `index` in the order of role, then name. LHK_ERROR_NOT_FOUND past the end.
LHK_API lhk_status lhk_registry_get(const lhk_registry *registry, uint32_t index, lhk_registration *out);
LHK_API uint32_t lhk_registry_rejection_count(const lhk_registry *registry);
LHK_API lhk_status lhk_registry_get_rejection(const lhk_registry *registry, uint32_t index, lhk_rejection *out);

/// Finds a method by role and name. LHK_ERROR_NOT_FOUND names what is there instead, and says so if none was discovered.
LHK_API lhk_status lhk_registry_find(const lhk_registry *registry, const char *role, const char *name,
                                     lhk_registration *out, lhk_error *LHK_NULLABLE error);

/// Chooses the variant of `method` for `problem`: among those whose required ISA, element types and head dimensions fit
/// and that support it, the one of least estimated time within the lowest exactness class present. When none fits, the
/// error is LHK_ERROR_UNSUPPORTED (LHK_ERROR_ARGUMENT for an impossible problem or option) with the reason of the variant
/// that came closest.
LHK_API lhk_status lhk_method_resolve(const lhk_method *method, const lhk_problem *problem, const lhk_host *host,
                                      const lhk_variant *LHK_NULLABLE *LHK_NONNULL out, lhk_error *LHK_NULLABLE error);

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
