// SPDX-License-Identifier: Apache-2.0
import LonghandLayers

/// A safetensors file, mapped into memory, read-only: 8 bytes of header length, the header in JSON, then the data.
///
/// Opening checks the whole header: everything that this object hands out lies inside the file, and the tensors cover
/// the data without overlap or gap, as the format asks. Tensor data are neither read nor copied. Objects are
/// immutable and can be shared between threads.
public final class SafetensorsFile: Sendable {
    /// The path as given.
    public let path: String
    /// The texts under `__metadata__`.
    public let metadata: [String: String]
    /// All tensors in the order of their data.
    public let tensors: [SafetensorsTensor]

    private let file: MappedFile
    private let tensorIndices: [String: Int]

    /// Opens and checks the file at `path`; throws `SafetensorsError` where it is missing, unreadable or malformed.
    public init(path: String) throws {
        let file = try MappedFile(path: path, format: "safetensors") { SafetensorsError(path: path, reason: $0) }
        let header = try Self.headerRange(file)
        var parser = SafetensorsHeaderParser(file, header)
        try parser.parse()
        metadata = parser.metadata
        tensors = try Self.place(parser.entries, dataStart: header.upperBound, file)
        tensorIndices = Dictionary(uniqueKeysWithValues: zip(tensors.map(\.name), tensors.indices))
        self.file = file
        self.path = path
    }

    /// The tensor called `name`, or nil.
    public func tensor(_ name: String) -> SafetensorsTensor? { tensorIndices[name].map { tensors[$0] } }

    /// The data of a tensor of this file, perhaps not aligned to its elements. Valid while this object lives: keep a
    /// reference to it, for instance with `withExtendedLifetime`, for as long as the pointer is used.
    public func bytes(of tensor: SafetensorsTensor) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: file.bytes[tensor.offset..<tensor.offset + tensor.byteCount])
    }

    /// Elements `range` of a tensor, in its row-major order, as f32. Throws `SafetensorsError` where the type is not
    /// F32, F16 or BF16, or the range leaves the tensor.
    public func floats(of tensor: SafetensorsTensor, _ range: Range<Int>) throws -> [Float] {
        let shown = "tensor \"\(tensor.name.printable())\""
        guard let type = tensor.type.ggufType else {
            throw SafetensorsError(path: path, reason: "\(shown) is of type \(tensor.type.rawValue), not F32, F16 or BF16")
        }
        guard range.lowerBound >= 0, range.upperBound <= tensor.elementCount else {
            throw SafetensorsError(path: path, reason: "\(shown) has \(tensor.elementCount) elements, not \(range)")
        }
        guard !range.isEmpty else { return [] }
        let source = bytes(of: tensor).baseAddress! + range.lowerBound * tensor.type.byteCount
        return try [Float](unsafeUninitializedCapacity: range.count) { buffer, count in
            try LayerError.check {
                lhk_layer_dequantize(0, Int32(type.rawValue), source, buffer.baseAddress!, range.count, $0)
            }
            count = range.count
        }
    }

    /// All elements of a tensor as f32.
    public func floats(of tensor: SafetensorsTensor) throws -> [Float] {
        try floats(of: tensor, 0..<tensor.elementCount)
    }

    /// Reads the length of the header and gives its place.
    private static func headerRange(_ file: MappedFile) throws -> Range<Int> {
        func failure(_ reason: String) -> SafetensorsError { SafetensorsError(path: file.path, offset: 0, reason: reason) }
        guard file.bytes.count >= 8 else {
            throw failure("is not a safetensors file: it has \(file.bytes.count) bytes, less than the header's length takes")
        }
        let length = UInt64(littleEndian: file.bytes.loadUnaligned(as: UInt64.self))
        guard length <= SafetensorsLimits.headerBytes else {
            throw failure("the header claims \(length) bytes; the limit is \(SafetensorsLimits.headerBytes)")
        }
        guard length <= UInt64(file.bytes.count - 8) else {
            throw failure("the header claims \(length) bytes, but the file ends after \(file.bytes.count - 8) more")
        }
        return 8..<8 + Int(length)
    }

    /// Orders tensors by their data and checks that these lie one after another and fill the rest of the file.
    private static func place(
        _ entries: [SafetensorsHeaderParser.Entry], dataStart: Int, _ file: MappedFile
    ) throws -> [SafetensorsTensor] {
        let available = file.bytes.count - dataStart
        var end = 0
        var tensors: [SafetensorsTensor] = []
        tensors.reserveCapacity(entries.count)
        for entry in entries.sorted(by: { ($0.begin, $0.end) < ($1.begin, $1.end) }) {
            func failure(_ reason: String) -> SafetensorsError {
                SafetensorsError(path: file.path, offset: entry.start, reason: "tensor \"\(entry.name.printable())\" \(reason)")
            }
            guard entry.end <= available else {
                throw failure("ends at byte \(entry.end) of the data, but the file has \(available)")
            }
            guard entry.begin == end else {
                let fault = entry.begin < end ? "overlaps the one before" : "leaves a gap after the one before"
                throw failure("begins at byte \(entry.begin) of the data and \(fault), which ends at \(end)")
            }
            end = entry.end
            tensors.append(
                SafetensorsTensor(
                    name: entry.name, type: entry.type, shape: entry.shape, offset: dataStart + entry.begin,
                    byteCount: entry.end - entry.begin))
        }
        guard end == available else {
            throw SafetensorsError(
                path: file.path, offset: dataStart + end,
                reason: "\(available - end) bytes after the last tensor belong to none")
        }
        return tensors
    }
}
