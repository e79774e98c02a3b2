// SPDX-License-Identifier: Apache-2.0
// Fuzz target `safetensors`: any bytes as a safetensors file. It is refused in one line, or all that it offers can be
// read.

import Glibc

@testable import LonghandModel

func seeds() -> [[UInt8]] {
    [
        file(#"{}"#, 0),
        file(#"{"__metadata__":{"a":"b\n\u00e9\ud83d\ude00"},"x":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#, 24),
        file(
            #"{ "a" : {"dtype":"BF16","shape":[],"data_offsets":[0,2]}, "b":{"shape":[0,5],"data_offsets":[2,2],"#
                + #""dtype":"F16"},"c":{"data_offsets":[2,10],"dtype":"I64","shape":[1]}}   "#, 10),
    ]
}

private func file(_ header: String, _ data: Int) -> [UInt8] {
    withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian, Array.init) + header.utf8 + [UInt8](repeating: 7, count: data)
}

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> Int32 {
    // The length of the header is mended half of the time: a wrong one is refused at once.
    guard let data, size > 8 else { return 0 }
    var bytes = Array(UnsafeBufferPointer(start: data, count: size))
    if bytes[7] & 1 == 0 {
        let length = min(size - 8, Int(bytes[0]) | Int(bytes[1]) << 8)
        bytes.replaceSubrange(0..<8, with: withUnsafeBytes(of: UInt64(length).littleEndian, Array.init))
    }
    do {
        let file = try bytes.withUnsafeBytes { try withFile($0) { try SafetensorsFile(path: $0) } }
        for tensor in file.tensors {
            #if PLANTED_FAULT
            // What the checks of the fuzzer itself must find: a name that is in no seed.
            if !["a", "b", "c", "x"].contains(tensor.name) { found("planted") }
            #endif
            let data = file.bytes(of: tensor)
            _ = data.reduce(0) { $0 &+ $1 }
            if file.tensor(tensor.name) != tensor { found("\"\(tensor.name)\" is not found") }
            if let floats = try? file.floats(of: tensor), floats.count != tensor.elementCount { found("floats are missing") }
        }
    } catch {
        checkLine("\(error)")
    }
    return 0
}
