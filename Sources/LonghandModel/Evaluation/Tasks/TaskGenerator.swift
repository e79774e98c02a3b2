// SPDX-License-Identifier: Apache-2.0

/// Makes problems: the same seed gives the same problem everywhere.
struct TaskGenerator {
    let haystack: TaskHaystack

    /// Case `index` of `count` of a kind. A single fact moves through the text with the index; several are spread.
    func problem(_ kind: TaskKind, index: Int, of count: Int, seed: UInt64) throws -> TaskProblem {
        var generator = SplitMix64(seed: seed)
        let depth = (Double(index) + 0.5) / Double(max(1, count))
        switch kind {
        case .passkey: return try passkey(&generator, depth)
        case .needle: return try needle(&generator, depth)
        case .multiNeedle: return try stored(&generator, count: 4)
        case .associativeRecall: return try associativeRecall(&generator)
        case .variableTracking: return try variableTracking(&generator)
        case .ancestralTrace: return try ancestralTrace(&generator)
        }
    }

    private func passkey(_ generator: inout SplitMix64, _ depth: Double) throws -> TaskProblem {
        let key = try number(&generator)
        return TaskProblem(
            instruction: "There is a pass key in the following text. Find it and remember it.",
            facts: [.init(text: "The pass key is \(key). Remember that \(key) is the pass key.", depth: depth)],
            questions: [.init(text: "What is the pass key in the text?", answerPrefix: "The pass key is", answers: [key])])
    }

    private func needle(_ generator: inout SplitMix64, _ depth: Double) throws -> TaskProblem {
        let owner = try person(&generator), thing = self.thing(&generator), place = try self.place(&generator)
        return TaskProblem(
            instruction: "Read the following text and remember what it says about \(owner).",
            facts: [.init(text: "\(owner) keeps the \(thing) in \(place).", depth: depth)],
            questions: [
                .init(
                    text: "Where does \(owner) keep the \(thing)?", answerPrefix: "\(owner) keeps the \(thing) in",
                    answers: [place])
            ])
    }

    /// `count` different things, each stored in a different place, and where each is.
    func stored(_ generator: inout SplitMix64, count: Int) throws -> TaskProblem {
        let things = unique(&generator, count) { thing(&$0) }, places = try unique(&generator, count) { try place(&$0) }
        let facts = zip(zip(things, places), spread(&generator, count)).map { pair, depth in
            TaskProblem.Fact(text: "The \(pair.0) is stored in \(pair.1).", depth: depth)
        }
        let questions = zip(things, places).map { thing, place in
            TaskProblem.Question(
                text: "Where is the \(thing) stored?", answerPrefix: "The \(thing) is stored in", answers: [place])
        }
        return TaskProblem(
            instruction: "Read the following text and remember where things are stored.", facts: facts,
            questions: generator.shuffled(questions))
    }

    private func associativeRecall(_ generator: inout SplitMix64) throws -> TaskProblem {
        let keys = unique(&generator, 3) { Self.key(&$0) }, values = unique(&generator, 3) { $0.digits(5) }
        let facts = zip(zip(keys, values), spread(&generator, 3)).map {
            TaskProblem.Fact(text: Self.pair($0.0, $0.1), depth: $1)
        }
        let questions = zip(keys, values).map { key, value in
            TaskProblem.Question(
                text: "What is the code of \(key)?", answerPrefix: "The code of \(key) is", answers: [value])
        }
        return TaskProblem(
            instruction: "The following list gives the code of every name. Remember all of them.", facts: facts,
            questions: generator.shuffled(questions))
    }

    private func variableTracking(_ generator: inout SplitMix64) throws -> TaskProblem {
        let value = try number(&generator)
        let names = unique(&generator, 5) { generator in
            String((0..<5).map { _ in Character(Unicode.Scalar(UInt8(ascii: "A") + UInt8(generator.below(26)))) })
        }
        let texts = names.indices.map { $0 == 0 ? "VAR \(names[0]) = \(value)." : "VAR \(names[$0]) = VAR \(names[$0 - 1])." }
        return TaskProblem(
            instruction: "Assignments to variables are hidden in the following text. Remember which value they hold.",
            facts: zip(texts, spread(&generator, 5)).map { .init(text: $0, depth: $1) },
            questions: [
                .init(
                    text: "Which variables hold the value \(value), directly or through other variables? Name all five.",
                    answerPrefix: "The variables with the value \(value) are", answers: names, answerTokens: 48)
            ])
    }

    private func ancestralTrace(_ generator: inout SplitMix64) throws -> TaskProblem {
        let people = try unique(&generator, 5) { try person(&$0) }
        let texts = zip(people, people.dropFirst()).map { elder, younger in
            let frame = generator.pick(generator.below(2) == 0 ? TaskWords.parentFrames : TaskWords.grandparentFrames)
            return frame.map { $0 == "E" ? elder : $0 == "Y" ? younger : String($0) }.joined()
        }
        return TaskProblem(
            instruction: "Some people in the following text are related. Names imply nothing about families.",
            facts: zip(generator.shuffled(texts), spread(&generator, 4)).map { .init(text: $0, depth: $1) },
            questions: [
                .init(
                    text: "Going back from \(people[4]) through parents and grandparents, who is the eldest ancestor in the text?",
                    answerPrefix: "The eldest ancestor of \(people[4]) is", answers: [people[0]])
            ])
    }

    // MARK: parts

    static func pair(_ key: String, _ value: String) -> String { "The code of \(key) is \(value)." }

    /// A name such as `calm-ladder-4210`.
    static func key(_ generator: inout SplitMix64) -> String {
        "\(generator.pick(TaskWords.adjectives))-\(generator.pick(TaskWords.objects))-\(1000 + generator.below(9000))"
    }

    private func person(_ generator: inout SplitMix64) throws -> String {
        try generator.draw({ "\($0.pick(TaskWords.givenNames)) \($0.pick(TaskWords.familyNames))" }) { !haystack.contains($0) }
    }

    private func thing(_ generator: inout SplitMix64) -> String {
        "\(generator.pick(TaskWords.colours)) \(generator.pick(TaskWords.things))"
    }

    private func place(_ generator: inout SplitMix64) throws -> String {
        try generator.draw({ $0.pick(TaskWords.placeBeginnings) + $0.pick(TaskWords.placeEndings) }) { !haystack.contains($0) }
    }

    private func number(_ generator: inout SplitMix64) throws -> String {
        try generator.draw({ $0.digits(5) }) { !haystack.contains($0) }
    }

    /// `count` different draws.
    private func unique(
        _ generator: inout SplitMix64, _ count: Int, _ draw: (inout SplitMix64) throws -> String
    ) rethrows -> [String] {
        var result: [String] = []
        while result.count < count {
            let value = try draw(&generator)
            if !result.contains(value) { result.append(value) }
        }
        return result
    }

    /// Ascending depths, one at a random place of each of `count` equal parts.
    private func spread(_ generator: inout SplitMix64, _ count: Int) -> [Double] {
        (0..<count).map { (Double($0) + generator.nextUnit()) / Double(count) }
    }
}
