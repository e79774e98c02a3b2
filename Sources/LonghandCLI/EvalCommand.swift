// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import Longhand
import LonghandModel

struct EvalCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "eval", abstract: "Compare configurations with dense attention on text and tasks.",
        discussion: """
            On a text, all configurations and dense attention (f32 store, everything attended) read in lockstep, and their \
            next-token distributions are compared at every token. KL is the divergence from dense in nats. Times are \
            those of the layers, without the output projection.

              longhand eval -f book.txt -c 8192 --config "bf16: store=bf16" --decode-from 7168 \\
                --config "window: decode=window:size=1024"

            With --task, prompts are generated around the text, or around generated sentences without -f, and answers are \
            scored by exact match. Tasks: passkey, needle, multi-needle, associative-recall, variable-tracking, \
            ancestral-trace. Scope says how much must be found, diffusion how hidden it is.

              longhand eval --task passkey,needle --length 1000,4000 --cases 20 --config "w: decode=window:size=512"

            With --life-cycle, --cases questions are asked about one context of --length tokens, with truncation and with \
            loading of the saved context in between; the exit code is 1 if that changes an answer.

            With --recall, selectors for decoding are run on the rows of a trace, from --decode-from on: the share of the \
            attention mass that they catch, per layer and, in csv and json, per head. Give adamas remainder=0.

              longhand eval --recall trace.safetensors --decode-from 3072 --config "quest: decode=quest:budget=128"

            A configuration is NAME: followed by KEY=METHOD words, with the keys store, prefill, decode, attention and \
            position; what is not given is as in 'longhand run'. store-layers=LAYERS:METHOD, as in \
            store-layers=windowed:bf16 or store-layers=0-1,29:q4, gives some layers another store.
            """)

    @Option(name: .shortAndLong, help: "GGUF file of the model (default: the cached SmolLM2-135M-Instruct).") var model: String?
    @Option(name: .shortAndLong, help: "Text to read, or to hide facts in; '-' is standard input.") var file: String?
    @Option(
        name: [.customShort("c"), .customLong("ctx-size")],
        help: "Tokens of a window; 0: the text, up to what the model was trained for.")
    var context = 0
    @Option(name: .customLong("config"), help: "A configuration to compare; may be given several times.")
    var configurations: [String] = []
    @Option(help: "Windows of the text to read, each from an empty cache.") var windows = 1
    @Option(help: "Feed tokens from this position on one at a time, and compare only there.") var decodeFrom: Int?
    @Option(help: "Compare only from this position on.") var scoreFrom: Int?
    @Option(help: "Tasks to generate instead, separated by commas.") var task: String?
    @Flag(help: "Ask many questions about one context that is truncated, saved and loaded.") var lifeCycle = false
    @Option(help: "A trace to measure recall on.") var recall: String?
    @Option(help: "Tokens of prompt and answer of a task, separated by commas.") var length = "1024"
    @Option(help: "Cases per task and length; questions of --life-cycle.") var cases = 10
    @Option(name: .shortAndLong, help: "Seed of the tasks.") var seed: UInt64 = 0
    @Option(name: [.customShort("o"), .customLong("output")], help: "Format on stdout: md, csv, json or jsonl.") var format = "md"
    @Option(help: "Write an SVG plot of quality against speed and bytes.") var plot: String?
    @Option(name: .shortAndLong, help: "Worker threads; 0: one per processor.") var threads = 0
    @Option(name: .customLong("chunk"), help: "Tokens per pass while reading.") var chunk = 512
    @Option(help: "Linear layers: int16, int8 or f32, as in 'longhand run'.") var linear = LinearPrecision.int16
    @OptionGroup var plugins: PluginOptions

    func validate() throws {
        if context < 0 { throw ValidationError("-c \(context): the context is negative") }
        if windows < 1 { throw ValidationError("--windows \(windows): at least one is needed") }
        if cases < 1 || cases > 100_000 { throw ValidationError("--cases \(cases): must be 1 to 100000") }
        if threads < 0 || threads > 1024 { throw ValidationError("-t \(threads): threads must be 0 to 1024") }
        if ReportFormat(rawValue: format) == nil { throw ValidationError("-o \(format): must be md, csv, json or jsonl") }
        if try lengths().isEmpty || kinds().isEmpty { throw ValidationError("--length and --task need at least one item") }
        if task != nil && lifeCycle { throw ValidationError("--task and --life-cycle exclude each other") }
        if task == nil && !lifeCycle && (length != "1024" || cases != 10 || seed != 0) {
            throw ValidationError("--length, --cases and --seed are for --task and --life-cycle")
        }
        if plot != nil && lifeCycle { throw ValidationError("--life-cycle has no --plot") }
        if recall != nil {
            let others = [task, file, plot, model].contains { $0 != nil }
            if others || lifeCycle || scoreFrom != nil || windows != 1 || context != 0 {
                throw ValidationError("--recall takes --decode-from, --config, -o and -t only")
            }
            if decodeFrom == nil || configurations.isEmpty { throw ValidationError("--recall needs --decode-from and --config") }
        } else if task != nil || lifeCycle {
            if decodeFrom != nil || scoreFrom != nil || windows != 1 || context != 0 {
                throw ValidationError("-c, --windows, --decode-from and --score-from are for a text; tasks have --length")
            }
        } else {
            if file == nil { throw ValidationError("give a text with -f, or tasks with --task") }
            if configurations.isEmpty { throw ValidationError("give a configuration with --config \"NAME: store=...\"") }
        }
        if try lengths().count != 1, lifeCycle { throw ValidationError("--life-cycle takes one --length") }
    }

    func run() throws {
        let parsed = try configurations.map { try EvaluationConfiguration(parsing: $0) }
        if let plot { try OutputFile.check(plot) }
        let registry = try plugins.discover()
        if let recall { return try measureRecall(recall, registry, parsed) }
        let model = try Model(path: model ?? DefaultModel.path(), host: .openMP(workers: threads), linear: linear)
        let text = try file.map { try Document(path: $0, limit: Document.byteLimit).text }
        let context = EvalContext(
            model: model.path, text: file, isa: model.host.isa.names, threads: model.host.workers,
            version: LonghandCommand.configuration.version)
        if lifeCycle { return try runLifeCycle(model, registry, parsed, text, context) }
        if task != nil { return try runTasks(model, registry, parsed, text, context) }
        try compare(model, registry, parsed, text ?? "", context)
    }

    private var reportFormat: ReportFormat { ReportFormat(rawValue: format)! }

    private func compare(
        _ model: Model, _ registry: Registry, _ configurations: [EvaluationConfiguration], _ text: String, _ context: EvalContext
    ) throws {
        let tokens = model.tokenizer.encode(text)
        var options = EvaluationOptions()
        options.context = self.context == 0 ? min(max(2, tokens.count), model.shape.contextLength) : self.context
        (options.windows, options.decodeFrom, options.chunk) = (windows, decodeFrom, chunk)
        options.scoreFrom = scoreFrom ?? 0
        let evaluator = try Evaluator(
            model: model, registry: registry, tokens: tokens, configurations: configurations, options: options)
        var progress = Progress(total: evaluator.tokenCount)
        progress.begin()
        let results = try evaluator.run { progress.show($0) }
        let report = EvalReport(context: context, tokens: evaluator.tokenCount, options: options, results: results)
        Console.out(try report.text(reportFormat))
        try write(ParetoPlot(results, title: "\(evaluator.tokenCount) tokens, \(name(of: model))"))
    }

    private func runTasks(
        _ model: Model, _ registry: Registry, _ configurations: [EvaluationConfiguration], _ text: String?, _ context: EvalContext
    ) throws {
        var options = TaskOptions()
        (options.kinds, options.lengths, options.cases) = (try kinds(), try lengths(), cases)
        (options.seed, options.chunk) = (seed, chunk)
        options.haystack = text.map(TaskHaystack.init(document:)) ?? .generated
        let runner = try TaskRunner(model: model, registry: registry, configurations: configurations, options: options)
        var progress = Progress(total: runner.tokenCount)
        progress.begin()
        let results = try runner.run { progress.show($0) }
        Console.out(try TaskReport(context: context, seed: seed, results: results).text(reportFormat))
        let shown = options.kinds.count > 2 ? "\(options.kinds.count) tasks" : options.kinds.map(\.rawValue).joined(separator: ", ")
        try write(ParetoPlot(results, title: "\(shown) of \(length) tokens, \(name(of: model))"))
    }

    private func runLifeCycle(
        _ model: Model, _ registry: Registry, _ configurations: [EvaluationConfiguration], _ text: String?, _ context: EvalContext
    ) throws {
        let cycle = try LifeCycle(
            model: model, registry: registry, configurations: configurations, length: try lengths()[0], questions: cases,
            seed: seed, haystack: text.map(TaskHaystack.init(document:)) ?? .generated, chunk: chunk)
        let results = try cycle.run(folder: NSTemporaryDirectory()) { done in
            let tenth = done * 10 / cycle.stepCount
            guard tenth > (done - 1) * 10 / cycle.stepCount else { return }
            Console.note("life cycle: \(done) of \(cycle.stepCount) answers\n")
        }
        let report = LifeCycleReport(context: context, seed: seed, results: results)
        Console.out(try report.text(reportFormat))
        if let failure = report.failure {
            Console.note("longhand: \(failure)\n")
            throw ExitCode(1)
        }
    }

    private func measureRecall(_ path: String, _ registry: Registry, _ configurations: [EvaluationConfiguration]) throws {
        let meter = try RecallMeter(
            trace: try TraceFile(path: path), registry: registry, host: .openMP(workers: threads), configurations: configurations,
            from: decodeFrom!)
        let results = try meter.run { done in
            let tenth = done * 10 / meter.stepCount
            guard tenth > (done - 1) * 10 / meter.stepCount else { return }
            Console.note("recall: \(done) of \(meter.stepCount) layers and configurations\n")
        }
        Console.out(try RecallReport(results: results).text(reportFormat))
    }

    private func write(_ figure: ParetoPlot) throws {
        guard let plot else { return }
        try OutputFile.write(figure.svg, to: plot)
    }

    private func name(of model: Model) -> String {
        URL(fileURLWithPath: model.path).deletingPathExtension().lastPathComponent
    }

    private func lengths() throws -> [Int] {
        try length.split(separator: ",").map {
            guard let value = Int($0), value > 0 else { throw ValidationError("--length \(length): must be numbers of tokens") }
            return value
        }
    }

    private func kinds() throws -> [TaskKind] {
        guard let task else { return [.needle] }
        return try task.split(separator: ",").map {
            guard let kind = TaskKind(rawValue: String($0)) else {
                let known = TaskKind.allCases.map(\.rawValue).joined(separator: ", ")
                throw ValidationError("--task \($0): must be one of \(known)")
            }
            return kind
        }
    }
}
