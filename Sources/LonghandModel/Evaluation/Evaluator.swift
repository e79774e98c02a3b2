// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import LonghandLayers

/// Which tokens are read, and how.
public struct EvaluationOptions: Sendable {
    /// Tokens of a window; each begins with an empty cache.
    public var context = 4096
    /// The first so many windows of the text.
    public var windows = 1
    /// Tokens from this position on are fed one at a time, so that selectors for decoding are at work, and only their
    /// logits are compared; nil: whole windows are read as prompts.
    public var decodeFrom: Int?
    /// Only logits of tokens from this position on are compared; everything before is read all the same.
    public var scoreFrom = 0
    /// Most tokens of one pass.
    public var chunk = 512

    public init() {}
}

/// Compares configurations with dense attention: all of them read the same text in lockstep, chunk by chunk, each in its
/// own session, and their logits are compared row by row and then dropped. Memory depends on the context, the number of
/// configurations and the vocabulary, not on the number of tokens scored. All but times is the same bit for bit for any
/// number of workers.
public final class Evaluator {
    private let model: Model
    private let options: EvaluationOptions
    private let windows: [[Int32]]
    private let runs: [Run]
    private let denseLogits, otherLogits: UnsafeMutablePointer<Float>
    private var comparisons: [lhk_layer_comparison]
    /// Rows of logits that are held at a time.
    private static let batch = 64

    /// One configuration at work.
    private final class Run {
        let configuration: EvaluationConfiguration
        let session: Session
        var prefill = PhaseMeter(), decode = PhaseMeter(), rows = RowStatistics()

        init(_ configuration: EvaluationConfiguration, _ session: Session) {
            self.configuration = configuration
            self.session = session
        }
    }

    /// - Parameters:
    ///   - model: which reads.
    ///   - registry: where the methods are looked for.
    ///   - tokens: of the text. Where the model wants BOS, its first one is BOS, and every window begins with it.
    ///   - configurations: each is compared with dense attention.
    ///   - options: windows, and what of them is compared.
    /// - Throws: `ModelError` naming the configuration that does not fit, or the option that makes no sense.
    public init(
        model: Model, registry: Registry, tokens: [Int32], configurations: [EvaluationConfiguration],
        options: EvaluationOptions
    ) throws {
        try EvaluationConfiguration.checkNames(configurations)
        windows = try Self.windows(tokens, model.tokenizer, options)
        let longest = windows.map(\.count).max() ?? 0
        if let from = options.decodeFrom, !(1..<longest).contains(from) {
            throw ModelError("decoding cannot begin at token \(from): a window has \(longest) tokens")
        }
        guard (0..<max(longest, 1)).contains(options.scoreFrom) else {
            throw ModelError("comparing cannot begin at token \(options.scoreFrom): a window has \(longest) tokens")
        }
        runs = try ([.dense] + configurations).map {
            Run($0, try $0.session(model, registry, context: longest, chunk: options.chunk))
        }
        self.model = model
        self.options = options
        denseLogits = .allocate(capacity: Self.batch * model.shape.vocabularySize)
        otherLogits = .allocate(capacity: Self.batch * model.shape.vocabularySize)
        comparisons = Array(repeating: lhk_layer_comparison(), count: Self.batch)
    }

    deinit {
        denseLogits.deallocate()
        otherLogits.deallocate()
    }

    /// Tokens that `run` reads.
    public var tokenCount: Int { windows.reduce(0) { $0 + $1.count } }

    /// Cuts the text into windows. A last one that is not full counts if it is at least two tokens long and asked for.
    private static func windows(_ tokens: [Int32], _ tokenizer: Tokenizer, _ options: EvaluationOptions) throws -> [[Int32]] {
        guard options.context >= 2 else { throw ModelError("a context of \(options.context) tokens has nothing to predict") }
        guard options.windows >= 1 else { throw ModelError("\(options.windows) windows: at least one is needed") }
        let bos = tokenizer.addsBOS ? tokenizer.vocabulary.bos : nil
        var result: [[Int32]] = [], next = 0
        while result.count < options.windows, next < tokens.count {
            var window = next > 0 ? bos.map { [$0] } ?? [] : []
            let end = min(tokens.count, next + options.context - window.count)
            window += tokens[next..<end]
            next = end
            if window.count >= 2 { result.append(window) }
        }
        guard result.count == options.windows else {
            throw ModelError(
                "the text has \(tokens.count) tokens, enough for \(result.count) windows of \(options.context), not \(options.windows)"
            )
        }
        return result
    }

    /// Reads all windows. The first result is that of dense attention.
    ///
    /// - Parameter progress: called with the number of tokens done; throw from it to stop.
    public func run(progress: (Int) throws -> Void = { _ in }) throws -> [EvaluationResult] {
        var done = 0
        for window in windows {
            for run in runs { try run.session.cache.truncate(to: 0) }
            let split = min(options.decodeFrom ?? window.count, window.count)
            var position = 0
            while position < split {
                let rows = Session.rows(left: split - position, most: runs[0].session.chunk)
                try step(window, position..<position + rows, decoding: false)
                position += rows
                try progress(done + position)
            }
            for run in runs { run.prefill.collect(run.session.cache) }
            while position < window.count {
                try step(window, position..<position + 1, decoding: true)
                position += 1
                try progress(done + position)
            }
            for run in runs { run.decode.collect(run.session.cache) }
            done += window.count
        }
        return runs.map { result($0) }
    }

    /// One pass of all sessions over `range`, and the comparison of its rows.
    private func step(_ window: [Int32], _ range: Range<Int>, decoding: Bool) throws {
        for run in runs {
            let time = try seconds { try run.session.pass(window[range]) }
            if decoding { run.decode.add(tokens: range.count, seconds: time) }
            if !decoding { run.prefill.add(tokens: range.count, seconds: time) }
        }
        guard decoding || options.decodeFrom == nil else { return }
        for first in stride(from: max(0, options.scoreFrom - range.lowerBound), to: range.count, by: Self.batch) {
            try compare(window, range.lowerBound, first..<min(first + Self.batch, range.count))
        }
    }

    /// Compares rows `rows` of the last pass, which began at position `start`.
    private func compare(_ window: [Int32], _ start: Int, _ rows: Range<Int>) throws {
        let vocabulary = model.shape.vocabularySize
        try runs[0].session.project(rows, into: denseLogits)
        for (index, run) in runs.enumerated() {
            // Dense is compared with itself, which gives its perplexity.
            let logits = index == 0 ? denseLogits : otherLogits
            if index > 0 { try run.session.project(rows, into: logits) }
            try LayerError.check { error in
                comparisons.withUnsafeMutableBufferPointer {
                    lhk_run_compare_logits(
                        model.host.raw, denseLogits, logits, rows.count, vocabulary, $0.baseAddress!, error)
                }
            }
            for row in rows {
                let c = comparisons[row - rows.lowerBound], at = (row - rows.lowerBound) * vocabulary
                run.rows.add(kl: c.kl_divergence, agrees: c.reference_argmax == c.other_argmax)
                guard start + row + 1 < window.count else { continue }
                let target = Int(window[start + row + 1])
                run.rows.add(
                    nll: c.other_log_sum_exp - Double(logits[at + target]),
                    denseNLL: c.reference_log_sum_exp - Double(denseLogits[at + target]))
            }
        }
    }

    private func result(_ run: Run) -> EvaluationResult {
        let heads = model.shape.layers.reduce(0) { $0 + $1.queryHeads }
        let quantiles = run.rows.quantiles([0.99, 0.999, 1])
        return EvaluationResult(
            name: run.configuration.name, methods: EvaluatedMethods(run.configuration.methods),
            scoredTokens: run.rows.divergences.count, perplexity: run.rows.perplexity,
            perplexityDelta: run.rows.perplexityDelta, meanKL: run.rows.mean, kl99: quantiles[0], kl999: quantiles[1],
            maxKL: quantiles[2], topAgreement: run.rows.agreement,
            kvBytesPerToken: run.session.cache.statistics.bitsPerToken / 8, prefill: run.prefill.result(heads: heads),
            decode: run.decode.result(heads: heads))
    }
}
