// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import Testing

/// A cache of test doubles with two layers of different shapes.
func makeCache(
    _ registry: Registry? = nil, change: (inout CacheConfiguration) -> Void = { _ in }, log: KernelHost.Log? = nil
) throws -> Cache {
    var second = CacheLayer(queryHeads: 2, kvHeads: 1, headDimK: 5, headDimV: 3)
    second.attention.scale = 0.5
    var configuration = CacheConfiguration(
        layers: [CacheLayer(queryHeads: 4, kvHeads: 2, headDimK: 4, headDimV: 6), second], capacity: 40)
    configuration.maxRows = 16
    configuration.store = "plain"
    configuration.attention = "naive"
    configuration.position = "shift"
    change(&configuration)
    return try Cache(configuration, registry: registry ?? doubles(), host: .serial(log: log))
}

/// Rows of keys, values and queries of one layer, drawn once for the whole sequence.
struct TokenRows {
    let layer: CacheLayer
    let keys, values, queries: [Float]

    init(_ layer: CacheLayer, tokens: Int, seed: UInt64) {
        self.layer = layer
        var generator = SeededGenerator(seed: seed)
        func draw(_ count: Int) -> [Float] { (0..<count).map { _ in Float.random(in: -1...1, using: &generator) } }
        keys = draw(tokens * layer.kvHeads * layer.headDimK)
        values = draw(tokens * layer.kvHeads * layer.headDimV)
        queries = draw(tokens * layer.queryHeads * layer.headDimK)
    }

    /// Causal attention of the tokens `range` in double precision, the position added to the first channel of keys and
    /// queries if `shifted`, over the last `recent` keys before the end of the range.
    func expected(_ range: Range<Int>, shifted: Bool = true, recent: Int = .max) -> (out: [Float], lse: [Float]) {
        let (dk, dv) = (layer.headDimK, layer.headDimV)
        let group = layer.queryHeads / layer.kvHeads
        let scale = layer.attention.scale.map(Double.init) ?? 1 / Double(dk).squareRoot()
        let first = recent == .max ? 0 : max(0, range.upperBound - recent)
        var out: [Float] = []
        var lse: [Float] = []
        for token in range {
            for head in 0..<layer.queryHeads {
                let visible = Array(min(first, token + 1)...max(token, first)).filter { $0 <= token }
                let scores = visible.map { key in
                    (0..<dk).reduce(0.0) { sum, channel in
                        let shift = shifted && channel == 0
                        let q = queries[(token * layer.queryHeads + head) * dk + channel] + (shift ? Float(token) : 0)
                        let k = keys[(key * layer.kvHeads + head / group) * dk + channel] + (shift ? Float(key) : 0)
                        return sum + Double(q) * Double(k) * scale
                    }
                }
                let most = scores.max() ?? -.infinity
                let weights = scores.map { exp($0 - most) }
                let total = weights.reduce(0, +)
                for channel in 0..<dv {
                    let sum = zip(visible, weights).reduce(0.0) {
                        $0 + $1.1 * Double(values[($1.0 * layer.kvHeads + head / group) * dv + channel])
                    }
                    out.append(total > 0 ? Float(sum / total) : 0)
                }
                lse.append(Float(most + log(total)))
            }
        }
        return (out, lse)
    }
}

extension Cache {
    func append(_ sequence: TokenRows, layer: Int, _ range: Range<Int>) throws {
        let shape = sequence.layer
        try sequence.keys.withUnsafeBufferPointer { keys in
            try sequence.values.withUnsafeBufferPointer { values in
                try append(
                    layer: layer, keys: keys.baseAddress! + range.lowerBound * shape.kvHeads * shape.headDimK,
                    values: values.baseAddress! + range.lowerBound * shape.kvHeads * shape.headDimV, rows: range.count)
            }
        }
    }

    func attend(_ sequence: TokenRows, layer: Int, _ range: Range<Int>) throws -> (out: [Float], lse: [Float]) {
        let shape = sequence.layer
        var out = [Float](repeating: .nan, count: range.count * shape.queryHeads * shape.headDimV)
        var lse = [Float](repeating: .nan, count: range.count * shape.queryHeads)
        try sequence.queries.withUnsafeBufferPointer { queries in
            try attend(
                layer: layer, queries: queries.baseAddress! + range.lowerBound * shape.queryHeads * shape.headDimK,
                out: &out, lse: &lse, rows: range.count)
        }
        return (out, lse)
    }

    /// Appends tokens `range` to every layer.
    func appendAll(_ sequences: [TokenRows], _ range: Range<Int>) throws {
        for (layer, sequence) in sequences.enumerated() { try append(sequence, layer: layer, range) }
    }

    /// Outputs of the last token in every layer: equal bits mean equal content.
    func fingerprint(_ sequences: [TokenRows]) throws -> [[Float]] {
        try sequences.enumerated().map { layer, sequence in
            let length = length(layer: layer)
            return length == 0 ? [] : try attend(sequence, layer: layer, length - 1..<length).out
        }
    }

    func sequences(tokens: Int = 40, seed: UInt64) -> [TokenRows] {
        configuration.layers.enumerated().map { TokenRows($1, tokens: tokens, seed: seed &+ UInt64($0)) }
    }
}

/// Greatest absolute difference; infinite when one is NaN or the counts differ.
func difference(_ a: [Float], _ b: [Float]) -> Float {
    guard a.count == b.count else { return .infinity }
    return zip(a, b).reduce(0) { worst, pair in
        let gap = abs(pair.0 - pair.1)
        return gap.isNaN ? .infinity : max(worst, gap)
    }
}
