// SPDX-License-Identifier: Apache-2.0
import Foundation
import Longhand

/// How one configuration survived the life of a cache.
public struct LifeCycleResult: Codable, Sendable, Hashable {
    public let name: String
    public let methods: EvaluatedMethods
    /// Tokens of the context that all questions share.
    public let contextTokens: Int
    public let questions: Int
    /// Share of the questions answered rightly.
    public let exact: Double
    /// Questions whose answer after loading the context from a file is token for token the one without.
    public let sameAfterLoad: Int
    /// Whether the last question, asked of a context read afresh, has the answer that it had after all others were
    /// asked and forgotten again.
    public let sameAfterTruncation: Bool
    public let fileBytes: Int
    public let readSeconds, saveSeconds, loadSeconds: Double
    public let answers: [TaskResult.Answer]

    /// Whether nothing changed an answer.
    public var passed: Bool { sameAfterLoad == questions && sameAfterTruncation }
}

/// One long context and many questions about it. Each question is asked after the context and then forgotten again by
/// truncation; and once more in another session that loads the context from a file every time. The answers must be the
/// same.
public final class LifeCycle {
    private let model: Model
    private let registry: Registry
    private let configurations: [EvaluationConfiguration]
    private let item: TaskCase
    private let chunk: Int

    /// - Parameters:
    ///   - model: which answers.
    ///   - registry: where the methods are looked for.
    ///   - configurations: of the cache, each by itself.
    ///   - length: tokens that context, question and answer together may take.
    ///   - count: questions, 1 to 256.
    ///   - seed: of the facts and questions.
    ///   - haystack: what the facts are hidden in.
    ///   - chunk: most tokens of one pass.
    public init(
        model: Model, registry: Registry, configurations: [EvaluationConfiguration], length: Int, questions count: Int,
        seed: UInt64, haystack: TaskHaystack, chunk: Int = 512
    ) throws {
        try EvaluationConfiguration.checkNames(configurations)
        guard (1...256).contains(count) else { throw ModelError("\(count) questions are not 1 to 256") }
        guard (1...1 << 24).contains(length) else { throw ModelError("a length of \(length) tokens is not 1 to \(1 << 24)") }
        var generator = SplitMix64(seed: seed)
        let problem = try TaskGenerator(haystack: haystack).stored(&generator, count: count)
        item = try TaskPrompter(model: model, haystack: haystack).make(
            problem, .multiNeedle, length: length, seed: generator.next())
        self.chunk = chunk
        self.model = model
        self.registry = registry
        self.configurations = [.dense] + configurations
    }

    /// Results by configuration, dense first.
    ///
    /// - Parameters:
    ///   - folder: where the files of contexts are put; they are removed again.
    ///   - progress: called with the number of steps done, of `stepCount`; throw from it to stop.
    public func run(folder: String, progress: (Int) throws -> Void = { _ in }) throws -> [LifeCycleResult] {
        var done = 0
        return try configurations.map { configuration in
            try run(configuration, folder) {
                done += 1
                try progress(done)
            }
        }
    }

    /// Answers that `run` asks for.
    public var stepCount: Int { configurations.count * (2 * item.questions.count + 1) }

    private func session(_ configuration: EvaluationConfiguration) throws -> Session {
        try configuration.session(model, registry, context: item.length, chunk: chunk)
    }

    /// Asks question `index` of a session that holds the context.
    private func ask(_ index: Int, _ session: Session) throws -> [Int32] {
        try session.greedyAnswer(item.questions[index], limit: item.problem.questions[index].answerTokens)
    }

    private func run(
        _ configuration: EvaluationConfiguration, _ folder: String, _ progress: () throws -> Void
    ) throws -> LifeCycleResult {
        let path = "\(folder)/longhand-\(UUID().uuidString).kv", indices = item.questions.indices
        defer { try? FileManager.default.removeItem(atPath: path) }
        let first = try session(configuration)
        let readSeconds = try seconds { try first.process(item.context) }
        let saveSeconds = try seconds { try first.cache.save(path: path) }
        let plain = try indices.map { index in
            let tokens = try ask(index, first)
            try first.cache.truncate(to: item.context.count)
            try progress()
            return tokens
        }
        let second = try session(configuration)
        var loadSeconds = 0.0
        let loaded = try indices.map { index in
            loadSeconds += try seconds { try second.cache.load(path: path) }
            let tokens = try ask(index, second)
            try progress()
            return tokens
        }
        let fresh = try session(configuration)
        try fresh.process(item.context)
        let again = try ask(indices.last!, fresh)
        try progress()

        let answers = zip(indices, plain).map { index, tokens in
            let question = item.problem.questions[index], text = model.tokenizer.decode(tokens)
            return TaskResult.Answer(
                caseIndex: 0, expected: question.answers, text: text, share: question.share(in: text),
                promptTokens: item.context.count + item.questions[index].count)
        }
        let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int ?? 0
        let count = answers.count
        return LifeCycleResult(
            name: configuration.name, methods: EvaluatedMethods(configuration.methods), contextTokens: item.context.count,
            questions: count, exact: answers.reduce(0) { $0 + $1.share } / Double(count),
            sameAfterLoad: zip(plain, loaded).filter { $0 == $1 }.count, sameAfterTruncation: again == plain.last!,
            fileBytes: size, readSeconds: readSeconds, saveSeconds: saveSeconds,
            loadSeconds: loadSeconds / Double(count), answers: answers)
    }
}
