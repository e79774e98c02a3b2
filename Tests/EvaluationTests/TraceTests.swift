// SPDX-License-Identifier: Apache-2.0
import Foundation
import Longhand
import Testing

@testable import LonghandModel

@Suite(.serialized) struct TraceTests {
    /// Records 300 tokens of layers 0 and 7 in chunks of 128 and gives the file with what a session computed itself.
    static func record(_ type: SafetensorsType, position: String = "rope") throws -> (TraceFile, Captured) {
        let model = try Fixture.model(), registry = try Fixture.registry()
        let tokens = Array(model.tokenizer.encode(Fixture.text()).prefix(300))
        var options = TraceOptions()
        (options.layers, options.type, options.chunk) = ([7, 0], type, 128)
        (options.textName, options.text, options.position) = ("text", Fixture.text(), position)
        let file = try withTemporaryPath { path in
            let recorder = try TraceRecorder(model: model, registry: registry, tokens: tokens, path: path, options: options)
            try recorder.record()
            return try TraceFile(path: path)
        }
        return (file, try Captured(model, registry, tokens, position: position))
    }

    /// The rows before positions of layers 0 and 7, [heads][tokens][dim], gathered in one pass.
    struct Captured {
        var rows: [Int: [TracePart: [Float]]] = [:]

        init(_ model: Model, _ registry: Registry, _ tokens: [Int32], position: String) throws {
            var methods = CacheConfiguration(layers: [], capacity: 0)
            (methods.store, methods.position) = ("f32", position)
            let session = try Session(
                model: model, registry: registry, context: tokens.count, methods: methods, chunk: 128)
            var result: [Int: [TracePart: [Float]]] = [:]
            session.observer = { rows in
                guard [0, 7].contains(rows.layer) else { return }
                for (part, view) in [(TracePart.queriesBefore, rows.queries), (.keysBefore, rows.keys), (.values, rows.values)] {
                    let heads = Int(view.raw.shape.1), dim = Int(view.raw.shape.2)
                    var all = result[rows.layer]?[part] ?? [Float](repeating: .nan, count: heads * tokens.count * dim)
                    let data = view.raw.data!.assumingMemoryBound(to: Float.self)
                    for row in 0..<rows.rows {
                        for c in 0..<heads * dim {
                            let value = data[row * Int(view.raw.stride.0) + c / dim * Int(view.raw.stride.1) + c % dim]
                            all[(c / dim * tokens.count + rows.first + row) * dim + c % dim] = value
                        }
                    }
                    result[rows.layer, default: [:]][part] = all
                }
            }
            try session.process(tokens)
            rows = result
        }

        func head(_ layer: Int, _ part: TracePart, _ head: Int) -> ArraySlice<Float> {
            rows[layer]![part]![head * 300 * 64..<(head + 1) * 300 * 64]
        }
    }

    @Test func fileHoldsWhatTheSessionComputed() throws {
        let (trace, captured) = try Self.record(.f32)
        #expect(trace.tokens == 300 && trace.layers.map(\.layer) == [0, 7] && trace.position == "rope")
        #expect(trace.tokenIDs == Array(try Fixture.model().tokenizer.encode(Fixture.text()).prefix(300)))
        #expect(trace.file.metadata["text_sha256"] == SHA256.hex(Fixture.text().utf8))
        let seventh = try Fixture.model().shape.layers[7].withDimensions
        #expect(trace.layers[1].cacheLayer == seventh)
        for layer in [0, 7] {
            for (part, heads) in [(TracePart.queriesBefore, 9), (.keysBefore, 3), (.values, 3)] {
                for head in 0..<heads {
                    let rows = try trace.rows(layer: layer, part, head: head)
                    #expect(rows.elementsEqual(captured.head(layer, part, head)), "layer \(layer) \(part) head \(head)")
                }
            }
        }
        #expect(try trace.rows(layer: 7, .values, head: 2, 10..<12) == Array(captured.head(7, .values, 2).dropFirst(640).prefix(128)))
        #expect(throws: SafetensorsError.self) { try trace.rows(layer: 1, .values, head: 0) }
        #expect(throws: SafetensorsError.self) { try trace.rows(layer: 0, .values, head: 3) }
        #expect(throws: SafetensorsError.self) { try trace.rows(layer: 0, .values, head: 0, 0..<301) }
    }

    /// Against the rotation's formula in f64: pairs (2t, 2t+1) turn by position * base^(-2t/64).
    @Test func positionsAreApplied() throws {
        let (trace, captured) = try Self.record(.f32)
        let base = Double(try Fixture.model().shape.layers[0].position.base)
        for layer in [0, 7] {
            for (before, after, heads) in [(TracePart.queriesBefore, TracePart.queriesAfter, 9), (.keysBefore, .keysAfter, 3)] {
                for head in 0..<heads {
                    let x = Array(captured.head(layer, before, head)), y = try trace.rows(layer: layer, after, head: head)
                    var worst = 0.0
                    for token in 0..<300 {
                        for t in 0..<32 {
                            let at = token * 64 + 2 * t, angle = Double(token) * pow(base, Double(-2 * t) / 64)
                            let a = Double(x[at]), b = Double(x[at + 1])
                            worst = max(worst, abs(Double(y[at]) - (a * cos(angle) - b * sin(angle))))
                            worst = max(worst, abs(Double(y[at + 1]) - (a * sin(angle) + b * cos(angle))))
                        }
                    }
                    let largest = x.reduce(0) { max($0, abs($1)) }
                    #expect(worst < 2e-6 * Double(largest), "layer \(layer) head \(head): \(worst) of \(largest)")
                }
            }
        }
    }

    /// Scores of the recorded rows give the attention that the model's own cache computes: what is recorded is what the
    /// store holds.
    @Test func recordedRowsGiveTheSessionsAttention() throws {
        let (trace, captured) = try Self.record(.f32)
        var layer = trace.layers[1].cacheLayer
        (layer.queryHeads, layer.kvHeads) = (1, 1)
        let cache = try Cache(.init(layers: [layer], capacity: 300).with(store: "f32"), registry: Fixture.registry(), host: .serial())
        var lse = [Float](repeating: 0, count: 300), out = [Float](repeating: 0, count: 300 * 64)
        let q = Array(captured.head(7, .queriesBefore, 4)), k = Array(captured.head(7, .keysBefore, 1))
        let v = Array(captured.head(7, .values, 1))
        try cache.append(layer: 0, keys: k, values: v, rows: 300)
        try cache.attend(layer: 0, queries: q, out: &out, lse: &lse, rows: 300)
        let placedQ = try trace.rows(layer: 7, .queriesAfter, head: 4), placedK = try trace.rows(layer: 7, .keysAfter, head: 1)
        for row in stride(from: 0, to: 300, by: 23) {
            let scores = (0...row).map { j in
                (0..<64).reduce(0.0) { $0 + Double(placedQ[row * 64 + $1]) * Double(placedK[j * 64 + $1]) } / 8
            }
            let expected = log(scores.reduce(0) { $0 + exp($1) })
            #expect(abs(Double(lse[row]) - expected) < 1e-4, "row \(row)")
        }
    }

    @Test func recallTakesTheStoreOfALayer() throws {
        let (trace, _) = try Self.record(.f32)
        let configurations = try [
            "mixed: store=q4 store-layers=7,29:f32 decode=window:size=64", "exact: store=f32 decode=window:size=64",
        ].map { try EvaluationConfiguration(parsing: $0) }
        let heads = try RecallMeter(
            trace: trace, registry: Fixture.registry(), host: .serial(), configurations: configurations, from: 290
        ).run()
        for layer in trace.layers.map(\.layer) {
            let recall = ["mixed", "exact"].map { name in
                heads.filter { $0.configuration == name && $0.layer == layer }.map(\.recall)
            }
            #expect(recall[0].count == 9 && (recall[0] == recall[1]) == (layer == 7), "layer \(layer)")
        }
    }

    @Test(arguments: [SafetensorsType.f16, .bf16]) func narrowTypes(_ type: SafetensorsType) throws {
        let (trace, captured) = try Self.record(type, position: "none")
        let tolerance: Float = type == .f16 ? 0x1p-11 : 0x1p-8
        for part in TracePart.allCases {
            let source: TracePart = part == .queriesAfter ? .queriesBefore : part == .keysAfter ? .keysBefore : part
            let rows = try trace.rows(layer: 7, part, head: 1)
            let isClose = zip(rows, captured.head(7, source, 1)).allSatisfy { abs($0 - $1) <= tolerance * abs($1) + 1e-7 }
            #expect(isClose && rows.count == 300 * 64, "\(part)")
        }
    }

    @Test func refuses() throws {
        let model = try Fixture.model(), registry = try Fixture.registry()
        try withTemporaryPath { path in
            func record(_ change: (inout TraceOptions) -> Void, tokens: [Int32] = [1, 2, 3], path: String = path) throws {
                var options = TraceOptions()
                change(&options)
                try TraceRecorder(model: model, registry: registry, tokens: tokens, path: path, options: options).record()
            }
            #expect(throws: ModelError.self) { try record({ $0.layers = [30] }) }
            #expect(throws: ModelError.self) { try record({ $0.layers = [] }) }
            #expect(throws: ModelError.self) { try record({ $0.type = .i8 }) }
            #expect(throws: ModelError.self) { try record({ _ in }, tokens: []) }
            #expect(throws: LonghandError.self) { try record({ $0.position = "nowhere" }) }
            #expect(throws: LonghandError.self) { try record({ $0.position = "rope:colour=red" }) }
            #expect(throws: SafetensorsError.self) { try record({ _ in }, path: "/nonexistent/trace") }
            struct Stop: Error {}
            #expect(throws: Stop.self) {
                var options = TraceOptions()
                options.layers = [0]
                let recorder = try TraceRecorder(model: model, registry: registry, tokens: [1, 2, 3], path: path, options: options)
                try recorder.record { _ in throw Stop() }
            }
            #expect(!FileManager.default.fileExists(atPath: path))
        }
        try withFile(safetensors("{}")) { path in
            let error = #expect(throws: SafetensorsError.self) { try TraceFile(path: path) }
            #expect(error?.description.contains("is not a trace") == true)
        }
    }
}

extension CacheConfiguration {
    func with(store: String) -> CacheConfiguration {
        var copy = self
        (copy.store, copy.maxRows) = (store, 512)
        return copy
    }
}

extension CacheLayer {
    /// The same with the number of rotated dimensions written out, as metadata do.
    var withDimensions: CacheLayer {
        var copy = self
        if copy.position.dimensions == 0 { copy.position.dimensions = headDimK }
        return copy
    }
}
