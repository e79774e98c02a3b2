// SPDX-License-Identifier: Apache-2.0

@testable import LonghandModel

extension GGUFWriter {
    /// A file with one metadata entry of each type and one tensor of each type.
    static func allTypes() -> GGUFWriter {
        var writer = GGUFWriter()
        writer.metadata = [
            ("general.architecture", .string("llama")),
            ("a.uint8", .uint8(200)), ("a.int8", .int8(-100)), ("a.uint16", .uint16(60_000)),
            ("a.int16", .int16(-30_000)), ("a.uint32", .uint32(4_000_000_000)), ("a.int32", .int32(-2_000_000_000)),
            ("a.float32", .float32(1.5)), ("a.bool", .bool(1)), ("a.string", .string("naïve\n")),
            ("a.uint64", .uint64(.max)), ("a.int64", .int64(.min)), ("a.float64", .float64(-0.1)),
            ("a.uint8s", .array(type: 0, [.uint8(1), .uint8(255)])),
            ("a.int32s", .int32s([-1, 2, 3])), ("a.floats", .floats([0.5, -2])),
            ("a.bools", .array(type: 7, [.bool(1), .bool(0)])), ("a.strings", .strings(["", "a", "bcd"])),
            ("a.empty", .strings([])),
        ]
        for (index, type) in GGUFTensorType.allCases.enumerated() {
            let bytes = 512 / type.blockSize * type.bytesPerBlock * 2
            writer.tensors.append(
                Tensor(
                    name: "t.\(type.name)", dimensions: [512, 2], type: type.rawValue,
                    data: [UInt8](repeating: UInt8(index), count: bytes)))
        }
        return writer
    }

    /// A byte-level BPE tokenizer with all bytes, the words of `merges`, two markers and one user-defined token.
    static func bytePairs(pre: String = "gpt-2", merges: [String] = smallMerges) -> GGUFWriter {
        let bytes = ByteAlphabet.characters.map { String(Character($0)) }
        let words = merges.map { $0.split(separator: " ").joined() }
        let tokens = bytes + words + ["<|im_start|>", "<|im_end|>", "<custom>"]
        var kinds = [Int32](repeating: 1, count: tokens.count)
        kinds.replaceSubrange((tokens.count - 3)..., with: [3, 3, 4])
        var writer = GGUFWriter()
        writer.metadata = [
            ("general.architecture", .string("llama")),
            ("tokenizer.ggml.model", .string("gpt2")), ("tokenizer.ggml.pre", .string(pre)),
            ("tokenizer.ggml.tokens", .strings(tokens)), ("tokenizer.ggml.token_type", .int32s(kinds)),
            ("tokenizer.ggml.merges", .strings(merges)),
            ("tokenizer.ggml.bos_token_id", .uint32(UInt32(tokens.count - 3))),
            ("tokenizer.ggml.eos_token_id", .uint32(UInt32(tokens.count - 2))),
            ("tokenizer.ggml.add_bos_token", .bool(0)),
            (
                "tokenizer.chat_template",
                .string("{{ '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}{{ '<|im_start|>' + role }}")
            ),
        ]
        writer.tensors = [Tensor(name: "w", dimensions: [4], type: 0, data: [UInt8](repeating: 1, count: 16))]
        return writer
    }

    static let smallMerges = ["h e", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "Ġwor l", "Ġworl d"]

    /// A SentencePiece-style tokenizer with byte tokens, some letters and words.
    static func scoredPairs() -> GGUFWriter {
        let markers = ["<unk>", "<s>", "</s>", "<start_of_turn>", "<end_of_turn>"]
        let bytes = (0...255).map { "<0x" + ($0 < 16 ? "0" : "") + String($0, radix: 16, uppercase: true) + ">" }
        let texts = ["▁", "h", "e", "l", "o", "w", "r", "d", "é", "he", "ll", "hell", "hello", "▁hello", "▁w", "or"]
        let tokens = markers + bytes + texts + ["\n\n"]
        let kinds: [Int32] =
            [2, 3, 3, 3, 3] + bytes.map { _ in 6 } + texts.map { _ in 1 } + [4]
        let scores =
            (markers + bytes).map { _ in Float(0) } + texts.indices.map { -Float($0) } + [-1000]
        var writer = GGUFWriter()
        writer.metadata = [
            ("general.architecture", .string("gemma3")),
            ("tokenizer.ggml.model", .string("llama")),
            ("tokenizer.ggml.tokens", .strings(tokens)), ("tokenizer.ggml.scores", .floats(scores)),
            ("tokenizer.ggml.token_type", .int32s(kinds)),
            ("tokenizer.ggml.unknown_token_id", .uint32(0)), ("tokenizer.ggml.bos_token_id", .uint32(1)),
            ("tokenizer.ggml.eos_token_id", .uint32(2)),
            ("tokenizer.chat_template", .string("<start_of_turn>")),
        ]
        writer.tensors = [
            Tensor(name: "w", dimensions: [32, 2], type: 8, data: [UInt8](repeating: 1, count: 68)),
            Tensor(name: "b", dimensions: [2], type: 0, data: [UInt8](repeating: 0, count: 8)),
        ]
        return writer
    }
}
