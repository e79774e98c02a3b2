// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandCommon

/// An instance of one of a plugin's stores, of the variant that this machine takes. Rows are those of one KV head.
open class StoreInstance {
    public let dimK: Int, dimV: Int
    private let ops: lhk_store_ops
    private let state: UnsafeMutableRawPointer
    private var host = lhk_host()
    private let life: lhk_life_ops
    private var instance: OpaquePointer { OpaquePointer(state) }

    public init(
        _ plugin: UnsafePointer<lhk_plugin>, _ name: String, dimK: Int, dimV: Int, heads: Int, capacity: Int,
        options: [(String, String)]
    ) throws {
        let methods = (0..<Int(plugin.pointee.method_count)).map { plugin.pointee.methods[$0] }
        let method = methods.first { String(cString: $0.pointee.name) == name }!
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
            try check { lhk_method_resolve(method, &problem, &host, &variant, $0) }
            try check { variant.pointee.life.pointee.sizes(variant, &problem, 1, &sizes, $0) }
            created = .allocate(byteCount: Int(sizes.state_bytes), alignment: 64)
            memset(created, 0, Int(sizes.state_bytes))
            try check { variant.pointee.life.pointee.create(variant, &problem, OpaquePointer(created), sizes.state_bytes, $0) }
        }
        state = created
        self.host = host
        life = variant.pointee.life.pointee
        ops = variant.pointee.ops.assumingMemoryBound(to: lhk_store_ops.self).pointee
    }

    deinit { state.deallocate() }

    public var bytes: lhk_store_bytes {
        var out = lhk_store_bytes()
        out.struct_size = UInt32(MemoryLayout<lhk_store_bytes>.size)
        ops.bytes(instance, &out)
        return out
    }

    public func append(k: [[Float]], v: [[Float]]) throws {
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

    public func truncate(_ count: Int) throws { try check { life.truncate!(instance, Int64(count), $0) } }

    /// Decoded rows.
    public func read(_ count: Int) throws -> (k: [[Float]], v: [[Float]]) {
        var k = [Float](repeating: 0, count: count * dimK), v = [Float](repeating: 0, count: count * dimV)
        try check { ops.read_rows(instance, 0, 0, Int64(count), &k, &v, $0) }
        return ((0..<count).map { Array(k[$0 * dimK..<($0 + 1) * dimK]) }, (0..<count).map { Array(v[$0 * dimV..<($0 + 1) * dimV]) })
    }

    public func scores(_ q: [Float], _ count: Int) -> [Float] {
        var keys = lhk_keys(begin: 0, count: Int64(count), tokens: nil), out = [Float](repeating: 0, count: count)
        ops.score(instance, 0, q, Int64(dimK), 1, &keys, &out, Int64(count))
        return out
    }

    public func sum(_ p: [Float]) -> [Float] {
        var keys = lhk_keys(begin: 0, count: Int64(p.count), tokens: nil), out = [Float](repeating: 0, count: dimV)
        ops.accumulate(instance, 0, p, Int64(p.count), 1, &keys, &out, Int64(dimV))
        return out
    }
}
