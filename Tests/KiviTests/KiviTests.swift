// SPDX-License-Identifier: Apache-2.0
import LonghandKivi
import LonghandTestSupport
import Testing

/// An instance of `q2` or `q1`.
final class Store: StoreInstance {
    init(_ name: String, dimK: Int, dimV: Int, heads: Int = 1, capacity: Int = 600, options: [(String, String)] = []) throws {
        try super.init(lhk_kivi_plugin(), name, dimK: dimK, dimV: dimV, heads: heads, capacity: capacity, options: options)
    }
}

/// What codes stand for, against the formula written down once more; which tokens are codes; what is stated of bytes. What
/// tiles compute from decoded rows is checked by VerifyTests.
struct KiviTests {
    static let names = ["q2", "q1"]

    static func rows(_ count: Int, _ dim: Int, seed: Int) -> [[Float]] {
        var normal = Normal(seed: seed)
        let offsets = normal.row(dim).map { 4 * $0 }
        return (0..<count).map { _ in
            zip(normal.row(dim), offsets).map { x, offset in
                Float(bitPattern: (x + offset).bitPattern & 0xffff_0000)  // as a row in 16 bit holds it
            }
        }
    }

    /// The paper's rule: minimum and range of the group, both kept in half precision, codes rounded to nearest.
    static func decoded(_ name: String, _ group: [Float]) -> [Float] {
        let levels: Float = name == "q2" ? 3 : 1
        let minimum = Double(Float16(group.min()!))
        let scale = Double(Float16((group.max()! - Float(minimum)) / levels))
        return group.map { x in
            let code = scale > 0 ? ((Double(x) - minimum) / scale).rounded(.toNearestOrEven) : 0
            return Float(minimum + scale * min(max(code, 0), Double(levels)))
        }
    }

    /// Ties of rounding may fall either way: a number halfway between two codes is off by the same from both.
    func expectSame(_ got: [Float], _ expected: [Float], _ given: [Float]) {
        for (i, x) in got.enumerated() where abs(x - expected[i]) > 1e-5 * max(1, abs(x)) {
            #expect(abs(abs(x - given[i]) - abs(expected[i] - given[i])) < 1e-4, "\(given[i]) became \(x), not \(expected[i])")
        }
    }

    @Test(arguments: names, [32, 64, 128]) func groupsDecodeAsTheFormulaSays(_ name: String, _ group: Int) throws {
        let dimK = 48, dimV = 80, count = 2 * group + 9
        let k = Self.rows(count, dimK, seed: 1), v = Self.rows(count, dimV, seed: 2)
        let store = try Store(name, dimK: dimK, dimV: dimV, options: [("group", "\(group)")])
        try store.append(k: k, v: v)
        let held = try store.read(count)
        for block in 0..<2 {
            let tokens = block * group..<(block + 1) * group
            for c in 0..<dimK {
                let given = tokens.map { k[$0][c] }
                expectSame(tokens.map { held.k[$0][c] }, Self.decoded(name, given), given)
            }
            for t in tokens {
                for first in stride(from: 0, to: dimV, by: group) {
                    let given = Array(v[t][first..<min(first + group, dimV)])
                    expectSame(Array(held.v[t][first..<min(first + group, dimV)]), Self.decoded(name, given), given)
                }
            }
        }
        #expect(Array(held.k[(2 * group)...]) == Array(k[(2 * group)...]))  // what waits for its group is whole
        #expect(Array(held.v[(2 * group)...]) == Array(v[(2 * group)...]))
    }

    @Test(arguments: names) func fittedCodesLoseLess(_ name: String) throws {
        let rows = Self.rows(256, 64, seed: 3)
        func error(_ options: [(String, String)]) throws -> Float {
            let store = try Store(name, dimK: 64, dimV: 64, options: options)
            try store.append(k: rows, v: rows)
            let held = try store.read(256)
            return zip(rows + rows, held.k + held.v).reduce(0) { sum, row in
                sum + zip(row.0, row.1).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
            }
        }
        #expect(try error([("fit", "1")]) < (name == "q2" ? 0.9 : 0.5) * error([]))
    }

    @Test func sinksAndRecentTokensAreWhole() throws {
        let rows = Self.rows(200, 32, seed: 4)
        let store = try Store("q1", dimK: 32, dimV: 32, options: [("sinks", "5"), ("recent", "64")])
        for i in 0..<200 { try store.append(k: [rows[i]], v: [rows[i]]) }
        let held = try store.read(200)
        let whole = (0..<200).filter { held.k[$0] == rows[$0] && held.v[$0] == rows[$0] }
        #expect(whole == Array(0..<5) + Array(128..<200))
    }

    /// A truncation leaves part of a group; when it is full again, its first tokens are encoded again, from their codes.
    @Test func aGroupCutInHalfFillsAgain() throws {
        let rows = Self.rows(64, 32, seed: 5)
        let store = try Store("q2", dimK: 32, dimV: 32), whole = try Store("q2", dimK: 32, dimV: 32)
        try store.append(k: rows, v: rows)
        try whole.append(k: rows, v: rows)
        let before = try store.read(40)
        try store.truncate(40)
        try store.append(k: [rows[40]], v: [rows[40]])
        let after = try store.read(41)
        #expect(Array(after.k[..<40]) == before.k && Array(after.v[..<40]) == before.v && after.k[40] == rows[40])
        try store.append(k: Array(rows[41...]), v: Array(rows[41...]))
        let full = try store.read(64), expected = try whole.read(64)
        #expect(full.v == expected.v)
        for c in 0..<32 {
            let column = rows[32...].map { $0[c] }, step = (column.max()! - column.min()!) / 3
            for t in 0..<64 { #expect(abs(full.k[t][c] - expected.k[t][c]) < (t < 32 ? 1e-9 : 1.1 * step)) }
        }
    }

    @Test func badNumbersSpoilTheirGroupOnly() throws {
        var k = Self.rows(64, 64, seed: 6), v = k
        let store = try Store("q2", dimK: 64, dimV: 64)
        (k[3][7], v[40][33]) = (.nan, .infinity)
        try store.append(k: k, v: v)
        let held = try store.read(64)
        for t in 0..<64 {
            for c in 0..<64 {
                #expect(held.k[t][c].isNaN == (t < 32 && c == 7))
                #expect(held.v[t][c].isNaN == (t == 40 && c >= 32))
            }
        }
    }

    @Test func bytesAreHonest() throws {
        func bits(_ name: String, _ group: Int, dim: Int = 128) throws -> Double {
            let store = try Store(name, dimK: dim, dimV: dim, heads: 8, options: [("group", "\(group)")])
            return store.bytes.bits_per_token / Double(2 * 8 * dim)
        }
        #expect(try bits("q2", 32) == 3)
        #expect(try bits("q1", 32) == 2)
        #expect(try bits("q2", 128) == 2.25)
        #expect(try bits("q1", 64) == 1.5)
        #expect(try bits("q2", 128, dim: 64) == 2.375)  // a value has no more than 64 channels for its two parameters
    }

    @Test func wrongOptionsAreRefused() throws {
        func refusal(_ options: [(String, String)]) -> String? {
            do { _ = try Store("q2", dimK: 64, dimV: 64, options: options) } catch { return "\(error)" }
            return nil
        }
        #expect(refusal([("group", "48")])?.contains("group=48") == true)
        #expect(refusal([("recent", "5")])?.contains("recent=5") == true)
        #expect(refusal([("rotate", "1")])?.contains("'rotate'") == true)
        #expect(refusal([("group", "96"), ("sinks", "1")]) == nil)
    }
}
