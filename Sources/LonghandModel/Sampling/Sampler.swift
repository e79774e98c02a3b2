// SPDX-License-Identifier: Apache-2.0

/// Chooses the next token from logits: the most likely one at temperature 0, otherwise top-k, then top-p, then min-p
/// (these three on the probabilities before the temperature), then a draw at the temperature.
///
/// A value type that carries its random state: one per sequence, not to be shared between threads.
public struct Sampler: Sendable {
    public let options: SamplingOptions
    private var generator: SplitMix64
    /// Scratch space, kept between calls.
    private var candidates: [Candidate] = []
    private var weights: [Double] = []

    public init(_ options: SamplingOptions) {
        self.options = options
        generator = SplitMix64(seed: options.seed)
    }

    /// A token that can still be chosen.
    private struct Candidate {
        var logit: Float
        var id: Int32

        /// Whether this one comes before another in order of likelihood; among equals the lower id does.
        @inline(__always)
        func precedes(_ other: Candidate) -> Bool {
            logit > other.logit || (logit == other.logit && id < other.id)
        }
    }

    /// Chooses a token: an index into `logits`, one per token of the vocabulary. A logit of -inf excludes its token.
    /// Throws `SamplingError` where there are no logits, one is NaN or +inf, or all are excluded.
    public mutating func next(_ logits: UnsafeBufferPointer<Float>) throws -> Int32 {
        let best = try Self.best(logits)
        if options.temperature == 0 || options.topK == 1 { return best.id }
        select(logits, maximum: best.logit)
        if options.minP > 0 {
            let minimum = Double(options.minP)
            candidates.removeAll { exponential(Double($0.logit) - Double(best.logit)) < minimum }
        }
        return draw(maximum: best.logit)
    }

    /// The most likely token; checks the logits on the way.
    private static func best(_ logits: UnsafeBufferPointer<Float>) throws -> Candidate {
        guard !logits.isEmpty else { throw SamplingError(description: "there are no logits to sample from") }
        var best = Candidate(logit: -.infinity, id: -1)
        for id in 0..<logits.count {
            let logit = logits[id]
            if logit > best.logit {
                best = Candidate(logit: logit, id: Int32(id))
            } else if logit.isNaN {
                throw SamplingError(description: "the logit of token \(id) is NaN")
            }
        }
        guard best.id >= 0 else { throw SamplingError(description: "the logits of all tokens are -inf") }
        guard best.logit < .infinity else {
            throw SamplingError(description: "the logit of token \(best.id) is infinite")
        }
        return best
    }

    // MARK: - Selection

    /// Fills `candidates` with what top-k and top-p keep.
    private mutating func select(_ logits: UnsafeBufferPointer<Float>, maximum: Float) {
        let limit = options.topK == 0 ? logits.count : min(options.topK, logits.count)
        guard options.topP < 1 else {
            keepBest(limit, logits)
            return
        }
        // Top-p needs the best tokens in order, and mostly few of them: take more until their mass suffices.
        var count = min(limit, 256)
        var total = limit == logits.count ? Self.mass(logits, maximum: maximum) : nil
        while true {
            keepBest(count, logits)
            candidates.sort { $0.precedes($1) }
            if total == nil, count == limit { total = mass(maximum: maximum) }
            if let total, let end = prefix(mass: Double(options.topP) * total, maximum: maximum) {
                candidates.removeSubrange(end...)
                return
            }
            if count == limit { return }
            count = min(limit, count * 8)
        }
    }

    private mutating func keepAll(_ logits: UnsafeBufferPointer<Float>) {
        candidates.removeAll(keepingCapacity: true)
        candidates.reserveCapacity(logits.count)
        for id in 0..<logits.count { candidates.append(Candidate(logit: logits[id], id: Int32(id))) }
    }

    /// Keeps the `count` most likely tokens, in no order: a heap with the least likely on top holds the best so far,
    /// so that most tokens cost one comparison.
    private mutating func keepBest(_ count: Int, _ logits: UnsafeBufferPointer<Float>) {
        guard count < logits.count else { return keepAll(logits) }
        keepAll(UnsafeBufferPointer(rebasing: logits[..<count]))
        candidates.withUnsafeMutableBufferPointer { heap in
            for root in (0..<count / 2).reversed() { Self.sink(heap[root], from: root, heap) }
            for id in count..<logits.count where logits[id] > heap[0].logit {
                Self.sink(Candidate(logit: logits[id], id: Int32(id)), from: 0, heap)
            }
        }
    }

    /// Puts `candidate` in the place of the one at `root` and moves it down to where it belongs.
    @inline(__always)
    private static func sink(_ candidate: Candidate, from root: Int, _ heap: UnsafeMutableBufferPointer<Candidate>) {
        var parent = root
        while true {
            var child = 2 * parent + 1
            if child >= heap.count { break }
            if child + 1 < heap.count, heap[child].precedes(heap[child + 1]) { child += 1 }
            if !candidate.precedes(heap[child]) { break }
            heap[parent] = heap[child]
            parent = child
        }
        heap[parent] = candidate
    }

    private static func mass(_ logits: UnsafeBufferPointer<Float>, maximum: Float) -> Double {
        var total = 0.0
        for logit in logits { total += exponential(Double(logit) - Double(maximum)) }
        return total
    }

    private func mass(maximum: Float) -> Double {
        candidates.reduce(0) { $0 + exponential(Double($1.logit) - Double(maximum)) }
    }

    /// How many of the ordered candidates have at least this mass together; nil where all have less.
    private func prefix(mass: Double, maximum: Float) -> Int? {
        var total = 0.0
        for index in candidates.indices {
            total += exponential(Double(candidates[index].logit) - Double(maximum))
            if total >= mass { return index + 1 }
        }
        return nil
    }

    // MARK: - Drawing

    /// Draws one of the candidates at the temperature. Candidates are walked in an order that depends on the logits
    /// alone, and nothing of a platform's mathematics library is used, so a seed means the same everywhere.
    private mutating func draw(maximum: Float) -> Int32 {
        let scale = 1 / Double(options.temperature)
        weights.removeAll(keepingCapacity: true)
        var total = 0.0
        for candidate in candidates {
            let weight = exponential((Double(candidate.logit) - Double(maximum)) * scale)
            weights.append(weight)
            total += weight
        }
        var rest = generator.nextUnit() * total
        var chosen = 0
        // Rounding may leave a little at the end, which then falls to the last token that has any weight.
        for (index, weight) in weights.enumerated() where weight > 0 {
            chosen = index
            rest -= weight
            if rest < 0 { break }
        }
        return candidates[chosen].id
    }
}
