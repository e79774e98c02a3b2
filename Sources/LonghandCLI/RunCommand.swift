// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import Longhand
import LonghandModel

extension LinearPrecision: ExpressibleByArgument {}

struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Read a prompt, or a document and a question, and answer.",
        discussion: """
            The answer streams to stdout; progress and a closing table go to stderr. With a \
            document and a prompt, the model is shown the document first and then the prompt. \
            Models with a chat format get one user message in it; --raw gives them the text as \
            it stands.

            Methods (--store, --prefill, --decode, --attention, --position) are asked for by \
            name, with options after a colon: --decode window:size=1024,sinks=4. A method that \
            is missing or does not fit the model is an error, never replaced by another one.

            EXAMPLES
              longhand run -p "What is the capital of France?" -n 32
              longhand run -f document.txt -p "Summarise the document."
              git log | longhand run -f - -p "What was done last?" -c 8192
              longhand run -p "Tell me a story." --temp 0.8 --top-p 0.9 -s 7
            """)

    @Option(
        name: .shortAndLong,
        help: .init("GGUF file of the model (default: the cached SmolLM2-135M-Instruct).", valueName: "file"))
    var model: String?
    @Option(name: .shortAndLong, help: .init("Document to read; '-' is standard input.", valueName: "file"))
    var file: String?
    @Option(
        name: .shortAndLong, parsing: .unconditional,
        help: .init("Prompt, or the question about the document.", valueName: "text"))
    var prompt: String?
    @Option(
        name: [.customShort("n"), .customLong("predict")], parsing: .unconditional,
        help: .init("Most tokens to generate.", valueName: "tokens"))
    var predict = 128
    @Option(
        name: [.customShort("c"), .customLong("ctx-size")], parsing: .unconditional,
        help: .init("Context; 0 is what the model was trained for.", valueName: "tokens"))
    var context = 0
    @Option(
        name: .shortAndLong, parsing: .unconditional,
        help: .init("Worker threads; 0 is one per processor.", valueName: "count"))
    var threads = 0
    @Option(name: .shortAndLong, parsing: .unconditional, help: .init("Seed of the sampler.", valueName: "number"))
    var seed: UInt64 = 0
    @Option(parsing: .unconditional, help: .init("Temperature; 0 takes the most likely token.", valueName: "number"))
    var temp: Float = 0
    @Option(
        parsing: .unconditional,
        help: .init("Sample among this many most likely tokens; 0 is all.", valueName: "count"))
    var topK = 0
    @Option(
        parsing: .unconditional,
        help: .init("Sample among the most likely tokens of this total probability.", valueName: "number"))
    var topP: Float = 1
    @Option(
        parsing: .unconditional,
        help: .init("Sample among tokens this probable relative to the likeliest.", valueName: "number"))
    var minP: Float = 0
    @Option(help: .init("Store of keys and values: f32, bf16, f16, ...", valueName: "method")) var store = "bf16"
    @Option(
        help: .init(
            "Another store for some layers: numbers, ranges, windowed or global, as in \"0-1,29: q4\"; may be given several times.",
            valueName: "layers: method"))
    var storeLayers: [String] = []
    @Option(help: .init("Selector while reading the prompt: all, window, ...", valueName: "method")) var prefill = "all"
    @Option(help: .init("Selector while generating: all, window, ...", valueName: "method")) var decode = "all"
    @Option(help: .init("Attention: flash, ...", valueName: "method")) var attention = "flash"
    @Option(
        help: .init(
            "Position; options override the model's, as in rope:scaling=ntk,factor=4.", valueName: "method"))
    var position = "rope"
    @Option(
        help: .init(
            "Linear layers: int16 or int8 (weights as in the file, activations rounded to 15 or, in a prompt, 8 bits), f32.",
            valueName: "precision"))
    var linear = LinearPrecision.int16
    @Option(
        parsing: .unconditional,
        help: .init("Most tokens per pass through all layers while reading; 0 is one block.", valueName: "tokens"))
    var chunk = 0
    @Option(
        parsing: .unconditional,
        help: .init(
            "Tokens that go through a layer together, attention and feed-forward; 0 is a whole pass, and without --chunk the whole prompt.",
            valueName: "tokens"))
    var blockTokens = 512
    @Flag(help: "Time every operator: a table of times and shares of this machine's roofs.") var profile = false
    @Flag(help: "The same, with a second table by layer.") var profileLayers = false
    @Flag(help: "Give the text to the model as it stands, without its chat format.") var raw = false
    @Flag(name: .shortAndLong, help: "Log on stderr which variants of the methods were weighed.") var verbose = false
    @Flag(help: "Print one JSON object instead of streaming.") var json = false
    @OptionGroup var plugins: PluginOptions

    func validate() throws {
        if file == nil && prompt == nil { throw ValidationError("give a prompt with -p, a document with -f, or both") }
        if prompt == "" { throw ValidationError("-p: the prompt is empty") }
        if file == "" { throw ValidationError("-f: the path is empty") }
        if model == "" { throw ValidationError("-m: the path is empty") }
        for text in storeLayers { try requireLayerStore(text) }
        try requireRange(predict, 0...Int.max, "-n", "the number of tokens")
        try requireRange(context, 0...Int(Int32.max), "-c", "the context")
        try requireRange(threads, 0...1024, "-t", "the number of threads")
        try requireRange(chunk, 3...Int(Int32.max), "--chunk", "the number of tokens", orZero: true)
        try requireRange(blockTokens, 3...Int(Int32.max), "--block-tokens", "the number of tokens", orZero: true)
    }

    private func requireLayerStore(_ text: String) throws {
        do { _ = try LayerStore(parsing: text) } catch { throw ValidationError("--store-layers: \(error)") }
    }

    private func requireRange(
        _ value: Int, _ range: ClosedRange<Int>, _ option: String, _ what: String, orZero: Bool = false
    ) throws {
        if range.contains(value) || orZero && value == 0 { return }
        let limits = range.upperBound == .max ? "at least \(range.lowerBound)" : "\(range.lowerBound) to \(range.upperBound)"
        throw ValidationError("\(option) \(value): \(what) must be \(orZero ? "0, or " : "")\(limits)")
    }

    func run() throws {
        let sampling = try SamplingOptions(temperature: temp, topK: topK, topP: topP, minP: minP, seed: seed)
        let registry = try plugins.discover(requireAny: true)
        let host = try KernelHost.openMP(workers: threads, log: verbose ? KernelLog.stderr() : nil)
        // All that can be wrong with the call shows before the weights are read, which may take long.
        let header = try ModelHeader(path: model ?? DefaultModel.path())
        let capacity = context == 0 ? header.shape.contextLength : context
        let document = try file.map { path in
            try Document(path: path, limit: capacity * header.tokenizer.vocabulary.longestText)
        }
        let tokens = try encode([document?.text, prompt].compactMap { $0 }.joined(separator: "\n\n"), header)
        try checkRoom(tokens.count, capacity, header)
        let (pass, block) = schedule(promptTokens: tokens.count)
        let cache = try plugins.explainingRejections(in: registry) {
            try Session.makeCache(
                for: header, registry: registry, host: host, context: capacity, methods: methods(), block: block, chunk: pass)
        }
        giveNotices(document, capacity, header)

        let session = try Session(model: Model(header, host: host, linear: linear), cache: cache, chunk: pass)
        var report = RunReport(session: session, promptTokens: tokens.count)
        if profile || profileLayers { try report.startProfile() }
        try read(tokens, session, &report)
        let answer = try generate(session, sampling, &report)
        report.finish(text: answer)
        if json {
            Console.out(try report.json())
        } else {
            if !answer.isEmpty { Console.out("\n") }
            Console.note(report.table() + report.profileTables(layers: profileLayers))
        }
    }

    /// Tokens per pass and per block as the options say, no more than the prompt has.
    private func schedule(promptTokens: Int) -> (pass: Int, block: Int) {
        let whole = max(promptTokens, Session.leastBlock)
        let pass = min(whole, chunk != 0 ? chunk : blockTokens != 0 ? blockTokens : whole)
        return (pass, blockTokens != 0 ? min(pass, blockTokens) : pass)
    }

    private func methods() throws -> CacheConfiguration {
        var methods = CacheConfiguration(layers: [], capacity: 0)
        (methods.store, methods.prefill, methods.decode) = (store, prefill, decode)
        (methods.attention, methods.position) = (attention, position)
        methods.layerStores = try storeLayers.map { try LayerStore(parsing: $0) }
        return methods
    }

    private func encode(_ text: String, _ header: ModelHeader) throws -> [Int32] {
        if raw { return header.tokenizer.encode(text) }
        return try header.chatFormat.tokens(messages: [ChatMessage(.user, text)], tokenizer: header.tokenizer)
    }

    /// The prompt must fit; so must one generated token, if any is asked for.
    private func checkRoom(_ promptTokens: Int, _ capacity: Int, _ header: ModelHeader) throws {
        guard promptTokens > 0 else { throw Failure("the prompt has no tokens") }
        guard promptTokens + min(predict, 1) <= capacity else {
            throw Failure(
                "the prompt has \(promptTokens) tokens and does not fit a context of \(capacity): give a larger -c "
                    + "(the model was trained for \(header.shape.contextLength)) or a shorter text")
        }
    }

    /// Says what is not an error, but may not be what was meant.
    private func giveNotices(_ document: Document?, _ capacity: Int, _ header: ModelHeader) {
        if let document, !document.isUTF8 {
            Console.note("longhand: the document is not UTF-8; what cannot be read as text is replaced by U+FFFD\n")
        }
        if !raw, case .raw(let reason) = header.chatFormat { Console.note("longhand: \(reason)\n") }
        let trained = header.shape.contextLength
        if capacity > trained && !position.contains("scaling=") {
            Console.note("longhand: a context of \(capacity) tokens is more than the \(trained) the model was trained for\n")
        }
    }

    private func read(_ tokens: [Int32], _ session: Session, _ report: inout RunReport) throws {
        var progress = Progress(total: tokens.count)
        let isLong = tokens.count > session.chunk
        if isLong { progress.begin() }
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
            let token = try next(&sampler, session)
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

    /// Samples a token; logits that cannot be sampled from are the model's fault.
    private func next(_ sampler: inout Sampler, _ session: Session) throws -> Int32 {
        do {
            let logits = session.logits
            return try session.measure(.sampling, work: .sampling(vocabulary: logits.count)) { try sampler.next(logits) }
        } catch let error as SamplingError {
            throw Failure(
                "\(session.model.path): \(error) after \(session.length) tokens: the weights may be damaged, or a value "
                    + "exceeds the range of store '\(session.cache.configuration.storeDescription)'")
        }
    }
}
