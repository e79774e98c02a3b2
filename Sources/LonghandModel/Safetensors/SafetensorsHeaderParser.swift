// SPDX-License-Identifier: Apache-2.0

/// Reads the header of a safetensors file: one JSON object of a fixed depth, so that nothing in it can make the parser
/// recurse, and nothing is allocated before the bytes that justify it were seen.
struct SafetensorsHeaderParser {
    /// A tensor as the header describes it. Offsets count from the start of the data.
    struct Entry {
        var start: Int
        var name: String
        var type: SafetensorsType
        var shape: [Int]
        var begin, end: Int
    }

    private(set) var metadata: [String: String] = [:]
    private(set) var entries: [Entry] = []
    private let file: MappedFile
    private let end: Int
    private var position: Int

    /// A parser of the bytes `header` of `file`.
    init(_ file: MappedFile, _ header: Range<Int>) {
        self.file = file
        position = header.lowerBound
        end = header.upperBound
    }

    /// Reads the whole header; throws `SafetensorsError` at the first byte that does not fit.
    mutating func parse() throws {
        var names: Set<String> = []
        guard position < end, file.bytes[position] == UInt8(ascii: "{") else {
            throw failure(at: position, "is not a safetensors file: the header does not begin with \"{\"")
        }
        try members("the header") { parser, name, start in
            guard names.insert(name).inserted else { throw parser.failure(at: start, "\"\(name.printable())\" appears twice") }
            if name == SafetensorsLimits.metadataName { return try parser.parseMetadata() }
            guard parser.entries.count < SafetensorsLimits.tensors else {
                throw parser.failure(at: start, "the file has more than \(SafetensorsLimits.tensors) tensors")
            }
            try parser.entries.append(parser.entry(name, start: start))
        }
        skipSpace()
        guard position == end else { throw failure(at: position, "the header goes on after its last \"}\"") }
    }

    private mutating func parseMetadata() throws {
        var result: [String: String] = [:]
        try members("the metadata") { parser, key, start in
            let value = try parser.string("metadata \"\(key.printable())\"", limit: SafetensorsLimits.headerBytes)
            guard result.updateValue(value, forKey: key) == nil else {
                throw parser.failure(at: start, "metadata \"\(key.printable())\" appears twice")
            }
        }
        metadata = result
    }

    private mutating func entry(_ name: String, start: Int) throws -> Entry {
        let shown = "tensor \"\(name.printable())\""
        var type: SafetensorsType?
        var shape: [Int]?
        var offsets: [Int]?
        try members(shown) { parser, key, at in
            switch key {
            case "dtype" where type == nil:
                let text = try parser.string("the dtype of \(shown)", limit: 64)
                guard let known = SafetensorsType(rawValue: text) else {
                    throw parser.failure(at: at, "\(shown) has dtype \"\(text.printable())\", which is not supported")
                }
                type = known
            case "shape" where shape == nil:
                shape = try parser.integers("the shape of \(shown)", limit: SafetensorsLimits.rank)
            case "data_offsets" where offsets == nil:
                offsets = try parser.integers("the offsets of \(shown)", limit: 2)
            case "dtype", "shape", "data_offsets": throw parser.failure(at: at, "\(shown) has two members \"\(key)\"")
            default: throw parser.failure(at: at, "\(shown) has a member \"\(key.printable())\", which is not known")
            }
        }
        guard let type, let shape, let offsets else {
            throw failure(at: start, "\(shown) lacks its dtype, shape or data_offsets")
        }
        guard offsets.count == 2, offsets[0] <= offsets[1] else {
            throw failure(at: start, "\(shown) has data_offsets that are not two ascending numbers")
        }
        guard let bytes = type.byteCount(shape: shape) else {
            throw failure(at: start, "\(shown) is larger than any file: its size overflows 64 bits")
        }
        guard bytes == offsets[1] - offsets[0] else {
            throw failure(
                at: start,
                "\(shown) of shape \(shape) and dtype \(type.rawValue) takes \(bytes) bytes, but its "
                    + "data_offsets span \(offsets[1] - offsets[0])")
        }
        return Entry(start: start, name: name, type: type, shape: shape, begin: offsets[0], end: offsets[1])
    }

    // MARK: JSON

    private func failure(at offset: Int, _ reason: String) -> SafetensorsError {
        SafetensorsError(path: file.path, offset: offset, reason: reason)
    }

    /// What stands at the position, for error messages.
    private var found: String {
        guard position < end else { return "the header ends" }
        let byte = file.bytes[position]
        return (0x21...0x7E).contains(byte) ? "'\(Character(Unicode.Scalar(byte)))' stands" : "byte \(byte) stands"
    }

    private mutating func skipSpace() {
        while position < end, [0x20, 0x09, 0x0A, 0x0D].contains(file.bytes[position]) { position += 1 }
    }

    /// Skips space and takes `character` if it comes next.
    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        skipSpace()
        guard position < end, file.bytes[position] == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    private mutating func expect(_ character: Unicode.Scalar, in what: String) throws {
        guard take(character) else { throw failure(at: position, "\(found) where \(what) needs '\(character)'") }
    }

    /// Reads an object and calls `body` at the value of each member, with its name and the place of the name.
    private mutating func members(
        _ what: String, _ body: (inout Self, _ name: String, _ start: Int) throws -> Void
    ) throws {
        try expect("{", in: what)
        if take("}") { return }
        repeat {
            skipSpace()
            let start = position
            let name = try string("a name in \(what)", limit: SafetensorsLimits.nameBytes)
            try expect(":", in: what)
            try body(&self, name, start)
        } while take(",")
        try expect("}", in: what)
    }

    /// Reads an array of at most `limit` integers from 0 to 2^63 - 1.
    private mutating func integers(_ what: String, limit: Int) throws -> [Int] {
        try expect("[", in: what)
        var result: [Int] = []
        if take("]") { return result }
        repeat {
            guard result.count < limit else { throw failure(at: position, "\(what) has more than \(limit) numbers") }
            result.append(try integer(what))
        } while take(",")
        try expect("]", in: what)
        return result
    }

    private mutating func integer(_ what: String) throws -> Int {
        skipSpace()
        let start = position
        while position < end, (0x30...0x39).contains(file.bytes[position]) { position += 1 }
        let digits = file.bytes[start..<position]
        guard !digits.isEmpty, digits.count == 1 || digits.first != 0x30 else {
            throw failure(at: start, "\(what) has something that is not a whole number")
        }
        guard let value = digits.count <= 20 ? Int(String(decoding: digits, as: UTF8.self)) : nil else {
            throw failure(at: start, "\(what) has a number above 2^63 - 1")
        }
        return value
    }

    /// Reads a string of at most `limit` bytes.
    private mutating func string(_ what: @autoclosure () -> String, limit: Int) throws -> String {
        skipSpace()
        let start = position
        guard take("\"") else { throw failure(at: start, "\(found) where \(what()) needs a text") }
        var bytes: [UInt8] = []
        while true {
            guard position < end else { throw failure(at: start, "\(what()) has no closing quote") }
            let byte = file.bytes[position]
            if byte == UInt8(ascii: "\"") { break }
            guard byte >= 0x20 else { throw failure(at: position, "\(what()) has a control character") }
            guard bytes.count < limit else { throw failure(at: start, "\(what()) is longer than \(limit) bytes") }
            position += 1
            if byte == UInt8(ascii: "\\") { bytes += try escape(what()) } else { bytes.append(byte) }
        }
        position += 1
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw failure(at: start, "\(what()) is not valid UTF-8")
        }
        return text
    }

    /// The bytes of an escape whose backslash was read.
    private mutating func escape(_ what: String) throws -> [UInt8] {
        let start = position - 1
        func malformed() -> SafetensorsError { failure(at: start, "\(what) has a malformed escape") }
        guard position < end else { throw malformed() }
        position += 1
        switch file.bytes[position - 1] {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [file.bytes[position - 1]]
        case UInt8(ascii: "b"): return [0x08]
        case UInt8(ascii: "f"): return [0x0C]
        case UInt8(ascii: "n"): return [0x0A]
        case UInt8(ascii: "r"): return [0x0D]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "u"): break
        default: throw malformed()
        }
        guard let first = codeUnit() else { throw malformed() }
        var units = [first]
        if UTF16.isLeadSurrogate(first) {
            guard end - position >= 2, file.bytes[position] == UInt8(ascii: "\\"),
                file.bytes[position + 1] == UInt8(ascii: "u")
            else { throw malformed() }
            position += 2
            guard let second = codeUnit() else { throw malformed() }
            units.append(second)
        }
        guard let text = String(validating: units, as: UTF16.self) else { throw malformed() }
        return Array(text.utf8)
    }

    /// Four hexadecimal digits.
    private mutating func codeUnit() -> UInt16? {
        guard end - position >= 4 else { return nil }
        var value: UInt16 = 0
        for _ in 0..<4 {
            guard let digit = Character(Unicode.Scalar(file.bytes[position])).hexDigitValue, file.bytes[position] < 0x80
            else { return nil }
            value = value << 4 | UInt16(digit)
            position += 1
        }
        return value
    }
}
