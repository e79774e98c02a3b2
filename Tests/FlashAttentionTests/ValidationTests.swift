// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandFlashAttention
import LonghandTestSupport
import Testing

/// What a call refuses, by the reference and by the kernel alike.
@Suite struct ValidationTests {
    func refused(
        _ text: String, status: lhk_status = LHK_ERROR_ARGUMENT, location: SourceLocation = #_sourceLocation,
        operands: Operands = Operands(rows: 4, keys: 6, heads: 4, kvHeads: 2, dimK: 8, dimV: 8),
        _ change: (inout lhk_flash_args) -> Void
    ) {
        for name in ["reference", "kernel"] {
            let refusal = #expect(throws: Refusal.self, sourceLocation: location) {
                try operands.withArguments(change: change) { args in
                    var host = lhk_host()
                    host.struct_size = UInt32(MemoryLayout<lhk_host>.size)
                    host.workers = 1
                    var workspace = lhk_workspace()
                    let buffer = UnsafeMutableRawPointer.allocate(byteCount: 1 << 22, alignment: Int(LHK_ALIGNMENT))
                    defer { buffer.deallocate() }
                    workspace.data = buffer
                    workspace.bytes = 1 << 22
                    try check {
                        name == "kernel"
                            ? lhk_flash_attention(&args, &host, &workspace, $0) : lhk_flash_attention_reference(&args, $0)
                    }
                }
            }
            let good = refusal?.status == status && refusal?.text.contains(text) == true
            #expect(good, "\(name): \(String(describing: refusal))", sourceLocation: location)
            let untouched = operands.out.allSatisfy { $0.isNaN }
            #expect(untouched, "nothing is written", sourceLocation: location)
        }
    }

    @Test func shapes() {
        refused("struct_size") { $0.struct_size = 8 }
        refused("q: rank") { $0.q.rank = 2 }
        refused("head dimension 577") { $0.q.shape.2 = 577 }
        refused("head dimension 0") { $0.q.shape.2 = 0 }
        refused("rows differ from those of k") { $0.v.shape.0 = 5 }
        refused("k: shape is not") { $0.k.shape.2 = 7 }
        refused("not a multiple") { $0.k.shape.1 = 3 }
        refused("element type") {
            $0.k.dtype = LHK_DTYPE_I8; $0.v.dtype = LHK_DTYPE_I8
        }
        refused("differs from k's") { $0.v.dtype = LHK_DTYPE_BF16 }
        refused("out: shape is not") { $0.out.shape.2 = 9 }
        refused("out: rows differ") { $0.out.shape.0 = 3 }
        refused("lse") { $0.lse.dtype = LHK_DTYPE_F16 }
        refused("lse") { $0.lse.rank = 3 }
        refused("path 9") { $0.path = 9 }
    }

    @Test func memory() {
        refused("data is null") { $0.v.data = nil }
        refused("not aligned") { $0.q.data! += 1 }
        refused("last one is not 1") { $0.k.stride.2 = 2 }
        refused("negative") { $0.q.stride.0 = -1 }
        refused("overflows", status: LHK_ERROR_OVERFLOW) { $0.k.stride.0 = .max / 4 }
        refused("out: its rows overlap") { $0.out.stride.0 = 8 }
        refused("out: its rows overlap") { $0.out.stride.1 = 0 }
        refused("out overlaps q") { $0.out.data = $0.q.data }
        refused("out overlaps v") {
            $0.v = $0.out; $0.v.shape.0 = 6; $0.v.shape.1 = 2; $0.v.stride.0 = 16
        }
        refused("lse overlaps out") { $0.lse.data = $0.out.data! + 4 }
    }

    @Test func modifiers() {
        func refusedParams(_ text: String, location: SourceLocation = #_sourceLocation, _ change: (Operands) -> Void) {
            let operands = Operands(rows: 4, keys: 6, heads: 4, kvHeads: 2, dimK: 8, dimV: 8)
            change(operands)
            let status = text.contains("2^61") ? LHK_ERROR_OVERFLOW : LHK_ERROR_ARGUMENT
            refused(text, status: status, location: location, operands: operands) { _ in }
        }
        refusedParams("unknown flags 0x8") { $0.params.flags = 8 }
        refusedParams("scale -1") { $0.params.scale = -1 }
        refusedParams("scale nan") { $0.params.scale = .nan }
        refusedParams("scale inf") { $0.params.scale = .infinity }
        refusedParams("softcap") { $0.params.softcap = -.infinity }
        refusedParams("window") { $0.params.window_left = -2 }
        refusedParams("window") { $0.params.window_right = -3 }
        refusedParams("sink_tokens") { $0.params.sink_tokens = -1 }
        refusedParams("2^61") {
            $0.params.flags = LHK_ATTENTION_OFFSET; $0.params.offset = .max
        }
        refusedParams("slope of head 2") { $0.slopes = [0, 1, .infinity, 0] }
        refusedParams("sink logit of head 3") { $0.sinks = [0, 1, -.infinity, .nan] }
        refusedParams("struct_size") { $0.params.struct_size = 16 }
    }

    @Test func sequences() {
        let memory = Memory()
        func refusedBatch(_ text: String, q: [Int64], k: [Int64], lengths: [Int64] = [], count: Int64 = 2) {
            let (q, k, lengths) = (memory.array(q), memory.array(k), memory.array(lengths))
            refused(text) {
                $0.sequences = count
                $0.cu_q = q
                $0.cu_k = k
                $0.kv_lengths = lengths
            }
        }
        refusedBatch("sequences is 0", q: [0, 1], k: [0, 1], count: 0)
        refusedBatch("sequences is negative", q: [0, 1], k: [0, 1], count: -1)
        refusedBatch("does not begin at 0", q: [1, 2, 4], k: [0, 3, 6])
        refusedBatch("cu_q[2]", q: [0, 2, 1], k: [0, 3, 6])
        refusedBatch("cu_q[2]", q: [0, 2, 5], k: [0, 3, 6])
        refusedBatch("cu_k[1]", q: [0, 2, 4], k: [3, 2, 6])
        refusedBatch("cu_k[2]", q: [0, 2, 4], k: [0, 3, 7])
        refusedBatch("kv_lengths[1]", q: [0, 2, 4], k: [0, 3, 6], lengths: [3, 4])
        refusedBatch("kv_lengths[0]", q: [0, 2, 4], k: [0, 3, 6], lengths: [-1, 0])
        refused("cu_q or cu_k is null") { $0.sequences = 1 }
    }

    @Test func selections() {
        let memory = Memory()
        func refusedSelection(
            _ text: String, kind: UInt32, lists: Int, offsets: [Int64], runs: [lhk_run] = [], tokens: [Int32] = [],
            weights: [Float] = [], tile: Int64 = 2, location: SourceLocation = #_sourceLocation
        ) {
            let selection = memory.selection(
                kind, lists: lists, offsets: offsets, rawRuns: runs, tokens: tokens, weights: weights, tileRows: tile)
            refused(text, location: location) { $0.selection = selection }
        }
        let tokens = LHK_SELECTION_TOKENS, blocks = LHK_SELECTION_BLOCKS
        refusedSelection("kind 7", kind: 7, lists: 2, offsets: [0, 0, 0])
        refusedSelection("3 lists", kind: tokens, lists: 3, offsets: [0, 0, 0, 0])
        refusedSelection("2 lists", kind: blocks, lists: 2, offsets: [0, 0, 0])
        refusedSelection("tile_rows 0", kind: blocks, lists: 8, offsets: [0], tile: 0)
        refusedSelection("list_offsets[2] descends", kind: tokens, lists: 2, offsets: [0, 1, 0], tokens: [1])
        refusedSelection("negative", kind: tokens, lists: 2, offsets: [-1, 0, 0], tokens: [1])
        refusedSelection("entries are null", kind: tokens, lists: 2, offsets: [0, 1, 1])
        refusedSelection("token 1", kind: tokens, lists: 2, offsets: [0, 2, 2], tokens: [3, 3])
        refusedSelection("token 0", kind: tokens, lists: 2, offsets: [0, 2, 2], tokens: [-1, 3])
        refusedSelection("log weight 1", kind: tokens, lists: 2, offsets: [0, 2, 2], tokens: [1, 3], weights: [0, .nan])
        let lists: [Int64] = [0, 2, 2, 2, 2, 2, 2, 2, 2]
        refusedSelection(
            "run 1", kind: blocks, lists: 8, offsets: lists, runs: [lhk_run(begin: 0, end: 3), lhk_run(begin: 2, end: 4)])
        refusedSelection(
            "run 0", kind: blocks, lists: 8, offsets: lists, runs: [lhk_run(begin: 3, end: 2), lhk_run(begin: 4, end: 4)])
        refusedSelection(
            "run 0", kind: blocks, lists: 8, offsets: lists, runs: [lhk_run(begin: -1, end: 2), lhk_run(begin: 4, end: 4)])
    }

    /// A chain that leads back to itself ends, and all keys cannot be chained.
    @Test func chains() {
        let memory = Memory()
        let all = memory.selection(LHK_SELECTION_ALL, lists: 0, offsets: [])
        let tokens = memory.selection(LHK_SELECTION_TOKENS, lists: 2, offsets: [0, 0, 0])
        UnsafeMutablePointer(mutating: all).pointee.next = tokens
        refused("cannot be chained") { $0.selection = all }
        UnsafeMutablePointer(mutating: tokens).pointee.next = tokens
        refused("circular") { $0.selection = tokens }
    }

    /// Outputs may be columns of the memory that holds the inputs.
    @Test func interleavedOperandsAreAccepted() throws {
        let operands = Operands(rows: 4, keys: 4, heads: 2, kvHeads: 2, dimK: 8, dimV: 8)
        try operands.runReference()
        let expected = operands.out
        var fused = [Float](repeating: .nan, count: 4 * 64)
        for row in 0..<4 {
            fused.replaceSubrange(row * 64..<row * 64 + 16, with: operands.q[row * 16..<row * 16 + 16])
            fused.replaceSubrange(row * 64 + 16..<row * 64 + 32, with: operands.k[row * 16..<row * 16 + 16])
            fused.replaceSubrange(row * 64 + 32..<row * 64 + 48, with: operands.v[row * 16..<row * 16 + 16])
        }
        try fused.withUnsafeMutableBufferPointer { buffer in
            let base = buffer.baseAddress!
            try operands.runReference { args in
                args.q.data = UnsafeMutableRawPointer(base)
                args.k.data = UnsafeMutableRawPointer(base + 16)
                args.v.data = UnsafeMutableRawPointer(base + 32)
                args.out.data = UnsafeMutableRawPointer(base + 48)
                args.q.stride.0 = 64
                args.k.stride.0 = 64
                args.v.stride.0 = 64
                args.out.stride.0 = 64
            }
        }
        for row in 0..<4 { #expect(Array(fused[row * 64 + 48..<row * 64 + 64]) == Array(expected[row * 16..<row * 16 + 16])) }
    }
}
