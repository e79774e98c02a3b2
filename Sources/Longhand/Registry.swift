// SPDX-License-Identifier: Apache-2.0
import CLonghand

/// The methods known to this process or a part of it. Thread-safe; methods are added, never removed.
public final class Registry: Sendable {
    /// The C object, which has its own lock; alive as long as this registry.
    nonisolated(unsafe) public let raw: OpaquePointer

    /// An empty registry.
    public init() throws(LonghandError) {
        var handle: OpaquePointer?
        try check { lhk_registry_create(&handle, $0) }
        raw = handle!
    }

    deinit { lhk_registry_destroy(raw) }

    /// Looks for plugin files `libLonghand*Plugin.so` in the folders of `searchPath`, those of LONGHAND_PLUGIN_PATH, the
    /// executable's folder and the installed plugin folder, in this order. Files that do not load become rejections.
    ///
    /// - Parameter searchPath: absolute paths of folders.
    /// - Throws: `LonghandError` for an entry of `searchPath` that is not the absolute path of a readable folder; all
    ///   other folders are searched first.
    public func discover(searchPath: [String] = []) throws(LonghandError) {
        if let entry = searchPath.first(where: { $0.isEmpty || $0.contains(":") }) {
            throw LonghandError(.argument, "plugin folder '\(entry)': an empty path or one with ':' cannot be searched")
        }
        try check { lhk_registry_discover(raw, searchPath.joined(separator: ":"), $0) }
    }

    /// Loads one plugin file. A failure is also kept as a rejection.
    public func load(path: String) throws(LonghandError) {
        try check { lhk_registry_load(raw, path, $0) }
    }

    /// Registers a linked plugin object, which must outlive the process' use of it (it is a constant, usually).
    public func register(plugin: UnsafePointer<lhk_plugin>, origin: String = "built-in") throws(LonghandError) {
        try check { lhk_registry_register(raw, plugin, origin, $0) }
    }

    /// All methods in the order of role, then name.
    public var methods: [MethodInfo] {
        var result: [MethodInfo] = []
        while let registration = filled({ lhk_registry_get(raw, UInt32(result.count), $0) }),
            let method = MethodInfo(registration)
        {
            result.append(method)
        }
        return result
    }

    /// All rejected files in the order they were met.
    public var rejections: [Rejection] {
        var result: [Rejection] = []
        while let rejection = filled({ lhk_registry_get_rejection(raw, UInt32(result.count), $0) }) {
            result.append(Rejection(path: String(cString: rejection.path), reason: String(cString: rejection.reason)))
        }
        return result
    }
}
