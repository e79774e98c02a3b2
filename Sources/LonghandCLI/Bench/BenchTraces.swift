// SPDX-License-Identifier: Apache-2.0
import Foundation
import Longhand
import LonghandModel

/// Recorded queries, keys and values that problems are built from.
struct BenchTraces {
    struct Named {
        let name: String
        let file: TraceFile
    }

    /// Models whose traces are made when they are missing, and the layers they are made of: spread over SmolLM2, so that there
    /// are 18 KV heads; one local and one global layer of Gemma.
    private static let models: [(model: String, name: String, layers: [Int])] = [
        (DefaultModel.name, "smollm2-135m", [4, 9, 14, 19, 24, 29]), ("gemma-3-270m-q4_k_m.gguf", "gemma-3-270m", [10, 11]),
    ]
    /// What the models read: a long text that every Debian system holds.
    private static let text = "/usr/share/common-licenses/GPL-3"
    private static let tokens = 4096
    /// Part of the file names: changes with the layers, the tokens or the text.
    private static let version = "gpl3-4096-v1"

    let traces: [Named]

    /// One trace for everything.
    init(path: String) throws {
        traces = [Named(name: URL(fileURLWithPath: path).deletingPathExtension().lastPathComponent, file: try TraceFile(path: path))]
    }

    /// Those of the cached models, recorded beside them when they are not there yet. A model that is missing is left out.
    init(registry: Registry, note: (String) -> Void) throws {
        traces = try Self.models.compactMap { entry in
            guard let model = try? DefaultModel.path(of: entry.model) else { return nil }
            let path = URL(fileURLWithPath: model).deletingLastPathComponent()
                .appending(path: "trace-\(entry.name)-\(Self.version).safetensors").path
            if let file = try? TraceFile(path: path) { return Named(name: entry.name, file: file) }
            note("recording \(path)")
            try Self.record(model: model, layers: entry.layers, path: path, registry: registry)
            return Named(name: entry.name, file: try TraceFile(path: path))
        }
        guard !traces.isEmpty else {
            throw Failure(
                "no model to take inputs from: fetch one with '.ci/fetch-models', give a trace with --trace, or use --input gaussian")
        }
    }

    private static func record(model path: String, layers: [Int], path output: String, registry: Registry) throws {
        guard FileManager.default.fileExists(atPath: text) else {
            throw Failure("\(text), which inputs are recorded from, is missing: give a trace with --trace, or use --input gaussian")
        }
        let model = try Model(path: path, host: .openMP())
        var options = TraceOptions()
        options.text = try Document(path: text, limit: Document.byteLimit).text
        options.textName = URL(fileURLWithPath: text).lastPathComponent
        (options.layers, options.type) = (layers, .f16)
        let ids = Array(model.tokenizer.encode(options.text).prefix(tokens))
        var progress = Progress(total: ids.count)
        try TraceRecorder(model: model, registry: registry, tokens: ids, path: output, options: options)
            .record { progress.show($0) }
    }

    /// A KV head of a traced layer, with the query heads that read it.
    struct Source {
        let trace: TraceFile
        let layer: TraceLayer
        let kvHead: Int
        var queryHeads: Range<Int> {
            let group = layer.queryHeads / layer.kvHeads
            return kvHead * group..<(kvHead + 1) * group
        }
    }

    /// The trace for a problem and its KV heads in order: of the same head dimension if there is such a trace, else the
    /// first; of layers with a window like the problem's if it has any, else all.
    func sources(for problem: BenchProblem) -> (name: String, sources: [Source]) {
        let named = traces.first { $0.file.layers[0].headDimK == problem.dimK } ?? traces[0]
        let alike = named.file.layers.filter { ($0.windowLeft != nil) == (problem.window != nil) }
        let sources = (alike.isEmpty ? named.file.layers : alike).flatMap { layer in
            (0..<layer.kvHeads).map { Source(trace: named.file, layer: layer, kvHead: $0) }
        }
        return (named.name, sources)
    }
}
