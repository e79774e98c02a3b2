// SPDX-License-Identifier: Apache-2.0
import Foundation

/// Seeded generator (SplitMix64), so that a test's argument reproduces it.
public struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    public init(seed: Int) { state = UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 }

    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// Seeded normal numbers (Box-Muller).
public struct Normal {
    private var generator: SeededGenerator

    public init(seed: Int) { generator = SeededGenerator(seed: seed) }

    public mutating func uniform() -> Double { Double(generator.next() >> 11) * 0x1p-53 }
    public mutating func next() -> Float { Float((-2 * log(1 - uniform())).squareRoot() * cos(2 * .pi * uniform())) }
    public mutating func row(_ count: Int) -> [Float] { (0..<count).map { _ in next() } }
}
