// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandTestSupport
import Testing

/// The rules of encoding, and what becomes of numbers that codes cannot hold. What tiles compute from the codes is checked
/// by VerifyTests for every variant.
struct QuantStoreTests {
    static let names = ["q8", "q4"]

    /// Half a step of the block: 1/127 of the largest magnitude, or 1/15 of the range; and the rounding of f16, whose
    /// smallest step is 2^-24.
    static func allowed(_ name: String, _ block: ArraySlice<Float>) -> Float {
        let largest = block.map(abs).max()!
        let step = name == "q8" ? largest / 127 : (block.max()! - block.min()! + largest * 0x1p-11) / 15
        return (step + 0x1p-24) * 0.5 * (1 + 0x1p-9) + (name == "q8" ? 0 : largest * 0x1p-11)
    }

    @Test(arguments: names, [1, 31, 59, 64, 96, 129]) func errorIsWithinHalfAStep(_ name: String, _ dim: Int) throws {
        var normal = Normal(seed: dim)
        let rows = (0..<300).map { i in normal.row(dim).map { $0 * pow(10, Float(i % 13) - 8) + (i % 7 == 0 ? 3 : 0) } }
        let store = try Store(name, dimK: dim, dimV: dim)
        try store.append(k: rows, v: rows)
        let held = try store.read(rows.count)
        for (row, pair) in zip(rows, zip(held.k, held.v)) {
            for first in stride(from: 0, to: dim, by: 32) {
                let range = first..<min(first + 32, dim), bound = Self.allowed(name, row[range])
                for c in range {
                    let worst = max(abs(pair.0[c] - row[c]), abs(pair.1[c] - row[c]))
                    #expect(worst <= bound, "\(row[c]) became \(pair.0[c]) and \(pair.1[c])")
                }
            }
        }
    }

    /// Codes lie within -127 and 127: a row and its negative are each other's negative.
    @Test func codesAreSymmetric() throws {
        var normal = Normal(seed: 5)
        let rows = (0..<64).map { _ in normal.row(64) }, negative = rows.map { $0.map { -$0 } }
        let store = try Store("q8", dimK: 64, dimV: 64)
        try store.append(k: rows, v: negative)
        let held = try store.read(rows.count)
        #expect(held.k.map { $0.map { -$0 } } == held.v)
    }

    @Test(arguments: names) func zeroAndConstantRowsAreExact(_ name: String) throws {
        let rows: [[Float]] = [[Float](repeating: 0, count: 48), [Float](repeating: -2.5, count: 48)]
        let store = try Store(name, dimK: 48, dimV: 48)
        try store.append(k: rows, v: rows)
        let held = try store.read(2)
        #expect(held.k[0] == rows[0] && held.v[0] == rows[0])
        #expect(zip(held.k[1] + held.v[1], rows[1] + rows[1]).allSatisfy { abs($0 - $1) < 2e-3 })
        if name == "q4" { #expect(held.k[1] == rows[1]) }
        #expect(store.scores([Float](repeating: 1, count: 48), 2)[0] == 0)
    }

    /// Infinities, NaN and what f16 scales cannot reach make their block of 32 channels NaN: nothing is lost silently, and
    /// nothing else is touched.
    @Test(arguments: names, [Float.nan, .infinity, -.infinity, 1e30]) func whatIsNotHeldIsNaN(_ name: String, _ bad: Float) throws {
        var normal = Normal(seed: 9)
        let good = (0..<40).map { _ in normal.row(64) }
        var rows = good
        rows[17][40] = bad
        let store = try Store(name, dimK: 64, dimV: 64), clean = try Store(name, dimK: 64, dimV: 64)
        try store.append(k: rows, v: rows)
        try clean.append(k: good, v: good)
        let held = try store.read(40), expected = try clean.read(40)
        #expect((held.v[17][32...] + held.k[17][32...]).allSatisfy { $0.isNaN })
        #expect(held.v[17][..<32] == expected.v[17][..<32])
        for i in 0..<40 where i != 17 {
            #expect(held.v[i] == expected.v[i])
            #expect(held.k[i] == expected.k[i])
        }
        let q = normal.row(64), scores = store.scores(q, 40), others = clean.scores(q, 40)
        for i in 0..<40 { #expect(i == 17 ? scores[i].isNaN : scores[i] == others[i]) }
        var p = (0..<40).map { _ in Float(normal.uniform()) }
        p[17] = 0
        #expect(store.sum(p) == clean.sum(p))
        p[17] = 0.5
        let sum = store.sum(p)
        #expect(sum[32...].allSatisfy { $0.isNaN })
        #expect(sum[..<32] == clean.sum(p)[..<32])
    }

    @Test(arguments: names) func aBadQueryIsNaN(_ name: String) throws {
        var normal = Normal(seed: 11)
        let store = try Store(name, dimK: 64, dimV: 64)
        let rows = (0..<40).map { _ in normal.row(64) }
        try store.append(k: rows, v: rows)
        for bad in [Float.nan, .infinity] {
            var q = normal.row(64)
            q[3] = bad
            #expect(store.scores(q, 40)[..<40].allSatisfy { $0.isNaN })
            var p = normal.row(40)
            p[3] = bad
            #expect(store.sum(p)[..<64].allSatisfy { $0.isNaN })
        }
    }

    /// The data of FlashAttention-3's error experiment: 0.1 % of the entries have a deviation of 10. Rotation spreads them.
    @Test(arguments: names) func rotationSparesOutliers(_ name: String) throws {
        var normal = Normal(seed: 3)
        let rows = (0..<512).map { _ in (0..<128).map { _ in normal.next() + (normal.uniform() < 0.001 ? 10 * normal.next() : 0) } }
        let plain = try Store(name, dimK: 128, dimV: 128)
        let rotated = try Store(name, dimK: 128, dimV: 128, options: [("rotate", "1")])
        try plain.append(k: rows, v: rows)
        try rotated.append(k: rows, v: rows)
        var errors = [0.0, 0.0]
        for i in 0..<16 {
            let q = rows[i * 31].map { $0 + normal.next() }
            let exact = rows.map { row in zip(q, row).reduce(0.0) { $0 + Double($1.0) * Double($1.1) } }
            for (side, store) in [plain, rotated].enumerated() {
                errors[side] += zip(store.scores(q, 512), exact).reduce(0) { $0 + pow(Double($1.0) - $1.1, 2) }
            }
        }
        #expect(errors[1] < (name == "q8" ? 0.75 : 0.9) * errors[0], "\(errors)")
        let held = try rotated.read(512).k, bound: Float = name == "q8" ? 0.012 : 0.11
        for (row, got) in zip(rows, held) {
            let size = row.reduce(0) { $0 + $1 * $1 }, off = zip(row, got).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
            #expect(off <= bound * bound * size)
        }
    }

    @Test func bytesAreHonest() throws {
        #expect(try Store("q8", dimK: 128, dimV: 128, heads: 8).bytes.bits_per_token == 8 * 256 * 8.5)
        #expect(try Store("q4", dimK: 128, dimV: 128, heads: 8).bytes.bits_per_token == 8 * 256 * 5)
        #expect(try Store("q8", dimK: 59, dimV: 33).bytes.bits_per_token == 128 * 8.5)  // whole blocks of channels
        #expect(try Store("q4", dimK: 1, dimV: 1, capacity: 300).bytes.capacity == 512 * 64 * 5 / 8)
    }

    @Test func wrongOptionsAreRefused() throws {
        func refusal(_ options: [(String, String)], dim: Int = 64) -> String? {
            do { _ = try Store("q8", dimK: dim, dimV: dim, options: options) } catch let refusal as Refusal {
                return refusal.text
            } catch {}
            return nil
        }
        #expect(refusal([("rotate", "2")])?.contains("rotate=2") == true)
        #expect(refusal([("spin", "1")])?.contains("'spin'") == true)
        #expect(refusal([], dim: 1025)?.contains("1024") == true)
        #expect(refusal([("rotate", "0")]) == nil)
    }
}
