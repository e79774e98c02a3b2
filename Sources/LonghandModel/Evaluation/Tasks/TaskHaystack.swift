// SPDX-License-Identifier: Apache-2.0
import Foundation

/// Where the sentences come from in which facts are hidden.
public struct TaskHaystack: Sendable {
    /// Sentences of a document; empty: they are generated.
    let sentences: [String]
    /// The document, to keep answers out that occur in it.
    private let text: String

    /// Generated sentences.
    public static let generated = TaskHaystack(sentences: [], text: "")

    /// The sentences of a document, cut at full stops, line breaks and, where these are far apart, between words.
    public init(document: String) {
        var sentences: [String] = [], words: [Substring] = [], length = 0
        func close() {
            if !words.isEmpty { sentences.append(words.joined(separator: " ")) }
            words = []
            length = 0
        }
        for line in document.split(whereSeparator: \.isNewline) {
            for word in line.split(whereSeparator: \.isWhitespace) {
                words.append(word)
                length += word.utf8.count + 1
                if length > 240 || word.hasSuffix(".") || word.hasSuffix("!") || word.hasSuffix("?") { close() }
            }
            close()
        }
        self.init(sentences: sentences, text: document.lowercased())
    }

    private init(sentences: [String], text: String) {
        self.sentences = sentences
        self.text = text
    }

    /// Whether `answer` occurs in the document.
    func contains(_ answer: String) -> Bool { !text.isEmpty && text.contains(answer.lowercased()) }

    /// `count` sentences for a problem of `kind`; fewer of the same seed are a beginning of more. A document begins at a
    /// random sentence and starts over at its end.
    func filler(_ kind: TaskKind, count: Int, seed: UInt64, avoiding problem: TaskProblem) throws -> [String] {
        var generator = SplitMix64(seed: seed)
        if kind == .associativeRecall { return try Self.pairs(count: count, &generator, avoiding: problem) }
        if !sentences.isEmpty {
            let first = generator.below(sentences.count)
            return (0..<count).map { sentences[(first + $0) % sentences.count] }
        }
        if kind == .passkey { return (0..<count).map { TaskWords.noise[$0 % TaskWords.noise.count] } }
        return (0..<count).map { _ in Self.sentence(&generator) }
    }

    private static func sentence(_ generator: inout SplitMix64) -> String {
        let subject = "The \(generator.pick(TaskWords.adjectives)) \(generator.pick(TaskWords.people))"
        let object = "the \(generator.pick(TaskWords.adjectives)) \(generator.pick(TaskWords.objects))"
        return "\(subject) \(generator.pick(TaskWords.verbs)) \(object) \(generator.pick(TaskWords.times))."
    }

    /// Other pairs than those that are asked for, no key twice.
    private static func pairs(
        count: Int, _ generator: inout SplitMix64, avoiding problem: TaskProblem
    ) throws -> [String] {
        let asked = problem.facts.map(\.text), answers = problem.questions.flatMap(\.answers)
        var keys: Set<String> = []
        return try (0..<count).map { _ in
            let key = try generator.draw({ TaskGenerator.key(&$0) }) { key in
                keys.insert(key).inserted && !asked.contains { $0.contains(key) }
            }
            let value = try generator.draw({ $0.digits(5) }) { !answers.contains($0) }
            return TaskGenerator.pair(key, value)
        }
    }
}
