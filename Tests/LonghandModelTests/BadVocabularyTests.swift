// SPDX-License-Identifier: Apache-2.0

import LonghandModel
import Testing

/// Each kind of inconsistent tokenizer metadata gives its own clear line.
@Suite struct BadVocabularyTests {
    private func reason(_ writer: GGUFWriter, _ edit: (inout GGUFWriter) -> Void) throws -> String {
        var writer = writer
        edit(&writer)
        let file = try writer.open()
        let error = try #require(#expect(throws: GGUFError.self) { try Tokenizer(file) })
        #expect(!error.description.contains { $0.isNewline })
        return error.reason
    }

    @Test func missingKeys() throws {
        for (writer, keys) in [
            (GGUFWriter.bytePairs(), ["model", "tokens", "pre", "merges"]),
            (GGUFWriter.scoredPairs(), ["model", "tokens", "scores"]),
        ] {
            for key in keys {
                #expect(
                    try reason(writer) { $0["tokenizer.ggml.\(key)"] = nil }
                        == "metadata \"tokenizer.ggml.\(key)\" is missing")
            }
        }
    }

    @Test func unsupportedKinds() throws {
        #expect(
            try reason(.bytePairs()) { $0["tokenizer.ggml.model"] = .string("bert") }
                == "tokenizer \"bert\" (tokenizer.ggml.model) is not supported")
        #expect(
            try reason(.bytePairs()) { $0["tokenizer.ggml.pre"] = .string("qwen2\n") }
                == "pre-tokenizer \"qwen2\\n\" (tokenizer.ggml.pre) is not supported")
    }

    @Test func badTokens() throws {
        let key = "tokenizer.ggml.tokens"
        #expect(
            try reason(.bytePairs()) { $0[key] = .string("a") }
                == "metadata \"\(key)\" must be an array, but it is of type string")
        #expect(
            try reason(.bytePairs()) { $0[key] = .int32s([1]) }
                == "\(key) must hold strings, but it holds 1 of type int32")
        #expect(
            try reason(.bytePairs()) { $0[key] = .strings([]) }
                == "\(key) must hold strings, but it holds 0 of type string")
        #expect(try reason(.bytePairs()) { $0[key] = .strings(["a", "", "b"]) } == "\(key)[1] is empty")
        #expect(try reason(.bytePairs()) { $0[key] = .strings(["a", "b", "a"]) } == "\(key)[0] and [2] are both \"a\"")
        #expect(
            try reason(.bytePairs()) { $0[key] = .strings([String(repeating: "a", count: 1025)]) }
                == "\(key)[0] is 1025 bytes long; the limit is 1024")
    }

    @Test func tooMuchText() throws {
        let key = "tokenizer.ggml.tokens"
        // 66,000 distinct texts of 1024 bytes.
        let tokens = (0..<66_000).map { index -> GGUFWriter.Value in
            let digits = Array("\(index)".utf8)
            return .text(digits + [UInt8](repeating: 0x61, count: 1024 - digits.count))
        }
        #expect(
            try reason(.bytePairs()) { $0[key] = .array(type: 8, tokens) }
                == "\(key) holds more than 67108864 bytes of text")
    }

    @Test func badTokenTypes() throws {
        let key = "tokenizer.ggml.token_type"
        let count = 256 + GGUFWriter.smallMerges.count + 3
        #expect(
            try reason(.bytePairs()) { $0[key] = .int32s([1, 1]) }
                == "\(key) has 2 elements, but there are \(count) tokens")
        #expect(
            try reason(.bytePairs()) { $0[key] = .floats(Array(repeating: 1, count: count)) }
                == "\(key) must hold 32-bit integers, but it holds values of type float32")
        for bad in [0, 7, -1, Int32.max, Int32.min, 257] {
            #expect(
                try reason(.bytePairs()) { $0[key] = .int32s([bad] + Array(repeating: 1, count: count - 1)) }
                    == "\(key)[0] is \(bad), which is not a token type")
        }
    }

    @Test(arguments: ["bos", "eos", "eot", "eom", "unknown", "padding"]) func idsOutOfRange(_ name: String) throws {
        let key = "tokenizer.ggml.\(name)_token_id"
        let count = 256 + GGUFWriter.smallMerges.count + 3
        for (value, shown) in [
            (GGUFWriter.Value.uint32(UInt32(count)), "\(count)"), (.int32(-1), "-1"), (.uint32(.max), "4294967295"),
        ] {
            #expect(
                try reason(.bytePairs()) { $0[key] = value }
                    == "\(key) is \(shown), but the vocabulary has \(count) tokens")
        }
        #expect(try reason(.bytePairs()) { $0[key] = .uint64(.max) }.hasSuffix("but it is of type uint64"))
    }

    @Test func badMerges() throws {
        let key = "tokenizer.ggml.merges"
        let names = "which is not in the vocabulary"
        #expect(try reason(.bytePairs()) { $0[key] = .strings(["h e", "zz e"]) } == "\(key)[1] names \"zz\", \(names)")
        #expect(try reason(.bytePairs()) { $0[key] = .strings(["h zz"]) } == "\(key)[0] names \"zz\", \(names)")
        #expect(try reason(.bytePairs()) { $0[key] = .strings(["z z"]) } == "\(key)[0] names \"zz\", \(names)")
        for bad in ["he", "", " ", "h ", " e"] {
            #expect(
                try reason(.bytePairs()) { $0[key] = .strings([bad]) }
                    == "\(key)[0] is \"\(bad)\", not two tokens with a space between")
        }
        #expect(
            try reason(.bytePairs()) { $0[key] = .int32s([1]) }
                == "\(key) must hold strings, but it holds values of type int32")
    }

    @Test func badScores() throws {
        let key = "tokenizer.ggml.scores"
        let count = 5 + 256 + 17
        #expect(
            try reason(.scoredPairs()) { $0[key] = .floats([0]) }
                == "\(key) has 1 elements, but there are \(count) tokens")
        #expect(
            try reason(.scoredPairs()) { $0[key] = .int32s(Array(repeating: 0, count: count)) }
                == "\(key) must hold floats, but it holds values of type int32")
        #expect(
            try reason(.scoredPairs()) { $0[key] = .floats([0, .nan] + Array(repeating: 0, count: count - 2)) }
                == "\(key)[1] is nan, not a finite number")
    }

    @Test func badByteTokens() throws {
        #expect(
            try reason(.bytePairs()) {
                $0 = .scoredPairs()
                $0["tokenizer.ggml.unknown_token_id"] = nil
                $0["tokenizer.ggml.tokens"] = .strings(["a"])
                $0["tokenizer.ggml.token_type"] = .int32s([1])
                $0["tokenizer.ggml.scores"] = .floats([0])
                $0["tokenizer.ggml.bos_token_id"] = nil
                $0["tokenizer.ggml.eos_token_id"] = nil
            } == "the vocabulary has neither a token for the byte 0 nor an unknown token")
        #expect(
            try reason(.scoredPairs()) {
                $0["tokenizer.ggml.token_type"] = .int32s(Array(repeating: 6, count: 5 + 256 + 17))
                $0["tokenizer.ggml.bos_token_id"] = nil
            } == "token 0, \"<unk>\", is a byte token, but not of the form <0xNN>")
        #expect(
            try reason(.bytePairs()) {
                $0["tokenizer.ggml.tokens"] = .strings(["abc"])
                $0["tokenizer.ggml.token_type"] = nil
                $0["tokenizer.ggml.bos_token_id"] = nil
                $0["tokenizer.ggml.eos_token_id"] = nil
            } == "the vocabulary has no token for any byte, so it is not one of byte-level BPE")
    }

    @Test func bosAskedForButMissing() throws {
        #expect(
            try reason(.bytePairs()) {
                $0["tokenizer.ggml.add_bos_token"] = .bool(1)
                $0["tokenizer.ggml.bos_token_id"] = nil
            } == "tokenizer.ggml.add_bos_token is true, but tokenizer.ggml.bos_token_id is missing")
    }
}
