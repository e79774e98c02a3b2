// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandFlashAttention
import LonghandTestSupport

/// SplitMix64, so that tests repeat.
struct Generator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
    mutating func floats(_ count: Int) -> [Float] {
        (0..<count).map { _ in Float.random(in: -2..<2, using: &self) }
    }
}

/// C arrays and structs that live as long as this object.
final class Memory {
    private var blocks: [UnsafeMutableRawPointer] = []

    /// A copy of `values`; null when there are none.
    func array<Element: BitwiseCopyable>(_ values: [Element]) -> UnsafePointer<Element>? {
        guard !values.isEmpty else { return nil }
        let pointer = UnsafeMutablePointer<Element>.allocate(capacity: values.count)
        pointer.initialize(from: values, count: values.count)
        blocks.append(UnsafeMutableRawPointer(pointer))
        return UnsafePointer(pointer)
    }

    func selection(
        _ kind: UInt32, lists: Int, offsets: [Int64], runs: [Range<Int64>] = [], tokens: [Int32] = [],
        weights: [Float] = [], tileRows: Int64 = 2, next: UnsafePointer<lhk_selection>? = nil
    ) -> UnsafePointer<lhk_selection> {
        selection(
            kind, lists: lists, offsets: offsets, rawRuns: runs.map { lhk_run(begin: $0.lowerBound, end: $0.upperBound) },
            tokens: tokens, weights: weights, tileRows: tileRows, next: next)
    }

    func selection(
        _ kind: UInt32, lists: Int, offsets: [Int64], rawRuns: [lhk_run], tokens: [Int32] = [], weights: [Float] = [],
        tileRows: Int64 = 2, next: UnsafePointer<lhk_selection>? = nil
    ) -> UnsafePointer<lhk_selection> {
        var selection = lhk_selection()
        selection.struct_size = UInt32(MemoryLayout<lhk_selection>.size)
        selection.kind = kind
        selection.tile_rows = tileRows
        selection.list_count = Int64(lists)
        selection.list_offsets = array(offsets)
        selection.runs = array(rawRuns)
        selection.tokens = array(tokens)
        selection.log_weights = array(weights)
        selection.next = next
        let pointer = UnsafeMutablePointer<lhk_selection>.allocate(capacity: 1)
        pointer.initialize(to: selection)
        blocks.append(UnsafeMutableRawPointer(pointer))
        return UnsafePointer(pointer)
    }

    deinit { blocks.forEach { $0.deallocate() } }
}

/// A call of one sequence on dense f32 operands, with its memory.
final class Operands {
    let rows: Int, keys: Int, heads: Int, kvHeads: Int, dimK: Int, dimV: Int
    var q: [Float], k: [Float], v: [Float]
    var out: [Float], lse: [Float]
    var params: lhk_attention_params
    var slopes: [Float]?, sinks: [Float]?

    init(rows: Int, keys: Int, heads: Int = 1, kvHeads: Int = 1, dimK: Int, dimV: Int, seed: UInt64 = 1) {
        (self.rows, self.keys, self.heads, self.kvHeads, self.dimK, self.dimV) = (rows, keys, heads, kvHeads, dimK, dimV)
        var generator = Generator(state: seed)
        q = generator.floats(rows * heads * dimK)
        k = generator.floats(keys * kvHeads * dimK)
        v = generator.floats(keys * kvHeads * dimV)
        out = Array(repeating: .nan, count: rows * heads * dimV)
        lse = Array(repeating: .nan, count: rows * heads)
        params = lhk_attention_params()
        params.struct_size = UInt32(MemoryLayout<lhk_attention_params>.size)
        params.window_left = -1
        params.window_right = -1
    }

    static func tensor(_ data: UnsafeMutableRawPointer?, _ shape: [Int]) -> lhk_tensor {
        var tensor = lhk_tensor()
        tensor.data = data
        tensor.dtype = LHK_DTYPE_F32
        tensor.rank = UInt32(shape.count)
        let sizes = shape.map(Int64.init) + [0, 0]
        tensor.shape = (sizes[0], sizes[1], shape.count > 2 ? sizes[2] : 0, 0)
        let inner = shape.count > 2 ? sizes[2] : 1
        tensor.stride = (sizes[1] * inner, inner, 1, 0)
        return tensor
    }

    /// Calls `body` with the arguments of the call, after `change` has had its way with them.
    func withArguments<Result>(
        change: (inout lhk_flash_args) -> Void = { _ in }, _ body: (inout lhk_flash_args) throws -> Result
    ) rethrows -> Result {
        var args = lhk_flash_args()
        args.struct_size = UInt32(MemoryLayout<lhk_flash_args>.size)
        return try q.withUnsafeMutableBytes { q in
            try k.withUnsafeMutableBytes { k in
                try v.withUnsafeMutableBytes { v in
                    try out.withUnsafeMutableBytes { out in
                        try lse.withUnsafeMutableBytes { lse in
                            args.q = Self.tensor(q.baseAddress, [rows, heads, dimK])
                            args.k = Self.tensor(k.baseAddress, [keys, kvHeads, dimK])
                            args.v = Self.tensor(v.baseAddress, [keys, kvHeads, dimV])
                            args.out = Self.tensor(out.baseAddress, [rows, heads, dimV])
                            args.lse = Self.tensor(lse.baseAddress, [rows, heads])
                            return try withParams { params in
                                args.params = params
                                change(&args)
                                return try body(&args)
                            }
                        }
                    }
                }
            }
        }
    }

    private func withParams<Result>(_ body: (UnsafePointer<lhk_attention_params>) throws -> Result) rethrows -> Result {
        try (slopes ?? []).withUnsafeBufferPointer { slopes in
            try (sinks ?? []).withUnsafeBufferPointer { sinks in
                var params = self.params
                params.alibi_slopes = self.slopes == nil ? nil : slopes.baseAddress
                params.sink_logits = self.sinks == nil ? nil : sinks.baseAddress
                return try withUnsafePointer(to: params, body)
            }
        }
    }

    func runReference(change: (inout lhk_flash_args) -> Void = { _ in }) throws {
        try withArguments(change: change) { args in
            try check { lhk_flash_attention_reference(&args, $0) }
        }
    }
}
