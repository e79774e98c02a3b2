// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandRope
import LonghandTestSupport

#if arch(x86_64)
typealias Wide = Float80
#else
typealias Wide = Double
#endif

/// Parameters of one rotation and, independently of the C code, what they mean.
struct Rotation {
    var headDim: Int
    var dims: Int
    var interleaved = false
    var base: Float = 10000
    var scaling = LHK_SCALING_NONE
    var factor: Float = 1
    var original: Int64 = 0
    var attentionFactor: Float = 0
    var betaFast: Float = 0
    var betaSlow: Float = 0
    var factors: [Float] = []

    init(_ dims: Int, headDim: Int? = nil) {
        self.dims = dims
        self.headDim = headDim ?? dims
    }

    /// Calls `body` with the C parameters.
    func withParameters<R>(_ body: (inout lhk_position_params) throws -> R) rethrows -> R {
        try factors.withUnsafeBufferPointer { factors in
            var params = lhk_position_params()
            params.struct_size = UInt32(MemoryLayout<lhk_position_params>.size)
            params.dims = UInt32(dims)
            params.interleaved = interleaved ? 1 : 0
            params.scaling = scaling
            params.base = base
            params.factor = factor
            params.original_context = original
            params.attention_factor = attentionFactor
            params.beta_fast = betaFast
            params.beta_slow = betaSlow
            params.factor_count = UInt32(factors.count)
            params.factors = factors.baseAddress
            return try body(&params)
        }
    }

    func table() throws -> lhk_rope_table {
        try withParameters { params in
            var table = lhk_rope_table()
            try check { lhk_rope_table_init(&params, UInt32(headDim), &table, $0) }
            return table
        }
    }

    // MARK: the formulas

    /// Unscaled frequency of pair t, with the model's factors.
    func plainFrequency(_ t: Int, base: Wide) -> Wide {
        1 / pow(base, Wide(2 * t) / Wide(dims)) / (factors.isEmpty ? 1 : Wide(factors[t]))
    }

    /// Frequencies as defined by position interpolation, NTK-aware scaling and YaRN.
    var frequencies: [Wide] {
        let base = Wide(self.base)
        let scale = Wide(factor)
        let pairs = 0..<dims / 2
        switch scaling {
        case LHK_SCALING_LINEAR: return pairs.map { plainFrequency($0, base: base) / scale }
        case LHK_SCALING_NTK:
            let raised = base * pow(scale, Wide(dims) / Wide(dims - 2))
            return pairs.map { plainFrequency($0, base: raised) }
        case LHK_SCALING_YARN:
            // The pair whose wave of length 2 pi base^(2t/dims) fits n times into the original context.
            func pair(turns n: Wide) -> Wide {
                let wavelength = Wide(original) / n
                return log(wavelength / (2 * Wide.pi)) / log(base) * Wide(dims) / 2
            }
            let fast = max(pair(turns: betaFast == 0 ? 32 : Wide(betaFast)).rounded(.down), 0)
            let slow = min(pair(turns: betaSlow == 0 ? 1 : Wide(betaSlow)).rounded(.up), Wide(dims - 1))
            return pairs.map { t in
                let plain = plainFrequency(t, base: base)
                let ramp = (Wide(t) - fast) / max(slow - fast, 0.001)
                let keep = 1 - min(max(ramp, 0), 1)
                return plain * keep + plain / scale * (1 - keep)
            }
        default: return pairs.map { plainFrequency($0, base: base) }
        }
    }

    var magnitude: Wide {
        if attentionFactor != 0 { return Wide(attentionFactor) }
        return scaling == LHK_SCALING_YARN ? 1 + log(Wide(factor)) / 10 : 1
    }

    /// The two elements of pair t.
    func pair(_ t: Int) -> (Int, Int) { interleaved ? (2 * t, 2 * t + 1) : (t, t + dims / 2) }

    /// One head at `position`, rotated.
    func rotate(_ x: [Float], position: Int64, frequencies: [Wide]) -> [Wide] {
        var out = x.map { Wide($0) }
        for (t, frequency) in frequencies.enumerated() {
            let (first, second) = pair(t)
            let angle = Wide(position) * frequency
            let a = Wide(x[first])
            let b = Wide(x[second])
            out[first] = magnitude * (a * cos(angle) - b * sin(angle))
            out[second] = magnitude * (a * sin(angle) + b * cos(angle))
        }
        return out
    }

    /// A random rotation of any kind and size.
    static func random(_ generator: inout SeededGenerator) -> Rotation {
        let dims = 2 * Int.random(in: 1...288, using: &generator)
        let spare = Bool.random(using: &generator) ? 0 : Int.random(in: 0...(576 - dims), using: &generator)
        var rotation = Rotation(dims, headDim: dims + spare)
        rotation.interleaved = Bool.random(using: &generator)
        rotation.base = [10000, 500_000, 1_000_000, 100][Int.random(in: 0..<4, using: &generator)]
        rotation.scaling = UInt32.random(in: 0...3, using: &generator)
        if dims == 2 && rotation.scaling == LHK_SCALING_NTK { rotation.scaling = LHK_SCALING_LINEAR }
        rotation.factor = Float.random(in: 1...32, using: &generator)
        rotation.original = [512, 2048, 8192, 131072][Int.random(in: 0..<4, using: &generator)]
        if Int.random(in: 0..<4, using: &generator) == 0 {
            rotation.factors = (0..<dims / 2).map { _ in Float.random(in: 1...32, using: &generator) }
        }
        if Int.random(in: 0..<4, using: &generator) == 0 { rotation.attentionFactor = 1.25 }
        return rotation
    }
}

/// The frequencies of a C table that are in use.
func frequencies(of table: lhk_rope_table) -> [Double] {
    withUnsafeBytes(of: table.frequencies) { Array($0.bindMemory(to: Double.self).prefix(Int(table.dims) / 2)) }
}
