// SPDX-License-Identifier: Apache-2.0
import Foundation
import Longhand

/// The methods of a configuration, as written; behind the store, in brackets, those of some layers.
public struct EvaluatedMethods: Codable, Sendable, Hashable {
    public let store, prefill, decode, attention, position: String

    init(_ methods: CacheConfiguration) {
        (store, prefill, decode) = (methods.storeDescription, methods.prefill, methods.decode)
        (attention, position) = (methods.attention, methods.position)
    }
}

/// Speed of one phase, and where its time went. The time is that of the layers: the output projection, which no method
/// changes, is left out.
public struct EvaluatedPhase: Codable, Sendable, Hashable {
    public let tokens: Int
    public let seconds, tokensPerSecond: Double
    /// Shares of `seconds`.
    public let appendShare, selectShare, attendShare: Double
    /// Share of the visible keys that took part in the softmax.
    public let attendedShare: Double
    /// Mean number of keys that a query attended.
    public let attendedTokens: Double
}

/// How one configuration compares with dense attention on a text.
public struct EvaluationResult: Codable, Sendable, Hashable {
    public let name: String
    public let methods: EvaluatedMethods
    /// Rows of logits that were compared.
    public let scoredTokens: Int
    /// exp of the mean negative log-likelihood of the next token.
    public let perplexity: Double
    /// perplexity / dense perplexity - 1.
    public let perplexityDelta: Double
    /// Kullback-Leibler divergence from dense in nats: mean over the rows, the value that 99 % and 99.9 % of them do not
    /// exceed (nearest rank), and the largest.
    public let meanKL, kl99, kl999, maxKL: Double
    /// Share of rows whose most likely token is that of dense.
    public let topAgreement: Double
    /// Of the store, in the long run, over all layers.
    public let kvBytesPerToken: Double
    /// Nil for a phase without tokens.
    public let prefill, decode: EvaluatedPhase?
}

/// Time and attention counters of one phase of a session, gathered over windows.
struct PhaseMeter {
    private var tokens = 0, seconds = 0.0
    private var appendNanoseconds: UInt64 = 0, selectNanoseconds: UInt64 = 0, attendNanoseconds: UInt64 = 0
    private var attended: UInt64 = 0, visible: UInt64 = 0

    mutating func add(tokens count: Int, seconds time: Double) {
        tokens += count
        seconds += time
    }

    /// Takes over the counters of `cache` and sets them back.
    mutating func collect(_ cache: Cache) {
        let s = cache.statistics
        appendNanoseconds += s.appendNanoseconds
        selectNanoseconds += s.selectNanoseconds
        attendNanoseconds += s.attendNanoseconds
        attended += s.prefill.pairsAttended + s.decode.pairsAttended
        visible += s.prefill.pairsVisible + s.decode.pairsVisible
        cache.resetStatistics()
    }

    /// - Parameter heads: query heads of all layers together.
    func result(heads: Int) -> EvaluatedPhase? {
        guard tokens > 0 else { return nil }
        func share(_ nanoseconds: UInt64) -> Double { seconds > 0 ? Double(nanoseconds) * 1e-9 / seconds : 0 }
        return EvaluatedPhase(
            tokens: tokens, seconds: seconds, tokensPerSecond: seconds > 0 ? Double(tokens) / seconds : 0,
            appendShare: share(appendNanoseconds), selectShare: share(selectNanoseconds),
            attendShare: share(attendNanoseconds), attendedShare: visible > 0 ? Double(attended) / Double(visible) : 1,
            attendedTokens: Double(attended) / Double(tokens) / Double(max(1, heads)))
    }
}

/// Sums over the compared rows of one configuration.
struct RowStatistics {
    private(set) var divergences: [Double] = []
    private var agreements = 0
    private var nll = 0.0, denseNLL = 0.0, predicted = 0

    mutating func add(kl: Double, agrees: Bool) {
        divergences.append(kl)
        if agrees { agreements += 1 }
    }

    mutating func add(nll value: Double, denseNLL dense: Double) {
        nll += value
        denseNLL += dense
        predicted += 1
    }

    var perplexity: Double { exp(nll / Double(predicted)) }
    var perplexityDelta: Double { exp((nll - denseNLL) / Double(predicted)) - 1 }
    var mean: Double { divergences.reduce(0, +) / Double(divergences.count) }
    var agreement: Double { Double(agreements) / Double(divergences.count) }

    /// The least value that a share `q` of the rows do not exceed.
    func quantiles(_ shares: [Double]) -> [Double] {
        let sorted = divergences.sorted { $0 < $1 || ($1.isNaN && !$0.isNaN) }
        return shares.map { share in
            guard !sorted.isEmpty else { return .nan }
            return sorted[min(sorted.count - 1, max(0, Int((share * Double(sorted.count)).rounded(.up)) - 1))]
        }
    }
}
