// SPDX-License-Identifier: Apache-2.0
import Longhand

/// How thresholds of `sale` are found.
public struct SaleCalibrationOptions: Sendable {
    /// The error of a head may reach this share of its output: mean over tokens of the L1 norms of the difference and of the
    /// dense output.
    public var relativeBound = 0.04
    /// Where a head begins. The paper's 0.008 is for a method without a remainder.
    public var firstLevel: Float = 0.032
    /// Width of the codes, as in `sale:bits=8`.
    public var bits = 8
    /// Store that both outputs are computed over.
    public var store = "bf16"
    /// Query rows of one call.
    public var rows = 512
    /// Only so many tokens of a trace; nil: all.
    public var tokens: Int?

    public init() {}
}

/// What was found for one query head.
public struct SaleHead: Sendable, Hashable, Encodable {
    public let layer, head: Int
    /// One of the levels, or 0: dense.
    public var tau: Float
    /// Pairs attended of those visible, and the error over the bound's reference, both at `tau`: means over the traces.
    public var kept, error: Double
}

/// Finds a threshold per layer and query head, as SALE does (arXiv 2505.24179, section 3.3): from the first level down by halves,
/// until the error of the head's output over a trace is within the bound; at 1e-4 and below the head is dense. Exact inputs of every layer come
/// from the trace, which is recorded with dense attention. Layers with a window are left out: there `sale` is dense.
public final class SaleCalibrator {
    public static let leastLevel: Float = 1e-4

    public let heads: Int
    private let traces: [TraceFile]
    private let layers: [TraceLayer]
    private let registry: Registry
    private let host: KernelHost
    private let options: SaleCalibrationOptions

    /// Throws `ModelError` where the traces are of different layers, or none of them is without a window.
    public init(traces: [TraceFile], registry: Registry, host: KernelHost, options: SaleCalibrationOptions) throws {
        guard let first = traces.first else { throw ModelError("there is no trace to calibrate with") }
        guard traces.allSatisfy({ $0.layers == first.layers }) else {
            throw ModelError("the traces \(traces.map(\.file.path).joined(separator: ", ")) are of different layers")
        }
        layers = first.layers.filter { $0.windowLeft == nil }
        guard !layers.isEmpty else { throw ModelError("\(first.file.path): all layers have a window, where sale is dense") }
        heads = layers.reduce(0) { $0 + $1.queryHeads }
        (self.traces, self.registry, self.host, self.options) = (traces, registry, host, options)
    }

    /// - Parameter progress: called with the number of heads done; throw from it to stop.
    public func run(progress: (Int) throws -> Void = { _ in }) throws -> [SaleHead] {
        var result: [SaleHead] = []
        for layer in layers {
            for head in 0..<layer.queryHeads {
                result.append(try calibrate(layer, head))
                try progress(result.count)
            }
        }
        return result
    }

    private func calibrate(_ layer: TraceLayer, _ head: Int) throws -> SaleHead {
        var tau = options.firstLevel, kept = 0.0, error = 0.0
        for trace in traces {
            let operands = try Operands(trace, layer, head, options.tokens)
            let dense = try attend(operands, layer, "all")
            let norm = dense.out.reduce(0.0) { $0 + Double(abs($1)) }
            while true {
                let method = "sale:bits=\(options.bits),tau=\(tau)"
                let (out, share) = tau == 0 ? (dense.out, 1) : try attend(operands, layer, method)
                let difference = zip(out, dense.out).reduce(0.0) { $0 + Double(abs($1.0 - $1.1)) }
                if tau == 0 || difference < options.relativeBound * norm {
                    kept += share
                    error += norm > 0 ? difference / norm : 0
                    break
                }
                tau = tau / 2 <= Self.leastLevel ? 0 : tau / 2
            }
        }
        let count = Double(traces.count)
        return SaleHead(layer: layer.layer, head: head, tau: tau, kept: kept / count, error: error / count)
    }

    /// One head's rows of a trace.
    private struct Operands {
        let queries, keys, values: [Float]
        let rows: Int

        init(_ trace: TraceFile, _ layer: TraceLayer, _ head: Int, _ limit: Int?) throws {
            rows = min(trace.tokens, limit ?? trace.tokens)
            let kvHead = head / (layer.queryHeads / layer.kvHeads)
            queries = try trace.rows(layer: layer.layer, .queriesAfter, head: head, 0..<rows)
            keys = try trace.rows(layer: layer.layer, .keysAfter, head: kvHead, 0..<rows)
            values = try trace.rows(layer: layer.layer, .values, head: kvHead, 0..<rows)
        }
    }

    /// The head's output, as prefill computes it in calls of `options.rows`, and the share of pairs attended.
    private func attend(_ x: Operands, _ layer: TraceLayer, _ selector: String) throws -> (out: [Float], kept: Double) {
        var shape = layer.cacheLayer
        (shape.queryHeads, shape.kvHeads) = (1, 1)
        var configuration = CacheConfiguration(layers: [shape], capacity: x.rows)
        (configuration.store, configuration.prefill, configuration.position) = (options.store, selector, "none")
        configuration.maxRows = min(options.rows, x.rows)
        let cache = try Cache(configuration, registry: registry, host: host), dimK = layer.headDimK, dimV = layer.headDimV
        let out = try [Float](unsafeUninitializedCapacity: x.rows * dimV) { buffer, count in
            for first in stride(from: 0, to: x.rows, by: options.rows) {
                let rows = min(options.rows, x.rows - first)
                try x.keys.withUnsafeBufferPointer { keys in
                    try x.values.withUnsafeBufferPointer { values in
                        try cache.append(
                            layer: 0, keys: keys.baseAddress! + first * dimK, values: values.baseAddress! + first * dimV, rows: rows)
                    }
                }
                try x.queries.withUnsafeBufferPointer {
                    try cache.attend(
                        layer: 0, queries: $0.baseAddress! + first * dimK, out: buffer.baseAddress! + first * dimV, rows: rows)
                }
            }
            count = x.rows * dimV
        }
        let pairs = cache.statistics.prefill
        return (out, pairs.pairsVisible == 0 ? 1 : Double(pairs.pairsAttended) / Double(pairs.pairsVisible))
    }
}
