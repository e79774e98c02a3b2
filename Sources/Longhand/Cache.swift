// SPDX-License-Identifier: Apache-2.0
import CLonghand

/// Keys and values of one sequence in all layers of a model, with the methods that store, select and attend.
///
/// Per step and layer: `append` the new rows, then `attend` with their queries. Not thread-safe: one call at a time; the
/// work inside runs on the host's workers. `append` and `attend` do not allocate.
public final class Cache {
    /// The C object, alive as long as this cache.
    public let raw: OpaquePointer
    public let configuration: CacheConfiguration
    public let registry: Registry
    public let host: KernelHost

    /// Resolves every method for every layer and allocates the states.
    ///
    /// - Throws: `LonghandError` naming the method or option that is unknown, or the layer that a method does not support.
    public init(_ configuration: CacheConfiguration, registry: Registry, host: KernelHost) throws(LonghandError) {
        var handle: OpaquePointer?
        try configuration.withRaw { config throws(LonghandError) in
            try check { lhk_cache_create(config, registry.raw, host.raw, &handle, $0) }
        }
        raw = handle!
        self.configuration = configuration
        self.registry = registry
        self.host = host
    }

    private init(forking source: Cache) throws(LonghandError) {
        var handle: OpaquePointer?
        try check { lhk_cache_fork(source.raw, &handle, $0) }
        raw = handle!
        configuration = source.configuration
        registry = source.registry
        host = source.host
    }

    deinit { lhk_cache_destroy(raw) }

    /// Tokens held by the first layer; between the steps of a model all layers hold as many.
    public var length: Int { length(layer: 0) }

    /// Tokens held by `layer`; 0 for a layer that does not exist.
    public func length(layer: Int) -> Int { Int(lhk_cache_length(raw, UInt32(exactly: layer) ?? .max)) }

    /// Most tokens of the sequence.
    public var capacity: Int { Int(lhk_cache_capacity(raw)) }

    /// Bytes that a call may use besides the stores: rows with positions applied, workspaces of the methods.
    public var workspaceBytes: Int { Int(lhk_cache_workspace_bytes(raw)) }

    /// What was bound: store, prefill, decode, attention and position, then the stores that some layers have in place of
    /// the first.
    public var bindings: [CacheBinding] {
        var result: [CacheBinding] = []
        let stores = configuration.layerStores.isEmpty ? nil : try? configuration.stores()
        while let binding = filled({ lhk_cache_get_binding(raw, UInt32(result.count), $0) }) {
            result.append(CacheBinding(binding, stores: stores))
        }
        return result
    }

    /// Appends contiguous rows `keys` [rows][kvHeads][headDimK] before positions and `values` [rows][kvHeads][headDimV].
    ///
    /// - Throws: `LonghandError`; the layer is then unchanged. `.capacity` when they do not fit.
    public func append(layer: Int, keys: UnsafePointer<Float>, values: UnsafePointer<Float>, rows: Int)
        throws(LonghandError)
    {
        let shape = try self.shape(of: layer)
        try append(
            layer: layer, keys: Tensor(rows: keys, rows, shape.kvHeads, shape.headDimK),
            values: Tensor(rows: values, rows, shape.kvHeads, shape.headDimV))
    }

    /// Appends the rows of strided views, F32, BF16 or F16 with a last stride of 1.
    public func append(layer: Int, keys: Tensor, values: Tensor) throws(LonghandError) {
        let index = try narrow(layer, "layer")
        try withUnsafePointers(keys.raw, values.raw) { keys, values throws(LonghandError) in
            try check { lhk_cache_append(raw, index, keys, values, $0) }
        }
    }

    /// Attention of the last `rows` tokens of `layer` over all it holds.
    ///
    /// - Parameters:
    ///   - layer: its index.
    ///   - queries: contiguous [rows][queryHeads][headDimK] before positions.
    ///   - out: contiguous [rows][queryHeads][headDimV]; must not overlap `queries`.
    ///   - lse: natural log of the softmax sum [rows][queryHeads], or nil.
    ///   - rows: at most as many as `layer` holds.
    public func attend(
        layer: Int, queries: UnsafePointer<Float>, out: UnsafeMutablePointer<Float>,
        lse: UnsafeMutablePointer<Float>? = nil, rows: Int
    ) throws(LonghandError) {
        let shape = try self.shape(of: layer)
        try attend(
            layer: layer, queries: Tensor(rows: queries, rows, shape.queryHeads, shape.headDimK),
            out: Tensor(rows: out, rows, shape.queryHeads, shape.headDimV),
            lse: lse.map { Tensor(matrix: $0, rows, shape.queryHeads) })
    }

    /// The same on strided views: `queries` F32, BF16 or F16, `out` and `lse` F32.
    public func attend(layer: Int, queries: Tensor, out: Tensor, lse: Tensor? = nil) throws(LonghandError) {
        let index = try narrow(layer, "layer")
        try withUnsafePointers(queries.raw, out.raw) { queries, out throws(LonghandError) in
            guard let lse else {
                return try check { lhk_cache_attend(raw, index, queries, out, nil, $0) }
            }
            try withUnsafePointers(lse.raw, lse.raw) { lse, _ throws(LonghandError) in
                try check { lhk_cache_attend(raw, index, queries, out, lse, $0) }
            }
        }
    }

    /// Forgets all tokens from `tokens` on, in all layers that hold more.
    public func truncate(to tokens: Int) throws(LonghandError) {
        try check { lhk_cache_truncate(raw, Int64(tokens), $0) }
    }

    /// A second cache with the same content (a shared prefix), from then on independent. Its counters start at zero.
    public func fork() throws(LonghandError) -> Cache { try Cache(forking: self) }

    /// Writes the content to a file: versioned, checksummed, and put in place only when complete.
    public func save(path: String) throws(LonghandError) {
        try check { lhk_cache_save(raw, path, $0) }
    }

    /// Replaces the content by that of a file. On failure the cache is as it was.
    ///
    /// - Throws: `LonghandError`: `.corrupt` for a damaged file, `.argument` for one of another configuration,
    ///   `.capacity` for one that holds more tokens than fit.
    public func load(path: String) throws(LonghandError) {
        try check { lhk_cache_load(raw, path, $0) }
    }

    /// Counters since creation or the last reset.
    public var statistics: CacheStatistics {
        var stats = lhk_cache_stats()
        lhk_cache_get_stats(raw, &stats)
        return CacheStatistics(stats)
    }

    /// Bytes of the stores' memory that the system has put into huge pages; nil where it does not tell. Takes about a
    /// millisecond.
    public var hugePageBytes: UInt64? {
        var bytes: UInt64 = 0
        return lhk_cache_huge_page_bytes(raw, &bytes, nil) == LHK_OK ? bytes : nil
    }

    public func resetStatistics() { lhk_cache_reset_stats(raw) }

    private func shape(of layer: Int) throws(LonghandError) -> CacheLayer {
        guard configuration.layers.indices.contains(layer) else {
            throw LonghandError(.argument, "layer \(layer): the cache has \(configuration.layers.count) layers")
        }
        return configuration.layers[layer]
    }
}

/// Lends addresses of two views for one call.
private func withUnsafePointers(
    _ first: lhk_tensor, _ second: lhk_tensor,
    _ body: (UnsafePointer<lhk_tensor>, UnsafePointer<lhk_tensor>) throws(LonghandError) -> Void
) throws(LonghandError) {
    var first = first
    var second = second
    try body(&first, &second)
}
