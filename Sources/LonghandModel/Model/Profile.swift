// SPDX-License-Identifier: Apache-2.0
import Glibc

/// The operators that a run is made of, in the order of a pass.
public enum Operator: Int, CaseIterable, Sendable {
    /// Rows of the embedding table, dequantised and scaled.
    case embed
    /// All RMS norms, those of query and key heads and of the output included.
    case norm
    /// The stacked projection to queries, keys and values, biases included.
    case qkv
    /// Positions of keys, packing, and the indices of selectors.
    case append
    case select
    /// Attention over what was selected, positions of queries included.
    case attend
    case output
    case gateUp
    case gate
    case down
    /// Adding to the residual stream.
    case residual
    /// The projection to the vocabulary and its softcap.
    case logits
    case sampling

    /// As reports show it.
    public var name: String {
        switch self {
        case .qkv: "qkv linear"
        case .append: "position+append"
        case .output: "output linear"
        case .gateUp: "gate-up linear"
        case .down: "down linear"
        default: "\(self)"
        }
    }
}

/// Arithmetic and least memory traffic of one call, from formulae over its shape.
public struct OperatorWork: Sendable, Equatable {
    /// Floating-point operations; a multiplication and an addition are two, an exp or tanh is one.
    public var flops: Double
    /// Every operand read once, every result written once.
    public var bytes: Double

    public init(flops: Double, bytes: Double) { (self.flops, self.bytes) = (flops, bytes) }

    /// What has no formula: its time alone is known.
    public static let unknown = OperatorWork(flops: 0, bytes: 0)

    static func + (a: Self, b: Self) -> Self { .init(flops: a.flops + b.flops, bytes: a.bytes + b.bytes) }
}

/// Times of every operator in every layer since this object was made. One thread at a time.
public final class Profile {
    /// Calls of one operator.
    public struct Totals: Sendable {
        public var calls = 0
        public var nanoseconds: UInt64 = 0
        public var work = OperatorWork.unknown

        /// Merges totals of other calls.
        public static func + (a: Self, b: Self) -> Self {
            Totals(calls: a.calls + b.calls, nanoseconds: a.nanoseconds + b.nanoseconds, work: a.work + b.work)
        }
    }

    public let layerCount: Int
    /// [layerCount + 1][operators]; what belongs to no layer comes last.
    private var totals: [Totals]

    public init(layerCount: Int) {
        self.layerCount = layerCount
        totals = Array(repeating: Totals(), count: (layerCount + 1) * Operator.allCases.count)
    }

    /// Totals of `op` in `layer`, or in none.
    public func totals(_ op: Operator, layer: Int?) -> Totals { totals[index(op, layer)] }

    /// Totals of `op` in all layers and outside them.
    public func totals(_ op: Operator) -> Totals {
        (0..<layerCount).reduce(totals(op, layer: nil)) { $0 + totals(op, layer: $1) }
    }

    /// Nanoseconds of all operators.
    public var nanoseconds: UInt64 { totals.reduce(0) { $0 + $1.nanoseconds } }

    func add(_ op: Operator, layer: Int?, nanoseconds: UInt64, _ work: OperatorWork) {
        let index = index(op, layer)
        totals[index].calls += 1
        totals[index].nanoseconds += nanoseconds
        totals[index].work = totals[index].work + work
    }

    private func index(_ op: Operator, _ layer: Int?) -> Int {
        (layer ?? layerCount) * Operator.allCases.count + op.rawValue
    }

    /// Nanoseconds on a monotonic clock.
    @inline(__always) static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
    }
}
