// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@testable import LonghandModel

/// Each class of bad file gives its own clear line.
@Suite struct GGUFBadFileTests {
    /// The message without the path, after checking that it is one line that begins with the path.
    private func message(path: String) throws -> String {
        let error = try #require(#expect(throws: GGUFError.self) { try GGUFFile(path: path) })
        #expect(error.description.hasPrefix(path + ": "))
        #expect(!error.description.contains { $0.isNewline })
        return String(error.description.dropFirst(path.count + 2))
    }

    private func message(_ bytes: [UInt8]) throws -> String { try withFile(bytes) { try message(path: $0) } }

    private func message(_ edit: (inout GGUFWriter) -> Void) throws -> String {
        var writer = GGUFWriter.allTypes()
        edit(&writer)
        return try message(writer.bytes())
    }

    // MARK: - Not a regular file

    @Test func missingFile() throws {
        #expect(try message(path: "/nonexistent/model.gguf") == "cannot open: No such file or directory")
    }

    @Test func directory() throws {
        #expect(try message(path: NSTemporaryDirectory()) == "is a directory, not a GGUF file")
    }

    @Test func emptyFile() throws { #expect(try message([]) == "is empty, not a GGUF file") }

    @Test(.timeLimit(.minutes(1))) func fifoDoesNotHang() throws {
        let path = NSTemporaryDirectory() + "longhand-\(UUID().uuidString).fifo"
        try #require(mkfifo(path, 0o600) == 0)
        defer { unlink(path) }
        #expect(try message(path: path) == "is not a regular file")
    }

    @Test func device() throws { #expect(try message(path: "/dev/zero") == "is not a regular file") }

    @Test func unreadableFile() throws {
        try withFile([1, 2, 3]) { path in
            try #require(chmod(path, 0) == 0)
            // The superuser may read it all the same, and then finds that it is no GGUF file.
            let expected = getuid() == 0 ? "at byte 0: is not a GGUF file" : "cannot open: Permission denied"
            #expect(try message(path: path).hasPrefix(expected))
        }
    }

    @Test func zeroByteInPath() throws {
        let error = #expect(throws: GGUFError.self) { try GGUFFile(path: "/dev/null\0.gguf") }
        #expect(error?.description == "/dev/null\\0.gguf: a path cannot contain a zero byte")
    }

    // MARK: - Header

    @Test func wrongMagic() throws {
        #expect(try message { $0.magic = [0x47, 0x47, 0x4D, 0x4C] }.hasPrefix("at byte 0: is not a GGUF file"))
        #expect(try message(Array("GGU".utf8)).hasPrefix("at byte 0: is not a GGUF file"))
    }

    @Test func wrongVersion() throws {
        #expect(try message { $0.version = 1 }.hasPrefix("at byte 4: GGUF version 1 is not supported"))
        #expect(try message { $0.version = 4 }.hasPrefix("at byte 4: GGUF version 4 is not supported"))
        #expect(
            try message { $0.version = UInt32(3).byteSwapped } == "at byte 4: big-endian GGUF files are not supported")
    }

    @Test(arguments: [UInt64.max, 1 << 63, 1 << 40, 1 << 20]) func lyingCounts(_ count: UInt64) throws {
        #expect(try message { $0.claimedTensors = count }.hasPrefix("at byte 8: the file claims \(count) tensors, but"))
        #expect(
            try message { $0.claimedPairs = count }.hasPrefix("at byte 16: the file claims \(count) metadata entries"))
    }

    @Test func tooManyEntries() throws {
        let padding = [UInt8](repeating: 0, count: 3_000_000)
        #expect(
            try message(GGUFWriter(claimedTensors: 70_000).bytes() + padding)
                == "at byte 8: the file has 70000 tensors; the limit is 65536")
    }

    @Test func everyTruncation() throws {
        let writer = GGUFWriter.allTypes()
        let whole = writer.bytes()
        let data = writer.tensors.reduce(0) { $0 + ($1.data.count + 31) / 32 * 32 }
        // Every cut inside the header, and some inside the data.
        let cuts = Array(1..<(whole.count - data)) + stride(from: whole.count - data, to: whole.count, by: 997)
        for cut in cuts {
            let text = try message(Array(whole[..<cut]))
            let isClear = ["is not a GGUF file", "ends after", "bytes of data"].contains { text.contains($0) }
            #expect(isClear, "cut at \(cut): \(text)")
        }
    }

    @Test func randomBytes() throws {
        var generator = SplitMix64(seed: testSeed())
        for count in [1, 4, 24, 100, 10_000] {
            let noise = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
            #expect(try message([0] + noise).contains("is not a GGUF file"))
            _ = try message(Array("GGUF".utf8) + [3, 0, 0, 0] + noise)
        }
    }

    // MARK: - Metadata

    @Test func lyingStringLengths() throws {
        for length in [UInt64.max, UInt64.max - 7, 1 << 63, 100_000] {
            let raw = withUnsafeBytes(of: length.littleEndian) { Array($0) }
            let text = try message { $0.metadata.append(("x", .raw(type: 8, raw))) }
            #expect(text.contains("metadata \"x\" claims a length of \(length) bytes, but the file ends after"))
        }
    }

    /// A long run of zeros takes no room on disk, so a file can really have the length that it claims.
    @Test func hugeText() throws {
        let length = UInt64(300 << 20)
        let raw = withUnsafeBytes(of: length.littleEndian) { Array($0) }
        try withFile(GGUFWriter(metadata: [("x", .raw(type: 8, raw))]).bytes()) { path in
            try #require(truncate(path, 400 << 20) == 0)
            #expect(
                try message(path: path)
                    == "at byte 37: metadata \"x\" is a text of 314572800 bytes; the limit for all together is 67108864")
        }
    }

    @Test func lyingArrayLengths() throws {
        for type: UInt32 in [0, 6, 8, 10] {
            for count in [UInt64.max, UInt64.max / 8 + 2, 1 << 61, 100_000] {
                let raw = withUnsafeBytes(of: type) { Array($0) } + withUnsafeBytes(of: count) { Array($0) }
                let text = try message { $0.metadata.append(("x", .raw(type: 9, raw))) }
                #expect(text.contains("metadata \"x\" claims \(count) elements, but the file ends after"))
            }
        }
    }

    @Test func nestedArrays() throws {
        let inner = GGUFWriter.Value.array(type: 9, [.array(type: 5, [.int32(1)])])
        #expect(
            try message { $0.metadata.append(("x", inner)) }
                .hasSuffix("metadata \"x\" is an array of arrays, which is not supported"))
        // Ten thousand levels, as a recursive reader would meet them.
        let level: [UInt8] = [9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
        let deep = Array(repeatElement(level, count: 10_000).joined())
        #expect(try message { $0.metadata.append(("x", .raw(type: 9, deep))) }.contains("array of arrays"))
    }

    @Test func unknownMetadataType() throws {
        #expect(
            try message { $0.metadata.append(("x", .raw(type: 13, [0]))) }
                .hasSuffix("metadata \"x\" has type 13, which is not a metadata type"))
        #expect(
            try message { $0.metadata.append(("x", .array(type: 99, []))) }
                .hasSuffix("an element of metadata \"x\" has type 99, which is not a metadata type"))
    }

    @Test func badBool() throws {
        #expect(
            try message { $0.metadata.append(("x", .bool(7))) }.hasSuffix("metadata \"x\" is a bool with the value 7"))
        #expect(
            try message { $0.metadata.append(("x", .array(type: 7, [.bool(1), .bool(2)]))) }
                .hasSuffix("metadata \"x\" is a bool with the value 2"))
    }

    @Test func badKeys() throws {
        #expect(
            try message { $0.metadata.append(("a.bool", .bool(1))) }.hasSuffix("metadata \"a.bool\" appears twice"))
        #expect(try message { $0.metadata.append(("", .bool(1))) }.hasSuffix("metadata key 19 is empty"))
        #expect(
            try message { $0.metadata.append((String(repeating: "k", count: 70_000), .bool(1))) }
                .hasSuffix("metadata key 19 is 70000 bytes long; the limit is 65535"))
        #expect(
            try message { $0.metadata.append(("a\nb\u{1B}[31m", .raw(type: 77, []))) }
                .hasSuffix(#"metadata "a\nb\u{1B}[31m" has type 77, which is not a metadata type"#))
        var bytes = GGUFWriter(metadata: [("k", .bool(1))]).bytes()
        bytes[32] = 0xFF
        #expect(try message(bytes) == "at byte 24: metadata key 0 is not valid UTF-8")
    }

    @Test(arguments: [0, 1, 4, 24, 48, 1 << 17] as [UInt32]) func badAlignment(_ alignment: UInt32) throws {
        #expect(
            try message { $0.metadata.append(("general.alignment", .uint32(alignment))) }
                == "general.alignment is \(alignment); it must be a power of two from 8 to 65536")
    }

    @Test func alignmentOfWrongType() throws {
        #expect(
            try message { $0.metadata.append(("general.alignment", .string("32"))) }
                .hasPrefix("general.alignment is of type string; it must be"))
    }

    // MARK: - Tensors

    private func tensorMessage(_ edit: (inout GGUFWriter.Tensor) -> Void) throws -> String {
        try message { edit(&$0.tensors[1]) }
    }

    @Test func unknownTensorTypes() throws {
        for type: UInt32 in [4, 5, 9, 10, 11, 16, 31, 39, .max] {
            #expect(
                try tensorMessage { $0.type = type }
                    .hasSuffix("tensor \"t.F16\" has type \(type), which is not supported"))
        }
    }

    @Test func badDimensions() throws {
        #expect(try tensorMessage { $0.dimensions = [] }.hasSuffix("has 0 dimensions; 1 to 4 are supported"))
        #expect(
            try tensorMessage { $0.dimensions = [1, 1, 1, 1, 1] }.hasSuffix("has 5 dimensions; 1 to 4 are supported"))
        #expect(try tensorMessage { $0.dimensions = [512, 0] }.hasSuffix("has size 0 in dimension 1"))
        #expect(try tensorMessage { $0.dimensions = [1 << 63] }.hasSuffix("has size \(UInt64(1) << 63) in dimension 0"))
        let overflow = "is larger than any file: its size overflows 64 bits"
        #expect(try tensorMessage { $0.dimensions = [1 << 32, 1 << 32] }.hasSuffix(overflow))
        #expect(try tensorMessage { $0.dimensions = [1 << 62] }.hasSuffix(overflow))
        #expect(try tensorMessage { $0.dimensions = [1 << 33, 1 << 31, 3] }.hasSuffix(overflow))
    }

    @Test func rowsThatAreNotWholeBlocks() throws {
        #expect(
            try tensorMessage {
                $0.dimensions = [48]
                $0.type = GGUFTensorType.q8_0.rawValue
            }
            .hasSuffix("tensor \"t.F16\" has rows of 48 elements, not a multiple of the Q8_0 block size 32"))
    }

    @Test func tensorsOutsideTheFile() throws {
        for offset in [UInt64(1) << 62, UInt64.max - 31, 1 << 20] {
            #expect(
                try tensorMessage { $0.offset = offset }
                    .contains("tensor \"t.F16\" needs 2048 bytes at data offset \(offset), but the file has"))
        }
        #expect(try tensorMessage { $0.dimensions = [1 << 40] }.contains("needs 2199023255552 bytes at data offset"))
    }

    @Test func misalignedTensor() throws {
        #expect(
            try tensorMessage { $0.offset = 4100 }
                .hasSuffix("tensor \"t.F16\" has offset 4100, not a multiple of the alignment 32"))
    }

    @Test func overlappingTensors() throws {
        // Which of two tensors at one place is named first is left open.
        let same = try tensorMessage { $0.offset = 0 }
        #expect(same.contains(" overlaps tensor ") && same.contains("\"t.F16\"") && same.contains("\"t.F32\""))
        #expect(try tensorMessage { $0.dimensions = [512, 3] }.hasSuffix("overlaps tensor \"t.F16\""))
    }

    @Test func badTensorNames() throws {
        #expect(try tensorMessage { $0.name = "t.F32" }.hasSuffix("tensor \"t.F32\" appears twice"))
        #expect(try tensorMessage { $0.name = "" }.hasSuffix("the name of tensor 1 is empty"))
        #expect(
            try tensorMessage { $0.name = String(repeating: "n", count: 65) }
                .hasSuffix("the name of tensor 1 is 65 bytes long; the limit is 64"))
    }
}
