// SPDX-License-Identifier: Apache-2.0
import CLonghand

/// A position method bound to one layer, for use outside a cache: what it gives for a row is what a cache of the same
/// configuration stores and scores. Calls may run at the same time.
public final class PositionMethod: @unchecked Sendable {  // the instance is only read after init
    /// Id of the variant chosen.
    public let variantID: String
    private let variant: UnsafePointer<lhk_variant>
    private let state: UnsafeMutableRawPointer
    private let host: KernelHost
    private let registry: Registry

    /// Binds a method; nil for `none`.
    ///
    /// - Parameters:
    ///   - specification: as in `CacheConfiguration.position`.
    ///   - layer: head counts, dimensions and position parameters.
    ///   - maxRows: most rows of one call.
    ///   - capacity: positions lie below this.
    ///   - registry: where the method is looked for.
    ///   - host: whose workers it runs on.
    /// - Throws: `LonghandError` for an unknown method or option, or a layer that it does not support.
    public static func bind(
        _ specification: String, layer: CacheLayer, maxRows: Int, capacity: Int, registry: Registry, host: KernelHost
    ) throws(LonghandError) -> PositionMethod? {
        if specification == "none" { return nil }
        return try PositionMethod(
            specification, layer: layer, maxRows: maxRows, capacity: capacity, registry: registry, host: host)
    }

    private init(
        _ specification: String, layer: CacheLayer, maxRows: Int, capacity: Int, registry: Registry, host: KernelHost
    ) throws(LonghandError) {
        let parsed = try MethodSpecification(specification, role: "position")
        let found = UnsafeMutablePointer<lhk_registration>.allocate(capacity: 1)
        defer { found.deallocate() }
        try check { lhk_registry_find(registry.raw, LHK_ROLE_POSITION, parsed.name, found, $0) }

        var arena = Arena()
        let lowered = try layer.lower(index: 0, into: &arena)
        let pairs = parsed.lowerOptions(into: &arena)
        var problem = lhk_problem()
        problem.struct_size = UInt32(MemoryLayout<lhk_problem>.size)
        problem.option_count = try narrow(pairs.count, "number of options")
        problem.query_heads = lowered.query_heads
        problem.kv_heads = lowered.kv_heads
        problem.head_dim_k = lowered.head_dim_k
        problem.head_dim_v = lowered.head_dim_v
        problem.query_dtype = LHK_DTYPE_F32
        problem.kv_dtype = LHK_DTYPE_F32
        problem.output_dtype = LHK_DTYPE_F32
        problem.query_rows = Int64(maxRows)
        problem.keys = Int64(capacity)

        var chosen: UnsafePointer<lhk_variant>?
        var memory: UnsafeMutableRawPointer?
        try check { error in
            withUnsafePointer(to: lowered.position) { position in
                pairs.withUnsafeBufferPointer { pairs in
                    problem.position = position
                    problem.options = pairs.baseAddress
                    let status = lhk_method_resolve(found.pointee.method, &problem, host.raw, &chosen, error)
                    return status == LHK_OK ? Self.create(chosen!, &problem, host, &memory, error) : status
                }
            }
        }
        variant = chosen!
        variantID = String(cString: variant.pointee.id)
        state = memory!
        self.host = host
        self.registry = registry
    }

    deinit {
        variant.pointee.life.pointee.destroy?(OpaquePointer(state))
        state.deallocate()
    }

    /// Writes `rows` [tokens][heads][headDimK], which sit at positions `first` and on, with their positions applied to
    /// `out`: F32, of the same shape, last stride 1; it may be the same view, but not overlap it otherwise.
    public func apply(_ rows: Tensor, first: Int, out: Tensor) throws(LonghandError) {
        let ops = variant.pointee.ops.assumingMemoryBound(to: lhk_position_ops.self)
        var from = rows.raw
        var to = out.raw
        try check { ops.pointee.apply(OpaquePointer(state), host.raw, &from, Int64(first), &to, $0) }
    }

    /// Allocates a zeroed state and creates the instance in it.
    private static func create(
        _ variant: UnsafePointer<lhk_variant>, _ problem: UnsafePointer<lhk_problem>, _ host: KernelHost,
        _ memory: inout UnsafeMutableRawPointer?, _ error: UnsafeMutablePointer<lhk_error>
    ) -> lhk_status {
        let life = variant.pointee.life.pointee
        var sizes = lhk_sizes()
        sizes.struct_size = UInt32(MemoryLayout<lhk_sizes>.size)
        var status = life.sizes(variant, problem, UInt32(host.workers), &sizes, error)
        guard status == LHK_OK else { return status }
        let bytes = Int(sizes.state_bytes)
        let state = UnsafeMutableRawPointer.allocate(byteCount: max(1, bytes), alignment: Int(LHK_ALIGNMENT))
        state.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
        status = life.create(variant, problem, OpaquePointer(state), sizes.state_bytes, error)
        if status == LHK_OK { memory = state } else { state.deallocate() }
        return status
    }
}
