// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

@testable import LonghandModel

/// A file of `header` in JSON and `data`.
func safetensors(_ header: String, data: [UInt8] = [], length: UInt64? = nil) -> [UInt8] {
    let json = Array(header.utf8)
    return withUnsafeBytes(of: (length ?? UInt64(json.count)).littleEndian) { Array($0) } + json + data
}

@Suite struct SafetensorsTests {
    @Test func writtenFileReadsBack() throws {
        let floats: [Float] = [1, -2.5, 3e-20, .infinity, 5, 6]
        let odd = "näme \"quoted\" \\ \n\u{1}"
        try withTemporaryPath { path in
            let writer = try SafetensorsWriter(
                path: path,
                tensors: [
                    .init(odd, .u8, shape: [3]), .init("w", .f32, shape: [2, 3]), .init("none", .f16, shape: [0, 4]),
                    .init("scalar", .i64, shape: []),
                ], metadata: ["a": "b\t\u{7F}😀", odd: ""])
            try floats.withUnsafeBytes {
                try writer.write(UnsafeRawBufferPointer(rebasing: $0[8...]), tensor: 1, at: 8)
                try writer.write(UnsafeRawBufferPointer(rebasing: $0[..<8]), tensor: 1, at: 0)
            }
            try [UInt8](arrayLiteral: 7, 8, 9).withUnsafeBytes { try writer.write($0, tensor: 0, at: 0) }
            #expect(throws: SafetensorsError.self) { try writer.finish() }
            #expect(!FileManager.default.fileExists(atPath: path))
            try withUnsafeBytes(of: Int64(-4).littleEndian) { try writer.write($0, tensor: 3, at: 0) }
            try writer.finish()

            let file = try SafetensorsFile(path: path)
            #expect(file.metadata == ["a": "b\t\u{7F}😀", odd: ""])
            #expect(Set(file.tensors.map(\.name)) == [odd, "w", "none", "scalar"])
            let w = try #require(file.tensor("w"))
            #expect(w.shape == [2, 3] && w.type == .f32)
            #expect(try file.floats(of: w) == floats)
            #expect(try file.floats(of: w, 1..<3) == [-2.5, 3e-20])
            #expect(throws: SafetensorsError.self) { try file.floats(of: w, 5..<7) }
            #expect(Array(file.bytes(of: try #require(file.tensor(odd)))) == [7, 8, 9])
            #expect(throws: SafetensorsError.self) { try file.floats(of: file.tensor(odd)!) }
            #expect(try file.floats(of: #require(file.tensor("none"))) == [])
            #expect(file.tensor("scalar")?.shape == [] && file.tensor("scalar")?.elementCount == 1)
            let attributes = try FileManager.default.attributesOfItem(atPath: path)
            #expect(attributes[.size] as? Int == writer.byteCount)
        }
    }

    @Test func halvesAreWidened() throws {
        let header = #"{"h":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[4,6]}}"#
        try withFile(safetensors(header, data: [0x00, 0x3C, 0x00, 0xC0, 0x40, 0x40])) { path in
            let file = try SafetensorsFile(path: path)
            #expect(try file.floats(of: file.tensor("h")!) == [1, -2])
            #expect(try file.floats(of: file.tensor("b")!) == [3])
        }
    }

    @Test func writerRefuses() throws {
        try withTemporaryPath { path in
            func make(_ tensors: [SafetensorsWriter.Declaration], at path: String) throws {
                _ = try SafetensorsWriter(path: path, tensors: tensors)
            }
            #expect(throws: SafetensorsError.self) { try make([.init("a", .u8, shape: [1]), .init("a", .u8, shape: [1])], at: path) }
            #expect(throws: SafetensorsError.self) { try make([.init("__metadata__", .u8, shape: [1])], at: path) }
            #expect(throws: SafetensorsError.self) { try make([.init("a", .f32, shape: [1 << 40, 1 << 40])], at: path) }
            #expect(throws: SafetensorsError.self) { try make([.init("a", .f32, shape: [-1])], at: path) }
            // More than any disk has: refused at once.
            #expect(throws: SafetensorsError.self) { try make([.init("a", .u8, shape: [1 << 60])], at: path) }
            #expect(throws: SafetensorsError.self) { try make([], at: NSTemporaryDirectory()) }
            #expect(throws: SafetensorsError.self) { try make([], at: path + "/missing/file") }
            do {
                let writer = try SafetensorsWriter(path: path, tensors: [.init("a", .u8, shape: [2])])
                let bytes: [UInt8] = [1, 2]
                #expect(throws: SafetensorsError.self) { try bytes.withUnsafeBytes { try writer.write($0, tensor: 0, at: 1) } }
            }
            // What was not finished leaves nothing behind.
            let folder = (path as NSString).deletingLastPathComponent, name = (path as NSString).lastPathComponent
            let left = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasPrefix(name) }
            #expect(left == [])
        }
    }

    static let tensor = #""t":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}"#
    /// What is wrong with a file, its header, its data, and a part of the message.
    static let bad: [(String, String, Int, String)] = [
        ("no object", "[]", 0, "does not begin"),
        ("empty header", "", 0, "does not begin"),
        ("unclosed", "{\(tensor)", 2, "needs '}'"),
        ("trailing comma", "{\(tensor),}", 2, "needs a text"),
        ("something after", "{\(tensor)} x", 2, "goes on"),
        ("duplicate name", "{\(tensor),\(tensor)}", 2, "appears twice"),
        ("duplicate by escape", "{\(tensor),\"\\u0074\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[2,2]}}", 2, "appears twice"),
        ("duplicate metadata", #"{"__metadata__":{"a":"","a":""}}"#, 0, "appears twice"),
        ("metadata that are no texts", #"{"__metadata__":{"a":1}}"#, 0, "needs a text"),
        ("unknown dtype", #"{"t":{"dtype":"U9","shape":[2],"data_offsets":[0,2]}}"#, 2, "dtype"),
        ("missing member", #"{"t":{"dtype":"U8","shape":[2]}}"#, 2, "lacks"),
        ("repeated member", #"{"t":{"dtype":"U8","shape":[2],"shape":[2],"data_offsets":[0,2]}}"#, 2, "two members"),
        ("unknown member", #"{"t":{"dtype":"U8","shape":[2],"data_offsets":[0,2],"x":{"y":[]}}}"#, 2, "not known"),
        ("descending offsets", #"{"t":{"dtype":"U8","shape":[2],"data_offsets":[2,0]}}"#, 2, "ascending"),
        ("three offsets", #"{"t":{"dtype":"U8","shape":[2],"data_offsets":[0,2,4]}}"#, 2, "more than 2"),
        ("outside", #"{"t":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}"#, 2, "has 2"),
        ("gap", #"{"t":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#, 2, "gap"),
        (
            "overlap", #"{"t":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"u":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#,
            2, "overlaps"
        ),
        ("data of none", "{\(tensor)}", 3, "belong to none"),
        ("size", #"{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,2]}}"#, 2, "takes 8 bytes"),
        ("size overflow", #"{"t":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,2]}}"#, 2, "overflows"),
        ("shape overflow", #"{"t":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,2]}}"#, 2, "overflows"),
        ("large number", #"{"t":{"dtype":"U8","shape":[99999999999999999999],"data_offsets":[0,2]}}"#, 2, "2^63"),
        ("negative", #"{"t":{"dtype":"U8","shape":[-2],"data_offsets":[0,2]}}"#, 2, "whole number"),
        ("fraction", #"{"t":{"dtype":"U8","shape":[2.0],"data_offsets":[0,2]}}"#, 2, "needs ']'"),
        ("leading zero", #"{"t":{"dtype":"U8","shape":[02],"data_offsets":[0,2]}}"#, 2, "whole number"),
        (
            "rank",
            "{\"t\":{\"dtype\":\"U8\",\"shape\":[" + Array(repeating: "1", count: 17).joined(separator: ",")
                + "],\"data_offsets\":[0,1]}}", 1, "more than 16"
        ),
        ("lone surrogate", #"{"\ud800":{}}"#, 0, "malformed escape"),
        ("bad escape", #"{"\x":{}}"#, 0, "malformed escape"),
        ("short escape", #"{"\u12"#, 0, "malformed escape"),
        ("control character", "{\"a\n\":{}}", 0, "control character"),
        ("unclosed text", "{\"abc", 0, "closing quote"),
        ("long name", "{\"" + String(repeating: "n", count: 5000) + "\":{}}", 0, "longer than"),
        ("nesting", #"{"a":{"a":{"a":{}}}}"#, 0, "not known"),
    ]

    @Test(arguments: bad) func refuses(_ what: String, _ header: String, _ data: Int, _ reason: String) throws {
        try withFile(safetensors(header, data: [UInt8](repeating: 0, count: data))) { path in
            let error = #expect(throws: SafetensorsError.self, "\(what)") { try SafetensorsFile(path: path) }
            let text = error.map { "\($0)" } ?? ""
            #expect(text.contains(reason) && !text.contains { $0.isNewline } && text.count < 1500, "\(what): \(text)")
        }
    }

    @Test func refusesLengthsAndPlaces() throws {
        for (bytes, reason) in [
            ([UInt8](), "is empty"), ([1, 2, 3], "3 bytes"), (safetensors("{}", length: 3), "claims 3 bytes"),
            (safetensors("{}", length: .max), "limit"), (safetensors("{}", length: 100_000_001), "limit"),
            (safetensors("{\"\u{FFFD}\"}").map { $0 == 0xBF ? 0xFF : $0 }, "UTF-8"),
        ] {
            try withFile(bytes) { path in
                let error = #expect(throws: SafetensorsError.self) { try SafetensorsFile(path: path) }
                #expect(error?.description.contains(reason) == true, "\(reason): \(error?.description ?? "")")
            }
        }
        #expect(throws: SafetensorsError.self) { try SafetensorsFile(path: "/nonexistent/file") }
        #expect(throws: SafetensorsError.self) { try SafetensorsFile(path: NSTemporaryDirectory()) }
        let empty = try withFile(safetensors("{}")) { try SafetensorsFile(path: $0) }
        #expect(empty.tensors == [])
    }

    @Test func sha256() {
        #expect(SHA256.hex("".utf8) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(SHA256.hex("abc".utf8) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(
            SHA256.hex(Array(repeating: UInt8(ascii: "a"), count: 1_000_000))
                == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
        for length in 50...70 { #expect(SHA256.hex([UInt8](repeating: 0, count: length)).count == 64) }
    }
}

/// Thousands of damaged files are opened and read to the end, in a process of their own whose memory is limited: a
/// crash, a read outside the file or a large allocation ends that process and fails the test.
@Suite struct SafetensorsFuzzTests {
    @Test(.timeLimit(.minutes(5))) func mutatedFiles() async {
        let seed = testSeed()
        await #expect(processExitsWith: .success) { [seed = seed as UInt64] in
            let pages = try #require(
                String(contentsOfFile: "/proc/self/statm", encoding: .utf8).split(separator: " ").first.flatMap { UInt64($0) })
            let total = pages * UInt64(sysconf(Int32(_SC_PAGESIZE))) + 256 << 20
            var limit = rlimit(rlim_cur: rlim_t(total), rlim_max: rlim_t(total))
            try #require(setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit) == 0)
            var generator = SplitMix64(seed: seed), opened = 0, refused = 0
            let header =
                #"{"__metadata__":{"k":"v\u00e9\n","format":"longhand.trace/1"},"a":{"dtype":"F32","shape":[2,3],"#
                + #""data_offsets":[0,24]},"b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},"#
                + #""c":{"dtype":"U8","shape":[],"data_offsets":[32,33]}}  "#
            let base = safetensors(header, data: (0..<33).map { UInt8($0) })
            for _ in 0..<4000 {
                var bytes = base
                for _ in 0..<[1, 1, 2, 4].randomElement(using: &generator)! { mutate(&bytes, header.utf8.count, &generator) }
                do {
                    let file = try withFile(bytes) { try SafetensorsFile(path: $0) }
                    opened += 1
                    for tensor in file.tensors {
                        #expect(file.bytes(of: tensor).count == tensor.byteCount)
                        _ = file.bytes(of: tensor).reduce(0) { $0 &+ Int($1) }
                        if tensor.type.ggufType != nil { _ = try file.floats(of: tensor) }
                    }
                    #expect(throws: SafetensorsError.self) { try withFile(bytes) { try TraceFile(path: $0) } }
                } catch let error as SafetensorsError {
                    refused += 1
                    #expect(!error.description.contains { $0.isNewline } && error.description.count < 2000)
                }
            }
            #expect(opened > 20 && refused > 1000, "\(opened) opened, \(refused) refused")
        }
    }
}

private func mutate(_ bytes: inout [UInt8], _ headerBytes: Int, _ generator: inout SplitMix64) {
    let end = min(bytes.count, headerBytes + 8)
    guard end > 0 else { return }
    let position = Int.random(in: 0..<end, using: &generator)
    switch Int.random(in: 0..<8, using: &generator) {
    case 0: bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
    case 1: bytes[position] = UInt8.random(in: 0...255, using: &generator)
    case 2: bytes[position] = Array("{}[]:,\"\\0123456789u".utf8).randomElement(using: &generator)!
    case 3: bytes.removeSubrange(Int.random(in: 0..<bytes.count, using: &generator)...)
    case 4: bytes.insert(UInt8(ascii: "9"), at: position)
    case 5: bytes[Int.random(in: 0..<min(8, bytes.count), using: &generator)] = UInt8.random(in: 0...255, using: &generator)
    case 6:
        let piece = Array(bytes[position..<min(end, position + Int.random(in: 1...60, using: &generator))])
        bytes.insert(contentsOf: piece, at: Int.random(in: 0..<end, using: &generator))
    default: bytes.removeSubrange(position..<min(bytes.count, position + Int.random(in: 1...20, using: &generator)))
    }
}
