// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import Longhand

/// Options of every command that uses plugins.
struct PluginOptions: ParsableArguments {
    @Option(
        name: .customLong("plugin-path"),
        help: .init("Folder to search for plugins before all others; may be given several times.", valueName: "folder"))
    var pluginPath: [String] = []

    func validate() throws {
        // An empty path would be taken for the current folder.
        if pluginPath.contains("") { throw ValidationError("--plugin-path: the path is empty") }
    }

    private var requested: [String] { pluginPath.map { URL(fileURLWithPath: $0).path } }

    /// A registry of everything that is found.
    ///
    /// - Parameter requireAny: whether finding nothing is an error.
    func discover(requireAny: Bool = false) throws -> Registry {
        let registry = try Registry()
        try registry.discover(searchPath: requested)
        if requireAny && registry.methods.isEmpty {
            throw Failure(
                "no plugins were found, and a run needs a store, selectors, an attention and a position method from them "
                    + "(looked for libLonghand*Plugin.so in \(searched.joined(separator: ", "))\(Self.hint(registry)))")
        }
        return registry
    }

    /// The folders that are searched, in order.
    var searched: [String] {
        let configured = ProcessInfo.processInfo.environment["LONGHAND_PLUGIN_PATH"] ?? ""
        var folders = requested + configured.split(separator: ":").map(String.init)
        if let folder = Executable.folder {
            folders.append(folder)
            folders.append(URL(fileURLWithPath: folder).deletingLastPathComponent().path + "/lib/longhand/plugins")
        }
        return folders
    }

    /// Runs `body`; when it finds a method missing, says whether files were rejected that could hold it.
    func explainingRejections<T>(in registry: Registry, _ body: () throws -> T) throws -> T {
        do {
            return try body()
        } catch let error as LonghandError where error.status == .notFound {
            throw LonghandError(error.status, error.message + Self.hint(registry))
        }
    }

    private static func hint(_ registry: Registry) -> String {
        let count = registry.rejections.count
        guard count > 0 else { return "" }
        return "; \(count) plugin \(count == 1 ? "file was" : "files were") rejected, see 'longhand plugins --rejected'"
    }
}

struct PluginsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plugins", abstract: "List the methods that were discovered.",
        discussion: """
            Each method has a role (store, selector, attention, position), a name by which other \
            commands ask for it, the file it came from, and variants for instruction sets. '*' \
            marks the variant that this machine would run for SmolLM2's attention at 8K tokens; \
            '-' one that the CPU or LONGHAND_ISA rules out.

            Folders are searched in this order: --plugin-path, LONGHAND_PLUGIN_PATH, the folder \
            of the executable, the installed plugin folder. --rejected shows the files that were \
            not taken, and why.
            """)

    @Flag(help: "Print JSON.") var json = false
    @Flag(help: "Show the candidate files that were rejected, with reasons.") var rejected = false
    @OptionGroup var plugins: PluginOptions

    func run() throws {
        let registry = try plugins.discover()
        let host = try KernelHost.openMP()
        let listing = PluginListing(registry, host: host, searched: plugins.searched, rejected: rejected)
        Console.out(json ? try listing.json() : listing.text())
    }
}

/// What `longhand plugins` prints.
struct PluginListing: Encodable {
    struct Variant: Encodable {
        let id, isa, headDimensions, exactness: String
        let queryTypes, kvTypes, outputTypes: [String]
        let available, chosen: Bool
    }
    struct Method: Encodable {
        let role, name, version, summary, origin, plugin: String
        let variants: [Variant]
    }
    struct Rejected: Encodable { let path, reason: String }
    let isa: [String]
    let searched: [String]
    let methods: [Method]
    let rejected: [Rejected]?

    init(_ registry: Registry, host: KernelHost, searched: [String], rejected: Bool) {
        self.searched = searched
        isa = host.isa.names
        methods = registry.methods.map { method in
            let chosen = Self.chosen(method, registry, host)
            return Method(
                role: method.role.rawValue, name: method.name, version: method.version, summary: method.summary,
                origin: method.origin, plugin: "\(method.pluginID) \(method.pluginVersion)",
                variants: method.variants.map { Self.describe($0, host, chosen) })
        }
        self.rejected = rejected ? registry.rejections.map { Rejected(path: $0.path, reason: $0.reason) } : nil
    }

    /// Ids of the variants that would run, one per element type of the store.
    private static func chosen(_ method: MethodInfo, _ registry: Registry, _ host: KernelHost) -> Set<String> {
        var ids: Set<String> = []
        for type in [ElementType.f32, .bf16, .f16, nil] {
            var shape = ProblemShape()
            shape.kvType = type
            if let id = try? registry.resolve(method, for: shape, host: host) { ids.insert(id) }
        }
        return ids
    }

    private static func describe(_ variant: VariantInfo, _ host: KernelHost, _ chosen: Set<String>) -> Variant {
        func names(_ types: [ElementType]?) -> [String] { types?.map { "\($0)" } ?? [] }
        return Variant(
            id: variant.id, isa: variant.isaName, headDimensions: "\(variant.headDimensions)",
            exactness: variant.exactness.map { "\($0)" } ?? "unknown", queryTypes: names(variant.queryTypes),
            kvTypes: names(variant.kvTypes), outputTypes: names(variant.outputTypes),
            available: variant.isAvailable(on: host), chosen: chosen.contains(variant.id))
    }

    func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(self), as: UTF8.self) + "\n"
    }

    func text() -> String {
        var text = "instruction sets: \(isa.joined(separator: " "))\n"
        for method in methods {
            text += "\n\(method.role) \(method.name) \(method.version)  [\(method.plugin), \(method.origin)]\n"
            text += "  \(method.summary)\n"
            for v in method.variants {
                let mark = v.chosen ? "*" : v.available ? " " : "-"
                let types = v.kvTypes.isEmpty ? "" : ", kv \(v.kvTypes.joined(separator: " "))"
                text += "  \(mark) \(v.id)  \(v.isa), head dimensions \(v.headDimensions)\(types), \(v.exactness)\n"
            }
        }
        if methods.isEmpty { text += "\nno plugins were found; looked in\n" + searched.map { "  \($0)\n" }.joined() }
        for r in rejected ?? [] { text += "\nrejected \(r.path): \(r.reason)" }
        return rejected.map { $0.isEmpty ? text + "\nno candidates were rejected\n" : text + "\n" } ?? text
    }
}
