// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandCommVQ
import LonghandCommon
import LonghandRope
import LonghandTestSupport
import Testing

/// A parameter of a layer, as a calibration file has it.
struct Codebook {
    var name: String
    var shape: [Int]
    var values: [Float]
}

/// Rotary positions with a base; the rest as in `lhk_position_params`.
func rotary(_ change: (inout lhk_position_params) -> Void = { _ in }) -> lhk_position_params {
    var p = lhk_position_params()
    p.struct_size = UInt32(MemoryLayout<lhk_position_params>.size)
    p.base = 10000
    change(&p)
    return p
}

/// Rows [heads][dim] at positions `first` on, turned by the position method.
func turned(_ rows: [[Float]], dim: Int, from first: Int, by position: lhk_position_params) throws -> [[Float]] {
    var p = position, table = lhk_rope_table(), host = lhk_host()
    table.struct_size = UInt32(MemoryLayout<lhk_rope_table>.size)
    try check { lhk_host_openmp(1, &host, $0) }
    try check { lhk_rope_table_init(&p, UInt32(dim), &table, $0) }
    var data = rows.flatMap { $0 }
    let width = rows.first?.count ?? dim
    try data.withUnsafeMutableBufferPointer {
        var x = lhk_tensor(
            data: $0.baseAddress!, dtype: LHK_DTYPE_F32, rank: 3,
            shape: (Int64(rows.count), Int64(width / dim), Int64(dim), 0), stride: (Int64(width), Int64(dim), 1, 0))
        var out = x
        try check { lhk_rope_apply(&table, &host, &x, Int64(first), &out, $0) }
    }
    return stride(from: 0, to: data.count, by: width).map { Array(data[$0..<$0 + width]) }
}

/// An instance of `commvq`.
final class Store {
    let dim: Int, heads: Int
    private let ops: lhk_store_ops
    private let life: lhk_life_ops
    private let state: UnsafeMutableRawPointer
    private var host = lhk_host()
    var instance: OpaquePointer { OpaquePointer(state) }

    init(
        dim: Int = 64, heads: Int = 1, capacity: Int = 600, options: [(String, String)], codebooks: [Codebook] = [],
        position: lhk_position_params? = rotary(), isa: UInt64? = nil
    ) throws {
        (self.dim, self.heads) = (dim, heads)
        var host = lhk_host()
        try check { lhk_host_openmp(2, &host, $0) }
        if let isa { host.isa = isa }
        var problem = lhk_problem()
        problem.struct_size = UInt32(MemoryLayout<lhk_problem>.size)
        (problem.query_heads, problem.kv_heads) = (UInt32(heads), UInt32(heads))
        (problem.head_dim_k, problem.head_dim_v, problem.keys) = (UInt32(dim), UInt32(dim), Int64(capacity))
        var memory: [UnsafeMutableRawPointer] = []
        defer { memory.forEach { free($0) } }
        func text(_ string: String) -> UnsafePointer<CChar> {
            let copy = strdup(string)!
            memory.append(copy)
            return UnsafePointer(copy)
        }
        let list = options.map { lhk_option(key: text($0.0), value: text($0.1)) }
        let parameters = codebooks.map { book in
            let data = malloc(max(4, book.values.count * 4))!
            memory.append(data)
            book.values.withUnsafeBytes { data.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
            var tensor = lhk_tensor()
            (tensor.data, tensor.dtype, tensor.rank) = (data, LHK_DTYPE_F32, UInt32(book.shape.count))
            var step: Int64 = 1
            withUnsafeMutableBytes(of: &tensor.shape) { shape in
                for (i, size) in book.shape.enumerated() { shape.storeBytes(of: Int64(size), toByteOffset: 8 * i, as: Int64.self) }
            }
            withUnsafeMutableBytes(of: &tensor.stride) { strides in
                for (i, size) in book.shape.enumerated().reversed() {
                    strides.storeBytes(of: step, toByteOffset: 8 * i, as: Int64.self)
                    step *= Int64(size)
                }
            }
            return lhk_parameter(name: text(book.name), tensor: tensor)
        }
        var variant: UnsafePointer<lhk_variant>!
        var sizes = lhk_sizes()
        sizes.struct_size = UInt32(MemoryLayout<lhk_sizes>.size)
        var created: UnsafeMutableRawPointer!
        var place = position ?? lhk_position_params()
        try withUnsafePointer(to: &place) { place in
            try list.withUnsafeBufferPointer { options in
                try parameters.withUnsafeBufferPointer { parameters in
                    problem.option_count = UInt32(options.count)
                    problem.options = options.baseAddress
                    problem.parameter_count = UInt32(parameters.count)
                    problem.parameters = parameters.baseAddress
                    problem.position = position == nil ? nil : place
                    let method = lhk_commvq_plugin().pointee.methods[0]
                    try check { lhk_method_resolve(method, &problem, &host, &variant, $0) }
                    try check { variant.pointee.life.pointee.sizes(variant, &problem, 1, &sizes, $0) }
                    created = .allocate(byteCount: Int(sizes.state_bytes), alignment: 64)
                    memset(created, 0, Int(sizes.state_bytes))
                    try check {
                        variant.pointee.life.pointee.create(variant, &problem, OpaquePointer(created), sizes.state_bytes, $0)
                    }
                }
            }
        }
        state = created
        self.host = host
        ops = variant.pointee.ops.assumingMemoryBound(to: lhk_store_ops.self).pointee
        life = variant.pointee.life.pointee
    }

    deinit { state.deallocate() }

    var length: Int { Int(ops.length(instance)) }

    var bytes: lhk_store_bytes {
        var out = lhk_store_bytes()
        out.struct_size = UInt32(MemoryLayout<lhk_store_bytes>.size)
        ops.bytes(instance, &out)
        return out
    }

    /// Rows of all heads, with positions applied.
    func append(k: [[Float]], v: [[Float]]) throws {
        var keys = k.flatMap { $0 }, values = v.flatMap { $0 }
        try keys.withUnsafeMutableBufferPointer { k in
            try values.withUnsafeMutableBufferPointer { v in
                var kt = tensor(k.baseAddress!, k.count), vt = tensor(v.baseAddress!, v.count)
                try check { ops.append(instance, &host, &kt, &vt, $0) }
            }
        }
    }

    private func tensor(_ data: UnsafeMutablePointer<Float>, _ count: Int) -> lhk_tensor {
        lhk_tensor(
            data: data, dtype: LHK_DTYPE_F32, rank: 3, shape: (Int64(count / dim / heads), Int64(heads), Int64(dim), 0),
            stride: (Int64(dim * heads), Int64(dim), 1, 0))
    }

    /// Decoded rows of one head.
    func read(_ count: Int, head: Int = 0) throws -> (k: [[Float]], v: [[Float]]) {
        var k = [Float](repeating: 0, count: count * dim), v = k
        try check { ops.read_rows(instance, UInt32(head), 0, Int64(count), &k, &v, $0) }
        let (keys, values) = (k, v)
        return (
            (0..<count).map { Array(keys[$0 * dim..<($0 + 1) * dim]) }, (0..<count).map { Array(values[$0 * dim..<($0 + 1) * dim]) }
        )
    }

    /// Scores of all tokens, or of a list of them.
    func scores(_ q: [Float], _ count: Int, list: [Int32]? = nil, head: Int = 0) -> [Float] {
        let rows = q.count / dim
        var out = [Float](repeating: 0, count: count * rows)
        withKeys(count, list) { keys in
            var keys = keys
            ops.score(instance, UInt32(head), q, Int64(dim), Int32(rows), &keys, &out, Int64(count))
        }
        return out
    }

    /// Sums of values of one row of weights.
    func sum(_ p: [Float], list: [Int32]? = nil, head: Int = 0) -> [Float] {
        var out = [Float](repeating: 0, count: dim)
        withKeys(p.count, list) { keys in
            var keys = keys
            ops.accumulate(instance, UInt32(head), p, Int64(p.count), 1, &keys, &out, Int64(dim))
        }
        return out
    }

    private func withKeys(_ count: Int, _ list: [Int32]?, _ body: (lhk_keys) -> Void) {
        guard let list else { return body(lhk_keys(begin: 0, count: Int64(count), tokens: nil)) }
        list.withUnsafeBufferPointer { body(lhk_keys(begin: 0, count: Int64(list.count), tokens: $0.baseAddress!)) }
    }

    func truncate(_ tokens: Int) throws { try check { life.truncate!(instance, Int64(tokens), $0) } }

    func save() -> [UInt8] {
        var out = [UInt8](repeating: 0, count: Int(life.save_size!(instance)))
        life.save!(instance, &out)
        return out
    }

    func load(_ bytes: [UInt8]) throws { try check { life.load!(instance, bytes, UInt64(bytes.count), $0) } }
}

/// Scores and sums, of all tokens and of a list, are those over rows that are read; errors are relative to the lengths of query and
/// key, and to the sum of magnitudes.
func expectAttention(over store: Store, count: Int, random: inout Normal, scoreError: Double) throws {
    let dim = store.dim, held = try store.read(count)
    let rows = (0..<5).map { _ in random.row(dim) }
    let scores = store.scores(rows.flatMap { $0 }, count)
    for (r, q) in rows.enumerated() {
        for t in 0..<count {
            let error = abs(Double(scores[r * count + t]) - dot(q, held.k[t]))
            #expect(error < scoreError * norm(q) * norm(held.k[t]), "row \(r) token \(t)")
        }
    }
    let list: [Int32] = [3, 499, 64, 63, 200, 448, 447]
    let some = store.scores(rows[0], list.count, list: list)
    for (i, t) in list.enumerated() {
        #expect(abs(some[i] - scores[Int(t)]) < Float(scoreError) * Float(norm(rows[0]) * norm(held.k[Int(t)])))
    }
    let p = (0..<count).map { _ in Float(random.uniform()) }, sum = store.sum(p)
    for c in 0..<dim {
        let expected = (0..<count).reduce(0.0) { $0 + Double(p[$1]) * Double(held.v[$1][c]) }
        let size = (0..<count).reduce(0.0) { $0 + Double(p[$1]) * abs(Double(held.v[$1][c])) }
        #expect(abs(Double(sum[c]) - expected) < 1e-3 * size)
    }
    let listed = store.sum(list.map { p[Int($0)] }, list: list)
    for c in 0..<dim {
        let expected = list.reduce(0.0) { $0 + Double(p[Int($1)]) * Double(held.v[Int($1)][c]) }
        #expect(abs(Double(listed[c]) - expected) < 1e-2)
    }
}
