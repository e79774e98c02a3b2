// SPDX-License-Identifier: Apache-2.0

import Longhand
import Testing

@testable import LonghandModel

/// In which order a prompt goes through the layers, and in which pieces.
@Suite struct ScheduleTests {
    /// A tiny model whose selectors for prefill and decode differ.
    private func session(
        _ architecture: ModelShape.Architecture = .llama, context: Int = 128, block: Int, chunk: Int = 0, workers: Int = 1
    ) throws -> Session {
        let registry = try Registry()
        try registry.discover()
        let host = try KernelHost.openMP(workers: workers)
        let model = try withFile(GGUFWriter.tinyModel(architecture).bytes()) { try Model(path: $0, host: host) }
        var methods = CacheConfiguration(layers: [], capacity: 0)
        methods.decode = "window:size=4"
        let cache = try Session.makeCache(
            for: model.header, registry: registry, host: host, context: context, methods: methods, block: block, chunk: chunk)
        return try Session(model: model, cache: cache, chunk: chunk)
    }

    private func tokens(_ count: Int) -> [Int32] { (0..<count).map { Int32($0 * 7 % 90 + 1) } }

    /// Pieces cover everything in order, and none but that of a one-token prompt is a single token.
    @Test func noSingleTokenIsLeftOver() {
        for most in [3, 4, 5, 16, 17, 512] {
            for count in 1...70 {
                var left = count, pieces: [Int] = []
                while left > 0 {
                    pieces.append(Session.rows(left: left, most: most))
                    left -= pieces.last!
                }
                #expect(left == 0 && pieces.allSatisfy { $0 <= most && ($0 > 1 || count == 1) }, "\(count) by \(most): \(pieces)")
                #expect(pieces.dropLast(2).allSatisfy { $0 == most })
            }
        }
    }

    /// A prompt is read with the selector for prefill to its last token: one of 17 tokens in passes of 16 too.
    @Test(arguments: [(17, 16, 0), (33, 16, 0), (4, 3, 0), (7, 3, 0), (17, 8, 16), (65, 16, 64), (9, 8, 100)])
    func promptsAreNotDecoded(_ count: Int, _ block: Int, _ chunk: Int) throws {
        let session = try session(block: block, chunk: chunk)
        try session.process(tokens(count))
        #expect(session.cache.statistics.decode.calls == 0)
        #expect(session.cache.statistics.prefill.calls > 0)
        let whole = try self.session(block: 128)
        try whole.process(tokens(count))
        #expect(zip(session.logits, whole.logits).allSatisfy { abs($0 - $1) < 1e-3 })
        try session.process([1])
        #expect(session.cache.statistics.decode.calls == 2)
    }

    @Test func promptsOfOneToken() throws {
        let session = try session(block: 16)
        try session.process([1])
        #expect(session.logits.allSatisfy { $0.isFinite })
        #expect(session.length == 1)
    }

    /// Layer by layer or block by block, with one worker or two: the same blocks give the same bits.
    @Test(arguments: ModelShape.Architecture.allCases, [100, 97, 33, 16, 2])
    func orderDoesNotChangeBits(_ architecture: ModelShape.Architecture, _ count: Int) throws {
        let results = try [(0, 1), (32, 1), (128, 1), (128, 2)].map { chunk, workers in
            let session = try session(architecture, block: 16, chunk: chunk, workers: workers)
            var bits: [UInt32] = []
            try session.process(tokens(count))
            bits += session.logits.map(\.bitPattern)
            for token in tokens(3) {
                try session.process([token])
                bits += session.logits.map(\.bitPattern)
            }
            return bits
        }
        for (index, result) in results.enumerated() { #expect(result == results[0], "schedule \(index)") }
    }

    @Test func logitsOfEveryToken() throws {
        let results = try [0, 64].map { chunk in
            var rows: [[Float]] = []
            try session(block: 16, chunk: chunk).process(tokens(90)) { index, logits in
                #expect(index == rows.count)
                rows.append(Array(logits))
            }
            return rows
        }
        #expect(results[0].count == 90)
        #expect(results[0] == results[1])
    }

    /// The same for a real model, whose linear layers run on other kernels than a tiny one's.
    @Test(arguments: TestModel.allCases) func realModels(_ model: TestModel) throws {
        let text = try Array(model.golden().token_ids.prefix(700))
        let registry = try Registry()
        try registry.discover()
        let loaded = try Model(path: model.path(), host: .openMP(workers: 2))
        let results = try [(128, 0), (128, 512), (128, 1024), (700, 0)].map { block, chunk in
            let cache = try Session.makeCache(
                for: loaded.header, registry: registry, host: loaded.host, context: 1024,
                methods: .init(layers: [], capacity: 0), block: block, chunk: chunk)
            let session = try Session(model: loaded, cache: cache, chunk: chunk)
            try session.process(text)
            return Array(session.logits)
        }
        #expect(results[0].map(\.bitPattern) == results[1].map(\.bitPattern))
        #expect(results[0].map(\.bitPattern) == results[2].map(\.bitPattern))
        let difference = zip(results[0], results[3]).reduce(0) { max($0, abs($1.0 - $1.1)) }
        print("\(model): blocks of 128 and one of 700 differ by \(difference) at most")
        #expect(difference < 0.3)
    }

    /// What the default schedule needs depends on the blocks, not on the prompt: under 64 MiB for 32K tokens of Gemma.
    @Test func activationsAreFlat() throws {
        let registry = try Registry()
        try registry.discover()
        let model = try Model(path: TestModel.gemma3.path(), host: .openMP(workers: 2))
        func bytes(context: Int, block: Int = 512, chunk: Int = 0) throws -> Int {
            let cache = try Session.makeCache(
                for: model.header, registry: registry, host: model.host, context: context,
                methods: .init(layers: [], capacity: 0), block: block, chunk: chunk)
            return try Session(model: model, cache: cache, chunk: chunk).activationBytes
        }
        let flat = try bytes(context: 32768)
        print("activations of gemma3 at 32768 tokens: \(flat)")
        #expect(flat < 64 << 20)
        #expect(try bytes(context: 4096) == flat)
        #expect(try bytes(context: 32768, chunk: 32768) == flat + 4 * 640 * (32768 - 512))
        #expect(try bytes(context: 32768, block: 32768) > 1 << 30)
    }
}
