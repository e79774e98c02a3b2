// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import Testing

/// The contract of the store `k8v16` where `longhand verify` does not look: infinities, tiny keys, bytes and options.
@Suite struct StoreTests {
    static func problem(rows: Int = 70, dim: Int = 64, causal: Bool = true) -> Problem {
        var normal = Normal(state: 9)
        let count = rows * dim
        return Problem(q: normal.values(count), k: normal.values(count), v: normal.values(count), dim: dim, causal: causal)
    }

    /// Codes hold neither infinities nor NaN: the scale of such a row is NaN, which reaches the rows that see it only.
    @Test(arguments: levels.indices, [Float.infinity, -Float.infinity, Float.nan])
    func nonfiniteRows(_ level: Int, _ value: Float) throws {
        let plain = Self.problem(), whole = try plain.attend(store: "k8v16", isa: levels[level].isa)
        var query = plain, key = plain
        query.q[33 * 64 + 5] = value
        key.k[40 * 64 + 63] = value
        let byQuery = try query.attend(store: "k8v16", isa: levels[level].isa)
        let byKey = try key.attend(store: "k8v16", isa: levels[level].isa)
        for row in 0..<70 {
            let range = row * 64..<(row + 1) * 64
            #expect(row == 33 ? byQuery[range].allSatisfy(\.isNaN) : byQuery[range] == whole[range])
            #expect(row >= 40 ? byKey[range].allSatisfy(\.isNaN) : byKey[range] == whole[range])
        }
    }

    /// Keys that are zero, or too small for a scale, score zero: the output is the mean of the values.
    @Test(arguments: [0, 1e-38, 1e-43] as [Float]) func tinyKeys(_ size: Float) throws {
        var problem = Self.problem(rows: 33, causal: false)
        problem.k = problem.k.map { $0 * size }
        let out = try problem.attend(store: "k8v16")
        for channel in 0..<64 {
            let mean = (0..<33).reduce(0) { $0 + problem.v[$1 * 64 + channel] } / 33
            #expect(abs(out[20 * 64 + channel] - mean) < 5e-3)
        }
    }

    @Test func bytesAndOptions() throws {
        let problem = Self.problem(rows: 16, dim: 128)
        let cache = try problem.cache(store: "k8v16")
        #expect(cache.statistics.bitsPerToken == Double(8 * (128 + 4 + 2 * 128)))
        let other = try problem.cache(store: "k8v16:rotate=0")
        let path = NSTemporaryDirectory() + "longhand-k8v16-\(ProcessInfo.processInfo.processIdentifier).kv"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try cache.append(layer: 0, keys: problem.k, values: problem.v, rows: 16)
        try cache.save(path: path)
        #expect(throws: LonghandError.self) { try other.load(path: path) }  // keys of another rotation
        #expect(throws: LonghandError.self) { try problem.cache(store: "k8v16:rotate=2") }
        #expect(throws: LonghandError.self) { try problem.cache(store: "k8v16:block=32") }
        #expect(throws: LonghandError.self) { try problem.cache(store: "bf16:rotate=0") }
    }
}
