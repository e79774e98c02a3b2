// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import Testing

@Suite struct CacheTests {
    @Test(arguments: ["shift", "none"]) func prefillAndDecode(position: String) throws {
        let cache = try makeCache { $0.position = position }
        let sequences = cache.sequences(seed: testSeed("prefillAndDecode"))
        for range in [0..<7, 7..<8, 8..<9, 9..<25, 25..<26, 26..<40] {
            for (layer, sequence) in sequences.enumerated() {
                try cache.append(sequence, layer: layer, range)
                let got = try cache.attend(sequence, layer: layer, range)
                let want = sequence.expected(range, shifted: position == "shift")
                #expect(difference(got.out, want.out) < 1e-5, "layer \(layer) tokens \(range)")
                #expect(difference(got.lse, want.lse) < 1e-3)
            }
        }
        #expect(cache.length == 40)
        let stats = cache.statistics
        #expect(stats.prefill.calls == 6 && stats.decode.calls == 6)
        #expect(stats.decode.path == "naive")
        #expect(stats.decode.pairsAttended == (8 + 9 + 26) * (4 + 2))
        #expect(stats.appendNanoseconds > 0 && stats.attendNanoseconds > 0)
        #expect(stats.bytesInUse == 40 * 4 * (2 * 10 + 8))
        #expect(stats.bytesCapacity == stats.bytesInUse)
        #expect(stats.bitsPerToken == 32 * (2 * 10 + 8))
        cache.resetStatistics()
        #expect(cache.statistics.decode.calls == 0 && cache.statistics.attendNanoseconds == 0)
        #expect(cache.statistics.bytesInUse > 0)
    }

    /// One query row may look back further than its own append: the rows are always the last of the layer.
    @Test func queriesAreTheLastRows() throws {
        let cache = try makeCache()
        let sequences = cache.sequences(seed: 5)
        try cache.append(sequences[0], layer: 0, 0..<12)
        let got = try cache.attend(sequences[0], layer: 0, 9..<12)
        #expect(difference(got.out, sequences[0].expected(9..<12).out) < 1e-5)
    }

    @Test(arguments: ["all", "recent:count=3"]) func decodeSelector(prefill: String) throws {
        let cache = try makeCache {
            $0.prefill = prefill
            $0.decode = "recent:count=3"
        }
        let sequence = cache.sequences(seed: 6)[0]
        try cache.append(sequence, layer: 0, 0..<10)
        let rows = try cache.attend(sequence, layer: 0, 8..<10).out
        #expect(difference(rows, sequence.expected(8..<10, recent: prefill == "all" ? .max : 3).out) < 1e-5)
        try cache.append(sequence, layer: 0, 10..<11)
        let decoded = try cache.attend(sequence, layer: 0, 10..<11).out
        #expect(difference(decoded, sequence.expected(10..<11, recent: 3).out) < 1e-5)
        #expect(cache.statistics.decode.pairsAttended == 3 * 4)
        #expect(cache.statistics.selectNanoseconds > 0)
    }

    @Test(arguments: ["shift", "none"], [ElementType.bf16, .f16]) func halfPrecisionInputs(
        position: String, type: ElementType
    )
        throws
    {
        let cache = try makeCache { $0.position = position }
        let sequence = cache.sequences(seed: 7)[0]
        // Bits of small dyadic numbers, which both types hold exactly.
        func halves(_ values: [Float]) -> [UInt16] {
            values.map {
                let value = ($0 * 8).rounded() / 8
                return type == .bf16 ? UInt16(value.bitPattern >> 16) : halfBits(value)
            }
        }
        let exact = TokenRows(rounding: sequence)
        var keys = halves(sequence.keys)
        var values = halves(sequence.values)
        var queries = halves(sequence.queries)
        var out = [Float](repeating: .nan, count: 5 * 4 * 6)
        try keys.withUnsafeMutableBytes { keys in
            try values.withUnsafeMutableBytes { values in
                try cache.append(
                    layer: 0, keys: Tensor(keys.baseAddress, type: type, shape: [5, 2, 4]),
                    values: Tensor(values.baseAddress, type: type, shape: [5, 2, 6]))
            }
        }
        try queries.withUnsafeMutableBytes { queries in
            try out.withUnsafeMutableBytes { out in
                try cache.attend(
                    layer: 0, queries: Tensor(queries.baseAddress, type: type, shape: [5, 4, 4]),
                    out: Tensor(out.baseAddress, shape: [5, 4, 6]))
            }
        }
        #expect(difference(out, exact.expected(0..<5, shifted: position == "shift").out) < 1e-5)
    }

    @Test func stridedViews() throws {
        let cache = try makeCache()
        let sequence = cache.sequences(seed: 8)[0]
        // One fused row per token, as projections give them: 4 query heads, 2 key heads of 4; 2 value heads of 6.
        var fused = [Float](repeating: .nan, count: 5 * 40)
        var out = [Float](repeating: -7, count: 5 * 4 * 10)
        for token in 0..<5 {
            fused.replaceSubrange(token * 40..<token * 40 + 16, with: sequence.queries[token * 16..<token * 16 + 16])
            fused.replaceSubrange(token * 40 + 16..<token * 40 + 24, with: sequence.keys[token * 8..<token * 8 + 8])
            fused.replaceSubrange(
                token * 40 + 24..<token * 40 + 36, with: sequence.values[token * 12..<token * 12 + 12])
        }
        try fused.withUnsafeMutableBufferPointer { fused in
            func view(_ offset: Int, _ heads: Int, _ dim: Int) throws -> Tensor {
                try Tensor(fused.baseAddress! + offset, shape: [5, heads, dim], strides: [40, dim, 1])
            }
            try cache.append(layer: 0, keys: view(16, 2, 4), values: view(24, 2, 6))
            try out.withUnsafeMutableBytes {
                try cache.attend(
                    layer: 0, queries: view(0, 4, 4),
                    out: Tensor($0.baseAddress, shape: [5, 4, 6], strides: [40, 10, 1]))
            }
        }
        let want = sequence.expected(0..<5).out
        for row in 0..<20 {
            #expect(difference(Array(out[row * 10..<row * 10 + 6]), Array(want[row * 6..<row * 6 + 6])) < 1e-5)
            #expect(out[row * 10 + 6..<row * 10 + 10].allSatisfy { $0 == -7 }, "wrote between the rows")
        }
    }

    @Test func bindings() throws {
        let bindings = try makeCache { $0.decode = "recent:count=2" }.bindings
        #expect(bindings.map(\.slot) == ["store", "prefill", "decode", "attention", "position"])
        #expect(bindings.map(\.spec) == ["plain", "all", "recent:count=2", "naive", "shift"])
        #expect(bindings.map(\.variant) == ["plain", "all", "recent", "naive", "shift"].map { "test.\($0)/1" })
        #expect(bindings.allSatisfy { $0.origin == "built-in" })
        let shared = try makeCache { $0.position = "none" }.bindings
        #expect(shared[2].variant == "test.all/1")
        #expect(shared[4].variant == "none")
    }

    @Test func truncateForgets() throws {
        let specs = ["all", "recent:count=5"]
        for decode in specs {
            let cache = try makeCache { $0.decode = decode }
            let fresh = try makeCache { $0.decode = decode }
            let sequences = cache.sequences(seed: 9)
            let others = cache.sequences(seed: 10)
            try cache.appendAll(sequences, 0..<16)
            try cache.truncate(to: 20)
            #expect(cache.length == 16)
            try cache.truncate(to: 9)
            #expect(cache.length(layer: 0) == 9 && cache.length(layer: 1) == 9)
            try fresh.appendAll(sequences, 0..<9)
            try cache.appendAll(others, 9..<12)
            try fresh.appendAll(others, 9..<12)
            #expect(try cache.fingerprint(others) == fresh.fingerprint(others))
            #expect(failure { try cache.truncate(to: -1) }?.status == .argument)
            try cache.truncate(to: 0)
            #expect(cache.length == 0)
            try cache.appendAll(sequences, 0..<3)
        }
    }

    @Test func methodsSeeTheParametersOfTheirLayer() throws {
        let cache = try makeCache { configuration in
            configuration.decode = "recent"
            for (index, layer) in configuration.layers.enumerated() {
                var values = [Float](repeating: 0, count: 2 * layer.queryHeads)
                values[values.count - 2] = Float(5 + index)  // and the layer's index on top
                configuration.layers[index].parameters = [
                    .init(name: "other", shape: [1], values: [3]),
                    .init(name: "recent.count", shape: [layer.queryHeads, 2], values: values),
                ]
            }
        }
        for cache in [cache, try cache.fork()] {
            let sequences = cache.sequences(seed: 21)
            try cache.appendAll(sequences, 0..<16)
            for layer in 0..<2 {
                let got = try cache.attend(sequences[layer], layer: layer, 15..<16).out
                #expect(difference(got, sequences[layer].expected(15..<16, recent: 5 + 2 * layer).out) < 1e-5)
            }
        }
    }

    @Test func forksAreIndependent() throws {
        let cache = try makeCache { $0.decode = "recent" }
        let sequences = cache.sequences(seed: 11)
        try cache.appendAll(sequences, 0..<10)
        let before = try cache.fingerprint(sequences)
        let fork = try cache.fork()
        #expect(fork.length == 10 && fork.capacity == 40)
        #expect(fork.statistics.decode.calls == 0)
        #expect(try fork.fingerprint(sequences) == before)
        try fork.appendAll(sequences, 10..<20)
        #expect(cache.length == 10)
        #expect(try cache.fingerprint(sequences) == before)
        try cache.truncate(to: 0)
        #expect(fork.length == 20)
        let got = try fork.attend(sequences[0], layer: 0, 10..<20).out
        #expect(difference(got, sequences[0].expected(10..<20).out) < 1e-5)
    }

    /// Unused capacity costs address space only: of 260 GB, one huge page of 2 MiB per layer is touched at creation.
    @Test func hugeCapacityIsCheap() async {
        await #expect(processExitsWith: .success) {
            func resident() throws -> Int {
                let fields = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8).split(separator: " ")
                return Int(fields[1])! * Int(getpagesize())
            }
            let before = try resident()
            let cache = try makeCache {
                $0.capacity = 1_000_000
                $0.layers = [CacheLayer](
                    repeating: CacheLayer(queryHeads: 8, kvHeads: 8, headDimK: 128, headDimV: 128), count: 32)
            }
            guard try resident() - before < 256 << 20 else { exit(1) }
            let sequence = cache.sequences(tokens: 8, seed: 1)[0]
            try cache.append(sequence, layer: 31, 0..<8)
            guard try resident() - before < 256 << 20 else { exit(2) }
            exit(cache.length(layer: 31) == 8 ? 0 : 3)
        }
    }
}

extension TokenRows {
    /// The same with all numbers rounded to eighths.
    init(rounding other: TokenRows) {
        func rounded(_ values: [Float]) -> [Float] { values.map { ($0 * 8).rounded() / 8 } }
        self.init(
            layer: other.layer, keys: rounded(other.keys), values: rounded(other.values),
            queries: rounded(other.queries))
    }

    private init(layer: CacheLayer, keys: [Float], values: [Float], queries: [Float]) {
        (self.layer, self.keys, self.values, self.queries) = (layer, keys, values, queries)
    }
}

/// Bits of a float16 that holds `value` exactly.
func halfBits(_ value: Float) -> UInt16 {
    guard value != 0 else { return 0 }
    let bits = value.bitPattern
    let exponent = Int((bits >> 23) & 255) - 127 + 15
    return UInt16(bits >> 31) << 15 | UInt16(exponent) << 10 | UInt16((bits >> 13) & 1023)
}
