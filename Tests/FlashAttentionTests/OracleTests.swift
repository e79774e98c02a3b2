// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandFlashAttention
import Testing

/// The formula, written once more: scores of all keys, modifiers, masks, softmax.
struct Oracle {
    var out: [Double] = [], lse: [Double] = []

    init(_ o: Operands) {
        let p = o.params
        let offset = p.flags & LHK_ATTENTION_OFFSET != 0 ? Int(p.offset) : o.keys - o.rows
        let causal = p.flags & LHK_ATTENTION_CAUSAL != 0
        let scale = p.scale > 0 ? Double(p.scale) : Double(Float(1 / Double(o.dimK).squareRoot()))
        for row in 0..<o.rows {
            for head in 0..<o.heads {
                let kvHead = head / (o.heads / o.kvHeads)
                var scores = (0..<o.keys).map { key -> Double in
                    let ahead = key - (row + offset)
                    if causal && ahead > 0 { return -.infinity }
                    if p.window_right >= 0 && ahead > Int(p.window_right) { return -.infinity }
                    if p.window_left >= 0 && -ahead > Int(p.window_left) && key >= Int(p.sink_tokens) { return -.infinity }
                    var s = 0.0
                    for x in 0..<o.dimK {
                        s +=
                            Double(o.q[(row * o.heads + head) * o.dimK + x])
                            * Double(o.k[(key * o.kvHeads + kvHead) * o.dimK + x])
                    }
                    s *= scale
                    if p.softcap > 0 { s = Double(p.softcap) * tanh(s / Double(p.softcap)) }
                    if let slopes = o.slopes { s -= Double(slopes[head]) * Double(abs(ahead)) }
                    return s
                }
                if let sinks = o.sinks { scores.append(Double(sinks[head])) }
                let maximum = scores.max() ?? -.infinity
                let weights = scores.map { maximum > -.infinity ? exp($0 - maximum) : 0 }
                let sum = weights.reduce(0, +)
                for x in 0..<o.dimV {
                    var value = 0.0
                    for key in 0..<o.keys where sum > 0 {
                        value += weights[key] / sum * Double(o.v[(key * o.kvHeads + kvHead) * o.dimV + x])
                    }
                    out.append(value)
                }
                lse.append(sum > 0 ? maximum + log(sum) : -.infinity)
            }
        }
    }
}

/// The double-precision reference against the formula.
@Suite struct OracleTests {
    static let seed: UInt64 = 41

    @Test(arguments: 0..<400) func referenceMatchesFormula(_ index: Int) throws {
        var generator = Generator(state: Self.seed &* 1000 &+ UInt64(index))
        func below(_ n: Int) -> Int { Int.random(in: 0..<n, using: &generator) }
        let kvHeads = 1 + below(3)
        let operands = Operands(
            rows: below(10), keys: below(14), heads: kvHeads * (1 + below(3)), kvHeads: kvHeads, dimK: 1 + below(9),
            dimV: 1 + below(9), seed: UInt64(index))
        operands.params.flags = below(2) == 0 ? 0 : LHK_ATTENTION_CAUSAL
        if below(3) == 0 {
            operands.params.flags |= LHK_ATTENTION_OFFSET
            operands.params.offset = Int64(below(21) - 10)
        }
        operands.params.window_left = Int64(below(8) - 1)
        operands.params.window_right = Int64(below(5) - 1)
        operands.params.sink_tokens = Int64(below(4))
        operands.params.scale = [0, 0.7, 2][below(3)]
        operands.params.softcap = [0, 0, 1.5][below(3)]
        if below(3) == 0 { operands.slopes = generator.floats(operands.heads) }
        if below(3) == 0 { operands.sinks = generator.floats(operands.heads) }
        try operands.runReference()
        let oracle = Oracle(operands)
        for (got, want) in zip(operands.out + operands.lse, oracle.out + oracle.lse) {
            let close = got == Float(want) || abs(Double(got) - want) <= 2e-7 * max(1, abs(want))
            #expect(close, "\(got), expected \(want); seed \(Self.seed) index \(index)")
        }
    }

    /// A row that sees nothing is zero with a log-sum-exp of minus infinity; with a sink logit, of that logit.
    @Test func emptyRows() throws {
        let operands = Operands(rows: 4, keys: 2, dimK: 3, dimV: 2)
        operands.params.flags = LHK_ATTENTION_CAUSAL
        try operands.runReference()
        #expect(Array(operands.out[0..<4]) == [0, 0, 0, 0] && Array(operands.lse[0..<2]) == [-.infinity, -.infinity])
        #expect(!operands.out[4...].contains(0) && !operands.lse[2...].contains(-.infinity))
        operands.sinks = [0.25]
        try operands.runReference()
        #expect(Array(operands.out[0..<4]) == [0, 0, 0, 0] && Array(operands.lse[0..<2]) == [0.25, 0.25])
    }

    /// All keys chosen as runs, as tokens, and half and half in a chain is the same as no selection.
    @Test func selectionsOfEverything() throws {
        let operands = Operands(rows: 5, keys: 9, heads: 2, dimK: 4, dimV: 3)
        try operands.runReference()
        let (whole, wholeLse) = (operands.out, operands.lse)
        let memory = Memory()
        let tokens: [Int32] = Array(0..<9)
        let candidates = [
            memory.selection(LHK_SELECTION_ALL, lists: 0, offsets: []),
            memory.selection(LHK_SELECTION_BLOCKS, lists: 2, offsets: [0, 1, 2], runs: [0..<9, 0..<12], tileRows: 8),
            memory.selection(LHK_SELECTION_TOKENS, lists: 2, offsets: [0, 9, 18], tokens: tokens + tokens),
            memory.selection(
                LHK_SELECTION_BLOCKS, lists: 2, offsets: [0, 1, 2], runs: [0..<4, 0..<4], tileRows: 8,
                next: memory.selection(LHK_SELECTION_TOKENS, lists: 1, offsets: [0, 5], tokens: Array(tokens[4...]))),
        ]
        for (index, candidate) in candidates.enumerated() {
            try operands.runReference { $0.selection = candidate }
            for (got, want) in zip(operands.out + operands.lse, whole + wholeLse) {
                #expect(abs(got - want) <= 3e-7, "selection \(index)")
            }
        }
    }

    /// A log weight adds to the score of its token, and a remainder is one more part of the softmax.
    @Test func weightsAndRemainder() throws {
        let operands = Operands(rows: 1, keys: 3, dimK: 2, dimV: 1)
        operands.q = [0, 0]  // all scores are zero
        operands.v = [1, 2, 4]
        let memory = Memory()
        let selection = memory.selection(
            LHK_SELECTION_TOKENS, lists: 1, offsets: [0, 2], tokens: [0, 2], weights: [log(3), 0])
        try operands.runReference { $0.selection = selection }
        #expect(abs(operands.out[0] - 7.0 / 4) < 1e-6 && abs(operands.lse[0] - log(4)) < 1e-6)
        let mutable = UnsafeMutablePointer(mutating: selection)
        mutable.pointee.rest_lse = memory.array([Float(log(2.0))])
        mutable.pointee.rest_mean = memory.array([Float(10)])
        try operands.runReference { $0.selection = selection }
        #expect(abs(operands.out[0] - 27.0 / 6) < 1e-6 && abs(operands.lse[0] - log(6)) < 1e-6)
    }
}
