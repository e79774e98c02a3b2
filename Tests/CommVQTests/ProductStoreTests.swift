// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandTestSupport
import Testing

/// The store with `form=product`.
@Suite struct ProductStoreTests {
    /// Levels of one head at the scale of unit vectors, 2 bits. Those of keys hold a pair each, of values two axes; the last ones
    /// come on top of others, so that the last pair and the last two axes are in none.
    static func books(dim: Int, seed: Int = 1) -> [Codebook] {
        var random = Normal(seed: seed)
        let levels = dim / 2, scale = 1 / Float(dim).squareRoot()
        func tables(_ channels: (Int) -> [Int]) -> [Float] {
            (0..<levels).flatMap { level -> [Float] in
                let held = channels(level == levels - 1 ? 3 : level), size = level == levels - 1 ? scale / 4 : scale
                return (0..<16).flatMap { _ -> [Float] in
                    let numbers: [Float] = random.row(held.count)
                    var row = [Float](repeating: 0, count: dim)
                    for (channel, number) in zip(held, numbers) { row[channel] = number * size }
                    return row
                }
            }
        }
        // A reflection is orthonormal and mixes all channels.
        let normal: [Float] = random.row(dim), square = Float(dot(normal, normal))
        var axes = [Float](repeating: 0, count: dim * dim)
        for a in 0..<dim { for c in 0..<dim { axes[a * dim + c] = (a == c ? 1 : 0) - 2 * normal[a] * normal[c] / square } }
        let centre: [Float] = random.row(dim), offset: [Float] = random.row(dim)
        return [
            Codebook(name: "commvq.product_keys", shape: [1, levels, 16, dim], values: tables { [$0, $0 + dim / 2] }),
            Codebook(name: "commvq.product_weight", shape: [1, dim / 2], values: (0..<dim / 2).map { 0.5 + Float($0 % 5) / 4 }),
            Codebook(name: "commvq.product_centre", shape: [1, dim], values: centre.map { $0 * scale }),
            Codebook(name: "commvq.product_values", shape: [1, levels, 16, dim], values: tables { [2 * $0, 2 * $0 + 1] }),
            Codebook(name: "commvq.product_axes", shape: [1, dim, dim], values: axes),
            Codebook(name: "commvq.product_offset", shape: [1, dim], values: offset.map { $0 * scale / 4 }),
        ]
    }

    static func store(
        dim: Int = 64, books: [Codebook]? = nil, bits: Int = 2, position: lhk_position_params? = rotary(), isa: UInt64? = nil
    ) throws -> Store {
        try Store(
            dim: dim, options: [("calibration", "levels"), ("form", "product"), ("bits", "\(bits)"), ("sinks", "0")],
            codebooks: books ?? Self.books(dim: dim), position: position, isa: isa)
    }

    /// What greedy codes, level by level, put in place of a row.
    static func coded(_ row: [Float], _ tables: [Float], from start: [Float]) -> [Float] {
        let dim = row.count
        var sum = start
        for level in 0..<tables.count / (16 * dim) {
            let candidates = (0..<16).map { code in (0..<dim).map { sum[$0] + tables[(level * 16 + code) * dim + $0] } }
            sum = candidates.min { distance($0, row) < distance($1, row) }!
        }
        return sum
    }

    @Test("keys and values are the nearest sums of levels, by the formulas", arguments: [64, 128])
    func encoding(dim: Int) throws {
        var random = Normal(seed: 5)
        let books = Self.books(dim: dim), count = 64, weights = books[1].values, axes = books[4].values, offset = books[5].values
        let store = try Self.store(dim: dim)
        let keys = (0..<count).map { _ in random.row(dim) }, values = (0..<count).map { _ in random.row(dim) }
        let placed = try turned(keys, dim: dim, from: 0, by: rotary())
        try store.append(k: placed, v: values)
        let held = try store.read(count)
        var keyError = (ours: 0.0, theirs: 0.0), valueError = keyError, energy = keyError
        for i in 0..<count {
            let size = Float(norm(keys[i]))
            let weighted = keys[i].indices.map { keys[i][$0] / size * weights[$0 % (dim / 2)] }
            let key = Self.coded(weighted, books[0].values, from: books[2].values)
            let fit = Float(dot(weighted, key) / dot(key, key))
            // As levels see it: weighted, before positions.
            let back = try turned([held.k[i]], dim: dim, from: -i, by: rotary())[0]
            let ours = back.indices.map { back[$0] / size * weights[$0 % (dim / 2)] }
            keyError.ours += pow(distance(ours, weighted), 2)
            keyError.theirs += pow(distance(key.map { $0 * fit }, weighted), 2)
            energy.ours += pow(norm(weighted), 2)

            let length = Float(norm(values[i])), shifted = values[i].indices.map { values[i][$0] / length - offset[$0] }
            let along: [Float] = (0..<dim).map { a in Float(dot(Array(axes[a * dim..<(a + 1) * dim]), shifted)) }
            let steps = Self.coded(along, books[3].values, from: [Float](repeating: 0, count: dim))
            var sum = offset
            for a in 0..<dim { for c in 0..<dim { sum[c] += steps[a] * axes[a * dim + c] } }
            let scale = Float(dot(values[i], sum) / dot(sum, sum))
            valueError.ours += pow(distance(held.v[i], values[i]) / Double(length), 2)
            valueError.theirs += pow(distance(sum.map { $0 * scale }, values[i]) / Double(length), 2)
            energy.theirs += 1
        }
        #expect(keyError.theirs < 0.75 * energy.ours && valueError.theirs < 0.75 * energy.theirs, "\(keyError) \(valueError)")
        // Tables are bytes, and where two codes are about as near, another may be taken.
        #expect(abs(keyError.ours / keyError.theirs - 1) < 0.01, "\(keyError)")
        #expect(abs(valueError.ours / valueError.theirs - 1) < 0.01, "\(valueError)")
    }

    @Test("one key has one code at every position: what is decoded turns with it", arguments: 0..<6)
    func commutation(index: Int) throws {
        let dim = 64, count = 300, position = StoreTests.position(index)
        var random = Normal(seed: 9)
        var key = random.row(dim)
        let value = random.row(dim)
        for _ in 0..<8 {  // until it is a sum of levels itself, so that no other code is about as near
            let start = try Self.store(position: position)
            try start.append(k: [[Float]](repeating: key, count: 64), v: [[Float]](repeating: value, count: 64))
            key = try start.read(1).k[0]
        }
        let placed = try turned([[Float]](repeating: key, count: count), dim: dim, from: 0, by: position)
        let store = try Self.store(position: position)
        try store.append(k: placed, v: [[Float]](repeating: value, count: count))
        let held = try store.read(count), first = held.k[0], magnitude = Float(norm(placed[0]) / norm(key))
        let unplaced = [[Float]](repeating: first.map { $0 / magnitude }, count: count)
        let expected = try turned(unplaced, dim: dim, from: 0, by: position)
        for t in 0..<count { #expect(distance(held.k[t], expected[t]) < 4e-3 * norm(first), "token \(t)") }
    }

    @Test("attention from codes is attention over what is decoded", arguments: [64, 128], [nil, 0 as UInt64?])
    func scoresAndSums(dim: Int, isa: UInt64?) throws {
        var random = Normal(seed: 3)
        let count = 500
        let keys = (0..<count).map { _ in random.row(dim) }, values = (0..<count).map { _ in random.row(dim) }
        let store = try Self.store(dim: dim, isa: isa)
        try store.append(k: try turned(keys, dim: dim, from: 0, by: rotary()), v: values)
        // Turns are bytes on some processors.
        try expectAttention(over: store, count: count, random: &random, scoreError: 3e-3)
    }

    @Test("a long tail of weights below a rounding step keeps its sum")
    func tail() throws {
        let dim = 64, count = 448
        let store = try Self.store(dim: dim)
        let row = (0..<dim).map { Float($0 % 5) - 2 }
        try store.append(k: [[Float]](repeating: row, count: count), v: [[Float]](repeating: row, count: count))
        let value = try store.read(1).v[0]
        // One token has most of the weight; 447 have a quarter of a rounding step each, together seven thousandths.
        let p: [Float] = (0..<count).map { $0 == 7 ? 1 : 0.25 / 16383 }
        let sum = store.sum(p), total = Double(p.reduce(0, +)), size = norm(value)
        for c in 0..<dim { #expect(abs(Double(sum[c]) - total * Double(value[c])) < 1e-4 * size) }
    }

    @Test("what cannot be is refused in words")
    func refusals() throws {
        func reason(_ body: () throws -> Store) -> String {
            do { _ = try body() } catch { return (error as? Refusal)?.text ?? "\(error)" }
            return ""
        }
        func changed(_ change: (inout [Codebook]) -> Void) -> String {
            var books = Self.books(dim: 64)
            change(&books)
            return reason { try Self.store(books: books) }
        }
        #expect(reason { try Store(options: [("form", "product")]) }.contains("--form product"))
        #expect(reason { try Store(options: [("form", "sum"), ("random", "1")]) }.contains("additive or product"))
        #expect(reason { try Store(options: [("form", "product"), ("bits", "4"), ("random", "1")]) }.contains("bits"))
        #expect(reason { try Store(options: [("bits", "3"), ("random", "1")]) }.contains("bits"))
        #expect(reason { try Self.store(books: StoreTests.books(bits: 2, dim: 64)) }.contains("no 'commvq.product_keys'"))
        #expect(reason { try Self.store(bits: 1) }.contains("shape"))
        #expect(reason { try Self.store(position: nil) }.contains("position"))
        #expect(changed { $0[5].values[7] = .nan }.contains("nan"))
        #expect(changed { $0[1].values[3] = 0 }.contains("product_weight"))
        #expect(changed { books in for c in 0..<9 { books[3].values[c] = 0.1 } }.contains("more than 8 channels"))
        #expect(
            changed { books in
                for level in 0..<32 { for pair in 1..<4 { books[0].values[level * 16 * 64 + pair] = 0.1 } }
            }.contains("overlap"))
    }

    @Test("bytes: those of codes are 1, 2 or 3 bits per channel and 32 bits per token")
    func bytes() throws {
        for bits in 1...3 {
            let store = try Store(heads: 3, options: [("form", "product"), ("random", "1"), ("bits", "\(bits)")])
            #expect(store.bytes.bits_per_token == Double(bits * 384 + 32))
        }
    }
}
