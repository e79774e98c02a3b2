// SPDX-License-Identifier: Apache-2.0

/// A generated task whose answer can be checked exactly.
///
/// The two labels follow Goldman et al. (2024): how much of the context an answer needs (scope), and how hard what it
/// needs is to find (diffusion).
public enum TaskKind: String, CaseIterable, Sendable, Codable {
    /// One number, said twice in noise.
    case passkey
    /// One fact in prose.
    case needle
    /// Four facts in prose, asked for one after the other; all count.
    case multiNeedle = "multi-needle"
    /// Three of many pairs of the same form, asked for one after the other; all count.
    case associativeRecall = "associative-recall"
    /// Five variables that hold one value through a chain of assignments.
    case variableTracking = "variable-tracking"
    /// The eldest of five people linked by four sentences about relatives, in any order.
    case ancestralTrace = "ancestral-trace"

    public enum Level: String, Sendable, Codable { case low, medium, high }

    /// How much must be found.
    public var scope: Level {
        switch self {
        case .passkey, .needle: .low
        case .multiNeedle, .associativeRecall: .medium
        case .variableTracking, .ancestralTrace: .high
        }
    }

    /// How hidden it is.
    public var diffusion: Level {
        switch self {
        case .passkey: .low
        case .needle, .multiNeedle, .variableTracking: .medium
        case .associativeRecall, .ancestralTrace: .high
        }
    }
}

/// What a generated task asks: sentences to be hidden in a long text, and questions about it.
struct TaskProblem: Sendable, Equatable {
    /// A sentence and the share of the filler that comes before it.
    struct Fact: Sendable, Equatable {
        var text: String
        var depth: Double
    }

    struct Question: Sendable, Equatable {
        var text: String
        /// How the answer begins; given to the model so that what follows is the answer itself.
        var answerPrefix: String
        /// All of these must occur in a right answer.
        var answers: [String]
        /// Most tokens of the answer.
        var answerTokens = 16

        /// Share of the answers that occur in `text` as whole words, in any case of letters.
        func share(in text: String) -> Double {
            let words = Self.normalized(text)
            let found = answers.filter { words.contains(Self.normalized($0)) }
            return Double(found.count) / Double(answers.count)
        }

        /// Lower-case words between single spaces, with a space at both ends.
        private static func normalized(_ text: String) -> String {
            " " + text.lowercased().split { !$0.isLetter && !$0.isNumber }.joined(separator: " ") + " "
        }
    }

    var instruction: String
    /// In the order of their depths.
    var facts: [Fact]
    /// Each is asked of the same text, as if the others had not been.
    var questions: [Question]

    /// The long text: `filler` sentences with the facts at their depths.
    func context(filler: [String]) -> String {
        var sentences: [String] = [], next = 0
        for fact in facts {
            let end = max(next, min(filler.count, Int(fact.depth * Double(filler.count))))
            sentences += filler[next..<end]
            sentences.append(fact.text)
            next = end
        }
        sentences += filler[next...]
        return instruction + "\n\n" + sentences.joined(separator: " ")
    }
}
