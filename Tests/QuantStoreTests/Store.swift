// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandCommon
import LonghandQuantStore
import LonghandTestSupport
import Testing

/// An instance of `q8` or `q4` with one KV head, of the variant that this machine takes, or of the one named.
final class Store {
    let dimK: Int, dimV: Int
    private let ops: lhk_store_ops
    private let state: UnsafeMutableRawPointer
    private var host = lhk_host()
    private var instance: OpaquePointer { OpaquePointer(state) }

    static func method(_ name: String) -> UnsafePointer<lhk_method> {
        let plugin = lhk_quant_store_plugin()!.pointee
        return (0..<Int(plugin.method_count)).map { plugin.methods[$0] }.first { String(cString: $0.pointee.name) == name }!
    }

    init(_ name: String, dimK: Int, dimV: Int, heads: Int = 1, capacity: Int = 600, options: [(String, String)] = []) throws {
        (self.dimK, self.dimV) = (dimK, dimV)
        var host = lhk_host()
        try check { lhk_host_openmp(2, &host, $0) }
        var problem = lhk_problem()
        problem.struct_size = UInt32(MemoryLayout<lhk_problem>.size)
        (problem.query_heads, problem.kv_heads) = (UInt32(heads), UInt32(heads))
        (problem.head_dim_k, problem.head_dim_v, problem.keys) = (UInt32(dimK), UInt32(dimV), Int64(capacity))
        let texts = options.map { (strdup($0.0)!, strdup($0.1)!) }
        defer {
            texts.forEach {
                free($0.0); free($0.1)
            }
        }
        let list = texts.map { lhk_option(key: $0.0, value: $0.1) }
        problem.option_count = UInt32(list.count)
        var variant: UnsafePointer<lhk_variant>!
        var sizes = lhk_sizes()
        sizes.struct_size = UInt32(MemoryLayout<lhk_sizes>.size)
        var created: UnsafeMutableRawPointer!
        try list.withUnsafeBufferPointer { options in
            problem.options = options.baseAddress
            try check { lhk_method_resolve(Self.method(name), &problem, &host, &variant, $0) }
            try check { variant.pointee.life.pointee.sizes(variant, &problem, 1, &sizes, $0) }
            created = .allocate(byteCount: Int(sizes.state_bytes), alignment: 64)
            memset(created, 0, Int(sizes.state_bytes))
            try check { variant.pointee.life.pointee.create(variant, &problem, OpaquePointer(created), sizes.state_bytes, $0) }
        }
        state = created
        self.host = host
        ops = variant.pointee.ops.assumingMemoryBound(to: lhk_store_ops.self).pointee
    }

    deinit { state.deallocate() }

    var bytes: lhk_store_bytes {
        var out = lhk_store_bytes()
        out.struct_size = UInt32(MemoryLayout<lhk_store_bytes>.size)
        ops.bytes(instance, &out)
        return out
    }

    func append(k: [[Float]], v: [[Float]]) throws {
        var keys = k.flatMap { $0 }, values = v.flatMap { $0 }
        try keys.withUnsafeMutableBufferPointer { k in
            try values.withUnsafeMutableBufferPointer { v in
                var (kt, vt) = (tensor(k.baseAddress!, k.count / dimK, dimK), tensor(v.baseAddress!, v.count / dimV, dimV))
                try check { ops.append(instance, &host, &kt, &vt, $0) }
            }
        }
    }

    private func tensor(_ data: UnsafeMutablePointer<Float>, _ rows: Int, _ dim: Int) -> lhk_tensor {
        lhk_tensor(
            data: data, dtype: LHK_DTYPE_F32, rank: 3, shape: (Int64(rows), 1, Int64(dim), 0),
            stride: (Int64(dim), Int64(dim), 1, 0))
    }

    /// Decoded rows.
    func read(_ count: Int) throws -> (k: [[Float]], v: [[Float]]) {
        var k = [Float](repeating: 0, count: count * dimK), v = [Float](repeating: 0, count: count * dimV)
        try check { ops.read_rows(instance, 0, 0, Int64(count), &k, &v, $0) }
        return ((0..<count).map { Array(k[$0 * dimK..<($0 + 1) * dimK]) }, (0..<count).map { Array(v[$0 * dimV..<($0 + 1) * dimV]) })
    }

    func scores(_ q: [Float], _ count: Int) -> [Float] {
        var keys = lhk_keys(begin: 0, count: Int64(count), tokens: nil), out = [Float](repeating: 0, count: count)
        ops.score(instance, 0, q, Int64(dimK), 1, &keys, &out, Int64(count))
        return out
    }

    func sum(_ p: [Float]) -> [Float] {
        var keys = lhk_keys(begin: 0, count: Int64(p.count), tokens: nil), out = [Float](repeating: 0, count: dimV)
        ops.accumulate(instance, 0, p, Int64(p.count), 1, &keys, &out, Int64(dimV))
        return out
    }
}
