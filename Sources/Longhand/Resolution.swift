// SPDX-License-Identifier: Apache-2.0
import CLonghand

/// The shape that a variant is chosen for.
public struct ProblemShape: Hashable, Sendable {
    public var queryHeads = 9
    public var kvHeads = 3
    public var headDim = 64
    /// Most query rows of one call.
    public var queryRows = 512
    /// Most keys.
    public var keys = 8192
    /// Element type of the store's panels; nil for a store without panels.
    public var kvType: ElementType? = .f32

    /// SmolLM2's attention at 8K tokens.
    public init() {}
}

extension Registry {
    /// The id of the variant of `method` that `host` would run for `shape`, without options, or, for a method that cannot do
    /// without, with the first options that it is checked with.
    ///
    /// - Throws: `LonghandError`: `.unsupported` with the reason when no variant fits.
    public func resolve(_ method: MethodInfo, for shape: ProblemShape, host: KernelHost) throws(LonghandError) -> String {
        let found = UnsafeMutablePointer<lhk_registration>.allocate(capacity: 1)
        defer { found.deallocate() }
        try check { lhk_registry_find(raw, method.role.id, method.name, found, $0) }
        var position = lhk_position_params()
        position.struct_size = UInt32(MemoryLayout<lhk_position_params>.size)
        position.base = 10000
        var problem = lhk_problem()
        problem.struct_size = UInt32(MemoryLayout<lhk_problem>.size)
        problem.query_heads = try narrow(shape.queryHeads, "queryHeads")
        problem.kv_heads = try narrow(shape.kvHeads, "kvHeads")
        problem.head_dim_k = try narrow(shape.headDim, "headDim")
        problem.head_dim_v = problem.head_dim_k
        problem.query_dtype = LHK_DTYPE_F32
        problem.kv_dtype = shape.kvType?.rawValue ?? LHK_DTYPE_NONE
        problem.output_dtype = LHK_DTYPE_F32
        problem.query_rows = Int64(shape.queryRows)
        problem.keys = Int64(shape.keys)
        var variant: UnsafePointer<lhk_variant>?
        func resolve(_ error: UnsafeMutablePointer<lhk_error>?) -> lhk_status {
            withUnsafePointer(to: position) {
                problem.position = $0
                return lhk_method_resolve(found.pointee.method, &problem, host.raw, &variant, error)
            }
        }
        var arena = Arena()
        var options = try Self.exampleOptions(of: found.pointee.method, into: &arena)
        if options.isEmpty || resolve(nil) != LHK_OK {
            problem.option_count = UInt32(options.count)
            try check { error in
                options.withUnsafeMutableBufferPointer {
                    problem.options = UnsafePointer($0.baseAddress)
                    return resolve(error)
                }
            }
        }
        return String(cString: variant!.pointee.id)
    }

    /// The first option set of the method's reference.
    private static func exampleOptions(of method: UnsafePointer<lhk_method>, into arena: inout Arena) throws(LonghandError)
        -> [lhk_option]
    {
        guard let reference = method.pointee.reference, reference.pointee.option_set_count > 0,
            let set = reference.pointee.option_sets?[0]
        else { return [] }
        let text = String(cString: method.pointee.name) + ":" + String(cString: set)
        return try MethodSpecification(text, role: "option set").lowerOptions(into: &arena)
    }
}
