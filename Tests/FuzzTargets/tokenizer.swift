// SPDX-License-Identifier: Apache-2.0
// Fuzz target `tokenizer`: any bytes as text, with the vocabularies of the models in $LONGHAND_CACHE. Ids lie in the
// vocabulary, streamed and whole decoding agree, and decoding gives back the text where the vocabulary has a token for
// every byte of it.

import Glibc

@testable import LonghandModel

/// A tokenizer and the bytes that it leaves out.
private struct Subject {
    let tokenizer: Tokenizer
    let missing: Set<UInt8>

    init(_ path: String) throws {
        let tokenizer = try Tokenizer(GGUFFile(path: path))
        self.tokenizer = tokenizer
        missing = Set((UInt8.min...UInt8.max).filter { tokenizer.encode(bytes: [$0], addBOS: false).isEmpty })
    }
}

private let subjects: [Subject] = {
    guard let folder = getenv("LONGHAND_CACHE") else { found("LONGHAND_CACHE, the folder of the models, is not set") }
    do {
        return try ["SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"].map {
            try Subject("\(String(cString: folder))/\($0)")
        }
    } catch {
        found("\(error); .ci/fetch-models fetches the models")
    }
}()

func seeds() -> [[UInt8]] {
    [
        "Hello, world! It's 2026; we'll see 12345 things.\n\n  def f(x):\n\treturn x\r\n",
        "naïve café — “quotes” … 日本語 한국어 🙂👩‍👩‍👧",
        "<|im_start|>user\nhi<|im_end|>\n<start_of_turn>model\n<bos><eos><pad>",
        "\u{2581}a \u{2581}\u{2581} b", "    \n \n\t\t\u{00A0}\u{3000}x",
    ].flatMap { [[0] + Array($0.utf8), [1] + Array($0.utf8)] } + [[2, 0xFF, 0xC3, 0x28, 0xF0, 0x9F]]
}

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> Int32 {
    var input = FuzzInput(data, size)
    let parseSpecial = input.byte() & 1 == 1
    let text = input.rest()
    for subject in subjects { check(subject, text, parseSpecial: parseSpecial) }
    return 0
}

private func check(_ subject: Subject, _ text: [UInt8], parseSpecial: Bool) {
    let tokenizer = subject.tokenizer
    let ids = tokenizer.encode(bytes: text, addBOS: false, parseSpecial: parseSpecial)
    if !ids.allSatisfy({ $0 >= 0 && $0 < tokenizer.vocabulary.count }) { found("an id outside the vocabulary") }
    if !parseSpecial, ids.contains(where: { tokenizer.vocabulary.kind($0).isSpecial }) { found("text became a marker") }
    let decoded = tokenizer.decodeBytes(ids, skipSpecial: false)
    let expected = text.filter { !subject.missing.contains($0) }
    if plain(decoded) != plain(expected) { found("\(expected) came back as \(decoded)") }
    var decoder = StreamingDecoder(tokenizer, skipSpecial: false)
    let streamed = ids.map { decoder.append($0) }.joined() + decoder.finish()
    if Array(streamed.utf8) != Array(String(decoding: decoded, as: UTF8.self).utf8) { found("streamed text differs") }
}

/// With spaces for U+2581, which is how a SentencePiece vocabulary writes them.
private func plain(_ bytes: [UInt8]) -> [UInt8] {
    var result: [UInt8] = []
    for byte in bytes {
        result.append(byte)
        if result.suffix(3) == [0xE2, 0x96, 0x81] { result.replaceSubrange((result.count - 3)..., with: [0x20]) }
    }
    return result
}
