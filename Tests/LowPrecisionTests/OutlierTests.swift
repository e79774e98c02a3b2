// SPDX-License-Identifier: Apache-2.0
import Foundation
import Longhand
import Testing

/// Accuracy of 8-bit keys and queries on the distribution of FlashAttention-3 (arXiv 2407.08608, section 4.3): N(0, 1), of
/// which 0.1 % have an added N(0, 100); 2048 tokens, 128 channels, no mask; errors against double precision.
@Suite struct OutlierTests {
    static let problem: Problem = {
        var normal = Normal(state: 20_260_305)
        return Problem(
            q: normal.outliers(2048 * 128), k: normal.outliers(2048 * 128), v: normal.outliers(2048 * 128), dim: 128)
    }()
    static let expected = Result { try problem.reference() }

    static func error(store: String, isa: InstructionSet = .detected) throws -> Double {
        rootMeanSquare(try problem.attend(store: store, isa: isa), try expected.get())
    }

    /// Queries and keys with one scale each for the whole tensor. The bf16 store holds the codes exactly, so the scales
    /// join the softmax scale.
    static func errorPerTensor() throws -> Double {
        func codes(_ x: [Float]) -> (codes: [Float], scale: Float) {
            let scale = x.reduce(0) { max($0, abs($1)) } / 127
            return (x.map { ($0 / scale).rounded() }, scale)
        }
        let (q, k) = (codes(problem.q), codes(problem.k))
        let coarse = Problem(
            q: q.codes, k: k.codes, v: problem.v, dim: 128, scale: q.scale * k.scale / Float(128).squareRoot())
        return rootMeanSquare(try coarse.attend(store: "bf16"), try expected.get())
    }

    @Test func rotationKeepsOutliersHarmless() throws {
        let rotated = try Self.error(store: "k8v16"), plain = try Self.error(store: "k8v16:rotate=0")
        let perTensor = try Self.errorPerTensor(), bf16 = try Self.error(store: "bf16")
        print("RMSE: k8v16 \(rotated), without rotation \(plain), 8 bits per tensor \(perTensor), bf16 \(bf16)")
        #expect(rotated < 2.0e-3 && rotated > bf16 * 0.8)
        #expect(plain >= 2 * rotated)
        #expect(perTensor >= 2.6 * rotated)
    }

    /// Integer sums are exact, so the levels differ by how they round probabilities only.
    @Test func levelsAgree() throws {
        let errors = try levels.map { try Self.error(store: "k8v16", isa: $0.isa) }
        for (level, error) in zip(levels, errors) {
            #expect(abs(error / errors[0] - 1) < 0.1, "\(level.name): \(error), scalar \(errors[0])")
        }
    }
}
