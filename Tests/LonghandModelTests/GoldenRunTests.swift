// SPDX-License-Identifier: Apache-2.0

import CLonghand
import Foundation
import Longhand
import LonghandLayers
import Testing

@testable import LonghandModel

/// The forward pass, through discovered plugins, against results of an independent implementation in f32.
@Suite(.serialized) struct GoldenRunTests {
    /// A store and a precision of linear layers, how far the perplexity may be off, and how many tokens are read.
    struct Setting: Sendable, CustomStringConvertible {
        let store: String, linear: LinearPrecision, tolerance: Double
        var tokens = 2048
        var description: String { "\(store) store, \(linear) linear" }
        static let all = [
            Setting(store: "f32", linear: .f32, tolerance: 0.002, tokens: 7000),
            Setting(store: "bf16", linear: .f32, tolerance: 0.005),
            Setting(store: "f16", linear: .f32, tolerance: 0.005),
            Setting(store: "f32", linear: .int16, tolerance: 0.002),
            Setting(store: "bf16", linear: .int8, tolerance: 0.01, tokens: 7000),
        ]
    }

    /// One pass serves all contexts: attention is causal.
    @Test(arguments: TestModel.allCases, Setting.all)
    func perplexityAndLogits(_ model: TestModel, setting: Setting) throws {
        let golden = try model.golden()
        let session = try model.session(store: setting.store, linear: setting.linear, context: setting.tokens)
        var tokens = golden.token_ids
        if golden.bos_prepended { tokens.insert(try #require(session.model.tokenizer.vocabulary.bos), at: 0) }
        tokens = Array(tokens.prefix(setting.tokens))

        var nll: [Double] = []
        var worst: Float = 0
        try session.process(tokens) { index, logits in
            var statistics = lhk_layer_logit_stats()
            let isa = session.model.host.raw.pointee.isa
            #expect(lhk_layer_logit_statistics(isa, logits.baseAddress!, logits.count, &statistics, nil) == LHK_OK)
            let logSumExp = statistics.log_sum_exp
            if index + 1 < tokens.count { nll.append(logSumExp - Double(logits[Int(tokens[index + 1])])) }
            for sample in golden.logits where sample.position == index {
                for (id, expected) in zip(sample.top_ids, sample.top_logits) {
                    worst = max(worst, abs(logits[id] - expected))
                }
                worst = max(worst, abs(Float(logSumExp - sample.logsumexp)))
            }
        }
        for (context, expected) in golden.perplexity {
            let count = try #require(Int(context)) - 1
            if count >= tokens.count { continue }
            let perplexity = exp(nll.prefix(count).reduce(0, +) / Double(count))
            let error = perplexity / expected.perplexity - 1
            print("\(model), \(setting): perplexity at \(context): \(perplexity), golden \(expected.perplexity), \(100 * error) %")
            #expect(abs(error) < setting.tolerance)
        }
        print("\(model), \(setting): largest logit error \(worst)")
        if setting.store == "f32" { #expect(worst < 1e-2) }
    }

    @Test(arguments: TestModel.allCases, LinearPrecision.allCases)
    func greedyContinuations(_ model: TestModel, linear: LinearPrecision) throws {
        let session = try model.session(store: "f32", linear: linear, context: 128)
        for item in try model.golden().greedy {
            try session.cache.truncate(to: 0)
            var sampler = Sampler(.greedy), generated: [Int32] = []
            try session.process(session.model.tokenizer.encode(item.prompt))
            for (expected, gap) in zip(item.ids, item.top1_top2_gap) {
                let token = try sampler.next(session.logits)
                if token != expected {
                    // Where the two best logits nearly tie, rounding may choose; what follows then differs too.
                    #expect(gap < (linear == .int8 ? 0.2 : 0.02), "\(item.prompt): \(generated) then \(token), not \(expected)")
                    break
                }
                generated.append(token)
                try session.process([token])
            }
            print(
                "\(model), \(linear) linear, greedy \(item.prompt.debugDescription): \(generated.count) of \(item.ids.count) tokens equal"
            )
        }
    }

    @Test func workersGiveTheSameBits() throws {
        let tokens = try Array(TestModel.smollm2.golden().token_ids.prefix(700))
        let results = try [1, 2].map { workers in
            let session = try TestModel.smollm2.session(store: "bf16", context: 1024, workers: workers)
            try session.process(tokens)
            var bits = session.logits.map(\.bitPattern)
            for token in tokens.prefix(3) {
                try session.process([token])
                bits += session.logits.map(\.bitPattern)
            }
            return bits
        }
        #expect(results[0] == results[1])
    }

    @Test func chunksAgree() throws {
        let tokens = try Array(TestModel.smollm2.golden().token_ids.prefix(300))
        let results = try [512, 64].map { chunk in
            let session = try TestModel.smollm2.session(store: "f32", context: 512, chunk: chunk)
            try session.process(tokens)
            return Array(session.logits)
        }
        #expect(zip(results[0], results[1]).allSatisfy { abs($0 - $1) < 1e-3 })
    }

    @Test func savedContextContinues() throws {
        let tokens = try Array(TestModel.smollm2.golden().token_ids.prefix(200))
        let path = NSTemporaryDirectory() + "longhand-\(UUID().uuidString).kv"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let first = try TestModel.smollm2.session(store: "bf16", context: 256)
        try first.process(Array(tokens.dropLast()))
        try first.cache.save(path: path)
        try first.process([tokens.last!])
        let second = try TestModel.smollm2.session(store: "bf16", context: 256)
        try second.cache.load(path: path)
        #expect(second.length == tokens.count - 1)
        try second.process([tokens.last!])
        #expect(Array(first.logits) == Array(second.logits))
    }

    @Test func contextIsALimit() throws {
        let session = try TestModel.smollm2.session(store: "bf16", context: 16)
        #expect(throws: ModelError.self) { try session.process(Array(repeating: 5, count: 17)) }
        #expect(throws: ModelError.self) { try session.process([]) }
        try session.process(Array(repeating: 5, count: 16))
        #expect(throws: ModelError.self) { try session.process([5]) }
    }
}

extension TestModel {
    /// A session whose methods come from discovered plugins.
    func session(
        store: String, linear: LinearPrecision = .int16, context: Int, workers: Int = 0, chunk: Int = 512
    ) throws -> Session {
        let registry = try Registry()
        try registry.discover()
        var methods = CacheConfiguration(layers: [], capacity: 0)
        methods.store = store
        let model = try Model(path: path(), host: .openMP(workers: workers), linear: linear)
        return try Session(model: model, registry: registry, context: context, methods: methods, chunk: chunk)
    }
}
