// SPDX-License-Identifier: Apache-2.0
import Foundation
import Longhand

/// Which tasks to generate.
public struct TaskOptions: Sendable {
    public var kinds: [TaskKind] = [.needle]
    /// Tokens that prompt and answer together may take.
    public var lengths = [2048]
    /// Cases of every kind and length.
    public var cases = 10
    public var seed: UInt64 = 0
    public var haystack = TaskHaystack.generated
    /// Most tokens of one pass.
    public var chunk = 512

    public init() {}
}

/// How one configuration did on one kind of task at one length.
public struct TaskResult: Codable, Sendable, Hashable {
    /// What was expected of a question and what came.
    public struct Answer: Codable, Sendable, Hashable {
        /// The case that the question belongs to, from 0.
        public let caseIndex: Int
        public let expected: [String]
        public let text: String
        /// Share of the expected words that occur.
        public let share: Double
        public let promptTokens: Int
    }

    public let name: String
    public let methods: EvaluatedMethods
    public let task: TaskKind
    public let scope, diffusion: TaskKind.Level
    public let length, cases: Int
    /// Share of the cases whose answers hold everything expected, and its 95 % interval (Wilson).
    public let exact, exactLow, exactHigh: Double
    /// Mean share of the expected words over all questions.
    public let partial: Double
    /// Share of the questions whose answer is word for word that of dense.
    public let sameAsDense: Double
    public let kvBytesPerToken: Double
    public let prefillTokensPerSecond, decodeTokensPerSecond: Double
    public let answers: [Answer]

    /// The 95 % interval of a share of `hits` in `trials` (Wilson 1927).
    static func interval(hits: Int, trials: Int) -> (low: Double, high: Double) {
        guard trials > 0 else { return (0, 1) }
        let n = Double(trials), p = Double(hits) / n, z = 1.959963984540054
        let centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        let half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)).squareRoot()
        return (max(0, centre - half), min(1, centre + half))
    }
}

/// Runs generated tasks through dense attention and configurations, one after another: all get the same prompts.
public final class TaskRunner {
    private let model: Model
    private let registry: Registry
    private let configurations: [EvaluationConfiguration]
    private let options: TaskOptions
    private let groups: [[TaskCase]]

    /// Generates the cases. Throws `ModelError` for a length that is too short for a task.
    public init(model: Model, registry: Registry, configurations: [EvaluationConfiguration], options: TaskOptions) throws {
        try EvaluationConfiguration.checkNames(configurations)
        guard options.cases >= 1, !options.lengths.isEmpty, !options.kinds.isEmpty else {
            throw ModelError("at least one task, one length and one case are needed")
        }
        if let wrong = options.lengths.first(where: { !(1...1 << 24).contains($0) }) {
            throw ModelError("a length of \(wrong) tokens is not 1 to \(1 << 24)")
        }
        let prompter = TaskPrompter(model: model, haystack: options.haystack)
        groups = try options.kinds.flatMap { kind in
            try options.lengths.map { length in
                try (0..<options.cases).map {
                    try prompter.make(kind, length: length, index: $0, of: options.cases, seed: options.seed)
                }
            }
        }
        self.model = model
        self.registry = registry
        self.configurations = [.dense] + configurations
        self.options = options
    }

    /// Tokens of contexts that `run` reads.
    public var tokenCount: Int { configurations.count * groups.joined().reduce(0) { $0 + $1.context.count } }

    /// Results by configuration, dense first, then kind, then length.
    ///
    /// - Parameter progress: called with the number of those tokens done; throw from it to stop.
    public func run(progress: (Int) throws -> Void = { _ in }) throws -> [TaskResult] {
        var done = 0, results: [TaskResult] = [], dense: [[String]] = []
        for configuration in configurations {
            let session = try configuration.session(
                model, registry, context: options.lengths.max()!, chunk: options.chunk)
            for (index, group) in groups.enumerated() {
                let result = try run(group, configuration, session, dense: dense.indices.contains(index) ? dense[index] : nil) {
                    done += $0
                    try progress(done)
                }
                if configuration == .dense { dense.append(result.answers.map(\.text)) }
                results.append(result)
            }
        }
        return results
    }

    private func run(
        _ cases: [TaskCase], _ configuration: EvaluationConfiguration, _ session: Session, dense: [String]?,
        _ progress: (Int) throws -> Void
    ) throws -> TaskResult {
        var answers: [TaskResult.Answer] = [], hits = 0, prefill = 0.0, decode = 0.0, steps = 0
        for (index, item) in cases.enumerated() {
            try session.cache.truncate(to: 0)
            prefill += try seconds { try session.process(item.context) }
            let first = answers.count
            for (question, prompt) in zip(item.problem.questions, item.questions) {
                var tokens: [Int32] = []
                // All but the last token belong to the prompt: the time of decoding begins with that one.
                if prompt.count > 1 { try session.process(Array(prompt.dropLast())) }
                decode += try seconds { tokens = try session.greedyAnswer([prompt.last!], limit: question.answerTokens) }
                steps += max(1, tokens.count)
                try session.cache.truncate(to: item.context.count)
                let text = model.tokenizer.decode(tokens)
                answers.append(
                    .init(
                        caseIndex: index, expected: question.answers, text: text, share: question.share(in: text),
                        promptTokens: item.context.count + prompt.count))
            }
            if answers[first...].allSatisfy({ $0.share == 1 }) { hits += 1 }
            try progress(item.context.count)
        }
        let interval = TaskResult.interval(hits: hits, trials: cases.count)
        let same = dense.map { zip($0, answers).filter { $0 == $1.text }.count } ?? answers.count
        let tokens = cases.reduce(0) { $0 + $1.context.count }
        return TaskResult(
            name: configuration.name, methods: EvaluatedMethods(configuration.methods), task: cases[0].kind,
            scope: cases[0].kind.scope, diffusion: cases[0].kind.diffusion, length: cases[0].length, cases: cases.count,
            exact: Double(hits) / Double(cases.count), exactLow: interval.low, exactHigh: interval.high,
            partial: answers.reduce(0) { $0 + $1.share } / Double(answers.count),
            sameAsDense: Double(same) / Double(answers.count), kvBytesPerToken: session.cache.statistics.bitsPerToken / 8,
            prefillTokensPerSecond: prefill > 0 ? Double(tokens) / prefill : 0,
            decodeTokensPerSecond: decode > 0 ? Double(steps) / decode : 0, answers: answers)
    }
}

/// Seconds that `body` takes.
func seconds(_ body: () throws -> Void) rethrows -> Double {
    let start = ContinuousClock.now
    try body()
    let elapsed = ContinuousClock.now - start
    return Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) * 1e-18
}
