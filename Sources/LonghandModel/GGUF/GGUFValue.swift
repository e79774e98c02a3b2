// SPDX-License-Identifier: Apache-2.0

/// The kinds of metadata values. The raw value is the type id of the file format.
public enum GGUFValueType: UInt32, Sendable, CaseIterable {
    case uint8 = 0, int8, uint16, int16, uint32, int32, float32, bool, string, array, uint64, int64, float64

    /// Bytes of one value in the file; nil for strings and arrays.
    var byteCount: Int? {
        switch self {
        case .uint8, .int8, .bool: 1
        case .uint16, .int16: 2
        case .uint32, .int32, .float32: 4
        case .uint64, .int64, .float64: 8
        case .string, .array: nil
        }
    }
}

/// One metadata value.
public enum GGUFValue: Sendable {
    case uint8(UInt8)
    case int8(Int8)
    case uint16(UInt16)
    case int16(Int16)
    case uint32(UInt32)
    case int32(Int32)
    case float32(Float)
    case bool(Bool)
    /// Bytes that are not valid UTF-8 have been replaced by U+FFFD.
    case string(String)
    case array(GGUFArray)
    case uint64(UInt64)
    case int64(Int64)
    case float64(Double)

    /// The value of any of the integer types that fits an `Int`; nil otherwise.
    public var integer: Int? {
        switch self {
        case .uint8(let value): Int(value)
        case .int8(let value): Int(value)
        case .uint16(let value): Int(value)
        case .int16(let value): Int(value)
        case .uint32(let value): Int(value)
        case .int32(let value): Int(value)
        case .uint64(let value): Int(exactly: value)
        case .int64(let value): Int(value)
        default: nil
        }
    }

    /// The value of either float type; nil otherwise.
    public var float: Double? {
        switch self {
        case .float32(let value): Double(value)
        case .float64(let value): value
        default: nil
        }
    }

    /// The kind of this value.
    public var type: GGUFValueType {
        switch self {
        case .uint8: .uint8
        case .int8: .int8
        case .uint16: .uint16
        case .int16: .int16
        case .uint32: .uint32
        case .int32: .int32
        case .float32: .float32
        case .bool: .bool
        case .string: .string
        case .array: .array
        case .uint64: .uint64
        case .int64: .int64
        case .float64: .float64
        }
    }
}

/// A metadata array, left in the mapped file and read on request, since a vocabulary has hundreds of thousands of
/// entries. Its elements were checked against the file's end when the file was opened.
public struct GGUFArray: Sendable {
    /// Kind of the elements; never `.array`.
    public let elementType: GGUFValueType
    /// Number of elements.
    public let count: Int
    let file: MappedFile
    /// Where the elements are in the file.
    let range: Range<Int>

    /// Calls `body` with the index and the bytes of each string, in order; does nothing for other element types.
    /// The bytes need not be valid UTF-8 and are valid only during the call.
    public func forEachString(_ body: (Int, UnsafeRawBufferPointer) throws -> Void) rethrows {
        guard elementType == .string else { return }
        var position = range.lowerBound
        for index in 0..<count {
            let length = Int(UInt64(littleEndian: file.bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self)))
            position += 8
            try body(index, UnsafeRawBufferPointer(rebasing: file.bytes[position..<position + length]))
            position += length
        }
    }

    /// The elements of an integer array; nil for other element types and where a value does not fit an `Int32`.
    public func int32s() -> [Int32]? {
        switch elementType {
        case .uint8: elements(UInt8.self) { Int32($0) }
        case .int8: elements(Int8.self) { Int32($0) }
        case .uint16: elements(UInt16.self) { Int32($0) }
        case .int16: elements(Int16.self) { Int32($0) }
        case .uint32: elements(UInt32.self) { Int32(exactly: $0) }
        case .int32: elements(Int32.self) { $0 }
        case .uint64: elements(UInt64.self) { Int32(exactly: $0) }
        case .int64: elements(Int64.self) { Int32(exactly: $0) }
        case .float32, .float64, .bool, .string, .array: nil
        }
    }

    /// The elements of a float array as `Float`; nil for other element types.
    public func floats() -> [Float]? {
        switch elementType {
        case .float32: elements(UInt32.self) { Float(bitPattern: $0) }
        case .float64: elements(UInt64.self) { Float(Double(bitPattern: $0)) }
        default: nil
        }
    }

    /// The elements of a bool array; nil for other element types.
    public func bools() -> [Bool]? { elementType == .bool ? elements(UInt8.self) { $0 != 0 } : nil }

    /// Reads `count` integers of type `T`; nil where `convert` gives nil for any of them.
    private func elements<T: FixedWidthInteger, U>(_: T.Type, _ convert: (T) -> U?) -> [U]? {
        var result: [U] = []
        result.reserveCapacity(count)
        for position in stride(from: range.lowerBound, to: range.upperBound, by: MemoryLayout<T>.size) {
            let value = T(littleEndian: file.bytes.loadUnaligned(fromByteOffset: position, as: T.self))
            guard let element = convert(value) else { return nil }
            result.append(element)
        }
        return result
    }
}
