// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Longhand
import LonghandBaselines
import LonghandCommon
import LonghandDenseStore
import LonghandFlashAttention
import LonghandTestSupport
import LonghandWindow
import Testing

/// Seeded rows of one layer. Values are unit vectors, so that an output shows which keys it was made from.
private struct Rows {
    static let heads = 2, dim = 16
    let count: Int
    let keys, queries: [Float]

    init(_ count: Int, seed: Int) {
        var normal = Normal(seed: seed)
        self.count = count
        keys = normal.row(count * Self.dim)
        queries = normal.row(count * Self.heads * Self.dim)
    }

    func key(_ token: Int) -> ArraySlice<Float> { keys[token * Self.dim..<(token + 1) * Self.dim] }
    func query(row: Int, head: Int) -> ArraySlice<Float> {
        let first = (row * Self.heads + head) * Self.dim
        return queries[first..<first + Self.dim]
    }

    /// For each query head, the tokens that the last of `rows` rows attends to.
    func chosen(rows: Int, prefill: String = "all", decode: String = "all") throws -> [Set<Int>] {
        let registry = try Registry()
        for plugin in [lhk_baselines_plugin(), lhk_dense_store_plugin(), lhk_flash_attention_plugin(), lhk_window_plugin()] {
            try registry.register(plugin: plugin!)
        }
        var layer = CacheLayer(queryHeads: Self.heads, kvHeads: 1, headDimK: Self.dim, headDimV: count)
        layer.attention.causal = true
        var configuration = CacheConfiguration(layers: [layer], capacity: count)
        configuration.maxRows = count
        (configuration.store, configuration.position) = ("f32", "none")
        (configuration.prefill, configuration.decode) = (prefill, decode)
        let cache = try Cache(configuration, registry: registry, host: .openMP(workers: 2))
        let values = (0..<count * count).map { Float($0 / count == $0 % count ? 1 : 0) }
        try cache.append(layer: 0, keys: keys, values: values, rows: count)
        var out = [Float](repeating: 0, count: rows * Self.heads * count)
        try cache.attend(layer: 0, queries: Array(queries.suffix(rows * Self.heads * Self.dim)), out: &out, rows: rows)
        return (0..<Self.heads).map { head in
            let first = ((rows - 1) * Self.heads + head) * count
            return Set((0..<count).filter { out[first + $0] > 0 })
        }
    }
}

/// The indices of the `count` greatest numbers, of equals the first.
private func greatest(_ numbers: [Double], _ count: Int) -> [Int] {
    Array(numbers.indices.sorted { (-numbers[$0], $0) < (-numbers[$1], $1) }.prefix(count))
}

@Suite struct BaselinesTests {
    @Test(arguments: [(96, 4, 24), (101, 16, 64), (64, 16, 16)]) func questTakesThePagesOfTheGreatestBounds(
        count: Int, page: Int, budget: Int
    ) throws {
        let rows = Rows(count, seed: count), pages = (count + page - 1) / page
        let chosen = try rows.chosen(rows: 1, decode: "quest:budget=\(budget),page=\(page),dense_layers=0")
        for head in 0..<Rows.heads {
            let query = Array(rows.query(row: count - 1, head: head))
            let bounds = (0..<pages - 1).map { number in
                (0..<Rows.dim).reduce(0.0) { sum, c in
                    let channel = (number * page..<(number + 1) * page).map { Array(rows.key($0))[c] }
                    return sum + Double(max(query[c] * channel.min()!, query[c] * channel.max()!))
                }
            }
            let taken = greatest(bounds, max(3, budget / page) - 1) + [pages - 1]
            #expect(chosen[head] == Set(taken.flatMap { $0 * page..<min(count, ($0 + 1) * page) }))
        }
    }

    @Test func pooledTakesTheBlocksOfTheGreatestMeans() throws {
        let count = 512, share = 0.5, rows = Rows(count, seed: 7), blocks = count / 32
        let chosen = try rows.chosen(rows: count, prefill: "pooled:share=\(share)")
        func mean(_ rows: [ArraySlice<Float>]) -> [Double] {
            (0..<Rows.dim).map { c in rows.reduce(0) { $0 + Double(Array($1)[c]) } / Double(rows.count) }
        }
        for head in 0..<Rows.heads {
            let query = mean((count - 64..<count).map { rows.query(row: $0, head: head) })
            let scores = (1..<blocks - 5).map { block in
                zip(query, mean((block * 32..<block * 32 + 32).map(rows.key))).reduce(0) { $0 + $1.0 * $1.1 }
            }
            let taken = greatest(scores, Int(share * Double(blocks)) - 6).map { $0 + 1 } + [0] + Array(blocks - 5..<blocks)
            #expect(chosen[head] == Set(taken.flatMap { $0 * 32..<$0 * 32 + 32 }))
        }
    }

    @Test func lotsAreDrawnOnce() throws {
        let rows = Rows(300, seed: 3)
        func draw(_ seed: Int) throws -> [Set<Int>] {
            try rows.chosen(rows: 1, decode: "random:budget=40,dense_layers=0,seed=\(seed)")
        }
        let chosen = try draw(5)
        #expect(chosen.allSatisfy { $0.count == 40 && $0.contains(299) })
        #expect(try draw(5) == chosen)
        #expect(try draw(6) != chosen && chosen[0] != chosen[1])
    }

    @Test(arguments: [
        ("quest:page=0", "page=0"), ("quest:mass=1", "'mass'"), ("pooled:share=2", "share=2"),
        ("pooled:mass=0.9,share=0.5", "exclude"), ("random:seed=-1", "seed=-1"), ("random:budget=0", "budget=0"),
    ]) func wrongOptions(selector: String, reason: String) throws {
        let error = #expect(throws: LonghandError.self) {
            _ = try Rows(8, seed: 1).chosen(rows: 1, prefill: selector, decode: selector)
        }
        #expect("\(try #require(error))".contains(reason))
    }
}
