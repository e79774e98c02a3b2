// SPDX-License-Identifier: Apache-2.0

/// Decodes tokens one by one into text that can be shown at once: a character whose bytes are spread over several
/// tokens comes out when it is complete. All pieces together, with that of `finish()`, equal `Tokenizer.decode`.
public struct StreamingDecoder: Sendable {
    private let tokenizer: Tokenizer
    private let skipSpecial: Bool
    private var isFirst = true
    /// The beginning of a character.
    private var pending: [UInt8] = []

    /// - Parameters:
    ///   - tokenizer: of the model that the tokens come from.
    ///   - skipSpecial: whether markers are left out rather than written out.
    public init(_ tokenizer: Tokenizer, skipSpecial: Bool = true) {
        self.tokenizer = tokenizer
        self.skipSpecial = skipSpecial
    }

    /// The text that `id` completes; may be empty.
    public mutating func append(_ id: Int32) -> String {
        tokenizer.append(id, skipSpecial: skipSpecial, isFirst: &isFirst, to: &pending)
        let complete = pending.count - UTF8Scalar.incompleteSuffix(pending)
        defer { pending.removeFirst(complete) }
        return String(decoding: pending.prefix(complete), as: UTF8.self)
    }

    /// What is left when no more tokens come: U+FFFD where a character was begun, else nothing.
    public mutating func finish() -> String {
        defer { pending.removeAll() }
        return String(decoding: pending, as: UTF8.self)
    }
}
