// SPDX-License-Identifier: Apache-2.0

/// Limits of the format and of what is accepted, so that a hostile file costs little before it is refused.
enum GGUFLimits {
    /// The format's limit for a metadata key.
    static let keyBytes = 65_535
    /// The format's limit for a tensor name.
    static let tensorNameBytes = 64
    /// Far above what models use (dozens of keys, at most some thousands of tensors).
    static let entries = 65_536
    /// All metadata texts together, which are copied, unlike arrays.
    static let textBytes = 64 << 20
    /// Alignment of the data; the format asks for a multiple of 8.
    static let alignments = 8...65_536
    /// Smallest key-value pair: key length, one byte of key, type, one byte of value.
    static let bytesPerKeyValue = 8 + 1 + 4 + 1
    /// Smallest tensor entry: name length, one byte of name, dimension count, one dimension, type, offset.
    static let bytesPerTensor = 8 + 1 + 4 + 8 + 4 + 8
}

/// A GGUF file (version 2 or 3, little-endian), mapped into memory, read-only.
///
/// Opening checks the whole header: everything that this object hands out lies inside the file. Tensor data are
/// neither read nor copied. Objects are immutable and can be shared between threads.
public final class GGUFFile: Sendable {
    /// The path as given.
    public let path: String
    /// Format version, 2 or 3 (which share their layout).
    public let version: Int
    /// Alignment of tensor data in bytes: `general.alignment`, or 32.
    public let alignment: Int
    /// All metadata by key.
    public let metadata: [String: GGUFValue]
    /// The tensor directory, in file order.
    public let tensors: [GGUFTensor]

    private let file: MappedFile
    private let tensorIndices: [String: Int]

    /// Opens and checks the file at `path`; throws `GGUFError` where it is missing, unreadable or malformed.
    public init(path: String) throws {
        let file = try MappedFile(path: path, format: "GGUF") { GGUFError(path: path, reason: $0) }
        var reader = GGUFReader(file)
        version = try Self.readVersion(&reader)
        let tensorCount = try Self.readCount(&reader, "tensors", bytesPerEntry: GGUFLimits.bytesPerTensor)
        let pairCount = try Self.readCount(&reader, "metadata entries", bytesPerEntry: GGUFLimits.bytesPerKeyValue)
        metadata = try reader.metadata(count: pairCount)
        alignment = try Self.alignment(metadata, path: path)
        tensors = try reader.tensors(count: tensorCount, alignment: alignment)
        tensorIndices = Dictionary(uniqueKeysWithValues: zip(tensors.map(\.name), tensors.indices))
        self.file = file
        self.path = path
    }

    /// Size of the file in bytes.
    public var byteCount: Int { file.bytes.count }

    /// The tensor called `name`, or nil.
    public func tensor(_ name: String) -> GGUFTensor? { tensorIndices[name].map { tensors[$0] } }

    /// The data of a tensor of this file. Valid while this object lives: keep a reference to it, for instance with
    /// `withExtendedLifetime`, for as long as the pointer is used.
    public func bytes(of tensor: GGUFTensor) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: file.bytes[tensor.offset..<tensor.offset + tensor.byteCount])
    }

    private static func readVersion(_ reader: inout GGUFReader) throws -> Int {
        guard reader.remaining >= 4, reader.file.bytes.starts(with: "GGUF".utf8) else {
            throw reader.failure(at: 0, "is not a GGUF file: it does not begin with \"GGUF\"")
        }
        _ = try reader.take(4, "the magic")
        let version = try reader.integer(UInt32.self, "the version")
        switch version {
        case 2, 3: return Int(version)
        case 1: throw reader.failure(at: 4, "GGUF version 1 is not supported; versions 2 and 3 are")
        case 1 << 24, 2 << 24, 3 << 24: throw reader.failure(at: 4, "big-endian GGUF files are not supported")
        default: throw reader.failure(at: 4, "GGUF version \(version) is not supported; versions 2 and 3 are")
        }
    }

    private static func readCount(_ reader: inout GGUFReader, _ what: String, bytesPerEntry: Int) throws -> Int {
        let start = reader.position
        let count = try reader.integer(UInt64.self, "the number of \(what)")
        guard count <= UInt64(reader.remaining / bytesPerEntry) else {
            throw reader.failure(
                at: start, "the file claims \(count) \(what), but it ends after \(reader.remaining) more bytes")
        }
        guard count <= GGUFLimits.entries else {
            throw reader.failure(at: start, "the file has \(count) \(what); the limit is \(GGUFLimits.entries)")
        }
        return Int(count)
    }

    private static func alignment(_ metadata: [String: GGUFValue], path: String) throws -> Int {
        guard let value = metadata["general.alignment"] else { return 32 }
        guard let alignment = value.integer, GGUFLimits.alignments.contains(alignment),
            alignment & (alignment - 1) == 0
        else {
            let shown = value.integer.map { "\($0)" } ?? "of type \(value.type)"
            throw GGUFError(
                path: path,
                reason: "general.alignment is \(shown); it must be a power of two from "
                    + "\(GGUFLimits.alignments.lowerBound) to \(GGUFLimits.alignments.upperBound)")
        }
        return alignment
    }
}
