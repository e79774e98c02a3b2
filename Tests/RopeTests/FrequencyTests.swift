// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandRope
import LonghandTestSupport
import Testing

/// Frequencies and magnitudes: published values and an independent statement of the formulas.
@Suite struct FrequencyTests {
    func expectClose(_ got: Double, _ want: Double, digits: Double = 6, _ what: String) {
        #expect(abs(got - want) <= abs(want) * pow(10, 1 - digits), "\(what): \(got), expected \(want)")
    }

    @Test func yarnKnownValues() throws {
        var rotation = Rotation(128)
        rotation.scaling = LHK_SCALING_YARN
        rotation.original = 4096
        rotation.factor = 16
        var table = try rotation.table()
        expectClose(table.magnitude, 1.277259, digits: 7, "magnitude")
        var got = frequencies(of: table)
        for (pair, want) in [(0, 1), (20, 0.0562341), (33, 0.00460044), (46, 8.33451e-5), (63, 7.21739e-6)] {
            expectClose(got[pair], want, "pair \(pair)")
        }
        rotation.factor = 32
        table = try rotation.table()
        expectClose(table.magnitude, 1.346574, digits: 7, "magnitude")
        expectClose(frequencies(of: table)[33], 0.00446513, "pair 33")

        rotation = Rotation(64)
        rotation.scaling = LHK_SCALING_YARN
        rotation.original = 2048
        rotation.factor = 8
        got = frequencies(of: try rotation.table())
        expectClose(got[14], 0.0106013, "pair 14")
    }

    /// Waves that turn more than 32 times over the original context stay, those that turn at most once are
    /// interpolated, and the ones between lie between (YaRN, section 3.2).
    @Test(arguments: [(128, 4096, 10000), (64, 2048, 10000), (128, 8192, 500_000), (96, 32768, 1_000_000)])
    func yarnKeepsFastAndInterpolatesSlow(dims: Int, original: Int64, base: Float) throws {
        var rotation = Rotation(dims)
        rotation.scaling = LHK_SCALING_YARN
        rotation.original = original
        rotation.base = base
        rotation.factor = 4
        for (t, got) in frequencies(of: try rotation.table()).enumerated() {
            let plain = pow(Double(base), -Double(2 * t) / Double(dims))
            let turns = Double(original) * plain / (2 * .pi)
            if turns >= 32 {
                #expect(got == plain || abs(got / plain - 1) < 1e-15)
            } else if turns <= 1 {
                #expect(abs(got / (plain / 4) - 1) < 1e-15)
            } else {
                #expect(got <= plain && got >= plain / 4)
            }
        }
    }

    @Test(arguments: [(10000, 16, 167198.74), (10000, 32, 338096.95), (500_000, 4, 2044497.12)])
    func ntkKnownBases(base: Float, factor: Float, raised: Double) throws {
        var rotation = Rotation(128)
        rotation.base = base
        let plain = frequencies(of: try rotation.table())
        rotation.factor = factor
        rotation.scaling = LHK_SCALING_NTK
        let got = frequencies(of: try rotation.table())
        #expect(got[0] == 1)
        expectClose(got[63], plain[63] / Double(factor), digits: 14, "last pair equals linear scaling")
        expectClose(pow(got[1], -64), raised, digits: 8, "base")
    }

    /// Llama 3.1 states its scaling by wavelengths; files carry it as divisors. Both must meet.
    @Test func llama3Factors() throws {
        let (factor, low, high, original) = (8.0, 1.0, 4.0, 8192.0)
        var rotation = Rotation(128)
        rotation.base = 500_000
        let plain = (0..<64).map { pow(500_000, -Double($0) / 64) }
        let want = plain.map { frequency in
            let turns = original * frequency / (2 * .pi)
            if turns < low { return frequency / factor }
            if turns > high { return frequency }
            let smooth = (turns - low) / (high - low)
            return (1 - smooth) * frequency / factor + smooth * frequency
        }
        rotation.factors = zip(plain, want).map { Float($0 / $1) }
        for (got, want) in zip(frequencies(of: try rotation.table()), want) { #expect(abs(got / want - 1) < 1e-7) }
    }

    @Test(arguments: 1...60) func agreesWithTheFormulas(seed: Int) throws {
        var generator = SeededGenerator(seed: seed)
        let rotation = Rotation.random(&generator)
        let table = try rotation.table()
        #expect(abs(Wide(table.magnitude) - rotation.magnitude) < 1e-15)
        // The exponent is rounded too, which the logarithm of the result magnifies.
        let errors = zip(frequencies(of: table), rotation.frequencies).map { got, want in
            abs(Wide(got) - want) / (want * 4e-16 * (1 + abs(log(want))))
        }
        #expect(errors.max()! <= 1, "\(rotation)")
    }

    /// Members that an older caller does not know count as zero.
    @Test func shortParameterStruct() throws {
        var rotation = Rotation(8)
        rotation.scaling = LHK_SCALING_LINEAR
        rotation.factor = 5
        let table = try rotation.withParameters { params in
            params.struct_size = UInt32(MemoryLayout<lhk_position_params>.offset(of: \.factor)!)
            var table = lhk_rope_table()
            try check { lhk_rope_table_init(&params, 8, &table, $0) }
            return table
        }
        #expect(frequencies(of: table)[0] == 1)
    }

    static let refused: [(String, @Sendable (inout Rotation) -> Void)] = [
        ("rotated dimensions", { $0.dims = 7 }),
        ("rotated dimensions", { $0.dims = 66 }),
        (
            "rotated dimensions",
            {
                $0.dims = 578
                $0.headDim = 600
            }
        ),
        (
            "rotated dimensions",
            {
                $0.dims = 0
                $0.headDim = 63
            }
        ),
        ("frequency base", { $0.base = 1 }),
        ("frequency base", { $0.base = 0 }),
        ("frequency base", { $0.base = .nan }),
        ("frequency base", { $0.base = .infinity }),
        ("scaling factor", { $0.factor = 0.5 }),
        ("scaling factor", { $0.factor = .nan }),
        ("unknown scaling", { $0.scaling = 4 }),
        (
            "at least 4",
            {
                $0.scaling = LHK_SCALING_NTK
                $0.dims = 2
            }
        ),
        ("original context", { $0.scaling = LHK_SCALING_YARN }),
        (
            "original context",
            {
                $0.scaling = LHK_SCALING_YARN
                $0.original = -1
            }
        ),
        ("beta_fast", { $0.betaFast = 0.5 }),
        ("beta_fast", { $0.betaSlow = -1 }),
        ("beta_fast", { $0.betaFast = .nan }),
        ("attention factor", { $0.attentionFactor = -1 }),
        ("attention factor", { $0.attentionFactor = .infinity }),
        ("frequency factors", { $0.factors = [1, 2, 3] }),
        ("frequency factor", { $0.factors = .init(repeating: 0, count: 32) }),
        ("frequency factor", { $0.factors = .init(repeating: .nan, count: 32) }),
        ("frequency factor", { $0.factors = .init(repeating: -1, count: 32) }),
        ("frequency factor", { $0.factors = .init(repeating: 1e-9, count: 32) }),
    ]

    @Test(arguments: refused.indices) func refusesNonsense(index: Int) throws {
        let (text, change) = Self.refused[index]
        var rotation = Rotation(64)
        change(&rotation)
        let refusal = #expect(throws: Refusal.self) { try rotation.table() }
        #expect(refusal?.status == LHK_ERROR_ARGUMENT)
        #expect(refusal?.text.contains(text) == true, "\(refusal?.text ?? "")")
    }
}
