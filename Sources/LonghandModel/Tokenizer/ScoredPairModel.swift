// SPDX-License-Identifier: Apache-2.0

/// SentencePiece-style encoding (`tokenizer.ggml.model` is `llama`; Llama 2 and gemma): the neighbours whose joined
/// text is the token of the highest score merge first, over the whole text (Kudo and Richardson 2018, the BPE model).
///
/// A space is written U+2581 in the vocabulary. A character without a token becomes the tokens of its bytes.
struct ScoredPairModel: TextModel {
    private let vocabulary: Vocabulary
    /// Rank of each token, low for a high score; `UInt32.max` where text must not become the token.
    private let ranks: [UInt32]
    /// The token of each byte; the unknown token where there is none.
    private let byteTokens: [Int32]
    let addsSpacePrefix: Bool

    /// What stands for a space.
    private static let space: [UInt8] = [0xE2, 0x96, 0x81]

    /// Reads `tokenizer.ggml.scores` and `.add_space_prefix`; throws `GGUFError` where they do not fit the vocabulary.
    init(_ file: GGUFFile, _ vocabulary: Vocabulary) throws {
        let key = "tokenizer.ggml.scores"
        let array = try file.required(file.array(key), key)
        guard array.count == vocabulary.count else {
            throw file.failure("\(key) has \(array.count) elements, but there are \(vocabulary.count) tokens")
        }
        guard let scores = array.floats() else {
            throw file.failure("\(key) must hold floats, but it holds values of type \(array.elementType)")
        }
        if let id = scores.firstIndex(where: { !$0.isFinite }) {
            throw file.failure("\(key)[\(id)] is \(scores[id]), not a finite number")
        }
        self.vocabulary = vocabulary
        ranks = scores.enumerated().map { id, score in
            switch vocabulary.kind(Int32(id)) {
            case .normal, .userDefined, .unused: Self.rank(score)
            case .unknown, .control, .byte: .max
            }
        }
        byteTokens = try Self.byteTokens(file, vocabulary)
        addsSpacePrefix = try file.bool("tokenizer.ggml.add_space_prefix") ?? true
    }

    /// Maps finite scores to integers in reverse order.
    private static func rank(_ score: Float) -> UInt32 {
        let bits = (score + 0).bitPattern  // + 0 makes a plain zero of a negative one
        return bits >> 31 == 1 ? bits : ~(bits | 0x8000_0000)
    }

    private static func byteTokens(_ file: GGUFFile, _ vocabulary: Vocabulary) throws -> [Int32] {
        var tokens = [Int32](repeating: -1, count: 256)
        for id in 0..<Int32(vocabulary.count) where vocabulary.kind(id) == .byte {
            guard let byte = byte(named: vocabulary.text(id)) else {
                let text = vocabulary.withText(id) { $0.quoted }
                throw file.failure("token \(id), \(text), is a byte token, but not of the form <0xNN>")
            }
            tokens[Int(byte)] = id
        }
        if let missing = tokens.firstIndex(of: -1) {
            guard let unknown = vocabulary.unknown else {
                throw file.failure(
                    "the vocabulary has neither a token for the byte \(missing) nor an unknown token")
            }
            tokens = tokens.map { $0 < 0 ? unknown : $0 }
        }
        return tokens
    }

    // MARK: - Encoding

    private struct Ranking: PairRanking {
        let model: ScoredPairModel
        let text: UnsafeRawBufferPointer

        func merge(_ left: Symbol, _ right: Symbol) -> (rank: UInt32, id: Int32)? {
            model.mergeable(text, Int(left.start), Int(left.length + right.length))
        }
    }

    @inline(__always)
    private func mergeable(_ text: UnsafeRawBufferPointer, _ start: Int, _ count: Int) -> (rank: UInt32, id: Int32)? {
        let piece = UnsafeRawBufferPointer(start: text.baseAddress! + start, count: count)
        guard let id = vocabulary.token(piece), ranks[Int(id)] != .max else { return nil }
        return (ranks[Int(id)], id)
    }

    func encode(
        _ fragment: UnsafeRawBufferPointer, afterToken: Bool, merger: inout PairMerger, into tokens: inout [Int32]
    ) {
        var text: [UInt8] = []
        text.reserveCapacity(fragment.count + fragment.count / 2)
        if addsSpacePrefix && afterToken { text += Self.space }
        for byte in fragment {
            if byte == 0x20 { text += Self.space } else { text.append(byte) }
        }
        text.withUnsafeBytes { text in
            var start = 0
            while start < text.count {
                let count = min(text.count - start, PairMerger.fragmentLimit)
                merge(UnsafeRawBufferPointer(rebasing: text[start..<start + count]), &merger, into: &tokens)
                start += count
            }
        }
    }

    private func merge(_ text: UnsafeRawBufferPointer, _ merger: inout PairMerger, into tokens: inout [Int32]) {
        merger.removeAll()
        var position = 0
        while position < text.count {
            let length = UTF8Scalar(text, at: position, end: text.count).length
            merger.append(id: mergeable(text, position, length)?.id ?? -1, length: length)
            position += length
        }
        merger.run(Ranking(model: self, text: text))
        merger.forEach { symbol in
            if symbol.id >= 0 {
                tokens.append(symbol.id)
            } else {
                for offset in 0..<Int(symbol.length) {
                    tokens.append(byteTokens[Int(text[Int(symbol.start) + offset])])
                }
            }
        }
    }

    // MARK: - Decoding

    func appendBytes(of id: Int32, to bytes: inout [UInt8]) {
        let text = vocabulary.text(id)
        if vocabulary.kind(id) == .byte, let byte = Self.byte(named: text) {
            bytes.append(byte)
            return
        }
        var rest = text
        while !rest.isEmpty {
            if rest.starts(with: Self.space) {
                bytes.append(0x20)
                rest = rest.dropFirst(Self.space.count)
            } else {
                bytes.append(rest.removeFirst())
            }
        }
    }
}
