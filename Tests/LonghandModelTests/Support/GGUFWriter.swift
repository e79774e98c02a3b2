// SPDX-License-Identifier: Apache-2.0

/// Builds GGUF files byte by byte, valid ones and, with wrong fields on purpose, invalid ones.
struct GGUFWriter {
    indirect enum Value {
        case uint8(UInt8), int8(Int8), uint16(UInt16), int16(Int16), uint32(UInt32), int32(Int32)
        case float32(Float), bool(UInt8), text([UInt8]), uint64(UInt64), int64(Int64), float64(Double)
        case array(type: UInt32, [Value])
        /// Anything, as type id and bytes.
        case raw(type: UInt32, [UInt8])

        static func string(_ text: String) -> Value { .text(Array(text.utf8)) }
        static func strings(_ texts: [String]) -> Value { .array(type: 8, texts.map(string)) }
        static func int32s(_ values: [Int32]) -> Value { .array(type: 5, values.map(int32)) }
        static func floats(_ values: [Float]) -> Value { .array(type: 6, values.map(float32)) }
    }

    struct Tensor {
        var name: String
        var dimensions: [UInt64]
        var type: UInt32
        var data: [UInt8]
        /// Overrides the place that the writer gives the data.
        var offset: UInt64?
    }

    var magic = Array("GGUF".utf8)
    var version: UInt32 = 3
    var alignment = 32
    var metadata: [(key: String, value: Value)] = []
    var tensors: [Tensor] = []
    /// Override the real counts.
    var claimedTensors: UInt64?
    var claimedPairs: UInt64?

    /// The file.
    func bytes() -> [UInt8] { build().bytes }

    /// The file, and where its 64-bit lengths, counts, dimensions and offsets and 32-bit type ids are.
    func build() -> (bytes: [UInt8], wideFields: [Int], typeFields: [Int]) {
        var output = Output()
        output.bytes += magic
        output.append(version)
        output.appendWide(claimedTensors ?? UInt64(tensors.count))
        output.appendWide(claimedPairs ?? UInt64(metadata.count))
        for (key, value) in metadata {
            output.append(text: Array(key.utf8))
            output.appendType(value.type)
            output.append(value)
        }
        var offset = 0
        for tensor in tensors {
            output.append(text: Array(tensor.name.utf8))
            output.append(UInt32(tensor.dimensions.count))
            tensor.dimensions.forEach { output.appendWide($0) }
            output.appendType(tensor.type)
            output.appendWide(tensor.offset ?? UInt64(offset))
            offset += aligned(tensor.data.count)
        }
        for tensor in tensors where !tensor.data.isEmpty {
            output.bytes += [UInt8](repeating: 0, count: aligned(output.bytes.count) - output.bytes.count)
            output.bytes += tensor.data
        }
        return (output.bytes, output.wideFields, output.typeFields)
    }

    private func aligned(_ count: Int) -> Int { (count + alignment - 1) / alignment * alignment }

    private struct Output {
        var bytes: [UInt8] = []
        var wideFields: [Int] = []
        var typeFields: [Int] = []

        mutating func append(_ value: some FixedWidthInteger) {
            withUnsafeBytes(of: value.littleEndian) { bytes += $0 }
        }
        mutating func appendWide(_ value: UInt64) {
            wideFields.append(bytes.count)
            append(value)
        }
        mutating func appendType(_ value: UInt32) {
            typeFields.append(bytes.count)
            append(value)
        }
        mutating func append(text: [UInt8]) {
            appendWide(UInt64(text.count))
            bytes += text
        }
        mutating func append(_ value: Value) {
            switch value {
            case .uint8(let value), .bool(let value): append(value)
            case .int8(let value): append(value)
            case .uint16(let value): append(value)
            case .int16(let value): append(value)
            case .uint32(let value): append(value)
            case .int32(let value): append(value)
            case .float32(let value): append(value.bitPattern)
            case .text(let text): append(text: text)
            case .uint64(let value): append(value)
            case .int64(let value): append(value)
            case .float64(let value): append(value.bitPattern)
            case .raw(_, let raw): bytes += raw
            case .array(let type, let elements):
                appendType(type)
                appendWide(UInt64(elements.count))
                elements.forEach { append($0) }
            }
        }
    }
}

extension GGUFWriter.Value {
    fileprivate var type: UInt32 {
        switch self {
        case .uint8: 0
        case .int8: 1
        case .uint16: 2
        case .int16: 3
        case .uint32: 4
        case .int32: 5
        case .float32: 6
        case .bool: 7
        case .text: 8
        case .array: 9
        case .uint64: 10
        case .int64: 11
        case .float64: 12
        case .raw(let type, _): type
        }
    }
}
