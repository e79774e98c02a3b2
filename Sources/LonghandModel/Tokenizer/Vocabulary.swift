// SPDX-License-Identifier: Apache-2.0

/// The tokens of a model: texts, kinds and the ids with a meaning of their own.
///
/// Immutable and safe to share between threads; in memory of its own, so the file may be closed.
public final class Vocabulary: Sendable {
    /// Marker that begins a text, if the file names one.
    public let bos: Int32?
    /// Marker that ends a text, if the file names one.
    public let eos: Int32?
    /// Marker that ends a turn, if the file names one.
    public let eot: Int32?
    /// Token for what cannot be encoded, if the file names one.
    public let unknown: Int32?
    /// Filler token, if the file names one.
    public let padding: Int32?
    /// Every token at which generation ends: the named ones and known markers such as `<|im_end|>`.
    public let endOfGeneration: Set<Int32>

    private let table: TokenTable
    private let kinds: [TokenKind]

    /// Markers at which generation ends, for files that do not name them all.
    private static let endMarkers = [
        "<|endoftext|>", "<|im_end|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<end_of_turn>",
    ]
    private static let turnMarkers = ["<|im_start|>", "<start_of_turn>", "<|start_header_id|>", "<|end_header_id|>"]

    /// Reads `tokenizer.ggml.tokens`, `.token_type` and the special ids; throws `GGUFError` where they are missing,
    /// of different lengths, out of range, empty or repeated.
    init(_ file: GGUFFile) throws {
        let key = "tokenizer.ggml.tokens"
        let table = try TokenTable(file.required(file.array(key), key), key: key, file)

        func special(_ name: String) throws -> Int32? {
            let key = "tokenizer.ggml.\(name)_token_id"
            guard let id = try file.integer(key) else { return nil }
            guard id >= 0, id < table.count else {
                throw file.failure("\(key) is \(id), but the vocabulary has \(table.count) tokens")
            }
            return Int32(id)
        }
        func find(_ marker: String) -> Int32? { Array(marker.utf8).withUnsafeBytes(table.token) }

        self.table = table
        bos = try special("bos")
        eos = try special("eos")
        eot = try special("eot")
        unknown = try special("unknown")
        padding = try special("padding")
        let ends = try [eos, eot, special("eom")].compactMap { $0 } + Self.endMarkers.compactMap(find)
        endOfGeneration = Set(ends)
        // Some files call their markers normal or user-defined tokens; then a user could write one. The unknown and
        // padding tokens are left as they are: files without such tokens name some ordinary one there.
        let markers = [bos].compactMap { $0 } + ends + Self.turnMarkers.compactMap(find)
        kinds = try Self.kinds(file, count: table.count, markers: markers)
    }

    /// Number of tokens; ids are `0..<count`.
    public var count: Int { table.count }

    /// Bytes of the longest token: no token stands for more bytes of text. Found by a pass over the vocabulary.
    public var longestText: Int { table.longestText }

    /// The kind of a token; `id` must be in `0..<count`.
    public func kind(_ id: Int32) -> TokenKind { kinds[Int(id)] }

    /// The text of a token as the file has it; `id` must be in `0..<count`.
    public func text(_ id: Int32) -> ArraySlice<UInt8> { table.text(id) }

    /// The token whose text is exactly `text`, or nil.
    public func token(_ text: String) -> Int32? {
        var text = text
        return text.withUTF8 { token(UnsafeRawBufferPointer($0)) }
    }

    /// The token whose text is exactly `bytes`, or nil.
    func token(_ bytes: UnsafeRawBufferPointer) -> Int32? { bytes.isEmpty ? nil : table.token(bytes) }

    /// Calls `body` with the text of a token.
    func withText<T>(_ id: Int32, _ body: (UnsafeRawBufferPointer) -> T) -> T { table.withText(id, body) }

    private static func kinds(_ file: GGUFFile, count: Int, markers: [Int32]) throws -> [TokenKind] {
        let key = "tokenizer.ggml.token_type"
        var kinds = [TokenKind](repeating: .normal, count: count)
        if let array = try file.array(key) {
            guard array.count == count else {
                throw file.failure("\(key) has \(array.count) elements, but there are \(count) tokens")
            }
            guard let values = array.int32s() else {
                throw file.failure("\(key) must hold 32-bit integers, but it holds values of type \(array.elementType)")
            }
            for (id, value) in values.enumerated() {
                guard let kind = UInt8(exactly: value).flatMap(TokenKind.init) else {
                    throw file.failure("\(key)[\(id)] is \(value), which is not a token type")
                }
                kinds[id] = kind
            }
        }
        for id in markers { kinds[Int(id)] = .control }
        return kinds
    }
}
