// SPDX-License-Identifier: Apache-2.0
import Foundation
import Longhand

/// The attention mass that one configuration's selector for decoding catches in one query head.
public struct RecallHead: Codable, Sendable, Hashable {
    public let configuration: String
    public let layer, head: Int
    /// Mean over the rows of exp(lse of the chosen keys − lse of all keys).
    public let recall: Double
}

/// Replays the rows of a trace: keys are appended one by one, and from a position on the query of each token attends with the
/// configuration's selector for decoding and with all keys of the same store. Layers with a window are left out. Meant for
/// selections without a remainder, whose estimate would count as caught.
public final class RecallMeter {
    private let trace: TraceFile
    private let registry: Registry
    private let host: KernelHost
    private let configurations: [EvaluationConfiguration]
    private let from: Int
    private let layers: [TraceLayer]

    /// Steps that `run` takes.
    public var stepCount: Int { layers.count * configurations.count }

    /// Throws `ModelError` where nothing would be measured.
    public init(
        trace: TraceFile, registry: Registry, host: KernelHost, configurations: [EvaluationConfiguration], from: Int
    ) throws {
        try EvaluationConfiguration.checkNames(configurations)
        guard (1..<trace.tokens).contains(from) else {
            throw ModelError("decoding cannot begin at token \(from): the trace has \(trace.tokens) tokens")
        }
        layers = trace.layers.filter { $0.windowLeft == nil }
        guard !layers.isEmpty else { throw ModelError("\(trace.file.path): all layers have a window") }
        (self.trace, self.registry, self.host, self.configurations, self.from) = (trace, registry, host, configurations, from)
    }

    /// - Parameter progress: called with the number of steps done; throw from it to stop.
    public func run(progress: (Int) throws -> Void = { _ in }) throws -> [RecallHead] {
        var result: [RecallHead] = []
        for layer in layers {
            let rows = try [TracePart.keysAfter, .values, .queriesAfter].map { try byToken(layer, $0) }
            for configuration in configurations {
                let recall = try measure(layer, configuration.methods, keys: rows[0], values: rows[1], queries: rows[2])
                result += recall.enumerated().map {
                    RecallHead(configuration: configuration.name, layer: layer.layer, head: $0.offset, recall: $0.element)
                }
                try progress(result.count / layer.queryHeads)
            }
        }
        return result
    }

    /// Rows of all heads as [tokens][heads][dim].
    private func byToken(_ layer: TraceLayer, _ part: TracePart) throws -> [Float] {
        let (heads, dim) = layer.heads(part)
        var result = [Float](repeating: 0, count: trace.tokens * heads * dim)
        for head in 0..<heads {
            let rows = try trace.rows(layer: layer.layer, part, head: head)
            for token in 0..<trace.tokens {
                let at = (token * heads + head) * dim
                result.replaceSubrange(at..<at + dim, with: rows[token * dim..<(token + 1) * dim])
            }
        }
        return result
    }

    private func cache(_ layer: TraceLayer, _ methods: CacheConfiguration, _ decode: String) throws -> Cache {
        var configuration = methods
        // A selector may ask for the number of its layer; those before it stay empty.
        configuration.layers = Array(repeating: layer.cacheLayer, count: layer.layer + 1)
        (configuration.capacity, configuration.maxRows, configuration.position) = (trace.tokens, from, "none")
        (configuration.prefill, configuration.decode) = ("all", decode)
        configuration.store = try methods.store(ofLayer: layer.layer, isWindowed: layer.windowLeft != nil)
        configuration.layerStores = []
        return try Cache(configuration, registry: registry, host: host)
    }

    private func measure(
        _ layer: TraceLayer, _ methods: CacheConfiguration, keys: [Float], values: [Float], queries: [Float]
    ) throws -> [Double] {
        let caches = [try cache(layer, methods, methods.decode), try cache(layer, methods, "all")], heads = layer.queryHeads
        let widthK = layer.kvHeads * layer.headDimK, widthV = layer.kvHeads * layer.headDimV, widthQ = heads * layer.headDimK
        var out = [Float](repeating: 0, count: heads * layer.headDimV), sum = [Double](repeating: 0, count: heads)
        var lse = [[Float]](repeating: [Float](repeating: 0, count: heads), count: 2)
        func append(_ cache: Cache, _ tokens: Range<Int>) throws {
            try keys.withUnsafeBufferPointer { keys in
                try values.withUnsafeBufferPointer { values in
                    try cache.append(
                        layer: layer.layer, keys: keys.baseAddress! + tokens.lowerBound * widthK,
                        values: values.baseAddress! + tokens.lowerBound * widthV, rows: tokens.count)
                }
            }
        }
        for cache in caches { try append(cache, 0..<from) }
        for token in from..<trace.tokens {
            for (index, cache) in caches.enumerated() {
                try append(cache, token..<token + 1)
                try queries.withUnsafeBufferPointer {
                    try cache.attend(
                        layer: layer.layer, queries: $0.baseAddress! + token * widthQ, out: &out, lse: &lse[index], rows: 1)
                }
            }
            for head in 0..<heads { sum[head] += exp(Double(lse[0][head] - lse[1][head])) }
        }
        return sum.map { $0 / Double(trace.tokens - from) }
    }
}
