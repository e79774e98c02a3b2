// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandTestSupport
import Testing

@Suite struct StoreTests {
    /// Codebooks of one head, at the scale of unit vectors, of levels that shrink.
    static func books(bits: Int, dim: Int, seed: Int = 1) -> [Codebook] {
        var random = Normal(seed: seed)
        let levels = bits * dim / 8
        let keys = (0..<levels).flatMap { level in
            // As long as the best of 256 random centres wants them, for a residual that shrinks level by level.
            random.row(16 * dim).map { $0 * 2.4 / Float(dim) * Float(pow(1 - 4 / Double(dim), Double(level))) }
        }
        let values = random.row(bits * dim * dim).map { $0 * 2 / Float(bits * dim * dim).squareRoot() }
        let offset = (0..<dim).map { c in -(0..<bits * dim).reduce(0) { $0 + values[$1 * dim + c] } / 2 }
        return [
            Codebook(name: "commvq.key_codebook", shape: [1, levels, 16, dim], values: keys),
            Codebook(name: "commvq.key_weight", shape: [1, dim / 2], values: [Float](repeating: 1, count: dim / 2)),
            Codebook(name: "commvq.value_codebook", shape: [1, bits * dim, dim], values: values),
            Codebook(name: "commvq.value_offset", shape: [1, dim], values: offset),
        ]
    }

    static func store(bits: Int = 1, dim: Int = 64, seed: Int = 1, position: lhk_position_params? = rotary()) throws -> Store {
        try Store(
            dim: dim, options: [("calibration", "codebooks"), ("bits", "\(bits)"), ("sinks", "0")],
            codebooks: books(bits: bits, dim: dim, seed: seed), position: position)
    }

    @Test("codes leave no more than greedy encoding by the formulas does", arguments: [(1, 64), (2, 64), (1, 128)])
    func encoding(bits: Int, dim: Int) throws {
        var random = Normal(seed: 5)
        let books = Self.books(bits: bits, dim: dim), count = 64
        let oracle = Oracle(books[0].values, levels: bits * dim / 8, dim: dim)
        let store = try Self.store(bits: bits, dim: dim)
        let keys = (0..<count).map { _ in random.row(dim) }, values = (0..<count).map { _ in random.row(dim) }
        let placed = try turned(keys, dim: dim, from: 0, by: rotary())
        try store.append(k: placed, v: values)
        let held = try store.read(count)
        var ours = 0.0, theirs = 0.0, energy = 0.0
        for i in 0..<count {
            let length = norm(keys[i])
            let coded = oracle.coded(keys[i].map { Double($0) / length }).map { Float($0 * length) }
            ours += pow(distance(held.k[i], placed[i]), 2)
            theirs += pow(distance(coded, keys[i]), 2)
            energy += length * length
        }
        #expect(theirs < 0.75 * energy, "\(theirs / energy)")
        // The scale is fitted and the tables are rounded, which may cost or win a little.
        #expect(ours < 1.03 * theirs, "\(ours / energy) against \(theirs / energy)")
        let valueError = zip(held.v, values).reduce(0) { $0 + pow(distance($1.0, $1.1), 2) }
        #expect(valueError < 0.6 * values.reduce(0) { $0 + pow(norm($1), 2) })
    }

    /// Plain, interleaved, some dimensions only, both, and with two scalings.
    static func position(_ kind: Int) -> lhk_position_params {
        rotary {
            switch kind {
            case 1: $0.interleaved = 1
            case 2: $0.dims = 32
            case 3: ($0.dims, $0.interleaved) = (48, 1)
            case 4: ($0.scaling, $0.factor, $0.original_context) = (LHK_SCALING_YARN, 8, 2048)
            case 5: ($0.scaling, $0.factor, $0.base) = (LHK_SCALING_NTK, 4, 500_000)
            default: break
            }
        }
    }

    @Test("one key has one code at every position: what is decoded turns with it", arguments: 0..<6)
    func commutation(index: Int) throws {
        let dim = 64, count = 512, position = Self.position(index)
        var random = Normal(seed: 9)
        let key = random.row(dim), value = random.row(dim)
        let placed = try turned([[Float]](repeating: key, count: count), dim: dim, from: 0, by: position)
        let store = try Self.store(position: position)
        try store.append(k: placed, v: [[Float]](repeating: value, count: count))
        let held = try store.read(count)
        // At position 0 nothing turns, so that the first key is the code itself (with YaRN's magnitude in its scale).
        let first = held.k[0], magnitude = norm(placed[0]) / norm(key)
        let unplaced = [[Float]](repeating: first.map { $0 / Float(magnitude) }, count: count)
        let expected = try turned(unplaced, dim: dim, from: 0, by: position)
        for t in 0..<count {
            #expect(distance(held.k[t], expected[t]) < 4e-3 * norm(first), "token \(t)")
        }
        #expect(distance(held.k[0], placed[0]) < 0.9 * norm(placed[0]))
    }

    @Test("attention from codes is attention over what is decoded", arguments: [1, 2])
    func scoresAndSums(bits: Int) throws {
        var random = Normal(seed: 3)
        let dim = 64, count = 500
        let keys = (0..<count).map { _ in random.row(dim) }, values = (0..<count).map { _ in random.row(dim) }
        let store = try Self.store(bits: bits)
        try store.append(k: try turned(keys, dim: dim, from: 0, by: rotary()), v: values)
        try expectAttention(over: store, count: count, random: &random, scoreError: 2e-3)
    }

    @Test("rows in 16 bit are exact to their type: sinks, the tail, and what `recent` keeps")
    func exactRows() throws {
        var random = Normal(seed: 4)
        let count = 200, keys = (0..<count).map { _ in random.row(64) }
        let store = try Store(options: [("random", "1"), ("sinks", "5"), ("recent", "64")])
        try store.append(k: keys, v: keys)
        let held = try store.read(count)
        func isExact(_ t: Int) -> Bool {
            max(distance(held.k[t], keys[t]), distance(held.v[t], keys[t])) < 0x1p-8 * norm(keys[t])
        }
        // 200 - 64 = 136: two blocks are codes.
        for t in 0..<count { #expect(isExact(t) == (t < 5 || t >= 128), "token \(t)") }
    }

    @Test("content does not depend on the pieces it came in, nor on the processor; truncated, forked and loaded it goes on")
    func life() throws {
        var random = Normal(seed: 6)
        let count = 333, keys = (0..<count).map { _ in random.row(128) }, values = (0..<count).map { _ in random.row(128) }
        func make(_ isa: UInt64? = nil) throws -> Store { try Store(heads: 2, options: [("random", "4")], isa: isa) }
        let whole = try make(), pieces = try make(), plain = try make(0), copy = try make()
        try whole.append(k: keys, v: values)
        try plain.append(k: keys, v: values)
        for first in stride(from: 0, to: count, by: 7) {
            let range = first..<min(first + 7, count)
            try pieces.append(k: Array(keys[range]), v: Array(values[range]))
        }
        #expect(whole.save() == pieces.save())
        #expect(whole.save() == plain.save())
        try copy.load(whole.save())
        #expect(copy.save() == whole.save())
        try copy.truncate(150)
        try copy.append(k: Array(keys[150...]), v: Array(values[150...]))
        #expect(copy.length == count)
        for head in 0..<2 {
            let a = try whole.read(count, head: head), b = try copy.read(count, head: head)
            #expect(Array(a.k[..<150]) == Array(b.k[..<150]) && Array(a.v[..<150]) == Array(b.v[..<150]))
            #expect(Array(a.k[192...]) == Array(b.k[192...]) && Array(a.v[192...]) == Array(b.v[192...]))
        }
        var damaged = whole.save()
        damaged.removeLast()
        #expect(throws: Refusal.self) { try make().load(damaged) }
        let other = try Store(heads: 2, options: [("random", "5")])
        #expect(throws: Refusal.self) { try other.load(whole.save()) }
    }

    @Test("what cannot be is refused in words")
    func refusals() throws {
        func reason(_ body: () throws -> Store) -> String {
            do { _ = try body() } catch { return (error as? Refusal)?.text ?? "\(error)" }
            return ""
        }
        #expect(reason { try Store(options: []) }.contains("longhand calibrate commvq"))
        #expect(reason { try Store(options: [("calibration", "x")]) }.contains("has no codebooks"))
        #expect(reason { try Store(options: [("calibration", "x"), ("random", "1")]) }.contains("exclude"))
        #expect(reason { try Store(options: [("random", "1"), ("recent", "10")]) }.contains("multiple of 64"))
        #expect(reason { try Store(dim: 96, options: [("random", "1")]) }.contains("multiple"))
        #expect(reason { try Self.store(position: nil) }.contains("position"))
        let books = Self.books(bits: 1, dim: 64)
        #expect(reason { try Store(options: [("calibration", "x"), ("bits", "2")], codebooks: books) }.contains("shape"))
        var broken = books
        broken[2].values[7] = .nan
        #expect(reason { try Store(options: [("calibration", "x"), ("bits", "1")], codebooks: broken) }.contains("nan"))
    }

    @Test("bytes: 14 times fewer than 16 bits at 1 bit per channel, 7.5 at 2, tail and scales included")
    func bytes() throws {
        let count = 8192, rows = [[Float]](repeating: (0..<192).map { Float($0 % 7) - 3 }, count: count)
        for (bits, ratio) in [(1, 14.0), (2, 7.5)] {
            let store = try Store(heads: 3, capacity: count, options: [("random", "1"), ("bits", "\(bits)")])
            try store.append(k: rows, v: rows)
            #expect(Double(count * 192 * 2 * 2) / Double(store.bytes.in_use) > ratio)
            #expect(store.bytes.bits_per_token == Double(bits * 384 + 32))
        }
    }
}
