// SPDX-License-Identifier: Apache-2.0

import LonghandModel
import Testing

@Suite struct GGUFFileTests {
    @Test func readsEveryMetadataType() throws {
        let file = try GGUFWriter.allTypes().open()
        #expect(file.version == 3)
        #expect(file.alignment == 32)
        #expect(try file.architecture() == "llama")
        #expect(file.metadata.count == 19)
        #expect(try file.integer("a.uint8") == 200)
        #expect(try file.integer("a.int8") == -100)
        #expect(try file.integer("a.uint16") == 60_000)
        #expect(try file.integer("a.int16") == -30_000)
        #expect(try file.integer("a.uint32") == 4_000_000_000)
        #expect(try file.integer("a.int32") == -2_000_000_000)
        #expect(try file.integer("a.int64") == Int.min)
        #expect(try file.float("a.float32") == 1.5)
        #expect(try file.float("a.float64") == -0.1)
        #expect(try file.bool("a.bool") == true)
        #expect(try file.string("a.string") == "naïve\n")
        #expect(try file.string("absent") == nil)
        if case .uint64(let value) = file.metadata["a.uint64"] { #expect(value == .max) } else { Issue.record() }
        #expect(try file.array("a.uint8s")?.int32s() == [1, 255])
        #expect(try file.array("a.int32s")?.int32s() == [-1, 2, 3])
        #expect(try file.array("a.floats")?.floats() == [0.5, -2])
        #expect(try file.array("a.bools")?.bools() == [true, false])
        #expect(try file.array("a.empty")?.count == 0)
        var texts: [String] = []
        try file.array("a.strings")?.forEachString { texts.append("\($0)\(String(decoding: $1, as: UTF8.self))") }
        #expect(texts == ["0", "1a", "2bcd"])
    }

    @Test func tellsWrongMetadataTypes() throws {
        let file = try GGUFWriter.allTypes().open()
        func message(_ body: () throws -> Any?) -> String {
            (#expect(throws: GGUFError.self) { try body() })?.reason ?? ""
        }
        #expect(
            message { try file.integer("a.string") }
                == "metadata \"a.string\" must be an integer below 2^63, but it is of type string")
        #expect(message { try file.integer("a.uint64") }.hasSuffix("below 2^63, but it is of type uint64"))
        #expect(message { try file.string("a.bool") } == "metadata \"a.bool\" must be a string, but it is of type bool")
        #expect(message { try file.required(file.float("b"), "b") } == "metadata \"b\" is missing")
    }

    @Test(arguments: GGUFTensorType.allCases) func readsEveryTensorType(_ type: GGUFTensorType) throws {
        let file = try GGUFWriter.allTypes().open()
        let tensor = try #require(file.tensor("t.\(type.name)"))
        #expect(tensor.type == type)
        #expect(tensor.dimensions == [512, 2])
        #expect(tensor.rowCount == 2)
        #expect(tensor.elementCount == 1024)
        #expect(tensor.byteCount == 2 * tensor.bytesPerRow)
        #expect(tensor.offset.isMultiple(of: 32))
        let data = file.bytes(of: tensor)
        let index = UInt8(try #require(GGUFTensorType.allCases.firstIndex(of: type)))
        #expect(data.count == tensor.byteCount)
        #expect(data.allSatisfy { $0 == index })
    }

    @Test func acceptsVersion2AndOtherAlignments() throws {
        var writer = GGUFWriter.allTypes()
        writer.version = 2
        writer.alignment = 64
        writer["general.alignment"] = .uint32(64)
        let file = try writer.open()
        #expect(file.version == 2)
        #expect(file.tensors.allSatisfy { $0.offset.isMultiple(of: 64) })
        #expect(file.bytes(of: try #require(file.tensor("t.Q6_K"))).count == 1024 / 256 * 210)
    }

    @Test func acceptsAFileWithNothingInIt() throws {
        let file = try GGUFWriter().open()
        #expect(file.metadata.isEmpty && file.tensors.isEmpty)
    }

    @Test func readsSmolLM2() throws {
        let file = try TestModel.smollm2.open()
        #expect(try file.architecture() == "llama")
        #expect(try file.integer("llama.block_count") == 30)
        #expect(file.metadata.count == 33)
        #expect(file.tensors.count == 272)
        let down = try #require(file.tensor("blk.0.ffn_down.weight"))
        #expect(down.dimensions == [1536, 576] && down.type == .q4_1 && down.byteCount == 1536 * 576 / 32 * 20)
        // The data end with the file, up to padding.
        let end = try #require(file.tensors.map { $0.offset + $0.byteCount }.max())
        #expect((0..<32).contains(file.byteCount - end))
    }

    @Test func readsGemma3() throws {
        let file = try TestModel.gemma3.open()
        #expect(try file.architecture() == "gemma3")
        #expect(try file.integer("gemma3.attention.sliding_window") == 512)
        #expect(try file.array("tokenizer.ggml.tokens")?.count == 262_144)
        #expect(file.tensors.count == 236)
        #expect(file.tensor("blk.0.attn_output.weight")?.type == .q4_K)
        #expect(file.tensor("blk.0.attn_output.weight")?.dimensions == [1024, 640])
        let end = try #require(file.tensors.map { $0.offset + $0.byteCount }.max())
        #expect((0..<32).contains(file.byteCount - end))
    }
}
