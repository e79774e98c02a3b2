// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Longhand
import LonghandAdamas
import Testing

/// The direct calls against the method as it is written down.
@Suite struct StepTests {
    /// |a - b| of every pair of codes, alone in its channel, at both ends of words.
    @Test(arguments: levels.indices) func distancesOfAllPairs(_ level: Int) throws {
        var host = try host(levels[level].isa)
        for a in 0..<4 {
            for b in 0..<4 {
                for (dim, channel) in [(64, 0), (64, 63), (128, 64), (70, 69), (256, 200)] {
                    var query = [Int](repeating: 2, count: dim), key = query, found: UInt16 = 999
                    (query[channel], key[channel]) = (a, b)
                    try call { lhk_adamas_distances(pack(query), pack(key), 1, Int64(dim), &found, &host, $0) }
                    #expect(Int(found) == abs(a - b), "\(a) and \(b) in channel \(channel) of \(dim)")
                }
            }
        }
    }

    @Test(arguments: levels.indices, [16, 59, 64, 128, 192, 256]) func distancesAndNearest(_ level: Int, _ dim: Int) throws {
        var normal = Normal(state: UInt64(dim)), host = try host(levels[level].isa)
        let rows = (0..<700).map { _ in (0..<dim).map { _ in Int(normal.bits() % 4) } }, query = rows[333]
        let expected = rows.map { row in zip(row, query).reduce(0) { $0 + abs($1.0 - $1.1) } }
        var found = [UInt16](repeating: 0, count: rows.count)
        try call { lhk_adamas_distances(pack(query), rows.flatMap(pack), 700, Int64(dim), &found, &host, $0) }
        #expect(found.map(Int.init) == expected)
        for budget in [0, 1, 2, 64, 699, 700, 900] {
            var tokens = [Int32](repeating: -1, count: 700)
            let count = lhk_adamas_nearest(found, 700, Int64(budget), &tokens)
            #expect(Array(tokens.prefix(Int(count))) == nearest(expected, budget: budget))
        }
    }

    /// Codes follow the formula but where rounding to single precision may decide, and are the same at every level.
    @Test(arguments: levels.indices, [16, 64, 128, 256]) func codes(_ level: Int, _ dim: Int) throws {
        var normal = Normal(state: 7)
        let rows = (0..<40).map { i in normal.values(dim).map { i % 5 == 0 ? $0 * 30 : $0 } }
        let thresholds: [Float] = [-0.7, 0.1, 0.8]
        let found = try encode(rows.flatMap { $0 }, dim, thresholds, levels[level].isa)
        #expect(try found == encode(rows.flatMap { $0 }, dim, thresholds, []))
        for (row, codes) in zip(rows, found) {
            let y = hadamard(row.map(Double.init)), close = 1e-5 * y.map(abs).max()!
            for (value, got) in zip(y, codes) where thresholds.allSatisfy({ abs(value - Double($0)) > close }) {
                #expect(got == code(value, thresholds))
            }
        }
    }

    /// A channel that is NaN has code 0; a value equal to a threshold goes to the lower bucket.
    @Test func edges() throws {
        let isas = levels.map(\.isa)
        for isa in isas {
            #expect(try encode([Float](repeating: .nan, count: 64), 64, [-1, 0, 1], isa)[0] == [Int](repeating: 0, count: 64))
            let impulse = [8] + [Float](repeating: 0, count: 63)  // becomes 1 everywhere
            #expect(try encode(impulse, 64, [-1, 0, 1], isa)[0] == [Int](repeating: 2, count: 64))
        }
        #expect(throws: Refusal.self) { try encode([Float](repeating: 0, count: 64), 64, [1, 0, 2], []) }
    }

    @Test func quartiles() {
        var thresholds = [Float](repeating: 0, count: 3)
        lhk_adamas_quartiles((0..<1000).map { Float(($0 * 337) % 1000) - 500 }, 1000, &thresholds)
        #expect(thresholds == [-250, 0, 250])
        lhk_adamas_quartiles([.nan, 3, -.infinity, -1], 4, &thresholds)  // 0, 3, 0, -1
        #expect(thresholds == [0, 0, 3])
    }
}
