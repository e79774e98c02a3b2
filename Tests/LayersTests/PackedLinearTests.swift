// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandLayers
import LonghandLinear
import Testing

/// The instruction sets with kernels of their own that this machine, or `LONGHAND_ISA`, allows.
private let masks: [UInt64] = {
    var host = lhk_host()
    precondition(lhk_host_serial(&host, nil) == LHK_OK)
    let avx512 = LHK_ISA_AVX2 | LHK_ISA_AVX512
    let all = [0, LHK_ISA_AVX2, avx512, avx512 | LHK_ISA_AVX512VNNI, LHK_ISA_NEON, LHK_ISA_NEON | LHK_ISA_NEON_DOTPROD]
    return all.filter { $0 & ~host.isa == 0 }
}()

private let types: [Int32] = [2, 3, 6, 7, 8, 12, 13, 14]

private func makeHost(_ isa: UInt64, workers: UInt32 = 1) -> lhk_host {
    var host = lhk_host()
    precondition(lhk_host_openmp(workers, &host, nil) == LHK_OK)
    host.isa = isa
    return host
}

/// Rows of one type with random codes and scales, as a file holds them, packed, and dequantised.
private struct Rows: @unchecked Sendable {
    let type: Int32, n: Int, k: Int
    let packed: Guarded<UInt8>
    let values: [Float]

    init(type: Int32, n: Int, k: Int, using generator: inout SeededGenerator) {
        (self.type, self.n, self.k) = (type, n, k)
        var rowBytes = 0, packedBytes = 0
        precondition(lhk_layer_row_bytes(type, k, &rowBytes, nil) == LHK_OK)
        precondition(lhk_packed_bytes(type, n, k, &packedBytes, nil) == LHK_OK)
        let source = Guarded<UInt8>((0..<n * rowBytes).map { _ in UInt8.random(in: 0...255, using: &generator) })
        // f16 scales at their places, of either sign, now and then zero or subnormal.
        let elements = type >= 12 ? 256 : 32, places = type == 14 ? [208] : [3, 7, 12, 13].contains(type) ? [0, 2] : [0]
        for block in stride(from: 0, to: n * rowBytes, by: k == 0 ? 1 : rowBytes / (k / elements)) {
            for place in places {
                let kind = Int.random(in: 0..<20, using: &generator)
                let size = kind == 0 ? 0 : kind == 1 ? 1e-6 : Float.random(in: 0.001...0.1, using: &generator)
                let bits = Self.half(Bool.random(using: &generator) ? size : -size)
                (source.pointer[block + place], source.pointer[block + place + 1]) = (UInt8(bits & 255), UInt8(bits >> 8))
            }
        }
        packed = Guarded([UInt8](repeating: 0xA5, count: packedBytes))
        var host = makeHost(masks.last!), values = [Float](repeating: .nan, count: n * k)
        precondition(lhk_run_pack(&host, type, n, k, source.pointer, packed.pointer, nil) == LHK_OK)
        precondition(lhk_layer_dequantize(0, type, source.pointer, &values, n * k, nil) == LHK_OK)
        self.values = values
    }

    private static func half(_ value: Float) -> UInt16 {
        var bits: UInt16 = 0
        withUnsafePointer(to: value) { _ = lhk_layer_narrow(0, UInt32(LHK_DTYPE_F16), $0, &bits, 1, nil) }
        return bits
    }
}

/// A product of random rows with stacked parts; every operand ends at a guard page.
private struct Problem: @unchecked Sendable {
    let m: Int, k: Int, n: Int, ldx: Int, ldy: Int
    let bits: Int32
    let x: Guarded<Float>
    let parts: [Rows]
    let workspace: Guarded<UInt8>

    /// Without `bits`, what the runner takes: 15 for few rows, and at random otherwise.
    init(m: Int, parts: [Rows], bits: Int32? = nil, pad: Int = 0, using generator: inout SeededGenerator) {
        (self.m, self.parts, k) = (m, parts, parts[0].k)
        self.bits = bits ?? (m <= Int(LHK_PACKED_FEW_ROWS) || Bool.random(using: &generator) ? 15 : 8)
        n = parts.reduce(0) { $0 + $1.n }
        (ldx, ldy) = (k + pad, n + pad)
        // Outliers, blocks of zeros and tiny values.
        var values = generator.floats(m == 0 ? 0 : (m - 1) * ldx + k)
        for i in values.indices {
            switch i / 32 % 11 {
            case 3: values[i] = 0
            case 5: values[i] *= 1e-32
            case 7: values[i] *= 1e-6
            case 8 where i % 32 == 9: values[i] *= 300
            default: break
            }
        }
        x = Guarded(values)
        var bytes = 0
        precondition(lhk_packed_workspace(m, k, self.bits, &bytes, nil) == LHK_OK)
        workspace = Guarded([UInt8](repeating: 0xFF, count: bytes))
    }

    func run(_ isa: UInt64, workers: UInt32 = 1) -> [Float] {
        let y = Guarded.output(m == 0 ? 0 : (m - 1) * ldy + n)
        var host = makeHost(isa, workers: workers), error = lhk_error()
        error.struct_size = UInt32(MemoryLayout<lhk_error>.size)
        var lent = lhk_workspace(data: workspace.pointer, bytes: UInt64(workspace.count))
        let rows = parts.map { lhk_packed_rows(type: $0.type, n: $0.n, weights: $0.packed.pointer) }
        rows.withUnsafeBufferPointer {
            var call = lhk_packed_call(
                parts: $0.baseAddress!, part_count: $0.count, m: m, k: k, bits: bits, x: x.pointer, ldx: ldx, y: y.pointer, ldy: ldy)
            #expect(lhk_run_linear_packed(&host, &call, &lent, &error) == LHK_OK, "\(error.message)")
        }
        return y.values
    }

    /// One output in f64 over the activations as they are, and over their rounded values; what f32 sums may add to the
    /// latter, and what rounding may add to the former.
    func reference(_ i: Int, _ w: ArraySlice<Float>) -> (exact: Double, rounded: Double, sums: Double, rounding: Double) {
        let limit: Float = bits == 15 ? 16319 : 127
        var result = (exact: 0.0, rounded: 0.0, sums: 0.0, rounding: 0.0)
        for block in stride(from: 0, to: k, by: 32) {
            let xs = (block..<block + 32).map { x.pointer[i * ldx + $0] }, ws = w[w.startIndex + block..<w.startIndex + block + 32]
            let most = xs.map { abs($0) }.max()!, isZero = most < 0x1p-100
            let scale = isZero ? 0 : most / limit, inverse = isZero ? 0 : limit / most
            let largest = Double(ws.map { abs($0) }.max()!)
            for (x, w) in zip(xs, ws) {
                let code = Double((x * inverse).rounded(.toNearestOrEven))
                result.exact += Double(x) * Double(w)
                result.rounded += Double(scale) * code * Double(w)
                // Codes times scale and minimum are sums of their own, each at most twice as large as the weights.
                result.sums += 4 * Double(scale) * abs(code) * largest
                result.rounding += (isZero ? 0x1p-100 : 0.5001 * Double(scale)) * abs(Double(w))
            }
        }
        result.sums *= 0x1p-23
        return result
    }

    func check(_ isa: UInt64) {
        let y = run(isa), context = "types \(parts.map(\.type)) m \(m) n \(n) k \(k) ISA \(isa), seed \(testSeed)"
        for i in 0..<m {
            var column = 0
            for part in parts {
                for j in 0..<part.n {
                    let r = reference(i, part.values[j * k..<(j + 1) * k]), got = Double(y[i * ldy + column])
                    let isRight = abs(got - r.rounded) <= r.sums && abs(got - r.exact) <= r.rounding + r.sums
                    guard isRight else {
                        Issue.record("\(context): y[\(i)][\(column)] is \(got), not \(r.rounded) (exact \(r.exact))")
                        return
                    }
                    column += 1
                }
            }
            if i + 1 < m { #expect(y[i * ldy + n..<(i + 1) * ldy].allSatisfy { $0.isNaN }, "\(context): padding is touched") }
        }
    }
}

@Suite struct PackedLinearTests {
    @Test(arguments: masks, types) func equalsReference(isa: UInt64, type: Int32) {
        var generator = SeededGenerator(stream: 100 + UInt64(type))
        let block = type >= 12 ? 256 : 32
        for m in [0, 1, 2, 3, 4, 7, 8, 9, 12, 13, 17, 18] {
            for n in [1, 15, 16, 17, 33, Int.random(in: 1...70, using: &generator)] {
                let rows = Rows(type: type, n: n, k: block * Int.random(in: 1...3, using: &generator), using: &generator)
                Problem(m: m, parts: [rows], pad: Int.random(in: 0...3, using: &generator), using: &generator).check(isa)
            }
        }
        let long = Rows(type: type, n: 20, k: 2048, using: &generator)
        for m in [1, 40] { Problem(m: m, parts: [long], using: &generator).check(isa) }
        let empty = Rows(type: type, n: 18, k: 0, using: &generator)
        for m in [1, 10] { #expect(Problem(m: m, parts: [empty], using: &generator).run(isa).allSatisfy { $0 == 0 }) }
    }

    /// Parts of several types, whose panels share tasks, and more rows than a task takes.
    @Test(arguments: masks) func partsOfSeveralTypes(isa: UInt64) {
        var generator = SeededGenerator(stream: 200)
        let parts = [(6, 40), (8, 7), (14, 16), (3, 33), (12, 1)].map {
            Rows(type: Int32($0.0), n: $0.1, k: 256, using: &generator)
        }
        for (m, bits) in [(1, Int32(15)), (5, 15), (11, 15), (1, 8), (11, 8)] {
            Problem(m: m, parts: parts, bits: bits, pad: 2, using: &generator).check(isa)
        }
        let few = [Rows(type: 3, n: 18, k: 32, using: &generator), Rows(type: 2, n: 3, k: 32, using: &generator)]
        for bits: Int32 in [8, 15] { Problem(m: 530, parts: few, bits: bits, using: &generator).check(isa) }
    }

    @Test(arguments: masks) func workersGiveTheSameBits(isa: UInt64) {
        var generator = SeededGenerator(stream: 201)
        let parts = [Rows(type: 3, n: 500, k: 96, using: &generator), Rows(type: 8, n: 77, k: 96, using: &generator)]
        for m in [1, 8, 9, 700] {
            let problem = Problem(m: m, parts: parts, using: &generator), one = problem.run(isa)
            for workers in [2, 3, 7] { expectIdentical(problem.run(isa, workers: UInt32(workers)), one, "\(workers) workers, m \(m)") }
        }
    }

    /// A row does not depend on the others, as long as the rounding is the same.
    @Test(arguments: masks) func rowsDoNotDependOnEachOther(isa: UInt64) {
        var generator = SeededGenerator(stream: 202)
        let rows = Rows(type: 7, n: 45, k: 96, using: &generator)
        for bits: Int32 in [8, 15] {
            let all = Problem(m: 33, parts: [rows], bits: bits, using: &generator), whole = all.run(isa)
            for m in [1, 2, 3, 5, 8, 9, 10, 16] {
                let some = Problem(m: m, parts: [rows], bits: bits, using: &generator)
                some.x.pointer.update(from: all.x.pointer, count: m * 96)
                expectIdentical(some.run(isa), Array(whole.prefix(m * 45)), "\(m) of 33 rows, \(bits) bits, ISA \(isa)")
            }
        }
    }

    @Test(arguments: masks) func nonFiniteInputsStayInTheirRow(isa: UInt64) {
        var generator = SeededGenerator(stream: 203)
        for type in types {
            let rows = Rows(type: type, n: 20, k: 256, using: &generator)
            for (m, bad) in [(6, Float.nan), (30, .nan), (6, .infinity), (30, -.infinity)] {
                let problem = Problem(m: m, parts: [rows], using: &generator)
                problem.x.pointer[2 * 256 + 77] = bad
                for (at, value) in problem.run(isa).enumerated() {
                    #expect(at / 20 == 2 ? value.isNaN : value.isFinite, "type \(type), \(bad): \(value) at \(at), ISA \(isa)")
                }
            }
        }
    }

    /// The largest codes everywhere: sums must neither saturate nor overflow.
    @Test(arguments: masks, types) func extremeCodes(isa: UInt64, type: Int32) {
        var generator = SeededGenerator(stream: 204), bytes = 0, packedBytes = 0
        let n = 16, k = 256
        precondition(lhk_layer_row_bytes(type, n * k, &bytes, nil) == LHK_OK)
        precondition(lhk_packed_bytes(type, n, k, &packedBytes, nil) == LHK_OK)
        for fill: UInt8 in [0xFF, 0x80, 0x7F, 0] {
            var source = [UInt8](repeating: fill, count: bytes)
            let elements = type >= 12 ? 256 : 32, size = bytes / (n * k / elements)
            let places = type == 14 ? [208] : [3, 7, 12, 13].contains(type) ? [0, 2] : [0]
            for block in 0..<bytes / size { for p in places { (source[block * size + p], source[block * size + p + 1]) = (0, 0x3C) } }
            var values = [Float](repeating: 0, count: n * k), packed = [UInt8](repeating: 0, count: packedBytes)
            var host = makeHost(masks.last!)
            #expect(lhk_layer_dequantize(0, type, source, &values, n * k, nil) == LHK_OK)
            #expect(lhk_run_pack(&host, type, n, k, source, &packed, nil) == LHK_OK)
            let rows = Rows(type: type, n: n, k: k, packed: Guarded(packed), values: values)
            for (m, sign) in [(1, Float(1)), (9, 1), (1, -1), (9, -1)] {
                let problem = Problem(m: m, parts: [rows], using: &generator)
                for i in 0..<m * k { problem.x.pointer[i] = sign }
                problem.check(isa)
            }
        }
    }

    @Test func sizesAreThoseOfTheFile() {
        for type in types {
            var file = 0, packed = 0
            #expect(lhk_layer_row_bytes(type, 16 * 512, &file, nil) == LHK_OK)
            #expect(lhk_packed_bytes(type, 16, 512, &packed, nil) == LHK_OK)
            // Scales of the K-quants are whole bytes, codes of Q6_K too.
            let factor = type == 14 ? 1.31 : type >= 12 ? 1.03 : 1
            #expect(packed >= file && Double(packed) <= factor * Double(file), "type \(type): \(packed), \(file)")
            #expect(lhk_packed_bytes(type, 1, 512, &file, nil) == LHK_OK)
            #expect(file == packed)
        }
        var bytes = 0
        for type: Int32 in [0, 1, 30, 4, 99, -1] { #expect(lhk_packed_bytes(type, 1, 256, &bytes, nil) == LHK_ERROR_UNSUPPORTED) }
        #expect(lhk_packed_bytes(3, 1, 33, &bytes, nil) == LHK_ERROR_ARGUMENT)
        #expect(lhk_packed_bytes(12, 1, 128, &bytes, nil) == LHK_ERROR_ARGUMENT)
        #expect(lhk_packed_bytes(3, Int.max, 32, &bytes, nil) == LHK_ERROR_OVERFLOW)
        #expect(lhk_packed_bytes(3, 1 << 40, 1 << 40, &bytes, nil) == LHK_ERROR_OVERFLOW)
        #expect(lhk_packed_workspace(Int.max, 64, 15, &bytes, nil) == LHK_ERROR_OVERFLOW)
        #expect(lhk_packed_workspace(1, Int.max, 8, &bytes, nil) == LHK_ERROR_OVERFLOW)
    }

    @Test func refusesBadCalls() {
        var host = makeHost(0), generator = SeededGenerator(stream: 205)
        let rows = Rows(type: 3, n: 16, k: 64, using: &generator), workspace = Guarded([UInt8](repeating: 0, count: 4096))
        func status(
            m: Int = 1, k: Int = 64, ldx: Int = 64, ldy: Int = 16, type: Int32 = 3, bytes: Int = 4096, shift: Int = 0, bits: Int32 = 15
        ) -> lhk_status {
            var part = lhk_packed_rows(type: type, n: 16, weights: rows.packed.pointer), y: [Float] = Array(repeating: -1, count: 16)
            var lent = lhk_workspace(data: workspace.pointer + shift, bytes: UInt64(bytes))
            let x = [Float](repeating: 1, count: 64)
            let status = withUnsafePointer(to: &part) { part in
                x.withUnsafeBufferPointer { x in
                    y.withUnsafeMutableBufferPointer { y in
                        var call = lhk_packed_call(
                            parts: part, part_count: 1, m: m, k: k, bits: bits, x: x.baseAddress!, ldx: ldx, y: y.baseAddress!,
                            ldy: ldy)
                        return lhk_run_linear_packed(&host, &call, &lent, nil)
                    }
                }
            }
            #expect(y.allSatisfy { status == LHK_OK ? $0 != -1 : $0 == -1 })
            return status
        }
        #expect(status() == LHK_OK)
        #expect(status(bits: 8) == LHK_OK)
        #expect(status(bits: 16) == LHK_ERROR_ARGUMENT)
        #expect(status(ldx: 63) == LHK_ERROR_ARGUMENT)
        #expect(status(ldy: 15) == LHK_ERROR_ARGUMENT)
        #expect(status(k: 48) == LHK_ERROR_ARGUMENT)
        #expect(status(type: 12) == LHK_ERROR_ARGUMENT)
        #expect(status(type: 0) == LHK_ERROR_UNSUPPORTED)
        #expect(status(bytes: 100) == LHK_ERROR_ARGUMENT)
        #expect(status(bytes: 4032, shift: 32) == LHK_ERROR_ARGUMENT)
        #expect(status(m: 1 << 31) == LHK_ERROR_OVERFLOW)
        #expect(status(m: 1000) == LHK_ERROR_ARGUMENT)  // its workspace is larger
    }
}

extension Rows {
    fileprivate init(type: Int32, n: Int, k: Int, packed: Guarded<UInt8>, values: [Float]) {
        (self.type, self.n, self.k, self.packed, self.values) = (type, n, k, packed, values)
    }
}
