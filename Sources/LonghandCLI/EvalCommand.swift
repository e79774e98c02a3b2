// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import Longhand
import LonghandModel

struct EvalCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "eval", abstract: "Compare configurations with dense attention on real text.",
        discussion: """
            All configurations and dense attention (f32 store, everything attended) read the same text in lockstep, and \
            their next-token distributions are compared at every token. KL is the divergence from dense in nats. Times \
            are those of the layers, without the output projection.

            longhand eval -f book.txt -c 8192 --config "bf16: store=bf16" --config "window: decode=window:size=1024" \
            --decode-from 7168

            A configuration is NAME: followed by KEY=METHOD words, with the keys store, prefill, decode, attention and \
            position; what is not given is as in 'longhand run'.
            """)

    @Option(name: .shortAndLong, help: "GGUF file of the model (default: the cached SmolLM2-135M-Instruct).") var model: String?
    @Option(name: .shortAndLong, help: "Text to read; '-' is standard input.") var file: String
    @Option(name: [.customShort("c"), .customLong("ctx-size")],
        help: "Tokens of a window; 0: the text, up to what the model was trained for.")
    var context = 0
    @Option(name: .customLong("config"), help: "A configuration to compare; may be given several times.")
    var configurations: [String] = []
    @Option(help: "Windows of the text to read, each from an empty cache.") var windows = 1
    @Option(help: "Feed tokens from this position on one at a time, and compare only there.") var decodeFrom: Int?
    @Option(name: [.customShort("o"), .customLong("output")], help: "Format on stdout: md, csv, json or jsonl.") var format = "md"
    @Option(name: .shortAndLong, help: "Worker threads; 0: one per processor.") var threads = 0
    @Option(name: .customLong("chunk"), help: "Tokens per pass while reading.") var chunk = 512
    @OptionGroup var plugins: PluginOptions

    func validate() throws {
        if context < 0 { throw ValidationError("-c \(context): the context is negative") }
        if windows < 1 { throw ValidationError("--windows \(windows): at least one is needed") }
        if threads < 0 || threads > 1024 { throw ValidationError("-t \(threads): threads must be 0 to 1024") }
        if ReportFormat(rawValue: format) == nil { throw ValidationError("-o \(format): must be md, csv, json or jsonl") }
        if configurations.isEmpty { throw ValidationError("give a configuration with --config \"NAME: store=...\"") }
    }

    func run() throws {
        let parsed = try configurations.map { try EvaluationConfiguration(parsing: $0) }
        let registry = try plugins.discover()
        let model = try Model(path: model ?? DefaultModel.path(), host: .openMP(workers: threads))
        let tokens = model.tokenizer.encode(try Document(path: file, limit: Document.byteLimit).text)
        var options = EvaluationOptions()
        options.context = context == 0 ? min(max(2, tokens.count), model.shape.contextLength) : context
        (options.windows, options.decodeFrom, options.chunk) = (windows, decodeFrom, chunk)
        let evaluator = try Evaluator(
            model: model, registry: registry, tokens: tokens, configurations: parsed, options: options)
        var progress = Progress(total: evaluator.tokenCount)
        let results = try evaluator.run { progress.show($0) }
        let report = EvalReport(
            context: context(model), tokens: evaluator.tokenCount, options: options, results: results)
        Console.out(try report.text(ReportFormat(rawValue: format)!))
    }

    private func context(_ model: Model) -> EvalContext {
        EvalContext(
            model: model.path, text: file, isa: model.host.isa.names, threads: model.host.workers,
            version: LonghandCommand.configuration.version)
    }
}
