// SPDX-License-Identifier: Apache-2.0

/// A store for some layers in place of the configuration's, written `LAYERS: METHOD`, as in `0-1,29: q4` or `windowed: bf16`.
public struct LayerStore: Hashable, Sendable, CustomStringConvertible {
    /// Part of a list of layers.
    public enum Layers: Hashable, Sendable, CustomStringConvertible {
        case range(ClosedRange<Int>)
        /// The layers whose attention has a window on the left.
        case windowed
        /// The others.
        case global

        public var description: String {
            switch self {
            case .range(let range): range.count == 1 ? "\(range.lowerBound)" : "\(range.lowerBound)-\(range.upperBound)"
            case .windowed: "windowed"
            case .global: "global"
            }
        }

        func contains(_ index: Int, isWindowed: Bool) -> Bool {
            switch self {
            case .range(let range): range.contains(index)
            case .windowed: isWindowed
            case .global: !isWindowed
            }
        }

        init?(_ text: Substring) {
            switch text {
            case "windowed": self = .windowed
            case "global": self = .global
            default:
                let bounds = text.split(separator: "-", omittingEmptySubsequences: false).map { word -> Int? in
                    word.allSatisfy { $0.isASCII && $0.isNumber } ? Int(word) : nil
                }
                guard (1...2).contains(bounds.count), let first = bounds[0], let last = bounds[bounds.count - 1], first <= last
                else { return nil }
                self = .range(first...last)
            }
        }
    }

    public var layers: [Layers]
    /// `name[:key=value[,key=value...]]`
    public var store: String

    public init(layers: [Layers], store: String) {
        self.layers = layers
        self.store = store
    }

    /// Parses `LAYERS: METHOD`; LAYERS are numbers, ranges, `windowed` and `global`, separated by commas.
    ///
    /// - Throws: `LonghandError` (`.argument`) for another form. Whether the layers exist shows where a cache is made.
    public init(parsing text: String) throws(LonghandError) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let words = parts[0].split(separator: ",", omittingEmptySubsequences: false)
        let layers = words.compactMap { Layers(Self.trimmed($0)) }
        let store = parts.count == 2 ? Self.trimmed(parts[1]) : ""
        guard layers.count == words.count, !store.isEmpty else {
            let shown = text.unicodeScalars.prefix(120).map { $0.isASCII && $0.value >= 32 && $0.value < 127 ? String($0) : "?" }
            throw LonghandError(
                .argument,
                "store of layers \"\(shown.joined())\": must be LAYERS: METHOD, with numbers, ranges, windowed or global, "
                    + "as in \"0-1,29: bf16\"")
        }
        self.init(layers: layers, store: String(store))
    }

    /// The form that is parsed, without spaces in the list.
    public var description: String { layers.map(\.description).joined(separator: ",") + ": " + store }

    private static func trimmed(_ text: Substring) -> Substring {
        func isBlank(_ character: Character) -> Bool { character == " " || character == "\t" }
        let start = text.drop(while: isBlank)
        return start[..<(start.lastIndex { !isBlank($0) }.map(start.index(after:)) ?? start.startIndex)]
    }
}

extension CacheConfiguration {
    /// The stores as written: that of the configuration, and behind it those of some layers.
    public var storeDescription: String {
        layerStores.isEmpty ? store : "\(store) (\(layerStores.map(\.description).joined(separator: "; ")))"
    }

    /// The store of layer `index`, which is or is not windowed.
    ///
    /// - Throws: `LonghandError` (`.argument`) where two are given.
    package func store(ofLayer index: Int, isWindowed: Bool) throws(LonghandError) -> String {
        var found: LayerStore?
        for candidate in layerStores {
            for part in candidate.layers where part.contains(index, isWindowed: isWindowed) {
                if let found {
                    throw LonghandError(.argument, "layer \(index) is named twice: in \"\(found)\" and in \"\(candidate)\"")
                }
                found = candidate
            }
        }
        return found?.store ?? store
    }

    /// The store of every layer.
    ///
    /// - Throws: `LonghandError` (`.argument`) where a layer is not there or has two stores, or none is windowed or global.
    package func stores() throws(LonghandError) -> [String] {
        let isWindowed = layers.map { $0.attention.windowLeft != nil }
        for candidate in layerStores {
            for part in candidate.layers {
                let isThere =
                    switch part {
                    case .range(let range): range.upperBound < layers.count
                    case .windowed: isWindowed.contains(true)
                    case .global: isWindowed.contains(false)
                    }
                guard isThere else {
                    throw LonghandError(
                        .argument,
                        "store of layers \"\(candidate)\": the model has no "
                            + (part == .windowed || part == .global
                                ? "\(part) layers" : "layers \(part); it has \(layers.count), from 0 on"))
                }
            }
        }
        var result: [String] = []
        for index in layers.indices { result.append(try store(ofLayer: index, isWindowed: isWindowed[index])) }
        return result
    }
}
