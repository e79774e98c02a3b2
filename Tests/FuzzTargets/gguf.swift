// SPDX-License-Identifier: Apache-2.0
// Fuzz target `gguf`: any bytes as a GGUF file. It is refused in one line, or all that it offers can be read.

@testable import LonghandModel

func seeds() -> [[UInt8]] {
    var small = GGUFWriter.allTypes()
    small.tensors = Array(small.tensors.prefix(2))
    return [GGUFWriter.allTypes(), small, .bytePairs(), .scoredPairs()].map { $0.bytes() }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> Int32 {
    do {
        let file = try withFile(UnsafeRawBufferPointer(start: data, count: size)) { try GGUFFile(path: $0) }
        if !file.readEverything() { found("a tensor's bytes are not those of its rows") }
        _ = try ChatFormat.detect(file)
        _ = try Tokenizer(file).encode("hello wörld 12 <|im_start|>", parseSpecial: true)
    } catch {
        checkLine("\(error)")
    }
    return 0
}
