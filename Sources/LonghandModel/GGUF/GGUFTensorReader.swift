// SPDX-License-Identifier: Apache-2.0

/// Reading of the tensor directory.
extension GGUFReader {
    /// Reads `count` entries, whose data start at a multiple of `alignment` after the directory, and checks that
    /// every tensor lies in the file and overlaps no other.
    mutating func tensors(count: Int, alignment: Int) throws -> [GGUFTensor] {
        var entries: [Entry] = []
        var names: Set<String> = []
        for index in 0..<count {
            let start = position
            let entry = try self.entry(index)
            guard names.insert(entry.name).inserted else {
                throw failure(at: start, "tensor \(entry.shown) appears twice")
            }
            entries.append(entry)
        }
        // Both are far from overflow: the position is inside a file, and alignment is limited.
        let dataStart = (position + alignment - 1) / alignment * alignment
        let tensors = try entries.map { try tensor($0, dataStart: dataStart, alignment: alignment) }
        let order = tensors.indices.sorted { tensors[$0].offset < tensors[$1].offset }
        for (first, second) in zip(order, order.dropFirst())
        where tensors[first].offset + tensors[first].byteCount > tensors[second].offset {
            throw failure(
                at: entries[second].start, "tensor \(entries[second].shown) overlaps tensor \(entries[first].shown)")
        }
        return tensors
    }

    /// A directory entry as read, before its place is checked.
    private struct Entry {
        var start: Int
        var name: String
        var dimensions: [Int]
        var type: GGUFTensorType
        var byteCount: Int
        var offset: UInt64
        var shown: String { "\"\(name.printable())\"" }
    }

    private mutating func entry(_ index: Int) throws -> Entry {
        let start = position
        let name = try name("the name of tensor \(index)", limit: GGUFLimits.tensorNameBytes)
        let shown = "tensor \"\(name.printable())\""
        let rank = try integer(UInt32.self, "the dimension count of \(shown)")
        guard (1...4).contains(rank) else {
            throw failure(at: start, "\(shown) has \(rank) dimensions; 1 to 4 are supported")
        }
        var dimensions: [Int] = []
        for axis in 0..<rank {
            let size = try integer(UInt64.self, "dimension \(axis) of \(shown)")
            guard let size = Int(exactly: size), size > 0 else {
                throw failure(at: start, "\(shown) has size \(size) in dimension \(axis)")
            }
            dimensions.append(size)
        }
        let typeID = try integer(UInt32.self, "the type of \(shown)")
        guard let type = GGUFTensorType(rawValue: typeID) else {
            throw failure(at: start, "\(shown) has type \(typeID), which is not supported")
        }
        let offset = try integer(UInt64.self, "the offset of \(shown)")
        guard dimensions[0].isMultiple(of: type.blockSize) else {
            throw failure(
                at: start,
                "\(shown) has rows of \(dimensions[0]) elements, not a multiple of the \(type.name) block size "
                    + "\(type.blockSize)")
        }
        guard let byteCount = Self.byteCount(dimensions, type) else {
            throw failure(at: start, "\(shown) is larger than any file: its size overflows 64 bits")
        }
        return Entry(start: start, name: name, dimensions: dimensions, type: type, byteCount: byteCount, offset: offset)
    }

    /// Size of the data of a tensor whose rows are whole blocks, or nil where it, or the element count, overflows.
    private static func byteCount(_ dimensions: [Int], _ type: GGUFTensorType) -> Int? {
        var elements = 1
        for size in dimensions {
            let (product, overflow) = elements.multipliedReportingOverflow(by: size)
            guard !overflow else { return nil }
            elements = product
        }
        let (bytes, overflow) = (elements / type.blockSize).multipliedReportingOverflow(by: type.bytesPerBlock)
        return overflow ? nil : bytes
    }

    private func tensor(_ entry: Entry, dataStart: Int, alignment: Int) throws -> GGUFTensor {
        guard entry.offset.isMultiple(of: UInt64(alignment)) else {
            throw failure(
                at: entry.start,
                "tensor \(entry.shown) has offset \(entry.offset), not a multiple of the alignment \(alignment)")
        }
        let available = max(0, file.bytes.count - dataStart)
        guard entry.byteCount <= available, entry.offset <= UInt64(available - entry.byteCount) else {
            throw failure(
                at: entry.start,
                "tensor \(entry.shown) needs \(entry.byteCount) bytes at data offset \(entry.offset), but the file "
                    + "has \(available) bytes of data")
        }
        return GGUFTensor(
            name: entry.name, dimensions: entry.dimensions, type: entry.type,
            offset: dataStart + Int(entry.offset), byteCount: entry.byteCount)
    }
}
