// SPDX-License-Identifier: Apache-2.0
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
            #expect(lhk_layer_row_bytes(record.type, record.expected.count, &size) == LHK_LAYER_OK)
            #expect(size == record.source.count)
            let source = Guarded(record.source), output = Guarded.output(record.expected.count)
            let status = lhk_layer_dequantize(isa, record.type, source.pointer, output.pointer, record.expected.count)
            #expect(status == LHK_LAYER_OK)
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
                isa, record.type, table.pointer, rows, cols, ids, ids.count, output.pointer)
            #expect(status == LHK_LAYER_OK)
            let expected = ids.flatMap { record.expected[Int($0) * cols..<(Int($0) + 1) * cols] }
            expectIdentical(output.values, expected, "type \(record.type), ISA \(isa)")
        }
    }

    @Test func refusesBadIds() {
        let table: [Float] = [1, 2, 3, 4]
        for id in [-1, 2, Int32.min, Int32.max] {
            var output: [Float] = [-1, -1, -1, -1]
            #expect(lhk_layer_embed(0, 0, table, 2, 2, [0, id], 2, &output) == LHK_LAYER_OUT_OF_RANGE)
            #expect(output == [-1, -1, -1, -1])
        }
    }

    @Test(arguments: [Int32.min, -1, 4, 5, 9, 10, 11, 15, 16, 29, 31, 1000, Int32.max])
    func refusesUnknownTypes(type: Int32) {
        var size = 7
        #expect(lhk_layer_row_bytes(type, 256, &size) == LHK_LAYER_UNKNOWN_TYPE)
        #expect(size == 7)
        #expect(lhk_layer_dequantize(0, type, nil, nil, 256) == LHK_LAYER_UNKNOWN_TYPE)
        #expect(lhk_layer_embed(0, type, nil, 1, 256, nil, 0, nil) == LHK_LAYER_UNKNOWN_TYPE)
    }

    @Test(arguments: [(2, 31), (3, 33), (6, 1), (7, 48), (8, 100), (12, 255), (13, 128), (14, 257)] as [(Int32, Int)])
    func refusesPartialBlocks(type: Int32, count: Int) {
        var size = 0
        #expect(lhk_layer_row_bytes(type, count, &size) == LHK_LAYER_PARTIAL_BLOCK)
        #expect(lhk_layer_dequantize(0, type, nil, nil, count) == LHK_LAYER_PARTIAL_BLOCK)
    }

    @Test func sizesThatOverflow() {
        var size = 0
        #expect(lhk_layer_row_bytes(0, Int.max, &size) == LHK_LAYER_BAD_SHAPE)
        #expect(lhk_layer_embed(0, 0, nil, Int.max, 1 << 20, nil, 0, nil) == LHK_LAYER_BAD_SHAPE)
        #expect(lhk_layer_row_bytes(12, 0, &size) == LHK_LAYER_OK)
        #expect(size == 0)
        #expect(lhk_layer_dequantize(0, 12, nil, nil, 0) == LHK_LAYER_OK)
    }

    @Test func everyStatusHasItsText() {
        let texts = (0...8).map { String(cString: lhk_layer_status_text($0)) }
        #expect(Set(texts).count == texts.count)
        #expect(String(cString: lhk_layer_status_text(-1)) == "unknown status")
        #expect(String(cString: lhk_layer_status_text(9)) == "unknown status")
    }
}
