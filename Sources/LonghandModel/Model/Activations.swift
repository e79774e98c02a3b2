// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Glibc

/// Activations of one pass, allocated once: the residual stream of all its tokens, everything else for one block of them.
final class Activations {
    let residual, normed, qkv, attended, gateUp, hidden, logits: UnsafeMutablePointer<Float>
    /// What linear layers keep the rounded rows of a block in.
    let linear: lhk_workspace
    private let memory: UnsafeMutableRawPointer

    /// Far above what models need (a width of 8192 and blocks of 512 tokens: 250 MiB; unblocked passes of 32K tokens of
    /// the small models: 1.3 GiB), so that a file with absurd hyperparameters is refused.
    static let limit = 2 << 30

    /// Floats of each buffer in the order above, in whole cache lines. No overflow: all factors are limited.
    private static func counts(_ shape: ModelShape, chunk: Int, block: Int) -> [Int] {
        let perRow = [
            shape.width, shape.qkvWidth, shape.attentionWidth, 2 * shape.feedForwardWidth, shape.feedForwardWidth,
        ]
        let inputs = max(shape.width, shape.attentionWidth, shape.feedForwardWidth)
        let linear = WeightMatrix.workspaceBytes(rows: block, inputs: inputs) / 4
        return ([chunk * shape.width] + perRow.map { block * $0 } + [shape.vocabularySize, linear]).map { ($0 + 15) / 16 * 16 }
    }

    static func bytes(_ shape: ModelShape, chunk: Int, block: Int) -> Int {
        4 * counts(shape, chunk: chunk, block: block).reduce(0, +)
    }

    let bytes: Int

    init(_ shape: ModelShape, chunk: Int, block: Int) throws {
        bytes = Self.bytes(shape, chunk: chunk, block: block)
        var allocated: UnsafeMutableRawPointer?
        guard posix_memalign(&allocated, 64, bytes) == 0, let memory = allocated else {
            throw ModelError("no memory for activations of \(bytes >> 20) MiB")
        }
        let floats = memory.bindMemory(to: Float.self, capacity: bytes / 4)
        var start = 0
        let buffers = Self.counts(shape, chunk: chunk, block: block).map { count in
            defer { start += count }
            return floats + start
        }
        (residual, normed, qkv, attended) = (buffers[0], buffers[1], buffers[2], buffers[3])
        (gateUp, hidden, logits) = (buffers[4], buffers[5], buffers[6])
        linear = lhk_workspace(data: buffers[7], bytes: UInt64(4 * Self.counts(shape, chunk: chunk, block: block)[7]))
        self.memory = memory
    }

    deinit { free(memory) }
}
