// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Longhand

/// Where the operators of a session meet its profile.
extension Session {
    /// Runs `body` and, while there is a profile, takes its time.
    ///
    /// - Parameters:
    ///   - op: whose time it is.
    ///   - layer: in which layer; nil for an operator outside the layers.
    ///   - work: from the shape of the call, evaluated with a profile only.
    ///   - body: what is timed.
    @inline(__always)
    public func measure<T>(
        _ op: Operator, _ layer: Int? = nil, work: @autoclosure () -> OperatorWork, _ body: () throws -> T
    ) rethrows -> T {
        guard let profile else { return try body() }
        let start = Profile.now()
        let result = try body()
        profile.add(op, layer: layer, nanoseconds: Profile.now() - start, work())
        return result
    }

    /// Takes keys and values into the cache.
    func append(_ rows: ProjectedRows) throws {
        let layer = model.shape.layers[rows.layer]
        let work = { [self] in
            OperatorWork.append(layer, rows: rows.rows, storedBytes: storedBytes(layer: rows.layer, statistics()))
        }
        try measure(.append, rows.layer, work: work()) {
            try cache.append(layer: rows.layer, keys: rows.keys, values: rows.values)
        }
    }

    /// Attention over the cache. The cache says which part of the time went into selection.
    func attend(_ rows: ProjectedRows, out: Tensor) throws {
        guard let profile else { return try cache.attend(layer: rows.layer, queries: rows.queries, out: out) }
        let before = statistics(), start = Profile.now()
        try cache.attend(layer: rows.layer, queries: rows.queries, out: out)
        let total = Profile.now() - start, after = statistics()
        let select = min(total, after.select_nanoseconds - before.select_nanoseconds)
        let layer = model.shape.layers[rows.layer]
        profile.add(.select, layer: rows.layer, nanoseconds: select, .unknown)
        let attended = after.pairsAttended - before.pairsAttended, visible = after.pairsVisible - before.pairsVisible
        let work = OperatorWork.attend(
            layer, rows: rows.rows, keys: cache.length(layer: rows.layer), attended: Double(attended),
            visible: Double(visible), storedBytes: storedBytes(layer: rows.layer, after))
        profile.add(.attend, layer: rows.layer, nanoseconds: total - select, work)
    }

    private func statistics() -> lhk_cache_stats {
        var result = lhk_cache_stats()
        lhk_cache_get_stats(cache.raw, &result)
        return result
    }

    /// Bytes per token in the store of one layer: its part of all layers', by the elements of keys and values.
    private func storedBytes(layer: Int, _ statistics: lhk_cache_stats) -> Double {
        func elements(_ layer: CacheLayer) -> Int { layer.kvHeads * (layer.headDimK + layer.headDimV) }
        let all = model.shape.layers.reduce(0) { $0 + elements($1) }
        return statistics.bits_per_token / 8 * Double(elements(model.shape.layers[layer])) / Double(all)
    }
}

extension lhk_cache_stats {
    fileprivate var pairsAttended: UInt64 { prefill.pairs_attended + decode.pairs_attended }
    fileprivate var pairsVisible: UInt64 { prefill.pairs_visible + decode.pairs_visible }
}

/// The formulae, per call.
extension OperatorWork {
    /// A table row read, an f32 row written and scaled.
    static func embed(rows: Int, columns: Int, rowBytes: Int) -> Self {
        .init(flops: Double(rows * columns), bytes: Double(rows * (rowBytes + 4 * columns)))
    }

    /// Square, add, two multiplications per element.
    static func norm(rows: Int, columns: Int) -> Self {
        .init(flops: 4 * Double(rows * columns), bytes: 4 * Double(2 * rows * columns + columns))
    }

    /// 2 m n k operations; x, the weights and y.
    static func linear(rows: Int, outputs: Int, inputs: Int, weightBytes: Int) -> Self {
        .init(
            flops: 2 * Double(rows) * Double(outputs) * Double(inputs),
            bytes: Double(weightBytes) + 4 * Double(rows * (inputs + outputs)))
    }

    /// Keys turned (three operations per element), keys and values read as f32 and written as the store keeps them.
    static func append(_ layer: CacheLayer, rows: Int, storedBytes: Double) -> Self {
        let keys = layer.kvHeads * layer.headDimK, values = layer.kvHeads * layer.headDimV
        return .init(
            flops: 3 * Double(rows * keys), bytes: Double(rows) * (4 * Double(keys + values) + storedBytes))
    }

    /// 2 (dk + dv) operations per attended pair of a query and a key of a head; queries, outputs, and every key and value
    /// once that the mask shows to any row, times the share of pairs that was attended.
    static func attend(
        _ layer: CacheLayer, rows: Int, keys: Int, attended: Double, visible: Double, storedBytes: Double
    ) -> Self {
        let window = layer.attention.windowLeft.map { $0 + rows + layer.attention.sinkTokens } ?? keys
        let reached = Double(min(keys, window)) * (visible > 0 ? attended / visible : 1)
        let queries = layer.queryHeads * (layer.headDimK + layer.headDimV)
        return .init(
            flops: 2 * attended * Double(layer.headDimK + layer.headDimV),
            bytes: reached * storedBytes + 4 * Double(rows * queries))
    }

    /// silu(g) u is five operations, gelu(g) u in its tanh form ten; g and u read, the product written.
    static func gate(rows: Int, columns: Int, tanh: Bool) -> Self {
        .init(flops: (tanh ? 10 : 5) * Double(rows * columns), bytes: 12 * Double(rows * columns))
    }

    static func softcap(_ count: Int) -> Self { .init(flops: 3 * Double(count), bytes: 8 * Double(count)) }

    static func add(_ count: Int) -> Self { .init(flops: Double(count), bytes: 12 * Double(count)) }

    /// One pass over the logits.
    public static func sampling(vocabulary: Int) -> Self { .init(flops: 0, bytes: 4 * Double(vocabulary)) }
}
