// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@testable import LonghandModel

@Suite struct PreTokenizerTests {
    private static func words(_ pre: String, _ text: String) throws -> [String] {
        let preTokenizer = try #require(PreTokenizer(named: pre))
        let bytes = Array(text.utf8)
        var words: [String] = []
        bytes.withUnsafeBytes { buffer in
            preTokenizer.forEachWord(buffer) { words.append(String(decoding: buffer[$0], as: UTF8.self)) }
        }
        return words
    }

    @Test func gpt2() throws {
        #expect(
            try Self.words("gpt-2", "I'll  go  \n 12 they'LL!?") == [
                "I", "'ll", " ", " go", "  \n", " 12", " they", "'", "LL", "!?",
            ])
        #expect(try Self.words("default", "a \t") == ["a", " \t"])
    }

    @Test func llama3() throws {
        #expect(
            try Self.words("llama-bpe", "I'LL\tgo 12345 \n\n x.\n\n(y") == [
                "I", "'LL", "\tgo", " ", "123", "45", " \n\n", " x", ".\n\n", "(y",
            ])
    }

    @Test func smollm() throws {
        #expect(try Self.words("smollm", "x=12  3.") == ["x", "=", "1", "2", " ", " ", "3", "."])
    }

    /// The hand-written scanner finds the words that a regular expression engine finds.
    @Test(
        arguments: [
            ("gpt-2", "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^S\\p{L}\\p{N}]+|[S]+(?![^S])|[S]+"),
            ("smollm", "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+|\\p{N}| ?[^S\\p{L}\\p{N}]+|[S]+(?![^S])|[S]+"),
            (
                "llama-bpe",
                "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^S\\p{L}\\p{N}]+[\\r\\n]*|"
                    + "[S]*[\\r\\n]+|[S]+(?![^S])|[S]+"
            ),
        ])
    func agreesWithRegularExpressions(_ pre: String, _ pattern: String) throws {
        // What engines call \s differs; the models' own means the White_Space property.
        let expression = try NSRegularExpression(
            pattern: pattern.replacingOccurrences(of: "S", with: "\\p{White_Space}"))
        let alphabet = [
            " ", " ", " ", "\n", "\r", "\t", "\u{0B}", "\u{85}", "\u{A0}", "\u{3000}", "a", "B", "é", "你", "ʰ", "l", "e",
            "1", "2", "²", "Ⅷ", "٣", ".", "'", "'s", "'S", "'ll", "'Re", "'ſ", "-", "€", "\u{301}", "🙂", "_",
            "\u{200D}",
        ]
        var generator = SplitMix64(seed: testSeed())
        for _ in 0..<3000 {
            let text = (0..<Int.random(in: 0...12, using: &generator))
                .map { _ in alphabet.randomElement(using: &generator)! }.joined()
            let range = NSRange(location: 0, length: text.utf16.count)
            let expected = expression.matches(in: text, range: range).map {
                (text as NSString).substring(with: $0.range)
            }
            #expect(try Self.words(pre, text) == expected, "\(text.debugDescription)")
        }
    }

    @Test func coversBytesThatAreNotUTF8() throws {
        var generator = SplitMix64(seed: testSeed())
        for pre in ["gpt-2", "llama-bpe", "smollm"] {
            let preTokenizer = try #require(PreTokenizer(named: pre))
            for _ in 0..<300 {
                let bytes = (0..<Int.random(in: 1...20, using: &generator)).map { _ in
                    [UInt8.random(in: 0...255, using: &generator), 0x20, 0xE4, 0xBD, 0xF0, 0x31].randomElement(
                        using: &generator)!
                }
                var end = 0
                bytes.withUnsafeBytes {
                    preTokenizer.forEachWord($0) { word in
                        #expect(word.lowerBound == end && !word.isEmpty)
                        end = word.upperBound
                    }
                }
                #expect(end == bytes.count)
            }
        }
    }
}
