// SPDX-License-Identifier: Apache-2.0

/// One Unicode scalar of a byte sequence that need not be valid UTF-8.
struct UTF8Scalar {
    /// The scalar; nil for a byte that belongs to no well-formed sequence.
    var scalar: Unicode.Scalar?
    /// Bytes it takes: 1 to 4, and 1 where `scalar` is nil.
    var length: Int

    /// Decodes the scalar that starts at `start`, reading nothing at or after `end`; `start < end`.
    @inline(__always)
    init(_ bytes: UnsafeRawBufferPointer, at start: Int, end: Int) {
        let lead = bytes[start]
        if lead < 0x80 {
            (scalar, length) = (Unicode.Scalar(lead), 1)
        } else {
            (scalar, length) = Self.multibyte(bytes, at: start, end: end, lead: lead)
        }
    }

    private static func multibyte(
        _ bytes: UnsafeRawBufferPointer, at start: Int, end: Int, lead: UInt8
    ) -> (Unicode.Scalar?, Int) {
        let count = sequenceLength(lead)
        guard count > 1, start + count <= end, secondBytes(after: lead).contains(bytes[start + 1]) else {
            return (nil, 1)
        }
        var value = UInt32(lead) & (0x7F >> UInt32(count))
        for index in start + 1..<start + count {
            guard bytes[index] & 0xC0 == 0x80 else { return (nil, 1) }
            value = value << 6 | UInt32(bytes[index] & 0x3F)
        }
        return (Unicode.Scalar(value), count)
    }

    /// Bytes of a sequence that begins with `lead`; 0 where none does.
    static func sequenceLength(_ lead: UInt8) -> Int {
        switch lead {
        case 0x00...0x7F: 1
        case 0xC2...0xDF: 2
        case 0xE0...0xEF: 3
        case 0xF0...0xF4: 4
        default: 0
        }
    }

    /// What may follow `lead`, so that no overlong form, surrogate or value past U+10FFFF is well-formed.
    static func secondBytes(after lead: UInt8) -> ClosedRange<UInt8> {
        switch lead {
        case 0xE0: 0xA0...0xBF
        case 0xED: 0x80...0x9F
        case 0xF0: 0x90...0xBF
        case 0xF4: 0x80...0x8F
        default: 0x80...0xBF
        }
    }

    /// How many bytes at the end of `bytes` are the beginning of a sequence that more bytes could complete: 0 to 3.
    static func incompleteSuffix(_ bytes: [UInt8]) -> Int {
        for count in 1...3 where count <= bytes.count {
            let lead = bytes[bytes.count - count]
            if lead & 0xC0 == 0x80 { continue }
            let isIncomplete =
                sequenceLength(lead) > count
                && (count == 1 || secondBytes(after: lead).contains(bytes[bytes.count - count + 1]))
            return isIncomplete ? count : 0
        }
        return 0
    }
}
