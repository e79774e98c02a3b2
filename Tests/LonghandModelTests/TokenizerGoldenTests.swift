// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@testable import LonghandModel

/// Token ids equal those of an independent implementation (see the notes beside the recorded results).
@Suite struct TokenizerGoldenTests {
    @Test(arguments: TestModel.allCases) func licenceText(_ model: TestModel) throws {
        let text = try String(contentsOfFile: "/usr/share/common-licenses/GPL-3", encoding: .utf8)
        let tokenizer = try model.tokenizer()
        let ids = tokenizer.encode(text, addBOS: false)
        let expected = try model.golden().token_ids
        #expect(ids.count == expected.count)
        let difference = zip(ids, expected).enumerated().first { $0.element.0 != $0.element.1 }
        #expect(difference == nil)
        #expect(tokenizer.decode(ids) == text)
    }

    @Test(arguments: TestModel.allCases) func awkwardStrings(_ model: TestModel) throws {
        let tokenizer = try model.tokenizer()
        for item in try model.golden().tokenizer_cases {
            let ids = tokenizer.encode(item.text, addBOS: false)
            #expect(ids == item.ids, "\(item.text.debugDescription)")
            #expect(tokenizer.decode(ids) == item.text)
            var decoder = StreamingDecoder(tokenizer)
            #expect(ids.map { decoder.append($0) }.joined() + decoder.finish() == item.text)
        }
    }

    @Test func beginningOfText() throws {
        #expect(try TestModel.smollm2.tokenizer().encode("", parseSpecial: false) == [])
        #expect(try TestModel.smollm2.tokenizer().encode("", addBOS: true) == [1])
        #expect(try TestModel.gemma3.tokenizer().encode("") == [2])
        #expect(try TestModel.gemma3.tokenizer().encode("", addBOS: false) == [])
    }

    @Test func markers() throws {
        let smollm2 = try TestModel.smollm2.tokenizer()
        #expect(smollm2.encode("<|im_end|>", parseSpecial: true) == [2])
        #expect(!smollm2.encode("<|im_end|>").contains(2))
        #expect(smollm2.decode(smollm2.encode("<|im_end|>")) == "<|im_end|>")
        #expect([0, 2].allSatisfy(smollm2.isEndOfGeneration))
        #expect(![-1, 1, 3, 500, 1 << 30].contains(where: smollm2.isEndOfGeneration))
        #expect(smollm2.decode([1, 2]) == "")
        #expect(smollm2.decode([1, 2], skipSpecial: false) == "<|im_start|><|im_end|>")

        let gemma3 = try TestModel.gemma3.tokenizer()
        #expect(gemma3.encode("a<end_of_turn>", addBOS: false, parseSpecial: true) == [236_746, 106])
        #expect(!gemma3.encode("<end_of_turn><bos>", addBOS: false).contains { $0 == 106 || $0 == 2 })
        #expect([1, 106].allSatisfy(gemma3.isEndOfGeneration))
    }

    @Test(arguments: TestModel.allCases) func binaryNoise(_ model: TestModel) throws {
        let tokenizer = try model.tokenizer()
        var generator = SplitMix64(seed: testSeed())
        for count in [1, 2, 3, 10, 100, 5000] {
            let noise = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
            let ids = tokenizer.encode(bytes: noise, addBOS: false)
            let decoded = tokenizer.decodeBytes(ids)
            switch model {
            case .gemma3: #expect(decoded == noise)
            case .smollm2:
                // The vocabulary lacks these bytes.
                let absent: Set<UInt8> = [0x04, 0x06, 0x13, 0x14, 0x16, 0x1D, 0xC0, 0xC1, 0xF1, 0xF2]
                #expect(decoded == noise.filter { !absent.contains($0) && $0 < 0xF5 })
            }
            var decoder = StreamingDecoder(tokenizer)
            #expect(ids.map { decoder.append($0) }.joined() + decoder.finish() == tokenizer.decode(ids))
        }
    }

    @Test(.timeLimit(.minutes(2)), arguments: TestModel.allCases) func longSingleWord(_ model: TestModel) throws {
        let tokenizer = try model.tokenizer()
        let text = String(repeating: "ab", count: 50_000)
        #expect(tokenizer.decode(tokenizer.encode(text)) == text)
    }
}
