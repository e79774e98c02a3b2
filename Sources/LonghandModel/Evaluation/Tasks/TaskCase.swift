// SPDX-License-Identifier: Apache-2.0

/// A problem written out for a model: tokens that fit a length.
struct TaskCase: Sendable {
    let kind: TaskKind
    /// Tokens that context, question and answer together may take.
    let length: Int
    let problem: TaskProblem
    /// What the prompts of all questions begin with.
    let context: [Int32]
    /// What follows it, per question, with the beginning of the answer. Never empty.
    let questions: [[Int32]]
}

/// Writes problems as prompts, in the model's chat format where it has one.
struct TaskPrompter {
    let model: Model
    let haystack: TaskHaystack

    /// Case `index` of `count`. Throws `ModelError` where not even the facts fit.
    func make(_ kind: TaskKind, length: Int, index: Int, of count: Int, seed: UInt64) throws -> TaskCase {
        let stream = UInt64(TaskKind.allCases.firstIndex(of: kind)!) << 56 ^ UInt64(length) << 24 ^ UInt64(index)
        var generator = SplitMix64(seed: seed ^ stream)
        let problem = try TaskGenerator(haystack: haystack).problem(kind, index: index, of: count, seed: generator.next())
        return try make(problem, kind, length: length, seed: generator.next())
    }

    /// `problem`, filled up with sentences until one more would not fit.
    func make(_ problem: TaskProblem, _ kind: TaskKind, length: Int, seed: UInt64) throws -> TaskCase {
        func prompt(_ sentences: Int, _ question: TaskProblem.Question) throws -> [Int32] {
            let filler = try haystack.filler(kind, count: sentences, seed: seed, avoiding: problem)
            return try tokens(problem.context(filler: filler), question)
        }
        // The question that needs the most tokens decides for all.
        let needs = try problem.questions.map { try prompt(0, $0).count + $0.answerTokens }
        let longest = problem.questions[needs.firstIndex(of: needs.max()!)!]
        let sentences = try fill(kind.rawValue, room: length - longest.answerTokens) { try prompt($0, longest).count }
        let prompts = try problem.questions.map { try prompt(sentences, $0) }
        let shared = prompts.reduce(prompts.map(\.count).min()! - 1) { shortest, other in
            zip(prompts[0], other.prefix(shortest)).prefix { $0 == $1 }.count
        }
        return TaskCase(
            kind: kind, length: length, problem: problem, context: Array(prompts[0][..<shared]),
            questions: prompts.map { Array($0[shared...]) })
    }

    /// The largest number of sentences of which `size` tokens are at most `room`.
    private func fill(_ what: String, room: Int, _ size: (_ sentences: Int) throws -> Int) throws -> Int {
        let overhead = try size(0)
        guard overhead <= room else {
            throw ModelError("\(what) needs at least \(overhead) tokens of prompt; the length leaves \(max(0, room))")
        }
        // `low` sentences fit, `high` do not: a sentence has at least one token.
        var low = 0, high = room - overhead + 1, used = overhead
        while high - low > 1 {
            // Sentences are alike, so their mean length so far tells how many will fit; halving guards against outliers.
            let estimate = low == 0 ? 32 : low * (room - overhead) / max(1, used - overhead)
            let guess = min(max(estimate, low + 1), low + (high - low + 1) / 2)
            let count = try size(guess)
            if count <= room { (low, used) = (guess, count) } else { high = guess }
        }
        return low
    }

    /// A prompt: the text, the question, and the beginning of the answer.
    private func tokens(_ context: String, _ question: TaskProblem.Question) throws -> [Int32] {
        if model.chatFormat.isRaw {
            return model.tokenizer.encode("\(context)\n\nQuestion: \(question.text)\nAnswer: \(question.answerPrefix)")
        }
        let message = ChatMessage(.user, "\(context)\n\n\(question.text)")
        return try model.chatFormat.tokens(messages: [message], tokenizer: model.tokenizer)
            + model.tokenizer.encode(question.answerPrefix, addBOS: false)
    }
}

extension Session {
    /// The most likely tokens after `prompt`, up to `limit` or the end of the answer.
    func greedyAnswer(_ prompt: [Int32], limit: Int) throws -> [Int32] {
        var sampler = Sampler(.greedy), answer: [Int32] = []
        try process(prompt)
        while true {
            let token = try sampler.next(logits)
            if model.tokenizer.isEndOfGeneration(token) { return answer }
            answer.append(token)
            if answer.count == limit { return answer }
            try process([token])
        }
    }
}
