// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandRope
import LonghandTestSupport
import Testing

/// Rotated rows of every variant against the formula, and the laws that hold without one.
@Suite struct RotationTests {
    static let dtypes = [LHK_DTYPE_F32, LHK_DTYPE_BF16, LHK_DTYPE_F16]

    /// Compares `out` with the oracle. Rounding: cosine, product and sum, each half a unit in the last place, on top of
    /// the angle's error.
    func expectRotated(_ x: Rows, _ out: Rows, _ rotation: Rotation, first: Int64, _ note: String) {
        let frequencies = rotation.frequencies
        var worst: Wide = 0
        for i in 0..<x.shape[0] {
            let angle = 4e-16 * abs(Wide(first) + Wide(i)) * (frequencies.max() ?? 0)
            for h in 0..<x.shape[1] {
                let head = (0..<x.shape[2]).map { x[i, h, $0] }
                let want = rotation.rotate(head, position: first + Int64(i), frequencies: frequencies)
                for t in 0..<rotation.dims / 2 {
                    let (a, b) = rotation.pair(t)
                    let size = rotation.magnitude * Wide(abs(head[a]) + abs(head[b])) * (0x1p-24 * 2.5 + angle)
                    for d in [a, b] { worst = max(worst, abs(Wide(out[i, h, d]) - want[d]) / max(size, 1e-30)) }
                }
                for d in rotation.dims..<rotation.headDim where out[i, h, d] != head[d] { worst = .infinity }
            }
        }
        #expect(worst <= 1, "\(note): error is \(worst) of what is allowed, \(rotation), first \(first)")
    }

    @Test(arguments: Variant.runnable, 1...40) func agreesWithTheFormula(variant: Variant, seed: Int) throws {
        var generator = SeededGenerator(seed: seed)
        let rotation = Rotation.random(&generator)
        let tokens = Int.random(in: 1...6, using: &generator)
        let heads = Int.random(in: 1...4, using: &generator)
        let first = [0, 1, 37, 8191, 131_072, 1_000_000][Int.random(in: 0..<6, using: &generator)] as Int64
        let x = Rows(
            tokens, heads, rotation.headDim, dtype: Self.dtypes[seed % 3],
            padding: Int.random(in: 0...5, using: &generator), headsFirst: Bool.random(using: &generator))
        x.fill(&generator)
        let out = Rows(
            tokens, heads, rotation.headDim, padding: Int.random(in: 0...5, using: &generator),
            headsFirst: Bool.random(using: &generator))
        let instance = try Instance(variant, rotation)
        let before = x.allBits
        try instance.apply(x, first: first, to: out)
        expectRotated(x, out, rotation, first: first, variant.id)
        #expect(out.canaryIntact && x.canaryIntact && instance.tailIntact && x.allBits == before)
    }

    @Test(arguments: Variant.runnable, [1_000_000, 1_048_576, -1_000_000, 1 << 31, 1 << 40] as [Int64])
    func largePositions(variant: Variant, position: Int64) throws {
        var generator = SeededGenerator(seed: 7)
        let rotation = Rotation(128)
        let x = Rows(1, 2, 128)
        let out = Rows(1, 2, 128)
        x.fill(&generator)
        try Instance(variant, rotation).apply(x, first: position, to: out)
        expectRotated(x, out, rotation, first: position, variant.id)
    }

    /// Unit vectors show cosine and sine themselves: rounded to the nearest float but for ties closer than 1e-9.
    @Test(arguments: Variant.runnable, [0, 99_000, 1_000_000] as [Int64])
    func cosinesAreRoundedOnce(variant: Variant, first: Int64) throws {
        let rotation = Rotation(64)
        let x = Rows(500, 1, 64)
        let out = Rows(500, 1, 64)
        for i in 0..<500 { for d in 0..<64 { x[i, 0, d] = d < 32 ? 1 : 0 } }
        try Instance(variant, rotation).apply(x, first: first, to: out)
        var worst: Wide = 0
        for (t, frequency) in rotation.frequencies.enumerated() {
            for i in 0..<500 {
                let angle = Wide(first + Int64(i)) * frequency
                for (got, want) in [(out[i, 0, t], cos(angle)), (out[i, 0, t + 32], sin(angle))] {
                    worst = max(worst, abs(Wide(got) - want) - Wide(Float(want).ulp) / 2)
                }
            }
        }
        #expect(worst < 1e-9)
    }

    /// All instruction sets, and the direct call under each mask, give the same bits.
    @Test(arguments: 1...20) func variantsAgreeBitForBit(seed: Int) throws {
        var generator = SeededGenerator(seed: seed)
        let rotation = Rotation.random(&generator)
        let x = Rows(3, 2, rotation.headDim, dtype: Self.dtypes[seed % 3])
        x.fill(&generator)
        let first = Int64.random(in: 0...2_000_000, using: &generator)
        var results: [[UInt32]] = []
        for variant in Variant.runnable {
            let out = Rows(3, 2, rotation.headDim)
            try Instance(variant, rotation).apply(x, first: first, to: out)
            results.append(out.allBits)
        }
        for isa in [hardwareISA, hardwareISA & LHK_ISA_AVX2, LHK_ISA_SCALAR] {
            var host = makeHost(isa: isa)
            var table = try rotation.table()
            let out = Rows(3, 2, rotation.headDim)
            var from = x.tensor
            var to = out.tensor
            try check { lhk_rope_apply(&table, &host, &from, first, &to, $0) }
            results.append(out.allBits)
        }
        #expect(results.allSatisfy { $0 == results[0] })
    }

    @Test(arguments: 1...20) func referenceAgreesWithTheFormula(seed: Int) throws {
        var generator = SeededGenerator(seed: seed)
        let rotation = Rotation.random(&generator)
        let x = Rows(2, 2, rotation.headDim, dtype: Self.dtypes[seed % 3], padding: 3)
        x.fill(&generator)
        var out = [Double](repeating: .nan, count: 4 * rotation.headDim)
        var table = try rotation.table()
        var from = x.tensor
        try check { lhk_rope_reference(&table, &from, 999_999, &out, $0) }
        for row in 0..<4 {
            let head = (0..<rotation.headDim).map { x[row / 2, row % 2, $0] }
            let position = 999_999 + Int64(row / 2)
            let want = rotation.rotate(head, position: position, frequencies: rotation.frequencies)
            let worst = (0..<rotation.headDim).map { abs(Wide(out[row * rotation.headDim + $0]) - want[$0]) }.max()!
            #expect(worst < 2e-8, "\(rotation)")
        }
    }

    @Test(arguments: Variant.runnable, [false, true]) func positionZeroIsIdentity(variant: Variant, pairs: Bool) throws {
        var generator = SeededGenerator(seed: 3)
        var rotation = Rotation(62, headDim: 80)
        rotation.interleaved = pairs
        let x = Rows(1, 3, 80)
        let out = Rows(1, 3, 80)
        x.fill(&generator)
        try Instance(variant, rotation).apply(x, first: 0, to: out)
        #expect(out.allBits == x.allBits)
    }

    /// A quarter turn by hand: frequency pi/2 from a factor, position 1, is (a, b) -> (-b, a).
    @Test(arguments: Variant.runnable) func quarterTurn(variant: Variant) throws {
        var rotation = Rotation(2)
        rotation.factors = [2 / Float.pi]
        let x = Rows(5, 1, 2)
        let out = Rows(5, 1, 2)
        for i in 0..<5 { (x[i, 0, 0], x[i, 0, 1]) = (3, 5) }
        try Instance(variant, rotation).apply(x, first: 0, to: out)
        for (i, want) in [(3, 5), (-5, 3), (-3, -5), (5, -3), (3, 5)].enumerated()
            as EnumeratedSequence<[(Float, Float)]>
        {
            #expect(abs(out[i, 0, 0] - want.0) < 2e-6 && abs(out[i, 0, 1] - want.1) < 2e-6)
        }
    }

    @Test(arguments: Variant.runnable, [0, 1000, 100_000] as [Int64])
    func scoresDependOnDistanceOnly(variant: Variant, shift: Int64) throws {
        var generator = SeededGenerator(seed: 11)
        let rotation = Rotation(64)
        let rows = Rows(2, 1, 64)
        rows.fill(&generator)
        let instance = try Instance(variant, rotation)
        func score(_ q: Int64, _ k: Int64) throws -> Double {
            let a = Rows(2, 1, 64)
            let b = Rows(2, 1, 64)
            try instance.apply(rows, first: q, to: a)
            try instance.apply(rows, first: k - 1, to: b)  // row 1 is the key
            return (0..<64).reduce(0) { $0 + Double(a[0, 0, $1]) * Double(b[1, 0, $1]) }
        }
        let near = try score(25, 8)
        let far = try score(25 + shift, 8 + shift)
        #expect(abs(near - far) < 1e-4)
    }

    @Test(arguments: Variant.runnable, 1...6) func inPlaceEqualsOutOfPlace(variant: Variant, seed: Int) throws {
        var generator = SeededGenerator(seed: seed)
        let rotation = Rotation.random(&generator)
        let x = Rows(9, 3, rotation.headDim, padding: 2)
        let out = Rows(9, 3, rotation.headDim)
        x.fill(&generator)
        let instance = try Instance(variant, rotation)
        try instance.apply(x, first: 77, to: out)
        try instance.apply(x, first: 77, to: x)
        #expect(x.allBits == out.allBits && x.canaryIntact)
    }

    @Test(arguments: Variant.runnable) func workersDoNotMatter(variant: Variant) throws {
        var generator = SeededGenerator(seed: 5)
        let rotation = Rotation(64)
        let x = Rows(1000, 3, 64)
        let one = Rows(1000, 3, 64)
        let many = Rows(1000, 3, 64)
        x.fill(&generator)
        let instance = try Instance(variant, rotation)
        try instance.apply(x, first: 123, to: one)
        try instance.apply(x, first: 123, to: many, host: makeHost(workers: 7))
        #expect(one.allBits == many.allBits)
        // A token's result does not depend on the call that it came with.
        let tail = Rows(1, 3, 64)
        let last = Rows(1, 3, 64)
        tail.forEach { tail[$0, $1, $2] = x[999, $1, $2] }
        try instance.apply(tail, first: 123 + 999, to: last)
        #expect(last.allBits == Array(one.allBits.suffix(192)))
    }

    @Test(arguments: Variant.runnable, [false, true]) func notANumberStaysInItsPair(variant: Variant, pairs: Bool)
        throws
    {
        var generator = SeededGenerator(seed: 6)
        var rotation = Rotation(40, headDim: 44)
        rotation.interleaved = pairs
        let x = Rows(3, 2, 44)
        let clean = Rows(3, 2, 44)
        let out = Rows(3, 2, 44)
        x.fill(&generator)
        let instance = try Instance(variant, rotation)
        try instance.apply(x, first: 9, to: clean)
        let (a, b) = rotation.pair(13)
        x[1, 1, a] = .nan
        x[2, 0, 42] = .nan
        try instance.apply(x, first: 9, to: out)
        x.forEach { i, h, d in
            let tainted = (i == 1 && h == 1 && (d == a || d == b)) || (i == 2 && h == 0 && d == 42)
            #expect(tainted ? out[i, h, d].isNaN : out[i, h, d] == clean[i, h, d], "element \(i), \(h), \(d)")
        }
    }

    /// All 65536 values of both half types pass through the copied dimensions unharmed.
    @Test(arguments: Variant.runnable, [LHK_DTYPE_BF16, LHK_DTYPE_F16]) func widensEveryHalf(
        variant: Variant, dtype: lhk_dtype
    ) throws {
        let rotation = Rotation(2, headDim: 514)
        let x = Rows(128, 1, 514, dtype: dtype)
        let out = Rows(128, 1, 514)
        func half(_ i: Int, _ d: Int) -> UInt16 { UInt16(i * 512 + d - 2) }
        for i in 0..<128 {
            for d in 2..<514 { x.bytes.storeBytes(of: half(i, d), toByteOffset: 2 * x.index(i, 0, d), as: UInt16.self) }
        }
        try Instance(variant, rotation).apply(x, first: 0, to: out)
        for i in 0..<128 {
            for d in 2..<514 where out.bits(i, 0, d) != x[i, 0, d].bitPattern {
                #expect(out[i, 0, d].isNaN && x[i, 0, d].isNaN, "half \(half(i, d))")
            }
        }
    }

    @Test(arguments: [(0, 3), (4, 0)]) func nothingToDo(tokens: Int, heads: Int) throws {
        let x = Rows(tokens, heads, 8)
        let out = Rows(tokens, heads, 8)
        try Instance(Variant.runnable[0], Rotation(8)).apply(x, first: 0, to: out)
        #expect(out.canaryIntact)
    }
}
