// SPDX-License-Identifier: Apache-2.0

/// Byte-level byte-pair encoding (`tokenizer.ggml.model` is `gpt2`): text is cut into words, and inside a word the
/// pair of the lowest rank merges until none is left (Sennrich et al. 2016; Radford et al. 2019 for the byte level).
///
/// Vocabulary texts write each byte as one printable character. A byte that has no token is left out, as the
/// reference implementations do; SmolLM2 for one has none for some control characters.
struct BytePairModel: TextModel {
    private let vocabulary: Vocabulary
    private let preTokenizer: PreTokenizer
    /// Whether a word that is a token is taken whole, whatever the merges say (Llama 3).
    private let takesWholeWords: Bool
    /// The token of each byte, or -1.
    private let byteTokens: [Int32]
    /// Rank and result of each pair, by `pairKey`.
    private let merges: [UInt64: Merge]

    private struct Merge {
        var rank: UInt32
        var id: Int32
    }

    var addsSpacePrefix: Bool { false }

    /// Reads `tokenizer.ggml.pre` and `.merges`; throws `GGUFError` where they are missing or do not fit the
    /// vocabulary.
    init(_ file: GGUFFile, _ vocabulary: Vocabulary) throws {
        let name = try file.required(file.string("tokenizer.ggml.pre"), "tokenizer.ggml.pre")
        guard let preTokenizer = PreTokenizer(named: name) else {
            throw file.failure("pre-tokenizer \"\(name.printable())\" (tokenizer.ggml.pre) is not supported")
        }
        self.vocabulary = vocabulary
        self.preTokenizer = preTokenizer
        if case .llama3 = preTokenizer { takesWholeWords = true } else { takesWholeWords = false }
        byteTokens = (0...255).map { byte in
            let id = vocabulary.token(String(ByteAlphabet.characters[byte]))
            return id.flatMap { vocabulary.kind($0).isSpecial ? nil : $0 } ?? -1
        }
        guard byteTokens.contains(where: { $0 >= 0 }) else {
            throw file.failure("the vocabulary has no token for any byte, so it is not one of byte-level BPE")
        }
        merges = try Self.merges(file, vocabulary)
    }

    private static func merges(_ file: GGUFFile, _ vocabulary: Vocabulary) throws -> [UInt64: Merge] {
        let key = "tokenizer.ggml.merges"
        let array = try file.required(file.array(key), key)
        guard array.elementType == .string else {
            throw file.failure("\(key) must hold strings, but it holds values of type \(array.elementType)")
        }
        guard array.count <= TokenTable.countLimit else {
            throw file.failure("\(key) holds \(array.count) merges; the limit is \(TokenTable.countLimit)")
        }
        var merges: [UInt64: Merge] = [:]
        var joined: [UInt8] = []
        try array.forEachString { index, text in
            // A text may itself begin with a space, so the separator is looked for after the first byte.
            guard let space = text.dropFirst().firstIndex(of: 0x20), space + 1 < text.count else {
                throw file.failure("\(key)[\(index)] is \(text.quoted), not two tokens with a space between")
            }
            func token(_ part: UnsafeRawBufferPointer) throws -> Int32 {
                if let id = vocabulary.token(part) { return id }
                throw file.failure("\(key)[\(index)] names \(part.quoted), which is not in the vocabulary")
            }
            let left = UnsafeRawBufferPointer(rebasing: text[..<space])
            let right = UnsafeRawBufferPointer(rebasing: text[(space + 1)...])
            joined.removeAll(keepingCapacity: true)
            joined.append(contentsOf: left)
            joined.append(contentsOf: right)
            let pair = pairKey(try token(left), try token(right))
            let id = try joined.withUnsafeBytes(token)
            // Text must not be able to become a marker.
            guard !vocabulary.kind(id).isSpecial else { return }
            if merges[pair] == nil { merges[pair] = Merge(rank: UInt32(index), id: id) }
        }
        return merges
    }

    private static func pairKey(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    // MARK: - Encoding

    private struct Ranking: PairRanking {
        let merges: [UInt64: Merge]

        func merge(_ left: Symbol, _ right: Symbol) -> (rank: UInt32, id: Int32)? {
            merges[BytePairModel.pairKey(left.id, right.id)].map { ($0.rank, $0.id) }
        }
    }

    func encode(
        _ fragment: UnsafeRawBufferPointer, afterToken: Bool, merger: inout PairMerger, into tokens: inout [Int32]
    ) {
        let ranking = Ranking(merges: merges)
        preTokenizer.forEachWord(fragment) { word in
            if takesWholeWords, let id = wholeWord(UnsafeRawBufferPointer(rebasing: fragment[word])) {
                tokens.append(id)
                return
            }
            merger.removeAll()
            for index in word { merger.append(id: byteTokens[Int(fragment[index])], length: 1) }
            merger.run(ranking)
            merger.forEach { if $0.id >= 0 { tokens.append($0.id) } }
        }
    }

    private func wholeWord(_ word: UnsafeRawBufferPointer) -> Int32? {
        guard word.count <= TokenTable.textLimit else { return nil }
        let text = String(String.UnicodeScalarView(word.map { ByteAlphabet.characters[Int($0)] }))
        return vocabulary.token(text).flatMap { vocabulary.kind($0).isSpecial ? nil : $0 }
    }

    // MARK: - Decoding

    func appendBytes(of id: Int32, to bytes: inout [UInt8]) {
        let text = vocabulary.text(id)
        if vocabulary.kind(id) == .byte, let byte = Self.byte(named: text) {
            bytes.append(byte)
            return
        }
        guard let valid = String(validating: text, as: UTF8.self) else {
            bytes.append(contentsOf: text)
            return
        }
        for scalar in valid.unicodeScalars {
            if let byte = ByteAlphabet.byte(scalar) {
                bytes.append(byte)
            } else {
                bytes.append(contentsOf: UTF8.encode(scalar)!)
            }
        }
    }
}

/// The printable character that stands for each byte in a byte-level vocabulary: itself for the printable characters
/// of Latin-1 but the soft hyphen, and U+0100 onwards for the rest in order (Radford et al. 2019).
enum ByteAlphabet {
    static let characters: [Unicode.Scalar] = {
        var next: UInt32 = 0x100
        return (0...255).map { byte in
            switch byte {
            case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: return Unicode.Scalar(UInt8(byte))
            default:
                defer { next += 1 }
                return Unicode.Scalar(next)!
            }
        }
    }()

    private static let bytes = Dictionary(uniqueKeysWithValues: zip(characters, UInt8.min...UInt8.max))

    /// The byte that `scalar` stands for, or nil.
    static func byte(_ scalar: Unicode.Scalar) -> UInt8? { bytes[scalar] }
}
