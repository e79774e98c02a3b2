// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Longhand
import LonghandLayers
import LonghandLinear

/// What linear layers compute with.
public enum LinearPrecision: String, Sendable, CaseIterable {
    /// Quantised weights as the file has them; activations rounded to 15 bits per 32 inputs. Weights of types without
    /// blocks are f32.
    case int16
    /// The same with activations of 8 bits while reading a prompt (more than eight rows): faster there, and as
    /// coarse as other engines are.
    case int8
    /// All weights dequantised to f32 at load, products in f32: slower, and several times the memory.
    case f32

    /// Bits that `rows` rows of activations are rounded to where weights are quantised; nil: not at all.
    public func bits(rows: Int) -> Int32? {
        switch self {
        case .f32: nil
        case .int16: 15
        case .int8: rows > Int(LHK_PACKED_FEW_ROWS) ? 8 : 15
        }
    }
}

/// A weight matrix [outputs][inputs], possibly of several tensors on top of each other.
struct WeightMatrix {
    enum Storage {
        /// f32, row-major.
        case dense(UnsafePointer<Float>)
        /// Quantised parts in the order of their rows.
        case packed([lhk_packed_rows])
    }
    let outputs, inputs: Int
    let storage: Storage
    /// Bytes that a pass over it reads.
    let bytes: Int

    var isDense: Bool { if case .dense = storage { true } else { false } }

    /// `y[rows][outputs] = x[rows][inputs] * w^T` on the workers of `host`.
    func multiply(
        _ x: UnsafePointer<Float>, rows: Int, into y: UnsafeMutablePointer<Float>, host: KernelHost,
        precision: LinearPrecision, workspace: lhk_workspace
    ) throws {
        switch storage {
        case .dense(let weights):
            var shape = lhk_linear_shape(m: rows, n: outputs, k: inputs, ldx: inputs, ldy: outputs)
            try LayerError.check { lhk_run_linear(host.raw, &shape, x, weights, y, $0) }
        case .packed(let parts):
            try parts.withUnsafeBufferPointer { parts in
                var call = lhk_packed_call(
                    parts: parts.baseAddress!, part_count: parts.count, m: rows, k: inputs, bits: precision.bits(rows: rows) ?? 15,
                    x: x, ldx: inputs, y: y,
                    ldy: outputs)
                var workspace = workspace
                try LayerError.check { lhk_run_linear_packed(host.raw, &call, &workspace, $0) }
            }
        }
    }

    /// Bytes of workspace that `multiply` needs for up to `rows` rows of up to `inputs` inputs.
    static func workspaceBytes(rows: Int, inputs: Int) -> Int {
        var bytes = 0
        return lhk_packed_workspace(rows, inputs, 15, &bytes, nil) == LHK_OK ? bytes : .max
    }
}
