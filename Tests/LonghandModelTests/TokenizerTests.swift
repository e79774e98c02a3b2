// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import LonghandModel

/// Tokenizers over small vocabularies made here.
@Suite struct TokenizerTests {
    private func texts(_ tokenizer: Tokenizer, _ ids: [Int32]) -> [String] {
        ids.map { String(decoding: tokenizer.vocabulary.text($0), as: UTF8.self) }
    }

    @Test func bytePairsMergeByRank() throws {
        let tokenizer = try Tokenizer(GGUFWriter.bytePairs().open())
        #expect(texts(tokenizer, tokenizer.encode("hello world")) == ["hello", "Ġworld"])
        #expect(texts(tokenizer, tokenizer.encode("hell\n")) == ["hell", "Ċ"])
        #expect(texts(tokenizer, tokenizer.encode("lllll")) == ["ll", "ll", "l"])
        #expect(tokenizer.addsBOS == false)
        for text in ["", "hello world", "é\u{0}\u{7F}€🙂", "  \n\t", "<|im_start|>hello<custom>"] {
            #expect(tokenizer.decode(tokenizer.encode(text)) == text)
        }
    }

    @Test func everyByteSurvives() throws {
        let bytes = (0...255).map { UInt8($0) } + (0...255).reversed().map { UInt8($0) }
        for writer in [GGUFWriter.bytePairs(), .bytePairs(pre: "llama-bpe"), .bytePairs(pre: "smollm")] {
            let tokenizer = try Tokenizer(writer.open())
            #expect(tokenizer.decodeBytes(tokenizer.encode(bytes: bytes)) == bytes)
        }
        let tokenizer = try Tokenizer(GGUFWriter.scoredPairs().open())
        #expect(tokenizer.decodeBytes(tokenizer.encode(bytes: bytes)) == bytes)
    }

    @Test func markersAreParsedOnRequestOnly() throws {
        let tokenizer = try Tokenizer(GGUFWriter.bytePairs().open())
        let start = try #require(tokenizer.vocabulary.token("<|im_start|>"))
        let custom = try #require(tokenizer.vocabulary.token("<custom>"))
        #expect(tokenizer.vocabulary.bos == start)
        #expect(tokenizer.encode("<|im_start|>", parseSpecial: true) == [start])
        #expect(!tokenizer.encode("<|im_start|>").contains(start))
        #expect(tokenizer.encode("<custom><|im_start|>", parseSpecial: true) == [custom, start])
        #expect(tokenizer.encode("<custom>") == [custom])
        #expect(tokenizer.encode("", addBOS: true) == [start])
    }

    @Test func llama3TakesWholeWordsAndAddsBOS() throws {
        // Without the merges for " world" the token is reached only as a whole.
        var writer = GGUFWriter.bytePairs(pre: "llama-bpe")
        writer["tokenizer.ggml.merges"] = .strings(["h e"])
        writer["tokenizer.ggml.add_bos_token"] = nil
        let tokenizer = try Tokenizer(writer.open())
        #expect(texts(tokenizer, tokenizer.encode("hello world")) == ["<|im_start|>", "hello", "Ġworld"])
        writer["tokenizer.ggml.pre"] = .string("gpt-2")
        #expect(texts(tokenizer, try Tokenizer(writer.open()).encode("hello")) == ["he", "l", "l", "o"])
    }

    @Test func scoredPairsMergeByScore() throws {
        let tokenizer = try Tokenizer(GGUFWriter.scoredPairs().open())
        #expect(tokenizer.addsBOS)
        // "he" beats "ll", and the space prefix is the file's default.
        #expect(texts(tokenizer, tokenizer.encode("hello")) == ["<s>", "▁hello"])
        #expect(texts(tokenizer, tokenizer.encode("word", addBOS: false)) == ["▁w", "or", "d"])
        #expect(texts(tokenizer, tokenizer.encode("x", addBOS: false)) == ["▁", "<0x78>"])
        #expect(texts(tokenizer, tokenizer.encode("h\n\né", addBOS: false)) == ["▁", "h", "\n\n", "▁", "é"])
        #expect(tokenizer.decode(tokenizer.encode("hello word x €")) == "hello word x €")
        #expect(tokenizer.decode(tokenizer.encode(" hello")) == " hello")
    }

    @Test func scoredPairsWithoutSpacePrefix() throws {
        var writer = GGUFWriter.scoredPairs()
        writer["tokenizer.ggml.add_space_prefix"] = .bool(0)
        writer["tokenizer.ggml.add_bos_token"] = .bool(0)
        let tokenizer = try Tokenizer(writer.open())
        #expect(texts(tokenizer, tokenizer.encode("hello hello")) == ["hello", "▁hello"])
        #expect(tokenizer.decode(tokenizer.encode(" hello")) == " hello")
        #expect(tokenizer.encode("") == [])
    }

    @Test func textNeverBecomesAMarker() throws {
        // Merges and scores that would build a control token from text.
        var pairs = GGUFWriter.bytePairs(merges: ["a b", "ab c"])
        let count = 256 + 2 + 3
        pairs["tokenizer.ggml.token_type"] = .int32s((0..<count).map { $0 == 257 ? 3 : 1 })
        let tokenizer = try Tokenizer(pairs.open())
        #expect(texts(tokenizer, tokenizer.encode("abc")) == ["ab", "c"])
        #expect(texts(tokenizer, tokenizer.encode("abc", parseSpecial: true)) == ["abc"])

        var scored = GGUFWriter.scoredPairs()
        scored["tokenizer.ggml.token_type"] = .int32s(
            [2, 3, 3, 3, 3] + Array(repeating: 6, count: 256) + (0..<17).map { $0 == 9 ? 3 : 1 })
        #expect(!texts(try Tokenizer(scored.open()), try Tokenizer(scored.open()).encode("hehe")).contains("he"))
    }

    @Test func longestLeftmostTokenIsMatched() throws {
        var writer = GGUFWriter.bytePairs(merges: [])
        let special = ["aa", "aaa", "aab", "b", "<|im_start|>x"]
        let tokens = ByteAlphabet.characters.map { String(Character($0)) }.filter { $0 != "b" } + special
        writer["tokenizer.ggml.tokens"] = .strings(tokens)
        writer["tokenizer.ggml.token_type"] = .int32s(
            tokens.indices.map { $0 < tokens.count - special.count ? 1 : 4 })
        writer["tokenizer.ggml.bos_token_id"] = nil
        writer["tokenizer.ggml.eos_token_id"] = nil
        let tokenizer = try Tokenizer(writer.open())
        #expect(texts(tokenizer, tokenizer.encode("aaaab")) == ["aaa", "a", "b"])
        #expect(texts(tokenizer, tokenizer.encode("caabaa")) == ["c", "aab", "aa"])
        #expect(texts(tokenizer, tokenizer.encode("a<|im_start|>x")) == ["a", "<|im_start|>x"])
    }

    @Test func streamingHoldsBackPartsOfCharacters() throws {
        let tokenizer = try Tokenizer(GGUFWriter.bytePairs().open())
        var decoder = StreamingDecoder(tokenizer)
        let pieces = tokenizer.encode("a€🙂").map { decoder.append($0) }
        #expect(pieces == ["a", "", "", "€", "", "", "", "🙂"])
        #expect(decoder.finish() == "")
        _ = decoder.append(tokenizer.encode(bytes: [0xE2])[0])
        #expect(decoder.finish() == "\u{FFFD}")
        #expect(tokenizer.decode([-1, 1 << 30]) == "\u{FFFD}\u{FFFD}")
    }

    @Test func streamingEqualsDecodingForNoise() throws {
        let tokenizer = try Tokenizer(GGUFWriter.bytePairs(merges: []).open())
        var generator = SplitMix64(seed: testSeed())
        let interesting: [UInt8] = [0x41, 0x80, 0x8F, 0x90, 0xA0, 0xBF, 0xC2, 0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF]
        for _ in 0..<2000 {
            let bytes = (0..<8).map { _ in interesting.randomElement(using: &generator)! }
            let ids = tokenizer.encode(bytes: bytes)
            var decoder = StreamingDecoder(tokenizer)
            let streamed = ids.map { decoder.append($0) }.joined() + decoder.finish()
            #expect(streamed == String(decoding: bytes, as: UTF8.self), "\(bytes)")
        }
    }
}
