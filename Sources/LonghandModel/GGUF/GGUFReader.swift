// SPDX-License-Identifier: Apache-2.0

/// A cursor over the bytes of a file. Every read is checked against the end of the file before anything is touched
/// or allocated, and fails with the byte offset where the value began.
struct GGUFReader {
    let file: MappedFile
    private(set) var position = 0
    /// Bytes of metadata texts read so far.
    var textBytes = 0

    init(_ file: MappedFile) { self.file = file }

    var remaining: Int { file.bytes.count - position }

    func failure(at offset: Int, _ reason: String) -> GGUFError {
        GGUFError(path: file.path, offset: offset, reason: reason)
    }

    /// Takes `count` bytes that hold `what`.
    mutating func take(_ count: UInt64, _ what: @autoclosure () -> String) throws -> Range<Int> {
        guard count <= UInt64(remaining) else {
            throw failure(
                at: position, "\(what()) needs \(count) bytes, but the file ends after \(remaining) more")
        }
        defer { position += Int(count) }
        return position..<position + Int(count)
    }

    /// Reads one little-endian integer that holds `what`.
    mutating func integer<T: FixedWidthInteger>(_: T.Type, _ what: @autoclosure () -> String) throws -> T {
        let range = try take(UInt64(MemoryLayout<T>.size), what())
        return T(littleEndian: file.bytes.loadUnaligned(fromByteOffset: range.lowerBound, as: T.self))
    }

    /// Reads a string (64-bit length, then bytes) that holds `what`, as its place in the file.
    mutating func string(_ what: @autoclosure () -> String) throws -> Range<Int> {
        let start = position
        let length = try integer(UInt64.self, "the length of \(what())")
        guard length <= UInt64(remaining) else {
            throw failure(
                at: start, "\(what()) claims a length of \(length) bytes, but the file ends after \(remaining) more")
        }
        return try take(length, what())
    }

    /// Reads a name of 1 to `limit` bytes of valid UTF-8.
    mutating func name(_ what: String, limit: Int) throws -> String {
        let start = position
        let range = try string(what)
        guard !range.isEmpty else { throw failure(at: start, "\(what) is empty") }
        guard range.count <= limit else {
            throw failure(at: start, "\(what) is \(range.count) bytes long; the limit is \(limit)")
        }
        guard let name = String(validating: file.bytes[range], as: UTF8.self) else {
            throw failure(at: start, "\(what) is not valid UTF-8")
        }
        return name
    }
}
