// SPDX-License-Identifier: Apache-2.0
import Foundation
import Longhand
import Testing

@testable import LonghandModel

@Suite(.serialized) struct TaskTests {
    static let document = TaskHaystack(document: Fixture.text(sentences: 40))

    static func prompter(_ haystack: TaskHaystack) throws -> TaskPrompter {
        TaskPrompter(model: try Fixture.model(), haystack: haystack)
    }

    /// The draws that every implementation of the tasks must share.
    @Test func draws() {
        var zero = SplitMix64(seed: 0)
        #expect([zero.next(), zero.next(), zero.next()] == [0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4, 0x06c45d188009454f])
        var generator = SplitMix64(seed: 42)
        #expect((0..<10).map { _ in generator.below(100) } == [74, 15, 27, 34, 3, 86, 21, 80, 33, 61])
        generator = SplitMix64(seed: 42)
        #expect(generator.shuffled(Array(0..<8)) == [4, 3, 2, 0, 7, 6, 1, 5])
        #expect(throws: ModelError.self) { try generator.draw({ $0.below(3) }, until: { $0 == 7 }) }
    }

    @Test(arguments: TaskKind.allCases, [false, true])
    func casesFitAndRepeat(_ kind: TaskKind, fromDocument: Bool) throws {
        let prompter = try Self.prompter(fromDocument ? Self.document : .generated)
        for (length, index) in [(400, 0), (400, 1), (900, 1)] {
            let item = try prompter.make(kind, length: length, index: index, of: 2, seed: 5)
            let again = try prompter.make(kind, length: length, index: index, of: 2, seed: 5)
            #expect(item.context == again.context && item.questions == again.questions && item.problem == again.problem)
            let other = try prompter.make(kind, length: length, index: index, of: 2, seed: 6)
            #expect(item.problem != other.problem)
            #expect(item.questions.count == item.problem.questions.count && item.questions.allSatisfy { !$0.isEmpty })
            let used = zip(item.questions, item.problem.questions).map { item.context.count + $0.count + $1.answerTokens }
            // At most one sentence short of the length.
            #expect(used.max()! <= length && used.max()! > length - 80, "\(kind) of \(length): \(used)")
        }
    }

    /// The sentences of a prompt, without instruction and markers.
    static func sentences(_ item: TaskCase) throws -> String {
        try Fixture.model().tokenizer.decode(item.context)
    }

    /// A program that reads the text answers everything, and only the facts hold the answers.
    @Test(arguments: TaskKind.allCases) func areSolvable(_ kind: TaskKind) throws {
        for index in 0..<4 {
            let item = try Self.prompter(Self.document).make(kind, length: 700, index: index, of: 4, seed: 11)
            var text = try Self.sentences(item)
            for fact in item.problem.facts {
                #expect(text.components(separatedBy: fact.text).count == 2, "\(fact.text)")
            }
            for question in item.problem.questions {
                #expect(question.share(in: try Self.solve(kind, text, question)) == 1, "\(question.text)")
                #expect(question.share(in: "") == 0)
            }
            for fact in item.problem.facts { text = text.replacingOccurrences(of: fact.text, with: "") }
            for question in item.problem.questions { #expect(question.share(in: text) == 0, "\(question.text)") }
        }
    }

    /// What a parser makes of the text.
    static func solve(_ kind: TaskKind, _ text: String, _ question: TaskProblem.Question) throws -> String {
        func after(_ prefix: String) -> String {
            text.range(of: prefix).map { String(text[$0.upperBound...].prefix { $0 != "." }) } ?? ""
        }
        switch kind {
        case .passkey, .needle, .multiNeedle, .associativeRecall: return after(question.answerPrefix)
        case .variableTracking:
            let value = question.answerPrefix.split(separator: " ").first { Int($0) != nil }!
            var known: [String: String] = [:]
            for match in text.matches(of: #/VAR ([A-Z]{5}) = (?:VAR )?(\w+)\./#) {
                known[String(match.1)] = known[String(match.2)] ?? String(match.2)
            }
            return known.filter { $0.value == value }.keys.joined(separator: " ")
        case .ancestralTrace:
            var elders: [String: String] = [:]
            for frame in TaskWords.parentFrames + TaskWords.grandparentFrames {
                let pattern = frame.map {
                    $0 == "E" ? "(?<e>[A-Z]\\w+ [A-Z]\\w+)" : $0 == "Y" ? "(?<y>[A-Z]\\w+ [A-Z]\\w+)" : String($0)
                }
                let regex = try Regex<AnyRegexOutput>(pattern.joined().replacingOccurrences(of: ".", with: "\\."))
                for match in text.matches(of: regex) {
                    elders[String(match.output["y"]!.substring!)] = String(match.output["e"]!.substring!)
                }
            }
            let words = question.answerPrefix.split(separator: " ")
            var person = words[4...5].joined(separator: " ")
            while let elder = elders[person] { person = elder }
            return person
        }
    }

    @Test func factsLieAtTheirDepths() throws {
        for (index, expected) in [(0, 0.1), (2, 0.5), (4, 0.9)] {
            let item = try Self.prompter(.generated).make(.needle, length: 1500, index: index, of: 5, seed: 3)
            let text = try Self.sentences(item)
            let range = try #require(text.range(of: item.problem.facts[0].text))
            let depth = Double(text[..<range.lowerBound].count) / Double(text.count)
            #expect(abs(depth - expected) < 0.05)
        }
    }

    @Test func scoring() {
        let question = TaskProblem.Question(text: "", answerPrefix: "", answers: ["12345", "Old Town"])
        #expect(question.share(in: " 12345, in OLD town.") == 1)
        #expect(question.share(in: "123456 and Old Townhall") == 0)
        #expect(question.share(in: "the old town") == 0.5)
        let interval = TaskResult.interval(hits: 8, trials: 10)
        #expect(abs(interval.low - 0.4902) < 1e-4 && abs(interval.high - 0.9433) < 1e-4)
        #expect(TaskResult.interval(hits: 0, trials: 0) == (0, 1))
        #expect(TaskResult.interval(hits: 10, trials: 10).high > 0.9999)
    }

    @Test func haystacks() throws {
        let haystack = TaskHaystack(document: "One. Two two!\nThree\n\n" + String(repeating: "word ", count: 100))
        #expect(haystack.sentences.prefix(3) == ["One.", "Two two!", "Three"])
        #expect(haystack.sentences.allSatisfy { $0.count < 260 } && haystack.sentences.count == 6)
        #expect(TaskHaystack(document: " \n ").sentences == [])
        // A document that holds every answer is refused, not searched forever.
        let places = TaskWords.placeBeginnings.flatMap { first in TaskWords.placeEndings.map { first + $0 } }
        let full = TaskGenerator(haystack: TaskHaystack(document: places.joined(separator: " ")))
        #expect(throws: ModelError.self) { try full.problem(.needle, index: 0, of: 1, seed: 1) }
    }

    @Test func runnerScoresConfigurations() throws {
        var options = TaskOptions()
        (options.kinds, options.lengths, options.cases, options.seed) = ([.passkey, .multiNeedle], [250], 1, 1)
        let configurations = try ["same: store=f32", "w: decode=window:size=16"].map { try EvaluationConfiguration(parsing: $0) }
        let runner = try TaskRunner(
            model: Fixture.model(), registry: Fixture.registry(), configurations: configurations, options: options)
        var last = 0
        let results = try runner.run { last = $0 }
        #expect(last == runner.tokenCount)
        #expect(results.map(\.name) == ["dense", "dense", "same", "same", "w", "w"])
        #expect(results.map(\.task) == [.passkey, .multiNeedle, .passkey, .multiNeedle, .passkey, .multiNeedle])
        #expect(results[0].exact == 1 && results[0].scope == .low && results[1].answers.count == 4)
        #expect(results[0].answers == results[2].answers && results[1].answers == results[3].answers)
        #expect(results[2].sameAsDense == 1 && results[2].exact == 1 && results[4].exact == 0 && results[4].sameAsDense == 0)
        #expect(throws: ModelError.self) {
            options.lengths = [30]
            _ = try TaskRunner(model: Fixture.model(), registry: Fixture.registry(), configurations: [], options: options)
        }
    }

    @Test func lifeCycleKeepsAnswers() throws {
        let configurations = try ["w: decode=window:size=40,sinks=4"].map { try EvaluationConfiguration(parsing: $0) }
        let cycle = try LifeCycle(
            model: Fixture.model(), registry: Fixture.registry(), configurations: configurations, length: 300, questions: 2,
            seed: 2, haystack: Self.document)
        var steps = 0
        let results = try cycle.run(folder: NSTemporaryDirectory()) { steps = $0 }
        #expect(steps == cycle.stepCount && results.map(\.name) == ["dense", "w"])
        for result in results {
            #expect(result.passed && result.sameAfterLoad == 2 && result.sameAfterTruncation)
            #expect(result.fileBytes > result.contextTokens * 23040 && result.contextTokens < 300)
        }
        func make(_ length: Int, _ questions: Int) throws {
            _ = try LifeCycle(
                model: Fixture.model(), registry: Fixture.registry(), configurations: [], length: length, questions: questions,
                seed: 2, haystack: .generated)
        }
        #expect(throws: ModelError.self) { try make(300, 0) }
        #expect(throws: ModelError.self) { try make(300, 257) }
        #expect(throws: ModelError.self) { try make(100, 3) }
    }
}
