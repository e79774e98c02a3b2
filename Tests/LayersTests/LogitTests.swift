// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandLayers
import Testing

@Suite struct LogitTests {
    static func statistics(_ isa: UInt64, _ logits: [Float]) -> lhk_layer_logit_stats {
        let guarded = Guarded(logits)
        var stats = lhk_layer_logit_stats()
        #expect(lhk_layer_logit_statistics(isa, guarded.pointer, logits.count, &stats, nil) == LHK_OK)
        var index: Int64 = -2
        #expect(lhk_layer_argmax(isa, guarded.pointer, logits.count, &index, nil) == LHK_OK)
        #expect(index == stats.argmax)
        return stats
    }

    @Test(arguments: isaMasks) func equalsReference(isa: UInt64) {
        var generator = SeededGenerator(stream: 8)
        for count in interestingSizes(upTo: 5000, using: &generator) where count > 0 {
            var logits = generator.floats(count, in: -30...30)
            if count > 4 {
                logits[count / 2] = -.infinity
                logits[count - 1] = logits.max()!  // a tie: the first maximum wins
            }
            let stats = Self.statistics(isa, logits)
            let top = logits.max()!
            let sum = logits.reduce(0) { $0 + exp(Double($1) - Double(top)) }
            #expect(stats.max == top)
            #expect(stats.argmax == Int64(logits.firstIndex(of: top)!), "ISA \(isa), count \(count), seed \(testSeed)")
            let error = abs(stats.log_sum_exp - (Double(top) + log(sum)))
            #expect(error < 1e-6, "ISA \(isa), count \(count), seed \(testSeed)")
        }
    }

    @Test(arguments: isaMasks) func specialRows(isa: UInt64) {
        let empty = Self.statistics(isa, [])
        #expect(empty.max == -.infinity && empty.argmax == -1 && empty.log_sum_exp == -.infinity)
        for count in [1, 7, 16, 40] {
            let none = Self.statistics(isa, [Float](repeating: -.infinity, count: count))
            #expect(none.max == -.infinity && none.argmax == 0 && none.log_sum_exp == -.infinity)
            var row = [Float](repeating: 1, count: count)
            row[count - 1] = .infinity
            let infinite = Self.statistics(isa, row)
            #expect(infinite.max == .infinity && infinite.log_sum_exp == .infinity)
            #expect(infinite.argmax == Int64(count - 1))
            for at in 0..<count {
                row[count - 1] = 2
                row[at] = .nan
                let poisoned = Self.statistics(isa, row)
                #expect(poisoned.max.isNaN && poisoned.log_sum_exp.isNaN, "NaN at \(at), ISA \(isa)")
                #expect(poisoned.argmax == -1, "NaN at \(at), ISA \(isa)")
                row[at] = 1
            }
        }
        // Equal logits far from zero: the shift by the maximum keeps the sum exact.
        let equal = Self.statistics(isa, [Float](repeating: 3e4, count: 1000))
        #expect(abs(equal.log_sum_exp - (3e4 + log(1000))) < 1e-6)
    }

    @Test(arguments: isaMasks) func tokenNLL(isa: UInt64) {
        var generator = SeededGenerator(stream: 9)
        for cols in interestingSizes(upTo: 2000, using: &generator) where cols > 0 {
            let rows = 3, stride = cols + 3
            let logits = Guarded(generator.floats((rows - 1) * stride + cols, in: -15...15))
            let targets = (0..<rows).map { _ in Int32.random(in: 0..<Int32(cols), using: &generator) }
            var nll = [Double](repeating: .nan, count: rows)
            #expect(lhk_layer_token_nll(isa, logits.pointer, stride, targets, rows, cols, &nll, nil) == LHK_OK)
            for r in 0..<rows {
                let row = (0..<cols).map { Double(logits.pointer[r * stride + $0]) }
                let top = row.max()!
                let expected = top + log(row.reduce(0) { $0 + exp($1 - top) }) - row[Int(targets[r])]
                #expect(abs(nll[r] - expected) < 1e-6, "ISA \(isa), cols \(cols), seed \(testSeed)")
            }
        }
    }

    static func comparison(_ isa: UInt64, _ reference: [Float], _ other: [Float]) -> lhk_layer_comparison {
        let a = Guarded(reference), b = Guarded(other)
        var result = lhk_layer_comparison()
        #expect(lhk_layer_compare_logits(isa, a.pointer, b.pointer, reference.count, &result, nil) == LHK_OK)
        return result
    }

    /// sum of p (log p - log q) by its definition.
    static func divergence(_ reference: [Float], _ other: [Float]) -> Double {
        func logSoftmax(_ row: [Float]) -> [Double] {
            let top = Double(row.max()!)
            let sum = row.reduce(0) { $0 + exp(Double($1) - top) }
            return row.map { Double($0) - top - log(sum) }
        }
        return zip(logSoftmax(reference), logSoftmax(other)).reduce(0) { sum, pair in
            let p = exp(pair.0)
            return p == 0 ? sum : sum + p * (pair.0 - pair.1)
        }
    }

    @Test(arguments: isaMasks) func comparisonEqualsReference(isa: UInt64) {
        var generator = SeededGenerator(stream: 10)
        for count in interestingSizes(upTo: 5000, using: &generator) where count > 0 {
            for spread: Float in [1e-4, 0.1, 3, 300] {
                let reference = generator.floats(count, in: -20...20)
                var other = zip(reference, generator.floats(count, in: -1...1)).map { $0 + spread * $1 }
                if count > 4 { other[count / 2] = 31 }
                let result = Self.comparison(isa, reference, other)
                let expected = Self.divergence(reference, other)
                let context = "ISA \(isa), count \(count), spread \(spread), seed \(testSeed)"
                #expect(result.kl_divergence >= 0 && abs(result.kl_divergence - expected) < 1e-12 * max(1, expected), "\(context)")
                let statistics = [reference, other].map { Self.statistics(isa, $0) }
                #expect(result.reference_argmax == statistics[0].argmax && result.other_argmax == statistics[1].argmax)
                #expect(abs(result.reference_log_sum_exp - statistics[0].log_sum_exp) < 1e-6, "\(context)")
                #expect(abs(result.other_log_sum_exp - statistics[1].log_sum_exp) < 1e-6, "\(context)")
                #expect(Self.comparison(isa, reference, reference).kl_divergence == 0, "\(context)")
                // A constant added to all logits changes no probability.
                let shifted = Self.comparison(isa, reference, reference.map { $0 + 64 })
                #expect(shifted.kl_divergence < 1e-4 && shifted.other_argmax == result.reference_argmax, "\(context)")
            }
        }
    }

    @Test(arguments: isaMasks) func comparisonOfSpecialRows(isa: UInt64) {
        func kl(_ reference: [Float], _ other: [Float]) -> Double { Self.comparison(isa, reference, other).kl_divergence }
        let none = -Float.infinity
        for padding in [0, 3, 40] {
            let rest = [Float](repeating: none, count: padding)
            #expect(kl([0, 0] + rest, [0, none] + rest) == .infinity)
            #expect(abs(kl([0, none] + rest, [0, 0] + rest) - log(2)) < 1e-15)
            #expect(kl([0, none, 5] + rest, [0, none, 5] + rest) == 0)
            // Probabilities below the least double count as none.
            #expect(abs(kl([0, -2000] + rest, [0, 0] + rest) - log(2)) < 1e-15)
            #expect(kl([none, none] + rest, [0, 0] + rest).isNaN && kl([0, 0] + rest, [none, none] + rest).isNaN)
            #expect(kl([.infinity, 0] + rest, [0, 0] + rest).isNaN && kl([0, 0] + rest, [.infinity, 0] + rest).isNaN)
            #expect(kl([.nan, 0] + rest, [0, 0] + rest).isNaN && kl([0, 0] + rest, [0, .nan] + rest).isNaN)
        }
        #expect(kl([], []).isNaN)
        // Far from zero and apart: nothing overflows.
        #expect(abs(kl([3e38, 0], [0, -3e38]) - 0) < 1e-15)
        #expect(kl([0, 3e38], [3e38, 0]) > 1e38)
    }

    @Test func comparisonOnWorkers() throws {
        var generator = SeededGenerator(stream: 11), host = lhk_host()
        #expect(lhk_host_openmp(2, &host, nil) == LHK_OK)
        let rows = 37, cols = 301
        let reference = generator.floats(rows * cols), other = generator.floats(rows * cols)
        var results = [lhk_layer_comparison](repeating: .init(), count: rows)
        #expect(lhk_run_compare_logits(&host, reference, other, rows, cols, &results, nil) == LHK_OK)
        for r in 0..<rows {
            let range = r * cols..<(r + 1) * cols
            let alone = Self.comparison(host.isa, Array(reference[range]), Array(other[range]))
            #expect(alone.kl_divergence.bitPattern == results[r].kl_divergence.bitPattern)
        }
        #expect(lhk_run_compare_logits(&host, reference, other, 1, 1 << 31, &results, nil) == LHK_ERROR_OVERFLOW)
    }

    @Test func refusesBadTargetsAndSizes() {
        var nll = [-1.0, -1.0]
        for target in [-1, 3, Int32.min, Int32.max] {
            #expect(lhk_layer_token_nll(0, [1, 2, 3, 4, 5, 6], 3, [0, target], 2, 3, &nll, nil) == LHK_ERROR_ARGUMENT)
        }
        #expect(nll == [-1, -1])
        var stats = lhk_layer_logit_stats(), index: Int64 = 0
        #expect(lhk_layer_logit_statistics(0, [1], 1 << 31, &stats, nil) == LHK_ERROR_OVERFLOW)
        #expect(lhk_layer_argmax(0, [1], 1 << 31, &index, nil) == LHK_ERROR_OVERFLOW)
        #expect(lhk_layer_token_nll(0, [1], 1, [0], 1, 1 << 31, &nll, nil) == LHK_ERROR_OVERFLOW)
    }
}
