// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@testable import LonghandModel

@Suite struct SamplerTests {
    private func draws(_ options: SamplingOptions, _ logits: [Float], _ count: Int) throws -> [Int32] {
        var sampler = Sampler(options)
        return try (0..<count).map { _ in try logits.withUnsafeBufferPointer { try sampler.next($0) } }
    }

    private func reason(_ body: () throws -> Any) -> String? {
        (#expect(throws: SamplingError.self) { try body() })?.description
    }

    // MARK: - Options

    @Test func refusesImpossibleOptions() throws {
        for bad in [-0.1, -.infinity, .infinity, .nan] as [Float] {
            #expect(
                reason { try SamplingOptions(temperature: bad) }
                    == "temperature is \(bad); it must be a finite number that is at least 0")
        }
        #expect(
            reason { try SamplingOptions(temperature: 1, topK: -1) }
                == "top-k is -1; it must be at least 1, or 0 for no limit")
        for bad in [0, -1, 1.01, .nan, .infinity] as [Float] {
            #expect(
                reason { try SamplingOptions(temperature: 1, topP: bad) }
                    == "top-p is \(bad); it must be above 0 and at most 1")
        }
        for bad in [-0.1, 1.5, .nan] as [Float] {
            #expect(
                reason { try SamplingOptions(temperature: 1, minP: bad) } == "min-p is \(bad); it must be from 0 to 1")
        }
    }

    // MARK: - Logits

    @Test(arguments: [0, 1] as [Float]) func refusesImpossibleLogits(_ temperature: Float) throws {
        let options = try SamplingOptions(temperature: temperature)
        #expect(reason { try draws(options, [], 1) } == "there are no logits to sample from")
        #expect(reason { try draws(options, [1, .nan, 2], 1) } == "the logit of token 1 is NaN")
        #expect(reason { try draws(options, [.nan], 1) } == "the logit of token 0 is NaN")
        #expect(reason { try draws(options, [1, .infinity], 1) } == "the logit of token 1 is infinite")
        #expect(reason { try draws(options, [.infinity, .nan], 1) } == "the logit of token 1 is NaN")
        #expect(reason { try draws(options, [-.infinity, -.infinity], 1) } == "the logits of all tokens are -inf")
        #expect(try draws(options, [-.infinity, 3, -.infinity], 50).allSatisfy { $0 == 1 })
        #expect(try draws(options, [0], 1) == [0])
    }

    @Test func greedyTakesTheFirstOfTheBest() throws {
        #expect(try draws(.greedy, [1, 5, 5, -2], 3) == [1, 1, 1])
        #expect(try draws(SamplingOptions(temperature: 1, topK: 1, seed: 3), [1, 5, 5, -2], 20).allSatisfy { $0 == 1 })
        #expect(try draws(.greedy, [-.greatestFiniteMagnitude, -3e38], 1) == [1])
    }

    // MARK: - Distributions

    /// Frequencies of the tokens in many draws.
    private func frequencies(_ options: SamplingOptions, _ logits: [Float]) throws -> [Double] {
        let count = 20_000
        var frequencies = [Double](repeating: 0, count: logits.count)
        for id in try draws(options, logits, count) { frequencies[Int(id)] += 1 / Double(count) }
        return frequencies
    }

    /// Equal to `expected` within six standard deviations, which are none where a token is excluded.
    private func check(_ frequencies: [Double], _ expected: [Double], _ comment: Comment) {
        for (frequency, expected) in zip(frequencies, expected) {
            let deviation = (expected * (1 - expected) / 20_000).squareRoot()
            #expect(abs(frequency - expected) <= 6 * deviation + 1e-9, comment)
        }
    }

    @Test func distributions() throws {
        let probabilities = [0.1, 0.4, 0.05, 0.3, 0.15]
        let logits = probabilities.map { Float(log($0)) + 7 }
        let seed = testSeed()
        func check(_ expected: [Double], topK: Int = 0, topP: Float = 1, minP: Float = 0) throws {
            for temperature in [1, 0.5, 2] as [Float] {
                let options = try SamplingOptions(
                    temperature: temperature, topK: topK, topP: topP, minP: minP, seed: seed)
                let powers = expected.map { $0 == 0 ? 0 : pow($0, 1 / Double(temperature)) }
                let total = powers.reduce(0, +)
                self.check(try frequencies(options, logits), powers.map { $0 / total }, "\(options)")
            }
        }
        try check(probabilities)
        try check([0, 0.4, 0, 0.3, 0.15], topK: 3)
        try check(probabilities, topK: 99)
        try check([0, 0.4, 0, 0.3, 0], topP: 0.65)
        try check([0, 0.4, 0, 0.3, 0.15], topP: 0.75)
        try check([0, 1, 0, 0, 0], topP: 0.01)
        try check([0, 0.4, 0, 0.3, 0.15], minP: 0.3)
        try check([0, 1, 0, 0, 0], minP: 1)
        // After top-k 3 the mass is 0.85, of which 0.4 is 47 % and 0.7 is 82 %.
        try check([0, 0.4, 0, 0.3, 0], topK: 3, topP: 0.8)
        try check([0, 0.4, 0, 0.3, 0.15], topK: 3, topP: 0.84)
        // All three: min-p cuts what top-p left.
        try check([0, 1, 0, 0, 0], topK: 4, topP: 0.7, minP: 0.8)
    }

    @Test func extremeTemperatures() throws {
        let logits: [Float] = [1, 2, 3]
        #expect(try draws(SamplingOptions(temperature: .leastNonzeroMagnitude), logits, 20).allSatisfy { $0 == 2 })
        check(
            try frequencies(SamplingOptions(temperature: .greatestFiniteMagnitude, seed: testSeed()), logits),
            [1.0 / 3, 1.0 / 3, 1.0 / 3], "hot")
        let wide: [Float] = [-.greatestFiniteMagnitude, .greatestFiniteMagnitude]
        #expect(try draws(SamplingOptions(temperature: 100), wide, 20).allSatisfy { $0 == 1 })
    }

    /// Top-k and top-p over a large vocabulary keep exactly what a full sort keeps.
    @Test func selectionFromALargeVocabulary() throws {
        let seed = testSeed()
        var generator = SplitMix64(seed: seed)
        // Few distinct values, so that there are many ties, of which the lower ids go first.
        let logits = (0..<20_000).map { _ in Float(Int.random(in: 0..<800, using: &generator)) / 400 }
        let order = logits.indices.sorted { (logits[$0], $1) > (logits[$1], $0) }
        for (topK, topP) in [(40, 1), (300, 1), (0, 0.02), (0, 0.5), (5000, 0.3), (19_999, 1)] as [(Int, Float)] {
            let options = try SamplingOptions(temperature: 1, topK: topK, topP: topP, seed: seed)
            var kept = Array(order.prefix(topK == 0 ? order.count : topK))
            let weights = kept.map { exp(Double(logits[$0]) - 2) }
            let limit = Double(topP) * weights.reduce(0, +)
            var sum = 0.0
            kept = Array(
                kept.prefix(
                    (weights.firstIndex {
                        sum += $0; return sum >= limit
                    } ?? weights.count - 1) + 1))
            let allowed = Set(kept.map { Int32($0) })
            let drawn = try draws(options, logits, 60)
            #expect(drawn.allSatisfy(allowed.contains), "\(options)")
            #expect(Set(drawn).count > 10)
        }
    }

    // MARK: - Repeatability

    @Test func seedsRepeat() throws {
        let logits = (0..<1000).map { Float($0 % 37) / 10 }
        let options = try SamplingOptions(temperature: 0.8, topK: 200, topP: 0.95, minP: 0.01, seed: 42)
        let first = try draws(options, logits, 100)
        #expect(try draws(options, logits, 100) == first)
        let other = try SamplingOptions(temperature: 0.8, topK: 200, topP: 0.95, minP: 0.01, seed: 43)
        #expect(try draws(other, logits, 100) != first)
        // Fixed for all platforms and versions.
        #expect(first.prefix(8) == [513, 813, 442, 812, 221, 586, 109, 957])
    }

    @Test func generatorIsSplitMix64() {
        // The first outputs for seed 1234567, as published with the algorithm.
        var generator = SplitMix64(seed: 1_234_567)
        #expect(generator.next() == 6_457_827_717_110_365_317)
        #expect(generator.next() == 3_203_168_211_198_807_973)
    }

    @Test func exponentialIsAccurate() {
        var generator = SplitMix64(seed: testSeed())
        for _ in 0..<10_000 {
            let x = -708 * pow(generator.nextUnit(), 3)
            #expect(abs(exponential(x) / exp(x) - 1) < 1e-15)
        }
        #expect(exponential(0) == 1)
        #expect(exponential(-.infinity) == 0)
        #expect(exponential(-1e300) == 0)
    }
}
