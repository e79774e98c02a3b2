// SPDX-License-Identifier: Apache-2.0

/// Reading of the metadata section.
extension GGUFReader {
    /// Reads `count` key-value pairs.
    mutating func metadata(count: Int) throws -> [String: GGUFValue] {
        var result: [String: GGUFValue] = [:]
        for index in 0..<count {
            let start = position
            let key = try name("metadata key \(index)", limit: GGUFLimits.keyBytes)
            let shown = "metadata \"\(key.printable())\""
            let value = try self.value(of: type(shown), shown)
            guard result.updateValue(value, forKey: key) == nil else {
                throw failure(at: start, "\(shown) appears twice")
            }
        }
        return result
    }

    private mutating func type(_ what: String) throws -> GGUFValueType {
        let start = position
        let id = try integer(UInt32.self, "the type of \(what)")
        guard let type = GGUFValueType(rawValue: id) else {
            throw failure(at: start, "\(what) has type \(id), which is not a metadata type")
        }
        return type
    }

    private mutating func value(of type: GGUFValueType, _ what: String) throws -> GGUFValue {
        switch type {
        case .uint8: return .uint8(try integer(UInt8.self, what))
        case .int8: return .int8(try integer(Int8.self, what))
        case .uint16: return .uint16(try integer(UInt16.self, what))
        case .int16: return .int16(try integer(Int16.self, what))
        case .uint32: return .uint32(try integer(UInt32.self, what))
        case .int32: return .int32(try integer(Int32.self, what))
        case .float32: return .float32(Float(bitPattern: try integer(UInt32.self, what)))
        case .uint64: return .uint64(try integer(UInt64.self, what))
        case .int64: return .int64(try integer(Int64.self, what))
        case .float64: return .float64(Double(bitPattern: try integer(UInt64.self, what)))
        case .string: return .string(try text(what))
        case .array: return .array(try array(what))
        case .bool:
            let range = try take(1, what)
            try checkBools(range, what)
            return .bool(file.bytes[range.lowerBound] == 1)
        }
    }

    private mutating func text(_ what: String) throws -> String {
        let start = position
        let range = try string(what)
        textBytes += range.count
        guard textBytes <= GGUFLimits.textBytes else {
            throw failure(
                at: start,
                "\(what) is a text of \(range.count) bytes; the limit for all together is "
                    + "\(GGUFLimits.textBytes)")
        }
        return String(decoding: file.bytes[range], as: UTF8.self)
    }

    /// Checks an array and remembers its place. The count is compared with the bytes left before anything depends on
    /// it, so a lying count costs nothing.
    private mutating func array(_ what: String) throws -> GGUFArray {
        let start = position
        let elementType = try type("an element of \(what)")
        guard elementType != .array else {
            throw failure(at: start, "\(what) is an array of arrays, which is not supported")
        }
        let count = try integer(UInt64.self, "the element count of \(what)")
        let minimum = UInt64(elementType.byteCount ?? 8)
        guard count <= UInt64(remaining) / minimum else {
            throw failure(
                at: start, "\(what) claims \(count) elements, but the file ends after \(remaining) more bytes")
        }
        let first = position
        if elementType == .string {
            for index in 0..<Int(count) { _ = try string("element \(index) of \(what)") }
        } else {
            let range = try take(count * minimum, what)
            if elementType == .bool { try checkBools(range, what) }
        }
        return GGUFArray(elementType: elementType, count: Int(count), file: file, range: first..<position)
    }

    private func checkBools(_ range: Range<Int>, _ what: String) throws {
        guard let bad = file.bytes[range].firstIndex(where: { $0 > 1 }) else { return }
        throw failure(at: bad, "\(what) is a bool with the value \(file.bytes[bad])")
    }
}
