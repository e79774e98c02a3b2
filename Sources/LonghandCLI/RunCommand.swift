// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import Longhand
import LonghandModel

struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Read a prompt, or a document and a question, and answer.",
        discussion: """
            The answer streams to stdout; progress and a closing table go to stderr. With a document and a prompt, the \
            model is shown the document first and then the prompt. Models with a chat format get one user message in it; \
            --raw gives them the text as it stands.

            Methods are asked for by name, with options after a colon: --decode window:size=1024,sinks=4. 'longhand \
            plugins' lists them. A name that is missing or a shape that is not supported is an error, never replaced by \
            another method.
            """)

    @Option(name: .shortAndLong, help: "GGUF file of the model (default: the cached SmolLM2-135M-Instruct).") var model: String?
    @Option(name: .shortAndLong, help: "Document to read; '-' is standard input.") var file: String?
    @Option(name: .shortAndLong, help: "Prompt, or the question about the document.") var prompt: String?
    @Option(name: [.customShort("n"), .customLong("predict")], help: "Most tokens to generate.") var predict = 128
    @Option(name: [.customShort("c"), .customLong("ctx-size")], help: "Context in tokens; 0: what the model was trained for.")
    var context = 0
    @Option(name: .shortAndLong, help: "Worker threads; 0: one per processor.") var threads = 0
    @Option(name: .shortAndLong, help: "Seed of the sampler.") var seed: UInt64 = 0
    @Option(help: "Temperature; 0 always takes the most likely token.") var temp: Float = 0
    @Option(help: "Sample among this many most likely tokens; 0: all.") var topK = 0
    @Option(help: "Sample among the most likely tokens of this total probability.") var topP: Float = 1
    @Option(help: "Sample among tokens this probable relative to the likeliest.") var minP: Float = 0
    @Option(help: "Store of keys and values: f32, bf16, f16, ...") var store = "bf16"
    @Option(help: "Selector while reading the prompt.") var prefill = "all"
    @Option(help: "Selector while generating.") var decode = "all"
    @Option(help: "Attention method.") var attention = "flash"
    @Option(help: "Position method; options override the model's, e.g. rope:scaling=ntk,factor=4.") var position = "rope"
    @Option(name: .customLong("chunk"), help: "Tokens per pass while reading the prompt.") var chunk = 512
    @Flag(help: "Give the text to the model as it stands, without its chat format.") var raw = false
    @Flag(help: "Print one JSON object instead of streaming.") var json = false
    @OptionGroup var plugins: PluginOptions

    func validate() throws {
        if file == nil && prompt == nil { throw ValidationError("give a prompt with -p, a document with -f, or both") }
        if predict < 0 { throw ValidationError("-n \(predict): the number of tokens is negative") }
        if context < 0 { throw ValidationError("-c \(context): the context is negative") }
        if threads < 0 || threads > 1024 { throw ValidationError("-t \(threads): threads must be 0 to 1024") }
    }

    func run() throws {
        let sampling = try SamplingOptions(temperature: temp, topK: topK, topP: topP, minP: minP, seed: seed)
        let registry = try plugins.discover()
        let host = try KernelHost.openMP(workers: threads)
        let text = try [file.map(ModelFiles.document), prompt].compactMap { $0 }.filter { !$0.isEmpty }.joined(separator: "\n\n")
        guard !text.isEmpty else { throw Failure("the prompt is empty") }
        let path = try model ?? ModelFiles.defaultModel()
        let model = try Model(path: path, host: host)
        let tokens = try encode(text, model)
        let capacity = try checkContext(tokens.count, model)
        var methods = CacheConfiguration(layers: [], capacity: 0)
        (methods.store, methods.prefill, methods.decode) = (store, prefill, decode)
        (methods.attention, methods.position) = (attention, position)
        let session = try Session(model: model, registry: registry, context: capacity, methods: methods, chunk: chunk)
        var report = RunReport(session: session, promptTokens: tokens.count)
        try read(tokens, session, &report)
        let answer = try generate(session, sampling, &report)
        report.finish(text: answer)
        if json { Console.out(try report.json()) } else { Console.out("\n") }
        if !json { Console.note(report.table()) }
    }

    private func encode(_ text: String, _ model: Model) throws -> [Int32] {
        if raw { return model.tokenizer.encode(text) }
        if case .raw(let reason) = model.chatFormat { Console.note("longhand: \(reason)\n") }
        return try model.chatFormat.tokens(messages: [ChatMessage(.user, text)], tokenizer: model.tokenizer)
    }

    /// The context to allocate. The prompt must fit; so must one generated token, if any is asked for.
    private func checkContext(_ promptTokens: Int, _ model: Model) throws -> Int {
        let trained = model.shape.contextLength, capacity = context == 0 ? trained : context
        guard promptTokens > 0 else { throw Failure("the prompt is empty") }
        guard promptTokens + min(predict, 1) <= capacity else {
            throw Failure(
                "the prompt has \(promptTokens) tokens and does not fit a context of \(capacity): give a larger -c "
                    + "(the model was trained for \(trained)) or a shorter document")
        }
        if capacity > trained && !position.contains("scaling=") {
            Console.note("longhand: a context of \(capacity) tokens is more than the \(trained) the model was trained for\n")
        }
        return capacity
    }

    private func read(_ tokens: [Int32], _ session: Session, _ report: inout RunReport) throws {
        var progress = Progress(total: tokens.count)
        let isLong = tokens.count > session.chunk
        let start = ContinuousClock.now
        try session.process(tokens) { done in if isLong { progress.show(done) } }
        report.prefill(seconds: (ContinuousClock.now - start).seconds)
    }

    private func generate(_ session: Session, _ sampling: SamplingOptions, _ report: inout RunReport) throws -> String {
        var sampler = Sampler(sampling), decoder = StreamingDecoder(session.model.tokenizer), answer = ""
        func emit(_ text: String) {
            answer += text
            if !json { Console.out(text) }
        }
        let start = ContinuousClock.now
        for index in 0..<predict {
            let token = try sampler.next(session.logits)
            report.generated += 1
            if session.model.tokenizer.isEndOfGeneration(token) {
                report.stop = "end of answer"
                break
            }
            emit(decoder.append(token))
            if index == predict - 1 { break }
            guard session.length < session.cache.capacity else {
                report.stop = "context full"
                break
            }
            try session.process([token])
            report.steps += 1
        }
        emit(decoder.finish())
        report.decodeSeconds = (ContinuousClock.now - start).seconds
        return answer
    }
}
