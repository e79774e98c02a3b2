// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandLayers
import Testing

/// Every kernel against its definition in f64.
@Suite struct ElementwiseTests {
    static let extremes: [Float] = [
        0, -0.0, 1, -1, 20, -20, 80, -80, 100, -100, 1e10, -1e10, 3e38, -3e38, 0x1p-140, -0x1p-140, .infinity, .nan,
    ]

    /// The 16-bit neighbours of a float, found by trial: the nearer one, the even one of a tie.
    @Test(arguments: isaMasks) func narrow(isa: UInt64) {
        var generator = SeededGenerator(stream: 12)
        for count in interestingSizes(upTo: 3000, using: &generator) {
            var values = (0..<count).map { _ in Float(bitPattern: UInt32.random(in: 0 ... .max, using: &generator)) }
            for (index, value) in Self.extremes.enumerated() where index < count { values[index] = value }
            for index in stride(from: 40, to: count, by: 3) { values[index] = .random(in: -2...2, using: &generator) * 0x1p-13 }
            let x = Guarded(values), half = Guarded([UInt16](repeating: 0xAAAA, count: count))
            #expect(lhk_layer_narrow(isa, LHK_DTYPE_BF16, x.pointer, half.pointer, count, nil) == LHK_OK)
            for (value, bits) in zip(values, half.values) {
                let got = Float(bitPattern: UInt32(bits) << 16)
                if value.isNaN { #expect(got.isNaN); continue }
                let low = value.bitPattern & 0xFFFF, down = UInt16(value.bitPattern >> 16)
                let up = low > 0x8000 || (low == 0x8000 && down & 1 == 1)
                #expect(bits == (up ? down + 1 : down), "\(value), ISA \(isa), seed \(testSeed)")
            }
            #if arch(arm64) || os(Linux)
            #expect(lhk_layer_narrow(isa, LHK_DTYPE_F16, x.pointer, half.pointer, count, nil) == LHK_OK)
            for (value, bits) in zip(values, half.values) {
                let got = Float16(bitPattern: bits)
                let isSame = value.isNaN ? got.isNaN : bits == Float16(value).bitPattern
                #expect(isSame, "\(value) gives \(got), ISA \(isa), seed \(testSeed)")
            }
            #endif
        }
        var half: [UInt16] = [7]
        #expect(lhk_layer_narrow(isa, LHK_DTYPE_F32, [1], &half, 1, nil) == LHK_ERROR_ARGUMENT)
        #expect(half == [7])
    }

    /// Loops over workers give the bits of the kernels, row by row, and write nothing between rows.
    @Test(arguments: [1, 17, 50]) func rowsOnWorkers(rows: Int) {
        var generator = SeededGenerator(stream: 13), host = lhk_host()
        #expect(lhk_host_openmp(2, &host, nil) == LHK_OK)
        let heads = 3, dim = 24, stride = 90, eps: Float = 1e-6
        let values = generator.floats((rows - 1) * stride + heads * dim), weights = generator.floats(dim)
        let x = Guarded(values), w = Guarded(weights), expected = Guarded(values)
        lhk_run_head_norm(&host, x.pointer, stride, w.pointer, eps, rows, heads, dim)
        for row in 0..<rows {
            let at = expected.pointer + row * stride
            lhk_layer_rms_norm(host.isa, at, dim, w.pointer, eps, at, dim, heads, dim)
        }
        #expect(x.values == expected.values)

        let a = Guarded(generator.floats(rows * dim)), b = Guarded(generator.floats(rows * dim))
        let sums = zip(a.values, b.values).map { $0 + $1 }
        lhk_run_add(&host, a.pointer, b.pointer, a.pointer, rows, dim)
        #expect(a.values == sums)
    }

    @Test(arguments: isaMasks) func rmsNorm(isa: UInt64) {
        var generator = SeededGenerator(stream: 2)
        for cols in interestingSizes(upTo: 2100, using: &generator) {
            let rows = Int.random(in: 0...4, using: &generator)
            let xStride = cols + Int.random(in: 0...5, using: &generator)
            let outStride = cols + Int.random(in: 0...5, using: &generator)
            let magnitude = Float.random(in: 1e-3...1e3, using: &generator)
            // The last row ends with its last column, where the guard begins.
            let xCount = rows == 0 ? 0 : (rows - 1) * xStride + cols
            let outCount = rows == 0 ? 0 : (rows - 1) * outStride + cols
            let x = Guarded(generator.floats(xCount, in: -magnitude...magnitude))
            let w = Guarded(generator.floats(cols)), eps: Float = 1e-5
            let output = Guarded([Float](repeating: 7, count: outCount))
            lhk_layer_rms_norm(isa, x.pointer, xStride, w.pointer, eps, output.pointer, outStride, rows, cols)
            var expected = [Double](repeating: 7, count: output.count)
            for r in 0..<rows {
                let row = (0..<cols).map { Double(x.pointer[r * xStride + $0]) }
                let scale = 1 / (row.reduce(0) { $0 + $1 * $1 } / Double(cols) + Double(eps)).squareRoot()
                for c in 0..<cols { expected[r * outStride + c] = row[c] * scale * Double(w.pointer[c]) }
            }
            expectClose(output.values, expected, "rms_norm ISA \(isa), \(rows) x \(cols)") { 2e-6 * abs($1) }
        }
    }

    @Test(arguments: isaMasks) func rmsNormInPlaceAndNaN(isa: UInt64) {
        var generator = SeededGenerator(stream: 3)
        for cols in [1, 5, 64, 100, 256] {
            let input = generator.floats(3 * cols), w = generator.floats(cols)
            var separate = [Float](repeating: 0, count: input.count), inPlace = input
            lhk_layer_rms_norm(isa, input, cols, w, 1e-6, &separate, cols, 3, cols)
            inPlace.withUnsafeMutableBufferPointer {
                lhk_layer_rms_norm(isa, $0.baseAddress!, cols, w, 1e-6, $0.baseAddress!, cols, 3, cols)
            }
            expectIdentical(separate, inPlace, "rms_norm in place, ISA \(isa), cols \(cols)")
            var poisoned = input
            poisoned[cols + Int.random(in: 0..<cols, using: &generator)] = .nan
            var output = separate
            lhk_layer_rms_norm(isa, poisoned, cols, w, 1e-6, &output, cols, 3, cols)
            for (i, value) in output.enumerated() {
                #expect(i / cols == 1 ? value.isNaN : value == separate[i], "row \(i / cols) ISA \(isa)")
            }
        }
    }

    @Test(arguments: isaMasks) func rmsNormOfZerosIsZero(isa: UInt64) {
        var output: [Float] = [1, 1, 1]
        lhk_layer_rms_norm(isa, [0, 0, 0], 3, [1, 2, 3], 1e-6, &output, 3, 1, 3)
        #expect(output == [0, 0, 0])
    }

    @Test(arguments: isaMasks) func addAndScale(isa: UInt64) {
        var generator = SeededGenerator(stream: 4)
        for count in interestingSizes(upTo: 1000, using: &generator) {
            let a = Guarded(generator.floats(count)), b = Guarded(generator.floats(count))
            if count > 2 { a.pointer[count - 1] = .nan }
            let sum = Guarded.output(count), scaled = Guarded.output(count)
            lhk_layer_add(isa, a.pointer, b.pointer, sum.pointer, count)
            lhk_layer_scale(isa, a.pointer, 25.25, scaled.pointer, count)
            expectIdentical(sum.values, zip(a.values, b.values).map { $0 + $1 }, "add ISA \(isa), count \(count)")
            expectIdentical(scaled.values, a.values.map { $0 * 25.25 }, "scale ISA \(isa), count \(count)")
            lhk_layer_add(isa, a.pointer, b.pointer, a.pointer, count)
            expectIdentical(a.values, sum.values, "add in place, ISA \(isa), count \(count)")
        }
    }

    @Test(arguments: isaMasks) func siluMul(isa: UInt64) {
        checkGate("silu_mul", isa: isa, stream: 5, kernel: lhk_layer_silu_mul) { gate in
            (gate / (1 + exp(-gate)), 6e-7)
        }
    }

    @Test(arguments: isaMasks) func geluTanhMul(isa: UInt64) {
        checkGate("gelu_tanh_mul", isa: isa, stream: 6, kernel: lhk_layer_gelu_tanh_mul) { gate in
            // 1 + tanh(u) cancels for large negative u even in f64, hence the equal form with exp.
            let u = (2 / Double.pi).squareRoot() * (gate + 0.044715 * gate * gate * gate)
            // The argument of exp is rounded to f32, which exp turns into a relative error of that size.
            return (gate / (1 + exp(-2 * u)), 8e-7 + 4e-7 * min(abs(u), 100))
        }
    }

    private func checkGate(
        _ name: String, isa: UInt64, stream: UInt64,
        kernel: (UInt64, UnsafePointer<Float>, UnsafePointer<Float>, UnsafeMutablePointer<Float>, Int) -> Void,
        reference: (Double) -> (value: Double, relative: Double)
    ) {
        var generator = SeededGenerator(stream: stream)
        for count in interestingSizes(upTo: 1500, using: &generator) {
            let gate = Guarded(generator.floats(count, in: -12...12)), up = Guarded(generator.floats(count))
            for (i, value) in Self.extremes.shuffled(using: &generator).prefix(count / 2).enumerated() {
                gate.pointer[2 * i] = value
            }
            if count > 3 { up.pointer[3] = .nan }
            let output = Guarded.output(count)
            kernel(isa, gate.pointer, up.pointer, output.pointer, count)
            let references = gate.values.map { reference(Double($0)) }
            let expected = zip(references, up.values).map { $0.value * Double($1) }
            expectClose(output.values, expected, "\(name) ISA \(isa), count \(count)") { index, value in
                // Results below the normal range, and beyond the largest float, are held to the range's end only.
                abs(value) > 3.4e38 ? .infinity : references[index].relative * abs(value) + 1e-36
            }
            kernel(isa, gate.pointer, up.pointer, gate.pointer, count)
            expectIdentical(gate.values, output.values, "\(name) in place, ISA \(isa), count \(count)")
        }
    }

    @Test(arguments: isaMasks) func expIsAccurate(isa: UInt64) {
        var generator = SeededGenerator(stream: 7)
        for range in [-87.33...88.72, -1...1, -1e-3...1e-3] as [ClosedRange<Float>] {
            let x = Guarded(generator.floats(20_011, in: range)), output = Guarded.output(20_011)
            lhk_layer_exp(isa, x.pointer, output.pointer, x.count)
            expectClose(output.values, x.values.map { exp(Double($0)) }, "exp ISA \(isa), \(range)") { 2e-7 * $1 }
        }
        let special: [Float] = [0, -0.0, -.infinity, .infinity, .nan, 89, 1e30, -1e30, -104, -100]
        var output = [Float](repeating: 0, count: special.count)
        lhk_layer_exp(isa, special, &output, special.count)
        let expected: [Float] = [1, 1, 0, .infinity, .nan, .infinity, .infinity, 0, 0]
        expectIdentical(Array(output.dropLast()), expected, "exp ISA \(isa)")
        #expect(abs(Double(output[9]) - exp(-100)) <= 1.5e-45)
    }
}
