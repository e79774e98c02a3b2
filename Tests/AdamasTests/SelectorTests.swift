// SPDX-License-Identifier: Apache-2.0
import Foundation
import Longhand
import LonghandModel
import Testing

/// The selector at work in a cache. That lists are those of the formula, and that truncation, forks and saved bytes lose
/// nothing, is checked for every variant by VerifyTests.
@Suite struct SelectorTests {
    static let forms = [
        "scoring=manhattan", "lists=query,remainder=0", "lists=query", "lists=union",
        "scoring=manhattan,lists=kv", "scoring=exact", "values=0", "values=0,center=1", "values=0,center=1,balance=0",
        "scoring=manhattan,center=1,balance=1",
    ]

    static func sequence(_ count: Int, seed: UInt64 = 3) -> Sequence {
        var normal = Normal(state: seed)
        return Sequence(keys: normal.values(count * 64), values: normal.values(count * 64))
    }

    @Test(arguments: forms) func budgetOfAllIsDense(_ form: String) throws {
        let sequence = Self.sequence(700)
        var normal = Normal(state: 1)
        let query = normal.values(128), dense = try sequence.attend("all", query)
        #expect(try sequence.attend("adamas:dense_layers=0,budget=700,\(form)", query) == dense)
        #expect(try sequence.attend("adamas:budget=64,\(form)", query) == dense)  // layer 0 is dense
        #expect(try sequence.attend("adamas:dense_layers=0,budget=64,\(form)", query) != dense)
    }

    /// A key that equals the query, among hundreds of others, is found at any budget.
    @Test(arguments: forms, [0, 5, 300, 511, 512, 690]) func plantedQueryIsChosen(_ form: String, _ place: Int) throws {
        var sequence = Self.sequence(700), normal = Normal(state: UInt64(place))
        let query = normal.values(64).map { $0 * 6 }
        sequence.keys.replaceSubrange(place * 64..<(place + 1) * 64, with: query)
        let out = try sequence.attend("adamas:dense_layers=0,budget=16,\(form)", query + query)
        let value = Array(sequence.values[place * 64..<(place + 1) * 64])
        #expect(distance(out, value + value) < 1e-3)
    }

    /// Before there are enough tokens to fix thresholds from, everything is attended.
    @Test func shortContextIsDense() throws {
        let sequence = Self.sequence(511)
        var normal = Normal(state: 2)
        let query = normal.values(128)
        #expect(try sequence.attend("adamas:dense_layers=0,budget=32", query) == sequence.attend("all", query))
    }

    @Test(arguments: forms) func lifeInACache(_ form: String) throws {
        let sequence = Self.sequence(900)
        var normal = Normal(state: 4)
        let query = normal.values(128), spec = "adamas:dense_layers=0,budget=40,\(form)"
        let expected = try sequence.attend(spec, query), cache = try sequence.filled(spec, parts: 7)
        #expect(try sequence.attend(cache, query) == expected)
        let fork = try cache.fork()
        try cache.truncate(to: 400)
        try cache.append(
            layer: 0, keys: Array(sequence.keys[400 * 64..<900 * 64]), values: Array(sequence.values[400 * 64..<900 * 64]), rows: 500)
        #expect(try sequence.attend(cache, query) == expected)
        #expect(try sequence.attend(fork, query) == expected)
        let path = NSTemporaryDirectory() + "longhand-adamas-\(ProcessInfo.processInfo.processIdentifier)-\(form.hashValue).kv"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try cache.save(path: path)
        let loaded = try sequence.cache(spec)
        try loaded.load(path: path)
        #expect(try sequence.attend(loaded, query) == expected)
    }

    @Test(arguments: [
        ("budget=0", "budget=0"), ("budget=8,recent=9", "do not fit a budget"), ("scoring=l2", "manhattan"),
        ("remainder=1,scoring=manhattan", "needs scoring=asymmetric"), ("sample=8", "sample=8"), ("lists=all", "lists=all"),
        ("bits=3", "no option"), ("values=9,remainder=0", "needs remainder=1"), ("center=2", "moving"),
        ("center=moving,scoring=manhattan", "needs scoring=asymmetric"),
    ]) func badOptions(_ options: String, _ text: String) throws {
        let error = #expect(throws: LonghandError.self) { try Self.sequence(16).cache("adamas:\(options)") }
        #expect(error?.description.contains(text) == true, "\(error.map(String.init(describing:)) ?? "")")
    }

    /// With true scores and every value read, the remainder is all of attention but the list: 2^x is up to 4 % off per token,
    /// in both directions. At every level, from values in f32, in pairs of bf16, and as a store sums them itself.
    @Test(arguments: levels.indices, ["f32", "bf16", "f16"]) func remainderOfEveryValueIsDense(_ level: Int, _ store: String) throws {
        let sequence = Self.sequence(700)
        var normal = Normal(state: 9)
        let query = normal.values(128), isa = levels[level].isa
        func out(_ decode: String) throws -> [Float] {
            let cache = try sequence.cache(decode, store: store, isa: isa)
            try cache.append(layer: 0, keys: sequence.keys, values: sequence.values, rows: 700)
            return try sequence.attend(cache, query)
        }
        let dense = try out("all"), form = "adamas:dense_layers=0,budget=8,scoring=exact,remainder=1"
        #expect(distance(try out(form + ",values=100000"), dense) < 0.1)
        #expect(distance(try out(form), dense) > 0.5)
    }

    /// Where KV heads are few, several workers read the values of one: in parts of 64 channels, the last of which is smaller.
    @Test(arguments: levels.indices, ["f32", "bf16", "f16"]) func workersShareTheValues(_ level: Int, _ store: String) throws {
        var normal = Normal(state: 11), sequence = Sequence(queryHeads: 6, kvHeads: 3, dim: 152)
        sequence.keys = normal.values(1500 * 3 * 152)
        sequence.values = normal.values(1500 * 3 * 152)
        let query = normal.values(6 * 152)
        let outputs = try [UInt32](arrayLiteral: 1, 2, 3, 5).map { workers -> [Float] in
            let decode = "adamas:dense_layers=0,budget=40,values=3000"
            let cache = try sequence.cache(decode, store: store, isa: levels[level].isa, workers: workers)
            try cache.append(layer: 0, keys: sequence.keys, values: sequence.values, rows: 1500)
            return try sequence.attend(cache, query)
        }
        for output in outputs { #expect(output == outputs[0]) }
        #expect(distance(outputs[0], try sequence.attend("all", query)) < 0.4)
    }

    /// On rows of a real model: the remainder brings the output nearer to that of dense attention than the chosen tokens
    /// alone, and asymmetric scores nearer than the distances of codes.
    @Test(.enabled(if: FileManager.default.fileExists(atPath: tracePath))) func errorsOnATrace() throws {
        let trace = try TraceFile(path: tracePath)
        var errors: [String: Double] = [:], cases = 0.0
        for layer in [9, 19] {
            for end in [1500, 2500, 4000] {
                var sequence = Sequence(queryHeads: 3)
                sequence.keys = try trace.rows(layer: layer, .keysAfter, head: 0, 0..<end)
                sequence.values = try trace.rows(layer: layer, .values, head: 0, 0..<end)
                let query = try (0..<3).flatMap { try trace.rows(layer: layer, .queriesAfter, head: $0, end - 1..<end) }
                let dense = try sequence.attend("all", query)
                for form in Self.forms {
                    let out = try sequence.attend("adamas:dense_layers=0,budget=64,\(form)", query)
                    errors[form, default: 0] += distance(out, dense)
                }
                cases += 1
            }
        }
        let e = errors.mapValues { $0 / cases }
        #expect(e["lists=query,remainder=0"]! < 0.8 * e["scoring=manhattan"]!, "\(e)")
        #expect(e["lists=query"]! < 0.8 * e["lists=query,remainder=0"]!, "\(e)")
        #expect(e["scoring=exact"]! < e["lists=query,remainder=0"]!, "\(e)")
    }
}

/// The trace that other tests and benchmarks use, where it has been made.
private let tracePath: String = {
    let cache = ProcessInfo.processInfo.environment["LONGHAND_CACHE"] ?? FileManager.default.currentDirectoryPath + "/.cache/longhand"
    return cache + "/trace-smollm2-135m-gpl3-4096-v1.safetensors"
}()
