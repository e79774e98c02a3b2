// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

/// What the method promises, from exact scores: independent of the kernels' own reference.
@Suite struct SelectionTests {
    /// Blocks that are always kept, and the number that may be skipped, of a tile whose last row is `last`.
    static func regions(last: Int) -> (blocks: Int, middle: Int) {
        let blocks = last / 32 + 1
        return (blocks, max(0, blocks - 1 - 4) / 4 * 4)
    }

    /// Most that an estimate differs from the exact score, in both directions, from the rounding of codes alone.
    static func slack(_ p: Prefill, _ row: Int, _ token: Int, _ head: Int) -> Double {
        let segment = 32 + (token - 32) / 128 * 128, block = token / 32 * 32
        func less(
            _ tokens: Range<Int>, _ x: (Int) -> ArraySlice<Float>, _ mean: [Double]
        ) -> (largest: Double, rows: [[Double]]) {
            let rows = tokens.map { zip(x($0), mean).map { Double($0) - $1 } }
            return (rows.joined().map(abs).max()!, rows)
        }
        func mean(_ tokens: Range<Int>, _ x: (Int) -> ArraySlice<Float>) -> [Double] {
            (0..<p.dim).map { c in tokens.reduce(0.0) { $0 + Double(x($1)[x($1).startIndex + c]) } / Double(tokens.count) }
        }
        let keys = { p.key($0, head) }, queries = { p.query($0, head) }
        let keyMean = mean(segment..<segment + 128, keys), eight = p.bits == 8
        let tile = row / 64 * 64..<min(row / 64 * 64 + 64, p.rowCount)
        let queryMean = eight ? [Double](repeating: 0, count: p.dim) : mean(tile, queries)
        let k = less(eight ? block..<block + 32 : token..<token + 1, keys, keyMean), q = less(row..<row + 1, queries, queryMean)
        let own = k.rows[eight ? token - block : 0]
        let sk = k.largest / (eight ? 63 : 7), sq = q.largest / (eight ? 127 : 7)
        let sum = sq / 2 * own.map(abs).reduce(0, +) + sk / 2 * q.rows[0].map(abs).reduce(0, +) + Double(p.dim) * sq * sk / 4
        return sum / Double(p.dim).squareRoot() + 1e-3
    }

    /// A prompt, and how many blocks it decides at least: with 4 bits rounding leaves most of them open.
    struct Problem: Sendable {
        let bits: UInt32
        let seed: Int
        let tau: Float
        let needed, skipped: Int
        let block: UInt32

        init(_ bits: UInt32, _ seed: Int, _ tau: Float, _ needed: Int, _ skipped: Int, block: UInt32 = 32) {
            (self.bits, self.seed, self.tau, self.needed, self.skipped, self.block) = (bits, seed, tau, needed, skipped, block)
        }
    }

    /// Weights relative to what is always kept: what exceeds the threshold by more than the codes' rounding is kept, what
    /// stays below it by more is not.
    @Test(arguments: [
        Problem(8, 1, 0.2, 20, 20), .init(8, 2, 0.2, 20, 20), .init(4, 3, 0.02, 5, 0), .init(4, 3, 0.3, 0, 5),
        .init(8, 1, 0.2, 20, 60, block: 16), .init(4, 3, 0.3, 0, 20, block: 16),
    ])
    func keepsWhatMatters(_ problem: Problem) throws {
        var p = Prefill(rows: 450, seed: problem.seed)
        (p.bits, p.tau, p.block) = (problem.bits, problem.tau, problem.block)
        let width = Int(problem.block)
        let kept = try #require(try p.select())
        var must = 0, mustNot = 0
        for head in 0..<p.queryHeads {
            for tile in 0..<(p.rowCount + 63) / 64 {
                let rows = tile * 64..<min(tile * 64 + 64, p.rowCount), middle = Self.regions(last: rows.upperBound - 1).middle
                let all = (rows.upperBound + width - 1) / width
                let always = Set(0..<32 / width).union(32 * (1 + middle) / width..<max(all, 32 * (1 + middle) / width))
                var needed = always, allowed = always
                for row in rows where middle > 0 {
                    let own = (0...row).filter { $0 < 32 || $0 >= 32 * (1 + middle) }.map { p.score(row, $0, head) }
                    let top = own.max()!
                    let limit = top + log(own.reduce(0) { $0 + exp($1 - top) }) + log(Double(p.tau))
                    for token in 32..<32 * (1 + middle) {
                        let over = p.score(row, token, head) - limit
                        let slack = abs(over) < 2 ? Self.slack(p, row, token, head) : 2
                        if over > slack { needed.insert(token / width) }
                        if over > -slack { allowed.insert(token / width) }
                    }
                }
                let chosen = Set(kept[head][tile])
                #expect(needed.isSubset(of: chosen) && chosen.isSubset(of: allowed), "head \(head) tile \(tile)")
                must += needed.count - always.count
                mustNot += all - allowed.count
            }
        }
        #expect(
            must >= problem.needed && mustNot >= problem.skipped,
            "the problem decides \(must) blocks to be kept and \(mustNot) to be skipped")
    }

    /// What is skipped of a segment counts as its mean key and value, with a weight of at most the threshold.
    @Test(arguments: [(UInt32(16), UInt32(8)), (32, 8), (16, 4)]) func remainderIsThatOfTheSegments(_ block: UInt32, _ bits: UInt32) throws {
        var p = Prefill(rows: 500, seed: 23), normals = Normals(seed: 29)
        (p.block, p.bits, p.tau) = (block, bits, 0.2)
        p.values = normals.array(p.keyCount * p.kvHeads * p.valueDim)
        p.values[(200 * p.kvHeads + 1) * p.valueDim] = .infinity  // its segment has no part for the heads of KV head 1
        let kept = try #require(try p.selection()), width = Int(block)
        var rows = 0
        for head in 0..<p.queryHeads {
            for row in 0..<p.rowCount {
                let last = min(row / 64 * 64 + 63, p.rowCount - 1), middle = Self.regions(last: last).middle
                let chosen = Set(kept.lists[head][row / 64])
                let own = (0...row).filter { $0 < 32 || $0 >= 32 * (1 + middle) }.map { p.score(row, $0, head) }
                let top = own.max()!, limit = top + log(own.reduce(0) { $0 + exp($1 - top) }) + log(Double(p.tau))
                var mass = 0.0, sum = [Double](repeating: 0, count: p.valueDim)
                for first in stride(from: 32, to: 32 * (1 + middle), by: 128) where !(head / 2 == 1 && (first..<first + 128).contains(200)) {
                    let tokens = first..<first + 128, skipped = tokens.filter { !chosen.contains($0 / width) }.count
                    let score = tokens.reduce(0.0) { $0 + p.score(row, $1, head) } / 128
                    let weight = Double(skipped) * exp(min(score, limit))
                    mass += weight
                    for token in tokens {
                        for c in 0..<p.valueDim {
                            sum[c] += weight * Double(p.values[(token * p.kvHeads + head / 2) * p.valueDim + c]) / 128
                        }
                    }
                }
                let at = row * p.queryHeads + head
                guard mass > 0 else {
                    #expect(kept.restLse[at] == -.infinity, "row \(row) head \(head)")
                    continue
                }
                rows += 1
                #expect(abs(Double(kept.restLse[at]) - log(mass)) < 1e-4, "row \(row) head \(head)")
                for c in 0..<p.valueDim { #expect(abs(Double(kept.restMean[at * p.valueDim + c]) - sum[c] / mass) < 1e-4) }
            }
        }
        #expect(rows > 300, "only \(rows) rows of all heads have a remainder")
    }

    @Test(arguments: [UInt32(8), 4]) func lowerThresholdsKeepSupersets(bits: UInt32) throws {
        var p = Prefill(rows: 500, seed: 7)
        p.bits = bits
        var last: [[Set<Int>]]?
        for tau in [1, 0.3, 0.1, 0.03] as [Float] {
            p.tau = tau
            guard let kept = try p.select()?.map({ $0.map(Set.init) }) else { continue }
            for (before, now) in zip(last ?? kept, kept) {
                for (a, b) in zip(before, now) { #expect(a.isSubset(of: b)) }
            }
            last = kept
        }
        let share = try #require(last).joined().reduce(0) { $0 + $1.count }
        p.tau = 1
        #expect(try #require(try p.select()).joined().reduce(0) { $0 + $1.count } < share)
    }

    @Test func thresholdZeroAndShortPromptsAreDense() throws {
        var p = Prefill(rows: 500, seed: 9)
        p.tau = 0
        #expect(try p.select() == nil)
        p.tau = 100
        #expect(try p.cut(rows: 256, keys: 256).select() == nil)
        #expect(try p.cut(rows: 257, keys: 257).select() != nil)
        #expect(try p.cut(rows: 1, keys: 500).select() == nil)
    }

    /// A key that one row alone wants keeps its block for that row's tile and head.
    @Test(arguments: [UInt32(8), 4]) func findsAPlantedKey(bits: UInt32) throws {
        var p = Prefill(rows: 500, seed: 11, gain: 0.1)
        (p.bits, p.tau) = (bits, 0.1)
        let row = 470, head = 2, token = 100, at = (row * p.queryHeads + head) * p.dim, from = (token * p.kvHeads + 1) * p.dim
        for c in 0..<p.dim { p.queries[at + c] = 1.5 * p.keys[from + c] }
        let kept = try #require(try p.select())
        #expect(p.score(row, token, head) > 5)
        for tile in 5..<8 { #expect(kept[head][tile].contains(token / 32) == (tile == row / 64), "tile \(tile)") }
    }

    /// Screening leaves out few blocks more, and none that is not left out without it.
    @Test func screeningOnlyDrops() throws {
        var p = Prefill(rows: 500, seed: 17)
        p.tau = 0.2
        let plain = try #require(try p.select()).joined().map(Set.init)
        for (screen, most) in [(8, 0), (4, 4), (1, Int.max)] as [(Float, Int)] {
            p.screen = screen
            let screened = try #require(try p.select()).joined().map(Set.init)
            #expect(zip(screened, plain).allSatisfy { $0.isSubset(of: $1) })
            let lost = zip(screened, plain).reduce(0) { $0 + $1.1.count - $1.0.count }
            #expect(lost <= most && (screen > 1 || lost > 0), "screen \(screen) loses \(lost)")
        }
    }

    /// Any cut of a prompt into calls of multiples of 64 rows gives the same lists.
    @Test(arguments: [UInt32(8), 4]) func doesNotDependOnChunks(bits: UInt32) throws {
        var p = Prefill(rows: 450, seed: 13)
        (p.bits, p.tau) = (bits, 0.2)
        let whole = try #require(try p.select())
        var first = 0
        for rows in [320, 64, 66] {
            let part = try #require(try p.cut(rows: rows, keys: first + rows).select())
            for head in 0..<p.queryHeads {
                #expect(part[head] == Array(whole[head][(first / 64)..<(first / 64 + (rows + 63) / 64)]))
            }
            first += rows
        }
    }
}
