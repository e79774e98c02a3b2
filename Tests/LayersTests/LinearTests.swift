// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandLayers
import Testing

/// OpenBLAS is loaded once per process, here with the highest mask: `LONGHAND_ISA=avx2 swift test` covers the others.
private let blasLoaded: (status: lhk_status, message: String) = load(library: nil)

private func load(library: String?) -> (status: lhk_status, message: String) {
    var error = lhk_error()
    let status = lhk_linear_load(isaMasks.last!, library, &error)
    return (status, error.message)
}

/// A random problem with its operands, each of which ends at a guard page.
private struct Problem: @unchecked Sendable {
    var shape: lhk_linear_shape
    let x: Guarded<Float>, w: Guarded<Float>

    init(m: Int, n: Int, k: Int, pad: Int, using generator: inout SeededGenerator) {
        shape = lhk_linear_shape(m: m, n: n, k: k, ldx: k + pad, ldy: n + pad)
        x = Guarded(generator.floats(m == 0 ? 0 : (m - 1) * (k + pad) + k))
        w = Guarded(generator.floats(n * k, in: -0.5...0.5))
    }

    var parts: Int { withUnsafePointer(to: shape) { lhk_linear_parts($0) } }
    var outputCount: Int { shape.m == 0 ? 0 : (shape.m - 1) * shape.ldy + shape.n }

    func run(_ isa: UInt64, parts: Range<Int>, into y: Guarded<Float>) -> lhk_status {
        withUnsafePointer(to: shape) {
            lhk_linear_f32(isa, $0, x.pointer, w.pointer, y.pointer, parts.lowerBound, parts.upperBound, nil)
        }
    }

    /// Sums in f64, and the sums of magnitudes that bound the error. Padding between rows is NaN.
    func reference() -> (values: [Double], magnitudes: [Double]) {
        var values = [Double](repeating: .nan, count: outputCount), magnitudes = values
        for i in 0..<shape.m {
            for j in 0..<shape.n {
                var sum = 0.0, magnitude = 0.0
                for c in 0..<shape.k {
                    let product = Double(x.pointer[i * shape.ldx + c]) * Double(w.pointer[j * shape.k + c])
                    sum += product
                    magnitude += abs(product)
                }
                values[i * shape.ldy + j] = sum
                magnitudes[i * shape.ldy + j] = magnitude
            }
        }
        return (values, magnitudes)
    }
}

@Suite struct LinearTests {
    /// Masks under which the loaded library may run.
    static var blasMasks: [UInt64] { [isaMasks.last!] }

    private func check(_ problem: Problem, _ isa: UInt64) {
        let shape = problem.shape
        let context = "linear ISA \(isa), m \(shape.m) n \(shape.n) k \(shape.k)"
        let y = Guarded.output(problem.outputCount)
        #expect(problem.run(isa, parts: 0..<problem.parts, into: y) == LHK_OK, "\(context)")
        let (values, magnitudes) = problem.reference()
        expectClose(y.values, values, context) { index, _ in
            2e-7 * (4 + Double(shape.k).squareRoot()) * magnitudes[index]
        }
    }

    @Test(arguments: isaMasks) func fewRowsEqualReference(isa: UInt64) {
        var generator = SeededGenerator(stream: 10)
        for m in [0, 1, 2, 3, 4, 5, 6, 7, 8, 11, rowLimit()] {
            for k in [0, 1, 5, 16, 33, Int.random(in: 1...200, using: &generator)] {
                for n in [0, 1, 3, 8, 13, Int.random(in: 1...70, using: &generator)] {
                    let pad = Int.random(in: 0...3, using: &generator)
                    check(Problem(m: m, n: n, k: k, pad: pad, using: &generator), isa)
                }
            }
        }
        check(Problem(m: 1, n: 576, k: 576, pad: 0, using: &generator), isa)
        check(Problem(m: 3, n: 256, k: 1536, pad: 0, using: &generator), isa)
    }

    @Test func manyRowsEqualReference() {
        #expect(blasLoaded.status == LHK_OK, "\(blasLoaded.message)")
        var generator = SeededGenerator(stream: 11)
        for isa in Self.blasMasks {
            for (m, n, k) in [(33, 1, 1), (34, 17, 5), (64, 192, 64), (48, 250, 96), (70, 300, 301), (40, 33, 0)] {
                check(Problem(m: m, n: n, k: k, pad: Int.random(in: 0...3, using: &generator), using: &generator), isa)
            }
        }
    }

    /// The plan depends on the problem only; its parts are disjoint, ascending, and cover every column.
    @Test func partsCoverAllColumns() {
        var generator = SeededGenerator(stream: 12)
        for _ in 0..<500 {
            let m = Int.random(in: 0...600, using: &generator), n = Int.random(in: 0...5000, using: &generator)
            let k = Int.random(in: 0...3000, using: &generator)
            var shape = lhk_linear_shape(m: m, n: n, k: k, ldx: k, ldy: n)
            let parts = lhk_linear_parts(&shape)
            #expect((1...64).contains(parts))
            var next = 0
            for part in 0..<parts {
                var begin = -1, end = -1
                lhk_linear_part_columns(&shape, part, &begin, &end)
                #expect(begin == next && end >= begin, "m \(m) n \(n) k \(k) part \(part), seed \(testSeed)")
                #expect(end > begin || n == 0)
                next = end
            }
            #expect(next == n)
        }
    }

    /// Bit for bit the same when parts run one by one in any order, or at the same time, as when one call does all.
    @Test(arguments: [(1, 1536, 576), (2, 1000, 640), (8, 576, 1536), (64, 576, 576), (100, 777, 333)])
    func partsEqualWhole(m: Int, n: Int, k: Int) {
        #expect(blasLoaded.status == LHK_OK, "\(blasLoaded.message)")
        var generator = SeededGenerator(stream: 13)
        let problem = Problem(m: m, n: n, k: k, pad: 2, using: &generator)
        #expect(problem.parts > 1)
        for isa in m <= rowLimit() ? isaMasks : Self.blasMasks {
            let whole = Guarded.output(problem.outputCount), reversed = Guarded.output(problem.outputCount)
            let parallel = Guarded.output(problem.outputCount)
            #expect(problem.run(isa, parts: 0..<problem.parts, into: whole) == LHK_OK)
            for part in (0..<problem.parts).reversed() {
                #expect(problem.run(isa, parts: part..<part + 1, into: reversed) == LHK_OK)
            }
            DispatchQueue.concurrentPerform(iterations: problem.parts) { part in
                _ = problem.run(isa, parts: part..<part + 1, into: parallel)
            }
            expectIdentical(whole.values, reversed.values, "one by one, ISA \(isa)")
            expectIdentical(whole.values, parallel.values, "in parallel, ISA \(isa)")
        }
    }

    /// Decoding one token or several drafted ones gives the same bits per token.
    @Test(arguments: isaMasks) func fewRowsDoNotDependOnEachOther(isa: UInt64) {
        var generator = SeededGenerator(stream: 14)
        for k in [7, 64, 333] {
            let all = Problem(m: rowLimit() - 1, n: 45, k: k, pad: 0, using: &generator)
            let y = Guarded.output(all.outputCount)
            #expect(all.run(isa, parts: 0..<all.parts, into: y) == LHK_OK)
            for i in 0..<all.shape.m {
                var shape = lhk_linear_shape(m: 1, n: 45, k: k, ldx: k, ldy: 45)
                let row = Guarded.output(45)
                let status = lhk_linear_f32(isa, &shape, all.x.pointer + i * k, all.w.pointer, row.pointer, 0, 1, nil)
                #expect(status == LHK_OK)
                expectIdentical(row.values, Array(y.values[i * 45..<(i + 1) * 45]), "row \(i), ISA \(isa)")
            }
        }
    }

    @Test(arguments: [5, 50]) func nanStaysInItsRow(m: Int) {
        #expect(blasLoaded.status == LHK_OK, "\(blasLoaded.message)")
        var generator = SeededGenerator(stream: 15)
        for isa in m <= rowLimit() ? isaMasks : Self.blasMasks {
            let problem = Problem(m: m, n: 40, k: 37, pad: 0, using: &generator)
            problem.x.pointer[2 * 37 + 36] = .nan
            problem.w.pointer[7 * 37] = .infinity
            let y = Guarded.output(problem.outputCount)
            #expect(problem.run(isa, parts: 0..<problem.parts, into: y) == LHK_OK)
            for (at, value) in y.values.enumerated() {
                let isRight = at / 40 == 2 ? value.isNaN : value.isFinite == (at % 40 != 7)
                #expect(isRight, "\(value) at \(at), ISA \(isa)")
            }
        }
    }

    @Test func refusesBadShapes() {
        func status(_ m: Int, _ n: Int, _ k: Int, _ ldx: Int, _ ldy: Int, _ parts: Range<Int>) -> lhk_status {
            var shape = lhk_linear_shape(m: m, n: n, k: k, ldx: ldx, ldy: ldy), y: [Float] = [-1]
            return lhk_linear_f32(0, &shape, [0], [0], &y, parts.lowerBound, parts.upperBound, nil)
        }
        #expect(status(1, 4, 4, 3, 4, 0..<1) == LHK_ERROR_ARGUMENT)
        #expect(status(1, 4, 4, 4, 3, 0..<1) == LHK_ERROR_ARGUMENT)
        #expect(status(1, 1 << 31, 4, 4, 1 << 31, 0..<1) == LHK_ERROR_OVERFLOW)
        #expect(status(Int.max, Int.max, Int.max, Int.max, Int.max, 0..<1) == LHK_ERROR_OVERFLOW)
        #expect(status(1, 4, 4, 4, 4, 0..<2) == LHK_ERROR_ARGUMENT)
        #expect(status(0, 4, 4, 4, 4, 0..<1) == LHK_OK)
        #expect(status(1, 0, 4, 4, 4, 0..<1) == LHK_OK)
    }

    @Test func loadingChoosesTheCoreByMask() {
        #expect(blasLoaded.status == LHK_OK, "\(blasLoaded.message)")
        #expect(blasLoaded.message.isEmpty)
        #expect(load(library: nil).status == LHK_OK)
        let core = lhk_linear_core_name().map { String(cString: $0) }
        #if arch(x86_64)
        if ProcessInfo.processInfo.environment["OPENBLAS_CORETYPE"] == nil {
            #expect(core == ["Prescott", "Haswell", "SkylakeX"][isaMasks.count - 1])
        }
        #endif
        #expect(core != nil)
    }

    #if arch(x86_64)
    /// The user's core type is kept where the mask allows it and overridden above it; the variable stays as it was.
    /// In processes of their own, since the first call decides.
    @Test func aCoreTypeAboveTheMaskIsOverridden() async {
        await #expect(processExitsWith: .success) {
            setenv("OPENBLAS_CORETYPE", "skylakex", 1)
            guard lhk_linear_load(0, nil, nil) == LHK_OK else { exit(1) }
            guard String(cString: lhk_linear_core_name()!) == "Prescott" else { exit(2) }
            exit(String(cString: getenv("OPENBLAS_CORETYPE")) == "skylakex" ? 0 : 3)
        }
    }

    @Test func aCoreTypeWithinTheMaskIsKept() async {
        await #expect(processExitsWith: .success) {
            setenv("OPENBLAS_CORETYPE", "Prescott", 1)
            guard lhk_linear_load(LHK_ISA_AVX2, nil, nil) == LHK_OK else { exit(1) }
            exit(String(cString: lhk_linear_core_name()!) == "Prescott" ? 0 : 2)
        }
    }

    @Test func anUnsetCoreTypeStaysUnset() async {
        await #expect(processExitsWith: .success) {
            unsetenv("OPENBLAS_CORETYPE")
            guard lhk_linear_load(0, nil, nil) == LHK_OK else { exit(1) }
            exit(getenv("OPENBLAS_CORETYPE") == nil ? 0 : 2)
        }
    }
    #endif

    @Test func missingAndWrongLibraries() {
        #expect(blasLoaded.status == LHK_OK, "\(blasLoaded.message)")
        let missing = load(library: "liblonghand-no-such-blas.so.0")
        #expect(missing.status == LHK_ERROR_NOT_FOUND)
        #expect(missing.message == "liblonghand-no-such-blas.so.0 not found: install libopenblas-dev")
        #if os(Linux)
        #expect(load(library: "libm.so.6").status == LHK_ERROR_ARGUMENT)
        #endif
    }

    /// A mask below the library's kernels is refused, not quietly exceeded.
    @Test func refusesMasksBelowTheLibrary() {
        #expect(blasLoaded.status == LHK_OK, "\(blasLoaded.message)")
        let core = lhk_linear_core_name().map { String(cString: $0) } ?? ""
        guard ["SkylakeX", "Haswell"].contains(core) else { return }  // other cores stay inside every mask
        var generator = SeededGenerator(stream: 16)
        let problem = Problem(m: 40, n: 4, k: 4, pad: 0, using: &generator)
        #expect(problem.run(0, parts: 0..<1, into: Guarded.output(problem.outputCount)) == LHK_ERROR_UNSUPPORTED)
        #expect(lhk_linear_load(0, nil, nil) == LHK_ERROR_UNSUPPORTED)
    }
}

private func rowLimit() -> Int {
    Int(LHK_LINEAR_SMALL_M)
}
