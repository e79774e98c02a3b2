// SPDX-License-Identifier: Apache-2.0
// Fuzz target `safetensors`: any bytes as a safetensors file. It is refused in one line, or all that it offers can be
// read.

import Glibc

@testable import LonghandModel

func seeds() -> [[UInt8]] {
    let headers: [(String, Int)] = [
        (#"{}"#, 0),
        (#"{"__metadata__":{"a":"b\n\u00e9\ud83d\ude00"},"x":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#, 24),
        (
            #"{ "a" : {"dtype":"BF16","shape":[],"data_offsets":[0,2]}, "b":{"shape":[0,5],"data_offsets":[2,2],"#
                + #""dtype":"F16"},"c":{"data_offsets":[2,10],"dtype":"I64","shape":[1]}}   "#, 10
        ),
    ]
    var seeds: [[UInt8]] = []
    for (text, data) in headers {
        let header = Array(text.utf8)
        seeds.append([UInt8(data)] + header)
        seeds.append([0xFF] + file(header, data))
    }
    return seeds
}

private func file(_ header: [UInt8], _ data: Int) -> [UInt8] {
    withUnsafeBytes(of: UInt64(header.count).littleEndian, Array.init) + header + [UInt8](repeating: 7, count: data)
}

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> Int32 {
    // A whole file, or a header, so that its length is right however it is edited.
    var input = FuzzInput(data, size)
    let kind = Int(input.byte())
    let bytes = kind == 0xFF ? input.rest() : file(input.rest(), kind)
    do {
        let file = try bytes.withUnsafeBytes { try withFile($0) { try SafetensorsFile(path: $0) } }
        #if PLANTED_FAULT
        // What the checks of the fuzzer itself must find: a text that is in no seed.
        if let text = file.metadata["a"], text != "b\n\u{e9}\u{1F600}" { found("planted") }
        #endif
        for tensor in file.tensors {
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
