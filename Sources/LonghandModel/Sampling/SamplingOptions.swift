// SPDX-License-Identifier: Apache-2.0

/// Why sampling options or logits were refused. `description` is one line.
public struct SamplingError: Error, Sendable, Equatable, CustomStringConvertible {
    public let description: String
}

/// How the next token is chosen.
public struct SamplingOptions: Sendable, Equatable {
    /// Divides the logits; 0 takes the most likely token.
    public let temperature: Float
    /// Keeps the so many most likely tokens; 0 keeps all.
    public let topK: Int
    /// Keeps the most likely tokens whose probabilities first add up to this; 1 keeps all.
    public let topP: Float
    /// Keeps tokens of at least this probability relative to the most likely one; 0 keeps all.
    public let minP: Float
    /// Same seed, same choices, on every platform.
    public let seed: UInt64

    /// The most likely token at each step.
    public static let greedy = SamplingOptions()

    /// Checks the values: temperature finite and at least 0, top-k at least 0, top-p in (0, 1], min-p in [0, 1];
    /// throws `SamplingError` otherwise.
    public init(temperature: Float, topK: Int = 0, topP: Float = 1, minP: Float = 0, seed: UInt64 = 0) throws {
        func check(_ isValid: Bool, _ reason: String) throws {
            if !isValid { throw SamplingError(description: reason) }
        }
        // NaN fails every comparison.
        try check(
            temperature >= 0 && temperature.isFinite,
            "temperature is \(temperature); it must be a finite number that is at least 0")
        try check(topK >= 0, "top-k is \(topK); it must be at least 1, or 0 for no limit")
        try check(topP > 0 && topP <= 1, "top-p is \(topP); it must be above 0 and at most 1")
        try check(minP >= 0 && minP <= 1, "min-p is \(minP); it must be from 0 to 1")
        (self.temperature, self.topK, self.topP, self.minP, self.seed) = (temperature, topK, topP, minP, seed)
    }

    /// Greedy choice.
    private init() { (temperature, topK, topP, minP, seed) = (0, 0, 1, 0, 0) }
}
