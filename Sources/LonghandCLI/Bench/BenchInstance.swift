// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Longhand
import LonghandBench
import LonghandModel

/// A registered method and what instances of it are made from.
struct BenchMethod {
    let role: Role
    let name: String
    let variants: [BenchVariant]
    /// What its reference says is worth checking.
    let optionSets: [String]

    init?(_ registration: lhk_registration) {
        let pointer = registration.method
        guard let role = Role.allCases.first(where: { $0.id == String(cString: pointer.pointee.role) }) else { return nil }
        self.role = role
        name = String(cString: pointer.pointee.name)
        let version = String(cString: pointer.pointee.version)
        variants = (0..<Int(pointer.pointee.variant_count)).map {
            BenchVariant(role: role, method: pointer, version: version, pointer: pointer.pointee.variants[$0])
        }
        let reference = pointer.pointee.reference?.pointee
        optionSets = (0..<Int(reference?.option_set_count ?? 0)).compactMap { index in
            (reference?.option_sets).map { String(cString: $0[index]) }
        }
    }

    /// All methods of a registry.
    static func all(of registry: Registry) -> [BenchMethod] {
        var result: [BenchMethod] = [], index: UInt32 = 0
        while let registration = filled({ lhk_registry_get(registry.raw, index, $0) }) {
            if let method = BenchMethod(registration) { result.append(method) }
            index += 1
        }
        return result
    }
}

/// One implementation of a method.
struct BenchVariant: Hashable {
    let role: Role
    let method: UnsafePointer<lhk_method>
    let version: String
    let pointer: UnsafePointer<lhk_variant>

    var id: String { String(cString: pointer.pointee.id) }
    var exactness: UInt32 { pointer.pointee.exactness }
    var isaRequired: InstructionSet { InstructionSet(rawValue: pointer.pointee.isa_required) }

    /// The levels up to the highest that it requires, of those that `host` offers: what it is timed under.
    func levels(on host: KernelHost) -> InstructionSet {
        guard !isaRequired.isEmpty else { return [] }
        let highest = UInt64(1) << (63 - UInt64(isaRequired.rawValue.leadingZeroBitCount))
        return InstructionSet(rawValue: host.isa.rawValue & (highest << 1 &- 1))
    }

    /// Whether it is a selector with an index that grows with the store.
    var hasIndex: Bool {
        role == .selector && pointer.pointee.ops.assumingMemoryBound(to: lhk_selector_ops.self).pointee.append != nil
    }
}

/// A variant with options: what an instance is created from.
struct BenchPart: Hashable {
    let variant: BenchVariant
    /// As on the command line, e.g. `window:size=512`.
    let spec: String

    /// Estimated nanoseconds on one worker, or the reason why it cannot do the problem.
    func cost(_ problem: BenchProblem, panels: lhk_dtype, host: KernelHost) throws -> Double {
        var cost = lhk_cost()
        let parameters = try BenchParameters(self, problem)
        try withSubject(problem, panels, parameters) { subject in try check { lhk_bench_fits(subject, host.raw, &cost, $0) } }
        return cost.time
    }

    /// Lends the description of an instance to `body`; `parameters` must outlive the instance.
    func withSubject(
        _ problem: BenchProblem, _ panels: lhk_dtype, _ parameters: BenchParameters,
        _ body: (UnsafePointer<lhk_bench_subject>) throws -> Void
    ) throws {
        var params = lhk_attention_params()
        params.struct_size = UInt32(MemoryLayout<lhk_attention_params>.size)
        params.flags = LHK_ATTENTION_CAUSAL
        params.window_left = problem.window.map { Int64($0 - 1) } ?? -1
        params.window_right = -1
        var position = lhk_position_params()
        position.struct_size = UInt32(MemoryLayout<lhk_position_params>.size)
        position.base = 10000
        var raw = lhk_problem()
        raw.struct_size = UInt32(MemoryLayout<lhk_problem>.size)
        (raw.query_heads, raw.kv_heads) = (UInt32(problem.queryHeads), UInt32(problem.kvHeads))
        (raw.head_dim_k, raw.head_dim_v) = (UInt32(problem.dimK), UInt32(problem.dimV))
        (raw.query_dtype, raw.kv_dtype, raw.output_dtype) = (LHK_DTYPE_F32, panels, LHK_DTYPE_F32)
        (raw.query_rows, raw.keys) = (Int64(problem.rows), Int64(problem.keys))
        raw.layer = UInt32(problem.layer)
        (raw.parameters, raw.parameter_count) = (parameters.raw, UInt32(parameters.count))
        try withUnsafePointer(to: params) { params in
            try withUnsafePointer(to: position) { position in
                raw.params = params
                raw.position = variant.role == .position ? position : nil
                try withUnsafePointer(to: raw) { raw in
                    try spec.withCString { text in
                        var subject = lhk_bench_subject(
                            struct_size: UInt32(MemoryLayout<lhk_bench_subject>.size), reserved: 0, method: variant.method,
                            variant: variant.pointer, spec: text, problem: raw)
                        try body(&subject)
                    }
                }
            }
        }
    }
}

/// What a calibration has for a layer, as kernels take it; the memory is its own.
final class BenchParameters {
    let raw: UnsafePointer<lhk_parameter>?
    let count: Int
    private let arena: Arena

    init(_ part: BenchPart, _ problem: BenchProblem) throws {
        let list = try CalibrationFile.parameters(of: part.spec, layer: problem.layer)
        var arena = Arena()
        (count, raw) = (list.count, try arena.lend(list))
        self.arena = arena
    }
}

/// An instance of a part.
final class BenchInstance {
    let raw: OpaquePointer
    private let parameters: BenchParameters

    init(_ part: BenchPart, _ problem: BenchProblem, panels: lhk_dtype = LHK_DTYPE_NONE, host: KernelHost) throws {
        var handle: OpaquePointer?
        parameters = try BenchParameters(part, problem)
        try part.withSubject(problem, panels, parameters) { subject in
            try check { lhk_bench_create(subject, host.raw, &handle, $0) }
        }
        raw = handle!
    }

    deinit { lhk_bench_destroy(raw) }

    /// Of a store.
    var panels: lhk_dtype { lhk_bench_panels(raw) }
    var bytes: lhk_store_bytes {
        filled {
            lhk_bench_store_bytes(raw, $0)
            return LHK_OK
        }!
    }
}

/// One host for every number of levels.
final class BenchHosts {
    let full: KernelHost
    private var masked: [InstructionSet: KernelHost] = [:]

    init(workers: Int) throws {
        full = try KernelHost.openMP(workers: workers)
        masked[full.isa] = full
    }

    func limited(to levels: InstructionSet) -> KernelHost {
        if let host = masked[levels] { return host }
        var raw = full.raw.pointee
        raw.isa = levels.rawValue
        let host = KernelHost(raw)
        masked[levels] = host
        return host
    }
}
