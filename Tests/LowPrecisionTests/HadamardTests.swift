// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import Testing

/// `lhk_hadamard` against its definition.
@Suite struct HadamardTests {
    static let dims = [1, 2, 3, 4, 7, 8, 16, 20, 32, 59, 64, 80, 96, 128, 192, 256, 300, 512, 576, 1000, 1024]

    static func multiply(_ x: [Float], dim: Int, flags: UInt32, isa: InstructionSet = .detected) throws -> [Float] {
        let (from, to) = (Buffer(x), Buffer(x.map { _ in Float.nan }))
        let shape = [x.count / dim, 1, dim]
        var source = try Tensor(from.data, shape: shape).raw, out = try Tensor(to.data, shape: shape).raw
        let host = try host(isa)
        try call { lhk_hadamard(&source, &out, flags, host.raw, $0) }
        return to.values
    }

    /// H x by its entries, block by block.
    static func definition(_ x: [Float]) -> [Double] {
        var (out, base) = ([Double](), 0)
        while base < x.count {
            let size = 1 << (Int.bitWidth - 1 - (x.count - base).leadingZeroBitCount)
            for i in 0..<size {
                let sum = (0..<size).reduce(0.0) { $0 + Double(x[base + $1]) * ((i & $1).nonzeroBitCount % 2 == 0 ? 1 : -1) }
                out.append(sum / Double(size).squareRoot())
            }
            base += size
        }
        return out
    }

    @Test(arguments: dims) func matchesDefinition(_ dim: Int) throws {
        var normal = Normal(state: UInt64(dim))
        let x = normal.values(dim)
        for (got, want) in zip(try Self.multiply(x, dim: dim, flags: 0), Self.definition(x)) {
            #expect(abs(Double(got) - want) < 2e-6)
        }
    }

    /// With signs it is the same of D x, D being signs of both kinds; the inverse undoes it; products survive.
    @Test(arguments: dims) func signsAndInverse(_ dim: Int) throws {
        var normal = Normal(state: UInt64(dim))
        let x = normal.values(dim), y = normal.values(dim)
        let rotated = try Self.multiply(x + y, dim: dim, flags: LHK_HADAMARD_SIGNS)
        let flipped = try Self.multiply(Array(rotated[0..<dim]), dim: dim, flags: 0)
        let signs = zip(flipped, x).map { $0 / $1 }
        #expect(signs.allSatisfy { abs(abs($0) - 1) < 1e-3 })
        if dim >= 32 { #expect(signs.contains { $0 < 0 } && signs.contains { $0 > 0 }) }
        let back = try Self.multiply(rotated, dim: dim, flags: LHK_HADAMARD_SIGNS | LHK_HADAMARD_INVERSE)
        for (got, want) in zip(back, x + y) { #expect(abs(got - want) < 2e-6) }
        func dot(_ a: some Collection<Float>, _ b: some Collection<Float>) -> Double {
            zip(a, b).reduce(0) { $0 + Double($1.0) * Double($1.1) }
        }
        #expect(abs(dot(rotated[0..<dim], rotated[dim...]) - dot(x, y)) < 1e-5 * Double(dim).squareRoot())
    }

    @Test(arguments: dims) func levelsGiveTheSameBits(_ dim: Int) throws {
        var normal = Normal(state: 3)
        let x = normal.values(5 * dim)
        let first = try Self.multiply(x, dim: dim, flags: LHK_HADAMARD_SIGNS, isa: [])
        for level in levels { #expect(try Self.multiply(x, dim: dim, flags: LHK_HADAMARD_SIGNS, isa: level.isa) == first) }
    }

    /// Strides, 16-bit rows, and rows that are replaced.
    @Test func layouts() throws {
        var normal = Normal(state: 4)
        let x = normal.values(3 * 2 * 70)
        let plain = try Self.multiply((0..<6).flatMap { x[$0 * 70..<$0 * 70 + 64] }, dim: 64, flags: 0)
        let buffer = Buffer(x)
        let view = try Tensor(buffer.data, shape: [3, 2, 64], strides: [140, 70, 1]).raw, host = try host(.detected)
        try withUnsafePointer(to: view) { view in try call { lhk_hadamard(view, view, 0, host.raw, $0) } }
        let out = buffer.values
        for row in 0..<6 {
            #expect(out[row * 70..<row * 70 + 64] == plain[row * 64..<(row + 1) * 64])
            #expect(out[row * 70 + 64..<(row + 1) * 70] == x[row * 70 + 64..<(row + 1) * 70])
        }
        let halves = x[0..<64].map { UInt16(truncatingIfNeeded: $0.bitPattern >> 16) }
        let wide = try Self.multiply(halves.map { Float(bitPattern: UInt32($0) << 16) }, dim: 64, flags: 0)
        let target = Buffer(wide.map { _ in 0 })
        var narrow = halves
        try narrow.withUnsafeMutableBytes { bytes in
            var source = try Tensor(bytes.baseAddress, type: .bf16, shape: [1, 1, 64]).raw
            var out = try Tensor(target.data, shape: [1, 1, 64]).raw
            try call { lhk_hadamard(&source, &out, 0, host.raw, $0) }
        }
        #expect(target.values == wide)
    }

    @Test func badCalls() {
        #expect(throws: Refusal.self) { try Self.multiply([1, 2], dim: 2, flags: 4) }
        #expect(throws: Refusal.self) { try Self.multiply([Float](repeating: 0, count: 1025), dim: 1025, flags: 0) }
    }
}
