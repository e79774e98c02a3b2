// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandRope
import LonghandTestSupport
import Testing

/// One variant of the position method, as the plugin describes it.
struct Variant: CustomTestStringConvertible, @unchecked Sendable {
    let pointer: UnsafePointer<lhk_variant>
    var id: String { String(cString: pointer.pointee.id) }
    var testDescription: String { id }

    static var method: UnsafePointer<lhk_method> { lhk_rope_plugin().pointee.methods[0] }
    static let all: [Variant] = (0..<Int(method.pointee.variant_count)).map {
        Variant(pointer: method.pointee.variants[$0])
    }
    /// Those that this machine can run.
    static let runnable = all.filter { $0.pointer.pointee.isa_required & ~hardwareISA == 0 }

    /// Calls `body` with a problem of this rotation and these options.
    static func withProblem<R>(
        _ rotation: Rotation, options: [(String, String)] = [], _ body: (inout lhk_problem) throws -> R
    ) rethrows -> R {
        let strings = options.map { (strdup($0.0)!, strdup($0.1)!) }
        defer {
            strings.forEach {
                free($0.0)
                free($0.1)
            }
        }
        let list = strings.map { lhk_option(key: $0.0, value: $0.1) }
        return try list.withUnsafeBufferPointer { list in
            try rotation.withParameters { params in
                try withUnsafePointer(to: params) { params in
                    var problem = lhk_problem()
                    problem.struct_size = UInt32(MemoryLayout<lhk_problem>.size)
                    problem.query_heads = 4
                    problem.kv_heads = 2
                    problem.head_dim_k = UInt32(rotation.headDim)
                    problem.head_dim_v = UInt32(rotation.headDim)
                    problem.query_dtype = LHK_DTYPE_F32
                    problem.kv_dtype = LHK_DTYPE_F32
                    problem.output_dtype = LHK_DTYPE_F32
                    problem.query_rows = 512
                    problem.keys = 4096
                    problem.option_count = UInt32(list.count)
                    problem.options = list.baseAddress
                    problem.position = params
                    return try body(&problem)
                }
            }
        }
    }
}

/// An instance in exactly the memory it asked for, followed by a canary.
final class Instance {
    let variant: Variant
    let memory: UnsafeMutableRawBufferPointer
    let size: Int

    init(_ variant: Variant, _ rotation: Rotation, options: [(String, String)] = []) throws {
        self.variant = variant
        let life = variant.pointee.life.pointee
        (memory, size) = try Variant.withProblem(rotation, options: options) { problem in
            try check { life.supports(variant.pointer, &problem, hardwareISA, $0) }
            var sizes = lhk_sizes()
            sizes.struct_size = UInt32(MemoryLayout<lhk_sizes>.size)
            try check { life.sizes(variant.pointer, &problem, 1, &sizes, $0) }
            let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(sizes.state_bytes) + 64, alignment: 64)
            memory.initializeMemory(as: UInt8.self, repeating: 0)
            try check {
                life.create(variant.pointer, &problem, OpaquePointer(memory.baseAddress!), sizes.state_bytes, $0)
            }
            return (memory, Int(sizes.state_bytes))
        }
    }

    deinit { memory.deallocate() }

    var tailIntact: Bool { memory[size...].allSatisfy { $0 == 0 } }

    func apply(_ x: Rows, first: Int64, to out: Rows, host: lhk_host = makeHost()) throws {
        let ops = variant.pointee.ops.assumingMemoryBound(to: lhk_position_ops.self).pointee
        var host = host
        var from = x.tensor
        var to = out.tensor
        try check { ops.apply(OpaquePointer(memory.baseAddress!), &host, &from, first, &to, $0) }
    }
}

extension Variant {
    var pointee: lhk_variant { pointer.pointee }
}
