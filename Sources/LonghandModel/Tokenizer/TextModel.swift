// SPDX-License-Identifier: Apache-2.0

/// A way of writing text as tokens and back. Immutable; used by `Tokenizer` for the text between markers.
protocol TextModel: Sendable {
    /// Appends the tokens of `fragment`, which is not empty and at most `PairMerger.fragmentLimit` bytes long.
    /// `afterToken` tells that the fragment begins the text or follows a token matched in the raw text; `merger` is
    /// scratch space.
    func encode(
        _ fragment: UnsafeRawBufferPointer, afterToken: Bool, merger: inout PairMerger, into tokens: inout [Int32])

    /// Appends the bytes that a token which is neither special nor user-defined stands for.
    func appendBytes(of id: Int32, to bytes: inout [UInt8])

    /// Whether encoding put a space before the text, which decoding takes away again.
    var addsSpacePrefix: Bool { get }
}

extension TextModel {
    /// The byte that a text of the form `<0xNN>` names, or nil.
    static func byte(named text: ArraySlice<UInt8>) -> UInt8? {
        let digits = text.dropFirst(3).prefix(2).map { Character(Unicode.Scalar($0)) }
        guard text.count == 6, text.starts(with: "<0x".utf8), text.last == UInt8(ascii: ">"),
            digits.allSatisfy(\.isHexDigit)
        else { return nil }
        return UInt8(String(digits), radix: 16)
    }
}
