// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import LonghandSale
import Testing

/// Seeded normal numbers, so that a test's argument reproduces it.
struct Normals {
    private var state: UInt64

    init(seed: Int) { state = UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 &+ 1 }

    private mutating func uniform() -> Double {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return Double(state >> 11) / 9007199254740992
    }

    mutating func next() -> Float {
        Float((-2 * log(max(uniform(), 1e-12))).squareRoot() * cos(2 * .pi * uniform()))
    }

    mutating func array(_ count: Int) -> [Float] { (0..<count).map { _ in next() } }
}

/// Queries and keys of a causal prefill, [rows][heads][dim].
struct Prefill {
    var queryHeads = 4, kvHeads = 2, dim = 40
    var queries: [Float]
    var keys: [Float]
    var tau: Float = 0.1
    var bits: UInt32 = 8
    var screen: Float = 0
    var block: UInt32 = 32
    /// [rows][kvHeads][valueDim]; empty: no remainder.
    var values: [Float] = []
    let valueDim = 24

    /// `rows` queries of as many keys. Keys share an offset, as keys of real models do; `gain` makes scores larger.
    init(rows: Int, seed: Int, gain: Float = 1.5) {
        var normals = Normals(seed: seed)
        queries = normals.array(rows * queryHeads * dim).map { gain * $0 }
        let offset = normals.array(kvHeads * dim)
        keys = normals.array(rows * kvHeads * dim)
        for i in keys.indices { keys[i] += offset[i % offset.count] }
    }

    var keyCount: Int { keys.count / kvHeads / dim }
    var rowCount: Int { queries.count / queryHeads / dim }
    func query(_ row: Int, _ head: Int) -> ArraySlice<Float> {
        let at = row * queryHeads + head
        return queries[at * dim..<(at + 1) * dim]
    }
    func key(_ token: Int, _ head: Int) -> ArraySlice<Float> {
        let at = token * kvHeads + head / (queryHeads / kvHeads)
        return keys[at * dim..<(at + 1) * dim]
    }
    func score(_ row: Int, _ token: Int, _ head: Int) -> Double {
        zip(query(row, head), key(token, head)).reduce(0) { $0 + Double($1.0) * Double($1.1) } / Double(dim).squareRoot()
    }

    /// The same prompt up to `keys` tokens, of which the last `rows` are queries.
    func cut(rows: Int, keys count: Int) -> Prefill {
        var result = self
        result.keys = Array(keys[..<(count * kvHeads * dim)])
        result.queries = Array(queries[((count - rows) * queryHeads * dim)..<(count * queryHeads * dim)])
        return result
    }

    /// What was selected; lists are numbers of blocks per head and tile of 64 rows.
    struct Kept {
        var lists: [[[Int]]]
        /// [rows][queryHeads] and [rows][queryHeads][valueDim], without values empty.
        var restLse: [Float] = [], restMean: [Float] = []
    }

    /// Blocks kept per head and tile of 64 rows; nil: all keys.
    func select() throws -> [[[Int]]]? { try selection()?.lists }

    func selection() throws -> Kept? {
        var queries = queries, keys = keys, values = values, host = lhk_host()
        var params = lhk_attention_params()
        params.struct_size = UInt32(MemoryLayout<lhk_attention_params>.size)
        (params.flags, params.window_left, params.window_right) = (UInt32(LHK_ATTENTION_CAUSAL), -1, -1)
        host.struct_size = UInt32(MemoryLayout<lhk_host>.size)
        (host.workers, host.isa) = (1, lhk_isa_detect())
        let tau = [Float](repeating: tau, count: queryHeads), hasValues = !values.isEmpty
        return try queries.withUnsafeMutableBytes { q in
            try keys.withUnsafeMutableBytes { k in
                try values.withUnsafeMutableBytes { v in
                    try tau.withUnsafeBufferPointer { tau in
                        try withUnsafePointer(to: params) { params in
                            let args = lhk_sale_args(
                                struct_size: UInt32(MemoryLayout<lhk_sale_args>.size), bits: bits, screen: screen, reserved: 0,
                                q: try Tensor(q.baseAddress, shape: [rowCount, queryHeads, dim]).raw,
                                k: try Tensor(k.baseAddress, shape: [keyCount, kvHeads, dim]).raw, tau: tau.baseAddress!,
                                params: params,
                                v: hasValues ? try Tensor(v.baseAddress, shape: [keyCount, kvHeads, valueDim]).raw : lhk_tensor(),
                                block: block, reserved2: 0)
                            return try run(args, host)
                        }
                    }
                }
            }
        }
    }

    private func run(_ args: lhk_sale_args, _ host: lhk_host) throws -> Kept? {
        var args = args, host = host, bytes: UInt64 = 0, out = lhk_selection()
        out.struct_size = UInt32(MemoryLayout<lhk_selection>.size)
        #expect(lhk_sale_workspace(&args, 1, &bytes, nil) == LHK_OK)
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(bytes) + 1, alignment: 64)
        defer { memory.deallocate() }
        var workspace = lhk_workspace(data: memory.baseAddress, bytes: bytes)
        #expect(lhk_sale_select(&args, &host, &workspace, &out, nil) == LHK_OK)
        guard out.kind == LHK_SELECTION_BLOCKS else { return nil }
        let tiles = (rowCount + 63) / 64, width = Int(block)
        #expect(out.tile_rows == 64 && out.list_count == Int64(tiles * queryHeads))
        let lists = (0..<queryHeads).map { head in
            (0..<tiles).map { tile in
                let list = head * tiles + tile, entries = out.list_offsets![list]..<out.list_offsets![list + 1]
                return entries.flatMap { e -> [Int] in
                    let run = out.runs![Int(e)]
                    return Array(Int(run.begin) / width..<(Int(run.end) + width - 1) / width)
                }
            }
        }
        guard let lse = out.rest_lse, let mean = out.rest_mean else {
            #expect(values.isEmpty)
            return Kept(lists: lists)
        }
        let count = rowCount * queryHeads
        return Kept(
            lists: lists, restLse: Array(UnsafeBufferPointer(start: lse, count: count)),
            restMean: Array(UnsafeBufferPointer(start: mean, count: count * valueDim)))
    }
}
