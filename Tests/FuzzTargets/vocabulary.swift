// SPDX-License-Identifier: Apache-2.0
// Fuzz target `vocabulary`: edits of the metadata of small tokenizers. The file stays well-formed and its meaning
// suffers: the tokenizer is refused in one line, or encodes and decodes any text with ids of its vocabulary.

@testable import LonghandModel

func seeds() -> [[UInt8]] {
    var generator = SplitMix64(seed: 1)
    return (0..<32).map { number in [UInt8(number)] + (0..<60).map { _ in UInt8.random(in: 0...255, using: &generator) } }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> Int32 {
    var input = FuzzInput(data, size)
    let pre = ["gpt-2", "llama-bpe", "smollm"]
    let kind = input.below(4)
    var writer = kind == 3 ? GGUFWriter.scoredPairs() : .bytePairs(pre: pre[kind])
    for _ in 0...input.below(6) {
        let index = input.below(writer.metadata.count)
        if input.below(32) == 0 { writer.metadata.remove(at: index) } else { edit(&writer.metadata[index].value, &input) }
    }
    do {
        let file = try writer.bytes().withUnsafeBytes { try withFile($0) { try GGUFFile(path: $0) } }
        try use(Tokenizer(file), Array("hello wörld 12 <|im_start|>\n\n".utf8) + [0xFF, 0, 0xE2, 0x96] + input.rest())
    } catch {
        checkLine("\(error)")
    }
    return 0
}

private func edit(_ value: inout GGUFWriter.Value, _ input: inout FuzzInput) {
    switch value {
    case .array(let type, var elements):
        let index = input.below(max(1, elements.count))
        switch input.below(6) {
        case _ where elements.isEmpty: break
        case 0: elements.remove(at: index)
        case 1: elements.append(elements[index])
        case 2: elements.swapAt(index, input.below(elements.count))
        case 3: elements.removeSubrange(index...)
        default: edit(&elements[index], &input)
        }
        value = .array(type: type, elements)
    case .text(var text):
        let index = input.below(text.count + 1)
        if input.below(2) == 0 { text.removeSubrange(index...) }
        text.insert(contentsOf: input.bytes(input.below(12)), at: index)
        value = .text(text)
    case .int32: value = .int32(input.below(2) == 0 ? Int32(input.below(9)) - 1 : Int32(bitPattern: input.word()))
    case .uint32: value = .uint32(input.below(2) == 0 ? UInt32(input.below(300)) : input.word())
    case .float32: value = .float32(Float(bitPattern: input.word()))
    case .bool: value = .bool(input.byte())
    default: value = .uint64(UInt64(input.word()) << 32 | UInt64(input.word()))
    }
}

private func use(_ tokenizer: Tokenizer, _ text: [UInt8]) {
    for parseSpecial in [false, true] {
        let ids = tokenizer.encode(bytes: text, parseSpecial: parseSpecial)
        if !ids.allSatisfy({ $0 >= 0 && $0 < tokenizer.vocabulary.count }) { found("an id outside the vocabulary") }
        var decoder = StreamingDecoder(tokenizer, skipSpecial: false)
        let streamed = ids.map { decoder.append($0) }.joined() + decoder.finish()
        if streamed != tokenizer.decode(ids, skipSpecial: false) { found("streamed text differs") }
        _ = tokenizer.decode(ids + [-1, .max, Int32(tokenizer.vocabulary.count)])
    }
}
