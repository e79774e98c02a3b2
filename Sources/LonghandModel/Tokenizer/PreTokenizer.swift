// SPDX-License-Identifier: Apache-2.0

/// Cuts text into the words inside which byte pairs merge, as `tokenizer.ggml.pre` names it.
///
/// The patterns are fixed and scanned by hand: each word is found in one pass, so a long text costs linear time.
/// Bytes that are not valid UTF-8 count as symbols, neither letter, number nor whitespace.
enum PreTokenizer: Sendable {
    /// GPT-2: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
    case gpt2
    /// Llama 3: `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|`
    /// `\s*[\r\n]+|\s+(?!\S)|\s+`.
    case llama3
    /// SmolLM: as GPT-2, but each number character is a word of its own, without the space before it:
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`. (An implementation that cuts the
    /// numbers off first and then splits each piece keeps whitespace before a number in one word instead of two.)
    case smollm

    /// The pre-tokenizer called `name` in GGUF files, or nil.
    init?(named name: String) {
        switch name {
        case "gpt-2", "default": self = .gpt2
        case "llama-bpe": self = .llama3
        case "smollm": self = .smollm
        default: return nil
        }
    }

    /// Calls `body` with each word of `bytes`, in order and without gaps.
    func forEachWord(_ bytes: UnsafeRawBufferPointer, _ body: (Range<Int>) -> Void) {
        let scanner = WordScanner(bytes: bytes)
        switch self {
        case .gpt2: scanner.forEachWord(0..<bytes.count, scanner.gpt2Word, body)
        case .llama3: scanner.forEachWord(0..<bytes.count, scanner.llama3Word, body)
        case .smollm: scanner.forEachWord(0..<bytes.count, scanner.smollmWord, body)
        }
    }
}

/// What the patterns distinguish.
private enum CharacterClass {
    case letter, number, whitespace, newline, symbol

    init(_ scalar: Unicode.Scalar) {
        switch scalar.value {
        case 0x41...0x5A, 0x61...0x7A: self = .letter
        case 0x30...0x39: self = .number
        case 0x0A, 0x0D: self = .newline
        case 0x09, 0x0B, 0x0C, 0x20: self = .whitespace
        case 0x00...0x7F: self = .symbol
        default: self.init(nonASCII: scalar)
        }
    }

    private init(nonASCII scalar: Unicode.Scalar) {
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: self = .letter
        case .decimalNumber, .letterNumber, .otherNumber: self = .number
        default: self = scalar.properties.isWhitespace ? .whitespace : .symbol
        }
    }

    var isSpace: Bool { self == .whitespace || self == .newline }
}

/// Finds single words. Every function takes a start and an end, start < end, and looks at nothing past the end, which
/// counts as the end of the text.
private struct WordScanner {
    let bytes: UnsafeRawBufferPointer

    func character(_ index: Int, _ end: Int) -> (class: CharacterClass, length: Int) {
        let decoded = UTF8Scalar(bytes, at: index, end: end)
        return (decoded.scalar.map { CharacterClass($0) } ?? .symbol, decoded.length)
    }

    func forEachWord(_ range: Range<Int>, _ next: (Int, Int) -> Int, _ body: (Range<Int>) -> Void) {
        var start = range.lowerBound
        while start < range.upperBound {
            let end = next(start, range.upperBound)
            body(start..<end)
            start = end
        }
    }

    /// Where the run of characters from `start` that satisfy `predicate` ends.
    private func run(_ start: Int, _ end: Int, _ predicate: (CharacterClass) -> Bool) -> Int {
        var index = start
        while index < end {
            let (kind, length) = character(index, end)
            if !predicate(kind) { break }
            index += length
        }
        return index
    }

    /// The end of the GPT-2 word at `start`.
    func gpt2Word(_ start: Int, _ end: Int) -> Int {
        if let contraction = contraction(start, end, ignoringCase: false) { return contraction }
        let content = bytes[start] == 0x20 && start + 1 < end ? start + 1 : start
        let kind = character(content, end).class
        if kind.isSpace { return whitespace(start, end) }
        return run(content, end) { $0 == kind }
    }

    /// The end of the SmolLM word at `start`: GPT-2, but a number character and a space before one stand alone.
    func smollmWord(_ start: Int, _ end: Int) -> Int {
        let first = character(start, end)
        let second = start + first.length
        if first.class == .number { return second }
        if bytes[start] == 0x20, second < end, character(second, end).class == .number { return second }
        return gpt2Word(start, end)
    }

    /// The end of the Llama 3 word at `start`.
    func llama3Word(_ start: Int, _ end: Int) -> Int {
        if let contraction = contraction(start, end, ignoringCase: true) { return contraction }
        let first = character(start, end)
        if first.class == .letter { return run(start, end) { $0 == .letter } }
        if first.class == .number { return numbers(start, end, atMost: 3) }
        let second = start + first.length
        if first.class != .newline, second < end, character(second, end).class == .letter {
            return run(second, end) { $0 == .letter }
        }
        let content = bytes[start] == 0x20 && second < end ? second : start
        if !character(content, end).class.isSpace {
            return run(run(content, end) { $0 == .symbol }, end) { $0 == .newline }
        }
        return lastNewline(start, end) ?? whitespace(start, end)
    }

    private func numbers(_ start: Int, _ end: Int, atMost limit: Int) -> Int {
        var index = start
        for _ in 0..<limit where index < end {
            let (kind, length) = character(index, end)
            if kind != .number { break }
            index += length
        }
        return index
    }

    /// `\s+(?!\S)|\s+`: a run of whitespace without its last character where text follows, unless it is the only one.
    private func whitespace(_ start: Int, _ end: Int) -> Int {
        var index = start
        var last = start
        while index < end {
            let (kind, length) = character(index, end)
            if !kind.isSpace { return last > start ? last : index }
            last = index
            index += length
        }
        return end
    }

    /// `\s*[\r\n]+`: the run of whitespace up to its last newline, if it has one.
    private func lastNewline(_ start: Int, _ end: Int) -> Int? {
        var index = start
        var result: Int?
        while index < end {
            let (kind, length) = character(index, end)
            if !kind.isSpace { break }
            index += length
            if kind == .newline { result = index }
        }
        return result
    }

    /// The end of an apostrophe with one of the endings s, t, re, ve, m, ll, d, if one stands at `start`.
    private func contraction(_ start: Int, _ end: Int, ignoringCase: Bool) -> Int? {
        guard bytes[start] == 0x27, start + 1 < end else { return nil }
        let mask: UInt8 = ignoringCase ? 0x20 : 0
        func letter(_ index: Int) -> Unicode.Scalar { Unicode.Scalar(index < end ? bytes[index] | mask : 0) }
        switch (letter(start + 1), letter(start + 2)) {
        case ("s", _), ("t", _), ("m", _), ("d", _): return start + 2
        case ("r", "e"), ("v", "e"), ("l", "l"): return start + 3
        default: break
        }
        // Ignoring case, the long s (U+017F, bytes C5 BF) is an s too.
        if ignoringCase, start + 2 < end, bytes[start + 1] == 0xC5, bytes[start + 2] == 0xBF { return start + 3 }
        return nil
    }
}
