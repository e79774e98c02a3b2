// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandLayers
import Testing

@Suite struct DequantizeTests {
    /// One record of `Golden/dequantize.bin`; the format is described in `generate_golden.py`.
    struct Record {
        var type: Int32
        var source: [UInt8]
        var expected: [Float]
    }

    static func readGolden() throws -> [Record] {
        let url = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "Golden/dequantize.bin")
        let bytes = [UInt8](try Data(contentsOf: url))
        var offset = 0
        func word() -> UInt32 {
            defer { offset += 4 }
            return (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << (8 * UInt32($1)) }
        }
        var records: [Record] = []
        while offset < bytes.count {
            let type = Int32(bitPattern: word())
            let elements = Int(word()), size = Int(word())
            let source = Array(bytes[offset..<offset + size])
            offset += size
            let expected = (0..<elements).map { _ in Float(bitPattern: word()) }
            records.append(Record(type: type, source: source, expected: expected))
        }
        return records
    }

    @Test(arguments: isaMasks) func equalsGolden(isa: UInt64) throws {
        let records = try Self.readGolden()
        #expect(records.map(\.type).sorted() == [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 30])
        for record in records {
            var size = 0
            #expect(lhk_layer_row_bytes(record.type, record.expected.count, &size, nil) == LHK_OK)
            #expect(size == record.source.count)
            let source = Guarded(record.source), output = Guarded.output(record.expected.count)
            let status = lhk_layer_dequantize(
                isa, record.type, source.pointer, output.pointer, record.expected.count, nil)
            #expect(status == LHK_OK)
            expectIdentical(output.values, record.expected, "type \(record.type), ISA \(isa)")
        }
    }

    /// A row of the table is found at the right place and converted as the whole table is.
    @Test(arguments: isaMasks) func embeddingRows(isa: UInt64) throws {
        var generator = SeededGenerator(stream: 1)
        for record in try Self.readGolden() {
            let cols = 256, rows = record.expected.count / cols
            let ids = (0..<9).map { _ in Int32.random(in: 0..<Int32(rows), using: &generator) }
            let table = Guarded(record.source), output = Guarded.output(ids.count * cols)
            let status = lhk_layer_embed(
                isa, record.type, table.pointer, rows, cols, ids, ids.count, output.pointer, nil)
            #expect(status == LHK_OK)
            let expected = ids.flatMap { record.expected[Int($0) * cols..<(Int($0) + 1) * cols] }
            expectIdentical(output.values, expected, "type \(record.type), ISA \(isa)")
        }
    }

    @Test func refusesBadIds() {
        let table: [Float] = [1, 2, 3, 4]
        for id in [-1, 2, Int32.min, Int32.max] {
            var output: [Float] = [-1, -1, -1, -1], error = lhk_error()
            #expect(lhk_layer_embed(0, 0, table, 2, 2, [0, id], 2, &output, &error) == LHK_ERROR_ARGUMENT)
            #expect(output == [-1, -1, -1, -1])
            #expect(error.message == "token id \(id) is outside the vocabulary of 2")
            #expect(error.argument == 5)
        }
    }

    @Test(arguments: [Int32.min, -1, 4, 5, 9, 10, 11, 15, 16, 29, 31, 1000, Int32.max])
    func refusesUnknownTypes(type: Int32) {
        var size = 7, output: [Float] = [-1], error = lhk_error()
        #expect(lhk_layer_row_bytes(type, 256, &size, &error) == LHK_ERROR_UNSUPPORTED)
        #expect(size == 7)
        #expect(error.message == "tensor type \(type) is not supported")
        #expect(lhk_layer_dequantize(0, type, [0], &output, 256, nil) == LHK_ERROR_UNSUPPORTED)
        #expect(lhk_layer_embed(0, type, [0], 1, 256, [0], 1, &output, nil) == LHK_ERROR_UNSUPPORTED)
        #expect(output == [-1])
    }

    @Test(arguments: [(2, 31), (3, 33), (6, 1), (7, 48), (8, 100), (12, 255), (13, 128), (14, 257)] as [(Int32, Int)])
    func refusesPartialBlocks(type: Int32, count: Int) {
        var size = 0, output: [Float] = [-1], error = lhk_error()
        #expect(lhk_layer_row_bytes(type, count, &size, &error) == LHK_ERROR_ARGUMENT)
        #expect(error.message.hasPrefix("\(count) elements are not whole blocks of "))
        #expect(lhk_layer_dequantize(0, type, [0], &output, count, nil) == LHK_ERROR_ARGUMENT)
        #expect(output == [-1])
    }

    @Test func sizesThatOverflow() {
        var size = 0, output: [Float] = [-1]
        #expect(lhk_layer_row_bytes(0, Int.max, &size, nil) == LHK_ERROR_OVERFLOW)
        #expect(lhk_layer_embed(0, 0, [0], Int.max, 1 << 20, [0], 1, &output, nil) == LHK_ERROR_OVERFLOW)
        #expect(lhk_layer_row_bytes(12, 0, &size, nil) == LHK_OK)
        #expect(size == 0)
        #expect(lhk_layer_dequantize(0, 12, [0], &output, 0, nil) == LHK_OK)
        #expect(output == [-1])
    }
}
