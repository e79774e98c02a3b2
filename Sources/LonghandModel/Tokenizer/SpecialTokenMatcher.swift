// SPDX-License-Identifier: Apache-2.0

/// Finds the tokens that are matched in the raw text before anything else: user-defined ones and, on request,
/// markers. The leftmost match wins, then the longest.
///
/// The texts are kept sorted; a match narrows a range of them byte by byte, which costs at most
/// `TokenTable.textLimit` binary searches per position whatever the vocabulary holds.
struct SpecialTokenMatcher: Sendable {
    private let vocabulary: Vocabulary
    /// The tokens in order of their texts.
    private let sorted: [Int32]
    /// `sorted[starts[b]..<starts[b + 1]]` begin with the byte `b`.
    private let starts: [Int]

    init(_ vocabulary: Vocabulary, includingSpecial: Bool) {
        let ids = (0..<Int32(vocabulary.count)).filter {
            let kind = vocabulary.kind($0)
            return kind == .userDefined || (includingSpecial && kind.isSpecial)
        }
        let sorted = ids.map { (id: $0, text: vocabulary.text($0)) }
            .sorted { $0.text.lexicographicallyPrecedes($1.text) }
        var starts = [Int](repeating: 0, count: 257)
        for entry in sorted { starts[Int(entry.text.first!) + 1] += 1 }
        for byte in 0..<256 { starts[byte + 1] += starts[byte] }
        self.vocabulary = vocabulary
        self.sorted = sorted.map(\.id)
        self.starts = starts
    }

    /// The first match in `bytes[start...]`: the token, and where it begins and ends; nil where there is none.
    func firstMatch(_ bytes: UnsafeRawBufferPointer, from start: Int) -> (id: Int32, range: Range<Int>)? {
        guard !sorted.isEmpty else { return nil }
        for position in start..<bytes.count {
            let byte = Int(bytes[position])
            if starts[byte] == starts[byte + 1] { continue }
            if let id = longestMatch(bytes, at: position) {
                return (id, position..<position + vocabulary.text(id).count)
            }
        }
        return nil
    }

    private func longestMatch(_ bytes: UnsafeRawBufferPointer, at position: Int) -> Int32? {
        var candidates = starts[Int(bytes[position])]..<starts[Int(bytes[position]) + 1]
        var match: Int32?
        var depth = 1
        while !candidates.isEmpty {
            // Among texts with a common prefix, the one that is the prefix itself sorts first.
            let shortest = sorted[candidates.lowerBound]
            if vocabulary.text(shortest).count == depth {
                match = shortest
                candidates.removeFirst()
            }
            guard position + depth < bytes.count else { break }
            let byte = bytes[position + depth]
            let lower = partition(candidates) { $0[depth] >= byte }
            candidates = lower..<partition(lower..<candidates.upperBound) { $0[depth] > byte }
            depth += 1
        }
        return match
    }

    /// The first index in `range` whose text satisfies `predicate`, which must be false and then true along it.
    private func partition(_ range: Range<Int>, _ predicate: (UnsafeRawBufferPointer) -> Bool) -> Int {
        var (low, high) = (range.lowerBound, range.upperBound)
        while low < high {
            let middle = low + (high - low) / 2
            if vocabulary.withText(sorted[middle], predicate) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
