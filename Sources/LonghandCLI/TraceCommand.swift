// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import Longhand
import LonghandModel

struct TraceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trace", abstract: "Record queries, keys and values of a model reading a text.",
        discussion: """
            The model reads the text with exact attention over an f32 store. For every layer N the file gets the tensors \
            layers.N.q_pre, k_pre and v as they go into the cache, and q_post and k_post with positions applied, as the \
            store sees them: each [heads][tokens][dim]. The tensor "tokens" holds the token ids; the metadata name the \
            model, the text (with its SHA-256) and, per layer, head counts and position parameters.
            """)

    @Option(name: .shortAndLong, help: "GGUF file of the model (default: the cached SmolLM2-135M-Instruct).") var model: String?
    @Option(name: .shortAndLong, help: "Text to read; '-' is standard input.") var file: String
    @Option(name: .shortAndLong, help: "The safetensors file to write.") var output: String
    @Option(
        name: [.customShort("c"), .customLong("ctx-size")],
        help: "Most tokens to read; 0: as many as the model was trained for.")
    var context = 0
    @Option(help: "Layers to record, as in 0,4,8-11 (default: all).") var layers: String?
    @Option(help: "Element type: f32, f16 or bf16.") var dtype = "f32"
    @Option(help: "Position method; options override the model's.") var position = "rope"
    @Option(name: .shortAndLong, help: "Worker threads; 0: one per processor.") var threads = 0
    @Option(name: .customLong("chunk"), help: "Tokens per pass.") var chunk = 512
    @Option(help: "Linear layers: int16, int8 or f32, as in 'longhand run'.") var linear = LinearPrecision.int16
    @OptionGroup var plugins: PluginOptions

    func validate() throws {
        if context < 0 { throw ValidationError("-c \(context): the context is negative") }
        if threads < 0 || threads > 1024 { throw ValidationError("-t \(threads): threads must be 0 to 1024") }
        if !["f32", "f16", "bf16"].contains(dtype) { throw ValidationError("--dtype \(dtype): must be f32, f16 or bf16") }
        if let layers, Self.list(layers) == nil {
            throw ValidationError("--layers \(layers): must be numbers and ranges as in 0,4,8-11")
        }
    }

    func run() throws {
        let registry = try plugins.discover()
        let host = try KernelHost.openMP(workers: threads)
        var options = TraceOptions()
        options.text = try Document(path: file, limit: Document.byteLimit).text
        options.textName = file == "-" ? "-" : URL(fileURLWithPath: file).lastPathComponent
        options.layers = layers.flatMap(Self.list)
        options.type = SafetensorsType(rawValue: dtype.uppercased())!
        options.position = position
        options.chunk = chunk
        let model = try Model(path: model ?? DefaultModel.path(), host: host, linear: linear)
        let all = model.tokenizer.encode(options.text)
        guard !all.isEmpty else { throw Failure("\(file): the text is empty") }
        let limit = context == 0 ? model.shape.contextLength : context
        let tokens = Array(all.prefix(limit))
        let recorder = try TraceRecorder(model: model, registry: registry, tokens: tokens, path: output, options: options)
        let size = String(format: "%.1f MiB", Double(recorder.byteCount) / 1048576)
        Console.note("\(tokens.count) of \(all.count) tokens, \(size)\n")
        var progress = Progress(total: tokens.count)
        progress.begin()
        try recorder.record { progress.show($0) }
    }

    /// The numbers in a list such as `0,4,8-11`, or nil where it is malformed.
    static func list(_ text: String) -> [Int]? {
        var result: [Int] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let bounds = part.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
            guard (1...2).contains(bounds.count), let first = bounds[0], let last = bounds[bounds.count - 1],
                first >= 0, first <= last, last < 1 << 16
            else { return nil }
            result += first...last
        }
        return result
    }
}
