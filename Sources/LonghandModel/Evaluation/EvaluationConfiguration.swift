// SPDX-License-Identifier: Apache-2.0
import Longhand

/// A named choice of methods to be compared with dense attention.
public struct EvaluationConfiguration: Sendable, Hashable {
    public var name: String
    /// Layers, capacity and rows are filled in when a session is made.
    public var methods: CacheConfiguration

    public init(name: String, methods: CacheConfiguration = .init(layers: [], capacity: 0)) {
        self.name = name
        self.methods = methods
    }

    /// What the others are compared with: everything attended, exactly, over an f32 store.
    public static let dense: EvaluationConfiguration = {
        var result = EvaluationConfiguration(name: "dense")
        result.methods.store = "f32"
        return result
    }()

    private static let slots: [(key: String, path: WritableKeyPath<CacheConfiguration, String> & Sendable)] = [
        ("store", \.store), ("prefill", \.prefill), ("decode", \.decode), ("attention", \.attention),
        ("position", \.position),
    ]

    /// The key of another store for some layers, which may be given several times.
    private static let layersKey = "store-layers"

    /// Parses `NAME: store=... store-layers=LAYERS:... prefill=... decode=... attention=... position=...`. What is not given
    /// stays as `longhand run` has it: bf16, all, all, flash, rope. Throws `ModelError` where the text is malformed.
    public init(parsing text: String) throws {
        func failure(_ reason: String) -> ModelError { ModelError("configuration \"\(text.printable(limit: 200))\": \(reason)") }
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let name = parts[0].split(whereSeparator: \.isWhitespace).joined(separator: " ")
        guard parts.count == 2, !name.isEmpty, !name.contains("=") else {
            throw failure("it must begin with a name, as in \"NAME: store=bf16 decode=window:size=1024\"")
        }
        guard name.count <= 60, name.printable() == name else {
            throw failure("its name is longer than 60 characters or not printable")
        }
        self.init(name: name)
        var given: Set<String> = []
        for word in parts[1].split(whereSeparator: \.isWhitespace) {
            let pair = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if pair.count == 2, pair[0] == Self.layersKey {
                do { methods.layerStores.append(try LayerStore(parsing: String(pair[1]))) } catch { throw failure("\(error)") }
                continue
            }
            guard pair.count == 2, let slot = Self.slots.first(where: { $0.key == pair[0] }), !pair[1].isEmpty else {
                let known = (Self.slots.map(\.key) + [Self.layersKey]).joined(separator: ", ")
                throw failure("\"\(String(word).printable())\" is not KEY=METHOD with one of the keys \(known)")
            }
            guard given.insert(slot.key).inserted else { throw failure("\(slot.key) is given twice") }
            methods[keyPath: slot.path] = String(pair[1])
        }
    }

    /// A session of these methods; failures name the configuration.
    func session(_ model: Model, _ registry: Registry, context: Int, chunk: Int) throws -> Session {
        do {
            return try Session(model: model, registry: registry, context: context, methods: methods, chunk: chunk)
        } catch { throw ModelError("configuration \"\(name)\": \(error)") }
    }

    /// Throws `ModelError` where two of `configurations` have one name, or one is called like the baseline.
    static func checkNames(_ configurations: [EvaluationConfiguration]) throws {
        var names: Set<String> = [dense.name]
        for configuration in configurations where !names.insert(configuration.name).inserted {
            throw ModelError(
                configuration.name == dense.name
                    ? "the name \"dense\" is taken by the baseline" : "two configurations are called \"\(configuration.name)\"")
        }
    }
}
