// SPDX-License-Identifier: Apache-2.0

/// A run of text during merging: a token, or a piece that is none.
struct Symbol {
    /// Neighbours, as indices; -1 where there is none.
    var previous: Int32
    var next: Int32
    /// The bytes of the fragment that it covers; a length of 0 marks a symbol that was merged away.
    var start: Int32
    var length: Int32
    /// The token, or -1.
    var id: Int32
}

/// Tells which neighbours may merge, and how soon.
protocol PairRanking {
    /// The rank of merging `left` and `right` (low ranks go first) and the token that results; nil where they do not
    /// merge.
    func merge(_ left: Symbol, _ right: Symbol) -> (rank: UInt32, id: Int32)?
}

/// Merges neighbouring symbols in order of rank, leftmost first among equals, until none may merge.
///
/// The symbols form a linked list and the possible merges a heap, so n symbols take O(n log n) steps. The buffers are
/// kept between uses.
struct PairMerger {
    /// The longest fragment, in bytes, that the 32-bit indices allow.
    static let fragmentLimit = 1 << 30

    private(set) var symbols: [Symbol] = []
    private var heap: [Candidate] = []

    /// A possible merge. It is out of date when either symbol has changed, which the total length shows: a symbol
    /// only ever grows.
    private struct Candidate {
        /// Rank, then index of the left symbol: the order of merging.
        var key: UInt64
        var length: Int32
        var id: Int32
    }

    /// Forgets the symbols.
    mutating func removeAll() {
        symbols.removeAll(keepingCapacity: true)
        heap.removeAll(keepingCapacity: true)
    }

    /// Appends the symbol that covers the next `length` bytes.
    mutating func append(id: Int32, length: Int) {
        let index = Int32(symbols.count)
        let start = symbols.last.map { $0.start + $0.length } ?? 0
        if index > 0 { symbols[Int(index) - 1].next = index }
        symbols.append(Symbol(previous: index - 1, next: -1, start: start, length: Int32(length), id: id))
    }

    /// Merges until nothing may merge. Afterwards the list that begins at symbol 0 holds the result.
    mutating func run(_ ranking: some PairRanking) {
        for left in symbols.indices.dropLast() { consider(Int32(left), ranking) }
        while let candidate = pop() {
            let left = Int(truncatingIfNeeded: candidate.key & 0xFFFF_FFFF)
            guard symbols[left].length > 0, symbols[left].next >= 0 else { continue }
            let right = Int(symbols[left].next)
            guard symbols[left].length + symbols[right].length == candidate.length else { continue }
            symbols[left].length = candidate.length
            symbols[left].id = candidate.id
            symbols[left].next = symbols[right].next
            symbols[right].length = 0
            if symbols[left].next >= 0 { symbols[Int(symbols[left].next)].previous = Int32(left) }
            if symbols[left].previous >= 0 { consider(symbols[left].previous, ranking) }
            consider(Int32(left), ranking)
        }
    }

    /// Calls `body` with each symbol of the result.
    func forEach(_ body: (Symbol) -> Void) {
        var index = symbols.isEmpty ? -1 : 0
        while index >= 0 {
            body(symbols[index])
            index = Int(symbols[index].next)
        }
    }

    /// Queues the merge of a symbol with its right neighbour, if there is one.
    @inline(__always)
    private mutating func consider(_ left: Int32, _ ranking: some PairRanking) {
        let symbol = symbols[Int(left)]
        guard symbol.next >= 0 else { return }
        let right = symbols[Int(symbol.next)]
        guard let (rank, id) = ranking.merge(symbol, right) else { return }
        push(Candidate(key: UInt64(rank) << 32 | UInt64(left), length: symbol.length + right.length, id: id))
    }

    // MARK: - Binary heap, least key first

    private mutating func push(_ candidate: Candidate) {
        heap.append(candidate)
        heap.withUnsafeMutableBufferPointer { heap in
            var child = heap.count - 1
            while child > 0 {
                let parent = (child - 1) / 2
                if heap[parent].key <= candidate.key { break }
                heap[child] = heap[parent]
                child = parent
            }
            heap[child] = candidate
        }
    }

    private mutating func pop() -> Candidate? {
        guard let last = heap.popLast() else { return nil }
        guard let top = heap.first else { return last }
        heap.withUnsafeMutableBufferPointer { heap in
            var parent = 0
            while true {
                var child = 2 * parent + 1
                if child >= heap.count { break }
                if child + 1 < heap.count, heap[child + 1].key < heap[child].key { child += 1 }
                if last.key <= heap[child].key { break }
                heap[parent] = heap[child]
                parent = child
            }
            heap[parent] = last
        }
        return top
    }
}
