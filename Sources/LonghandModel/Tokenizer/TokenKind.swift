// SPDX-License-Identifier: Apache-2.0

/// What a token of the vocabulary stands for. The raw value is the id in `tokenizer.ggml.token_type`.
public enum TokenKind: UInt8, Sendable {
    /// A piece of text.
    case normal = 1
    /// Stands for what cannot be encoded.
    case unknown = 2
    /// A marker such as the beginning of a turn; never the encoding of ordinary text.
    case control = 3
    /// Text that is always encoded as this one token.
    case userDefined = 4
    /// A place kept free.
    case unused = 5
    /// One byte, written `<0xNN>`.
    case byte = 6

    /// Whether the token is a marker rather than text: produced by `encode` only on request, left out by `decode`.
    var isSpecial: Bool { self == .control || self == .unknown }
}
