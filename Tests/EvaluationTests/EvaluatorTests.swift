// SPDX-License-Identifier: Apache-2.0
import Foundation
import Longhand
import Testing

@testable import LonghandModel

@Suite(.serialized) struct EvaluatorTests {
    static func tokens(_ count: Int) throws -> [Int32] {
        Array(try Fixture.model().tokenizer.encode(Fixture.text(sentences: 200)).prefix(count))
    }

    static func evaluate(
        _ configurations: [String], tokens: [Int32], model: Model? = nil, _ change: (inout EvaluationOptions) -> Void = { _ in }
    ) throws -> [EvaluationResult] {
        var options = EvaluationOptions()
        options.context = tokens.count
        change(&options)
        let evaluator = try Evaluator(
            model: model ?? Fixture.model(), registry: Fixture.registry(), tokens: tokens,
            configurations: configurations.map { try EvaluationConfiguration(parsing: $0) }, options: options)
        var last = 0
        let results = try evaluator.run { done in
            #expect(done > last)
            last = done
        }
        #expect(last == evaluator.tokenCount)
        return results
    }

    /// Logits of all rows, from one session.
    static func logits(_ configuration: EvaluationConfiguration, _ tokens: [Int32]) throws -> [[Float]] {
        let session = try configuration.session(Fixture.model(), Fixture.registry(), context: tokens.count, chunk: 512)
        var rows: [[Float]] = []
        try session.process(tokens) { _, logits in rows.append(Array(logits)) }
        return rows
    }

    @Test func equalsDefinitionsInDouble() throws {
        let tokens = try Self.tokens(160)
        let result = try Self.evaluate(["w: store=f32 prefill=window:size=32"], tokens: tokens)[1]
        let dense = try Self.logits(.dense, tokens)
        let other = try Self.logits(EvaluationConfiguration(parsing: "w: store=f32 prefill=window:size=32"), tokens)
        var divergences: [Double] = [], nll = 0.0, denseNLL = 0.0, agreements = 0
        for row in tokens.indices {
            let p = Self.logSoftmax(dense[row]), q = Self.logSoftmax(other[row])
            divergences.append(zip(p, q).reduce(0) { $0 + exp($1.0) * ($1.0 - $1.1) })
            if dense[row].firstIndex(of: dense[row].max()!) == other[row].firstIndex(of: other[row].max()!) { agreements += 1 }
            guard row + 1 < tokens.count else { continue }
            nll -= q[Int(tokens[row + 1])]
            denseNLL -= p[Int(tokens[row + 1])]
        }
        func isClose(_ a: Double, _ b: Double) -> Bool { abs(a - b) <= 1e-9 * max(1, abs(b)) }
        #expect(result.scoredTokens == 160)
        #expect(isClose(result.meanKL, divergences.reduce(0, +) / 160))
        let sorted = divergences.sorted()
        #expect(isClose(result.kl99, sorted[158]) && isClose(result.kl999, sorted[159]) && isClose(result.maxKL, sorted[159]))
        #expect(isClose(result.topAgreement, Double(agreements) / 160))
        #expect(isClose(result.perplexity, exp(nll / 159)))
        #expect(isClose(result.perplexityDelta, exp(nll / 159) / exp(denseNLL / 159) - 1))
        #expect(result.meanKL > 0.001 && result.topAgreement < 1)
    }

    static func logSoftmax(_ row: [Float]) -> [Double] {
        let top = Double(row.max()!)
        let sum = row.reduce(0) { $0 + exp(Double($1) - top) }
        return row.map { Double($0) - top - log(sum) }
    }

    @Test func denseAgainstItself() throws {
        let results = try Self.evaluate(["again: store=f32", "bf16: store=bf16"], tokens: Self.tokens(400))
        #expect(results.map(\.name) == ["dense", "again", "bf16"])
        for result in results.prefix(2) {
            #expect(result.meanKL == 0 && result.maxKL == 0 && result.topAgreement == 1 && result.perplexityDelta == 0)
            #expect(result.perplexity == results[0].perplexity && result.kvBytesPerToken == 46080)
            #expect(result.prefill?.tokens == 400 && result.decode == nil && result.prefill?.attendedShare == 1)
            #expect(result.prefill?.attendedTokens == 200.5)
        }
        #expect(results[2].meanKL > 0 && results[2].meanKL < 1e-3 && results[2].kvBytesPerToken == 23040)
    }

    /// A selector for decoding is at work in decoding only, and only there rows are compared.
    @Test func decodeMode() throws {
        let results = try Self.evaluate(
            ["window: store=f32 decode=window:size=32,sinks=2", "same: store=f32"], tokens: Self.tokens(300)
        ) { $0.decodeFrom = 260 }
        let window = results[1]
        #expect(window.scoredTokens == 40 && window.meanKL > 1e-3)
        #expect(window.prefill?.tokens == 260 && window.prefill?.attendedShare == 1)
        #expect(window.decode?.tokens == 40 && window.decode!.attendedTokens <= 36 && window.decode!.attendedShare < 0.15)
        #expect(results[2].meanKL == 0 && results[2].decode?.attendedTokens == 280.5)
    }

    /// What is read before `scoreFrom` is not compared, and still there.
    @Test func scoresFromAPosition() throws {
        let configurations = ["w: store=f32 prefill=window:size=32,sinks=2"], tokens = try Self.tokens(200)
        let all = try Self.evaluate(configurations, tokens: tokens)[1]
        let late = try Self.evaluate(configurations, tokens: tokens) { $0.scoreFrom = 150 }[1]
        #expect(late.scoredTokens == 50 && late.prefill?.tokens == 200 && late.maxKL <= all.maxKL && late.meanKL > all.meanKL)
    }

    @Test func prefillNeverEndsInADecodingPass() throws {
        // 129 tokens in chunks of 64 would leave one row over; dense and a decode selector must not meet there.
        let results = try Self.evaluate(["w: store=f32 decode=window:size=2"], tokens: Self.tokens(129)) { $0.chunk = 64 }
        #expect(results[1].maxKL == 0 && results[1].prefill?.attendedShare == 1)
    }

    @Test func windowsAreIndependent() throws {
        let tokens = try Self.tokens(300)
        let both = try Self.evaluate(["w: prefill=window:size=48"], tokens: tokens) { ($0.context, $0.windows) = (150, 2) }
        let alone = try [0, 150].map { first in
            try Self.evaluate(["w: prefill=window:size=48"], tokens: Array(tokens[first..<first + 150]))[1]
        }
        #expect(both[1].scoredTokens == 300)
        #expect(abs(both[1].meanKL - (alone[0].meanKL + alone[1].meanKL) / 2) < 1e-12)
        #expect(both[1].maxKL == max(alone[0].maxKL, alone[1].maxKL))
        #expect(abs(both[1].perplexity - (alone[0].perplexity * alone[1].perplexity).squareRoot()) < 1e-9)
    }

    @Test func workersDoNotMatter() throws {
        let tokens = try Self.tokens(140)
        let results = try [1, 2].map { workers in
            try Self.evaluate(
                ["w: prefill=window:size=32 decode=window:size=16"], tokens: tokens,
                model: Model(path: Fixture.modelPath(), host: .openMP(workers: workers))
            ) { $0.decodeFrom = 100 }
        }
        for (one, two) in zip(results[0], results[1]) {
            #expect(one.meanKL == two.meanKL && one.maxKL == two.maxKL && one.perplexity == two.perplexity)
            #expect(one.topAgreement == two.topAgreement && one.kl99 == two.kl99)
        }
    }

    @Test func parsing() throws {
        let all = try EvaluationConfiguration(
            parsing:
                "  my  name : store=q8:group=32,rotate=1 decode=window:size=4 prefill=sale:a=b attention=flash position=rope:factor=2")
        #expect(all.name == "my name")
        #expect(all.methods.store == "q8:group=32,rotate=1" && all.methods.decode == "window:size=4")
        #expect(all.methods.prefill == "sale:a=b" && all.methods.position == "rope:factor=2" && all.methods.attention == "flash")
        let mixed = try EvaluationConfiguration(parsing: "m: store-layers=windowed:bf16 store=f16 store-layers=0-1,29:q4:rotate=1")
        #expect(
            mixed.methods.layerStores == [
                LayerStore(layers: [.windowed], store: "bf16"),
                LayerStore(layers: [.range(0...1), .range(29...29)], store: "q4:rotate=1"),
            ])
        #expect(mixed.methods.storeDescription == "f16 (windowed: bf16; 0-1,29: q4:rotate=1)")
        #expect(try EvaluationConfiguration(parsing: "plain:").methods == CacheConfiguration(layers: [], capacity: 0))
        for text in [
            "", "store=bf16", ": store=bf16", "a: store", "a: store=", "a: colour=red", "a: store=f32 store=bf16",
            "a: =f32", "a: store-layers=", "a: store-layers=3", "a: store-layers=3:", "a: store-layers=3-:f32",
            "window decode=window:size=3", "a\u{1}: store=f32", String(repeating: "n", count: 61) + ":",
        ] {
            let error = #expect(throws: ModelError.self, "\(text)") { try EvaluationConfiguration(parsing: text) }
            #expect(error?.description.contains { $0.isNewline } == false)
        }
    }

    @Test("layers have the stores they were given, and bytes are counted layer by layer")
    func storesOfLayers() throws {
        let tokens = try Self.tokens(96)
        let results = try Self.evaluate(
            [
                "f32: store=q4 store-layers=0-29:f32", "q4: store=q4", "half: store=q4 store-layers=15-29:f32",
                "swapped: store=f32 store-layers=0-14:q4", "first: store=f32 store-layers=0,1:q4",
            ], tokens: tokens)
        #expect(results[1].maxKL == 0 && results[1].kvBytesPerToken == results[0].kvBytesPerToken)
        #expect(results[3].meanKL > 0 && results[3].meanKL < results[2].meanKL)
        #expect(results[3].kvBytesPerToken == (results[0].kvBytesPerToken + results[2].kvBytesPerToken) / 2)
        #expect(results[4].meanKL == results[3].meanKL && results[4].kvBytesPerToken == results[3].kvBytesPerToken)
        #expect(results[5].meanKL > 0 && results[5].kvBytesPerToken > results[4].kvBytesPerToken)
        #expect(results[3].methods.store == "q4 (15-29: f32)")
    }

    @Test func refuses() throws {
        let tokens = try Self.tokens(20)
        func message(_ configurations: [String], _ change: @escaping (inout EvaluationOptions) -> Void = { _ in }) -> String {
            let error = #expect(throws: ModelError.self) { try Self.evaluate(configurations, tokens: tokens, change) }
            return error?.description ?? ""
        }
        #expect(message(["dense: store=bf16"]).contains("taken"))
        #expect(message(["a: store=bf16", "a: store=f16"]).contains("two configurations are called \"a\""))
        #expect(message(["mine: store=gone"]).hasPrefix("configuration \"mine\": "))
        #expect(message(["mine: decode=window:wide=3"]).contains("mine"))
        #expect(message(["mine: store-layers=29-30:f16"]).hasPrefix("configuration \"mine\": store of layers \"29-30: f16\""))
        #expect(message(["mine: store-layers=global:f16 store-layers=7:q4"]).contains("layer 7 is named twice"))
        #expect(message(["a:"]) { $0.context = 1 }.contains("nothing to predict"))
        #expect(message(["a:"]) { $0.windows = 0 }.contains("at least one"))
        #expect(message(["a:"]) { $0.windows = 2 }.contains("20 tokens"))
        #expect(message(["a:"]) { $0.decodeFrom = 20 }.contains("cannot begin"))
        #expect(message(["a:"]) { $0.decodeFrom = 0 }.contains("cannot begin"))
        #expect(message(["a:"]) { $0.scoreFrom = 20 }.contains("cannot begin"))
    }
}
