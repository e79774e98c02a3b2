// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandFlashAttention
import LonghandTestSupport
import Testing

/// The merge of partial results by their log-sum-exp.
@Suite struct MergeTests {
    struct Part { var out: [Float], lse: [Float] }

    /// Merges into new arrays, or into those of part 0.
    func merge(_ parts: [Part], rows: Int, dim: Int, inPlace: Bool = false) throws -> Part {
        var outs = parts.map { part in
            let pointer = UnsafeMutablePointer<Float>.allocate(capacity: max(part.out.count, 1))
            pointer.initialize(from: part.out, count: part.out.count)
            return pointer
        }
        var lses = parts.map { part in
            let pointer = UnsafeMutablePointer<Float>.allocate(capacity: max(part.lse.count, 1))
            pointer.initialize(from: part.lse, count: part.lse.count)
            return pointer
        }
        if !inPlace {
            outs.append(.allocate(capacity: max(rows * dim, 1)))
            lses.append(.allocate(capacity: max(rows, 1)))
        }
        defer { (outs + lses).forEach { $0.deallocate() } }
        let (out, lse) = inPlace ? (outs[0], lses[0]) : (outs.last!, lses.last!)
        let inputs = outs.map { UnsafePointer($0) }, inputLses = lses.map { UnsafePointer($0) }
        try check { lhk_flash_merge(Int64(rows), Int64(dim), Int32(parts.count), inputs, inputLses, out, lse, $0) }
        return Part(
            out: Array(UnsafeBufferPointer(start: out, count: rows * dim)),
            lse: Array(UnsafeBufferPointer(start: lse, count: rows)))
    }

    /// Any partition of the keys merges to the result over all of them.
    @Test(arguments: 1..<7) func partitions(_ count: Int) throws {
        let (keys, dim) = (23, 300)
        let whole = Operands(rows: 3, keys: keys, dimK: 8, dimV: dim, seed: UInt64(count))
        try whole.runReference()
        let cuts = (0...count).map { $0 * keys / count }
        let parts = try (0..<count).map { index in
            let part = Operands(rows: 3, keys: keys, dimK: 8, dimV: dim, seed: UInt64(count))
            part.k = Array(part.k[cuts[index] * 8..<cuts[index + 1] * 8])
            part.v = Array(part.v[cuts[index] * dim..<cuts[index + 1] * dim])
            let keyCount = Int64(cuts[index + 1] - cuts[index])
            try part.runReference {
                $0.k.shape.0 = keyCount
                $0.v.shape.0 = keyCount
            }
            return Part(out: part.out, lse: part.lse)
        }
        for inPlace in [false, true] {
            let merged = try merge(parts, rows: 3, dim: dim, inPlace: inPlace)
            for (got, want) in zip(merged.out + merged.lse, whole.out + whole.lse) { #expect(abs(got - want) <= 5e-7) }
        }
    }

    /// A part of minus infinity is not read; without any other the result is empty.
    @Test func emptyParts() throws {
        let empty = Part(out: [.nan, .nan], lse: [-.infinity])
        let full = Part(out: [1, -2], lse: [3])
        for parts in [[empty, full], [full, empty], [empty, full, empty]] {
            let merged = try merge(parts, rows: 1, dim: 2)
            #expect(merged.out == [1, -2] && merged.lse == [3])
        }
        let merged = try merge([empty, empty], rows: 1, dim: 2)
        #expect(merged.out == [0, 0] && merged.lse == [-.infinity])
    }

    @Test func extremes() throws {
        let far = try merge([Part(out: [1], lse: [-1e30]), Part(out: [3], lse: [1e30])], rows: 1, dim: 1)
        #expect(far.out == [3] && far.lse == [1e30])
        let low = try merge([Part(out: [1], lse: [-300_000]), Part(out: [3], lse: [-300_000])], rows: 1, dim: 1)
        #expect(low.out == [2])
        let nan = try merge(
            [Part(out: [1, 1], lse: [.nan, 0]), Part(out: [3, 3], lse: [0, 0])], rows: 2, dim: 1)
        #expect(nan.out[0].isNaN && nan.lse[0].isNaN && nan.out[1] == 2)
        #expect(try merge([Part(out: [], lse: [])], rows: 0, dim: 4).out.isEmpty)
    }

    @Test func refusals() throws {
        var memory = [Float](repeating: 0, count: 64)
        try memory.withUnsafeMutableBufferPointer { buffer in
            let base = buffer.baseAddress!
            let (outs, lses) = ([UnsafePointer(base), UnsafePointer(base + 8)], [UnsafePointer(base + 16), UnsafePointer(base + 20)])
            func refused(
                _ text: String, rows: Int64 = 2, dim: Int64 = 4, parts: Int32 = 2, out: Int = 32, lse: Int = 48,
                status: lhk_status = LHK_ERROR_ARGUMENT
            ) {
                let refusal = #expect(throws: Refusal.self) {
                    try check { lhk_flash_merge(rows, dim, parts, outs, lses, base + out, base + lse, $0) }
                }
                #expect(refusal?.status == status && refusal?.text.contains(text) == true, "\(String(describing: refusal))")
            }
            refused("out of range", rows: -1)
            refused("out of range", parts: 0)
            refused("overflows", rows: .max / 2, dim: 8, status: LHK_ERROR_OVERFLOW)
            refused("out overlaps part 1", out: 8)
            refused("out overlaps part 0", out: 4)
            refused("lse overlaps out", out: 32, lse: 39)
            refused("lse overlaps part 1", lse: 20)
            try check { lhk_flash_merge(2, 4, 2, outs, lses, base, base + 16, $0) }
        }
    }
}
