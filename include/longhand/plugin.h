// SPDX-License-Identifier: Apache-2.0
/// The plugin ABI: one exported const object that leads to methods and their variants.
///
/// A plugin is a shared library named `libLonghand<Name>Plugin.so` whose only exported symbol is `lhk_plugin_entry`.
/// It is data, so that versions are compared before any code of the plugin runs. There is no init or deinit, and plugins
/// are never unloaded. The same `lhk_plugin` object can be linked statically and passed to `lhk_registry_register`.
///
/// A *method* plays one role under one name (`flash` is an attention). Its *variants* are implementations for
/// instruction sets and element types; the registry takes the supported one of lowest cost.
#ifndef LONGHAND_PLUGIN_H
#define LONGHAND_PLUGIN_H

#include <longhand/host.h>
#include <longhand/problem.h>

LHK_BEGIN_DECLS
LHK_ASSUME_NONNULL_BEGIN

#define LHK_ENTRY_MAGIC 0x4B484C31u  ///< "1LHK"
#define LHK_ENTRY_SYMBOL "lhk_plugin_entry"

#define LHK_ROLE_STORE "longhand.store/1"
#define LHK_ROLE_SELECTOR "longhand.selector/1"
#define LHK_ROLE_ATTENTION "longhand.attention/1"
#define LHK_ROLE_POSITION "longhand.position/1"

/// How far results may lie from exact attention. Cost chooses among variants of one class only.
#define LHK_EXACT 0u      ///< rounding only
#define LHK_BOUNDED 1u    ///< a stated error bound
#define LHK_HEURISTIC 2u  ///< an approximation judged by evaluation

/// The bytes of an instance: exactly `lhk_sizes.state_bytes`, zero-filled, then initialised by `create`.
/// States hold no pointers into themselves, so they can be copied and mapped elsewhere.
typedef struct lhk_instance lhk_instance;

/// One implementation of a method.
typedef struct lhk_variant {
    uint32_t struct_size;
    uint32_t exactness;     ///< LHK_EXACT, ...
    lhk_isa isa_required;   ///< every bit must be offered by the host
    uint64_t query_dtypes;  ///< LHK_DTYPE_BIT masks; 0: does not look at them
    uint64_t kv_dtypes;  ///< of the panels read; for a store, the type it rounds to (a statement, no condition)
    uint64_t output_dtypes;
    uint32_t head_dim_min, head_dim_max, head_dim_multiple;  ///< of head_dim_k and head_dim_v; 0: no such limit
    uint32_t reserved;
    const char *id;  ///< `longhand.<method>.<dtypes>.<isa>/<revision>`; the revision changes when results may
    const char *summary;
    const struct lhk_life_ops *life;
    const void *ops;               ///< the role's table: lhk_store_ops, lhk_selector_ops, ...
    const void *LHK_NULLABLE data;  ///< for the plugin's own use
} lhk_variant;

/// The life cycle that all roles share. All functions are baseline code: they run on any CPU of the architecture.
typedef struct lhk_life_ops {
    uint32_t struct_size;
    uint32_t reserved;
    /// Decides whether this variant can do `problem` on a host with `isa`; otherwise LHK_ERROR_UNSUPPORTED (or
    /// _ARGUMENT for an impossible problem or option) and the reason in words. [thread-safe]
    lhk_status (*supports)(const lhk_variant *self, const lhk_problem *problem, lhk_isa isa,
                           lhk_error *LHK_NULLABLE error);
    /// Estimates time and traffic of one full-size call. Only for supported problems. [thread-safe]
    lhk_status (*cost)(const lhk_variant *self, const lhk_problem *problem, lhk_cost *out);
    /// Exact bytes of state and workspace for `workers` workers. [thread-safe]
    lhk_status (*sizes)(const lhk_variant *self, const lhk_problem *problem, uint32_t workers, lhk_sizes *out,
                        lhk_error *LHK_NULLABLE error);
    /// Initialises zero-filled `state` of `bytes` bytes. The state keeps no pointer to anything passed here but `self`
    /// and what `self` leads to. [exclusive per instance]
    lhk_status (*create)(const lhk_variant *self, const lhk_problem *problem, lhk_instance *state, uint64_t bytes,
                         lhk_error *LHK_NULLABLE error);
    /// Ends the instance; the caller then frees the state. Null: nothing to do. [exclusive per instance]
    void (*LHK_NULLABLE destroy)(lhk_instance *state);
    /// Forgets all tokens from `tokens` on. LHK_ERROR_ARGUMENT when that is more than it has. Null for methods that
    /// keep nothing per token (so are the next four). [exclusive per instance]
    lhk_status (*LHK_NULLABLE truncate)(lhk_instance *state, int64_t tokens, lhk_error *LHK_NULLABLE error);
    /// Makes `destination`, a fresh instance of the same variant and problem, equal to `source` by copying what is in
    /// use only. [shared on source, exclusive on destination]
    lhk_status (*LHK_NULLABLE fork)(const lhk_instance *source, lhk_instance *destination,
                                    lhk_error *LHK_NULLABLE error);
    /// Bytes that `save` writes for the tokens now held. [shared]
    uint64_t (*LHK_NULLABLE save_size)(const lhk_instance *state);
    /// Writes exactly `save_size` bytes, the same on every CPU of the same byte order. [shared]
    void (*LHK_NULLABLE save)(const lhk_instance *state, uint8_t *out);
    /// Replaces the content of a fresh instance by saved bytes. Validates everything before it writes; on failure the
    /// instance is unchanged. [exclusive per instance]
    lhk_status (*LHK_NULLABLE load)(lhk_instance *state, const uint8_t *bytes, uint64_t count,
                                    lhk_error *LHK_NULLABLE error);
} lhk_life_ops;

/// A named method of one role.
typedef struct lhk_method {
    uint32_t struct_size;
    uint32_t variant_count;  ///< at least 1
    const char *role;        ///< LHK_ROLE_*
    const char *name;        ///< what the command line and configurations say, e.g. `flash`
    const char *version;     ///< semantic version of the method
    const char *summary;     ///< one line: what it does, its options, its source
    const lhk_variant *const LHK_NONNULL *LHK_NONNULL variants;
    /// How to check the method, see `longhand/reference.h`. Null: by what its role promises alone.
    const struct lhk_reference *LHK_NULLABLE reference;
} lhk_method;

/// A plugin: what one file, or one linked family, offers.
typedef struct lhk_plugin {
    uint32_t struct_size;
    uint32_t method_count;
    const char *id;       ///< reverse-domain or dotted name, e.g. `longhand.flash-attention`
    const char *version;  ///< semantic version
    const lhk_method *const LHK_NONNULL *LHK_NONNULL methods;
} lhk_plugin;

/// The exported object.
typedef struct lhk_entry {
    uint32_t magic;        ///< LHK_ENTRY_MAGIC
    uint32_t abi_major;    ///< LHK_ABI_MAJOR of the headers the plugin was built with
    uint32_t abi_minor;    ///< LHK_ABI_MINOR
    uint32_t struct_size;  ///< sizeof(lhk_entry)
    const lhk_plugin *plugin;
} lhk_entry;

/// Defines the entry of a plugin from its `lhk_plugin` object; the whole of an `entry.c`.
#define LHK_DEFINE_PLUGIN_ENTRY(plugin_object)                                                        \
    extern LHK_EXPORT const lhk_entry lhk_plugin_entry;                                               \
    const lhk_entry lhk_plugin_entry = {LHK_ENTRY_MAGIC, LHK_ABI_MAJOR, LHK_ABI_MINOR, sizeof(lhk_entry), \
                                        &(plugin_object)}

LHK_ASSUME_NONNULL_END
LHK_END_DECLS
#endif
