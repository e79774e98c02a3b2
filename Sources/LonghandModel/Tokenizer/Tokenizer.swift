// SPDX-License-Identifier: Apache-2.0

/// The tokenizer that a GGUF file describes: byte-level BPE (`gpt2`) or SentencePiece-style (`llama`).
///
/// Immutable and safe to share between threads. It copies what it needs, so the file may be closed.
public final class Tokenizer: Sendable {
    public let vocabulary: Vocabulary
    /// Whether the file asks for the BOS token before a text.
    public let addsBOS: Bool

    private let model: any TextModel
    /// Tokens matched in raw text: user-defined ones, and those with markers.
    private let textMatcher: SpecialTokenMatcher
    private let markupMatcher: SpecialTokenMatcher

    /// Reads the `tokenizer.ggml.*` metadata; throws `GGUFError` where they are missing, inconsistent or of a kind that
    /// is not supported.
    public init(_ file: GGUFFile) throws {
        let name = try file.required(file.string("tokenizer.ggml.model"), "tokenizer.ggml.model")
        guard name == "gpt2" || name == "llama" else {
            throw file.failure("tokenizer \"\(name.printable())\" (tokenizer.ggml.model) is not supported")
        }
        vocabulary = try Vocabulary(file)
        model = name == "gpt2" ? try BytePairModel(file, vocabulary) : try ScoredPairModel(file, vocabulary)
        // What files without the key mean: SentencePiece models and Llama 3 begin with BOS, other BPE models do not.
        let usual = try name == "llama" || file.string("tokenizer.ggml.pre") == "llama-bpe"
        let asked = try file.bool("tokenizer.ggml.add_bos_token")
        addsBOS = asked ?? (usual && vocabulary.bos != nil)
        if addsBOS && vocabulary.bos == nil {
            throw file.failure("tokenizer.ggml.add_bos_token is true, but tokenizer.ggml.bos_token_id is missing")
        }
        textMatcher = SpecialTokenMatcher(vocabulary, includingSpecial: false)
        markupMatcher = SpecialTokenMatcher(vocabulary, includingSpecial: true)
    }

    // MARK: - Encoding

    /// The tokens of a text.
    ///
    /// - Parameters:
    ///   - text: may be empty.
    ///   - addBOS: whether the BOS token comes first, if the vocabulary has one; nil: as the file says.
    ///   - parseSpecial: whether a marker such as `<|im_end|>` written in the text becomes its token. Leave it off
    ///     for text from outside; then no marker can come out.
    public func encode(_ text: String, addBOS: Bool? = nil, parseSpecial: Bool = false) -> [Int32] {
        var text = text
        return text.withUTF8 {
            encode(bytes: UnsafeRawBufferPointer($0), addBOS: addBOS, parseSpecial: parseSpecial)
        }
    }

    /// The tokens of `bytes`, which need not be valid UTF-8: a byte outside any well-formed character is encoded by
    /// itself, and decoded again to the same byte where the vocabulary has a token for it.
    public func encode(bytes: [UInt8], addBOS: Bool? = nil, parseSpecial: Bool = false) -> [Int32] {
        bytes.withUnsafeBytes { encode(bytes: $0, addBOS: addBOS, parseSpecial: parseSpecial) }
    }

    /// As `encode(bytes:)` for an array, for bytes anywhere in memory.
    public func encode(
        bytes: UnsafeRawBufferPointer, addBOS: Bool? = nil, parseSpecial: Bool = false
    ) -> [Int32] {
        var tokens: [Int32] = []
        if addBOS ?? addsBOS, let bos = vocabulary.bos { tokens.append(bos) }
        var merger = PairMerger()
        let matcher = parseSpecial ? markupMatcher : textMatcher
        var position = 0
        var afterToken = true
        while position < bytes.count {
            let match = matcher.firstMatch(bytes, from: position)
            let end = match?.range.lowerBound ?? bytes.count
            while position < end {
                let stop = min(end, position + PairMerger.fragmentLimit)
                let fragment = UnsafeRawBufferPointer(rebasing: bytes[position..<stop])
                model.encode(fragment, afterToken: afterToken, merger: &merger, into: &tokens)
                afterToken = false
                position = stop
            }
            if let match {
                tokens.append(match.id)
                afterToken = true
                position = match.range.upperBound
            }
        }
        return tokens
    }

    // MARK: - Decoding

    /// The text of tokens; bytes that are not valid UTF-8 become U+FFFD.
    ///
    /// - Parameters:
    ///   - tokens: ids outside the vocabulary become U+FFFD.
    ///   - skipSpecial: whether markers (BOS, ends of turns, ...) are left out rather than written out.
    public func decode(_ tokens: [Int32], skipSpecial: Bool = true) -> String {
        String(decoding: decodeBytes(tokens, skipSpecial: skipSpecial), as: UTF8.self)
    }

    /// The bytes of `tokens`, which need not be valid UTF-8.
    public func decodeBytes(_ tokens: [Int32], skipSpecial: Bool = true) -> [UInt8] {
        var bytes: [UInt8] = []
        var isFirst = true
        for id in tokens { append(id, skipSpecial: skipSpecial, isFirst: &isFirst, to: &bytes) }
        return bytes
    }

    /// Whether generation ends at this token.
    public func isEndOfGeneration(_ id: Int32) -> Bool { vocabulary.endOfGeneration.contains(id) }

    /// Appends the bytes of one token. `isFirst` is true until the first token of text, whose space prefix goes.
    func append(_ id: Int32, skipSpecial: Bool, isFirst: inout Bool, to bytes: inout [UInt8]) {
        guard id >= 0, id < vocabulary.count else {
            bytes += Array("\u{FFFD}".utf8)
            return
        }
        switch vocabulary.kind(id) {
        case .control, .unknown:
            if !skipSpecial { bytes += vocabulary.text(id) }
            return
        case .userDefined:
            bytes += vocabulary.text(id)
        case .normal, .unused, .byte:
            let start = bytes.count
            model.appendBytes(of: id, to: &bytes)
            if isFirst, model.addsSpacePrefix, start < bytes.count, bytes[start] == 0x20 { bytes.remove(at: start) }
        }
        isFirst = false
    }
}
