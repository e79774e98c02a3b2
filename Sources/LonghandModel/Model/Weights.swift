// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Glibc
import Longhand
import LonghandLayers
import LonghandLinear

/// A failure to load or run a model, in one line.
public struct ModelError: Error, Sendable, Equatable, CustomStringConvertible {
    public let description: String
    public init(_ description: String) { self.description = description }
}

/// Weights of one layer; vectors are f32.
struct LayerWeights {
    let attentionNorm, feedForwardNorm: UnsafePointer<Float>
    /// Gemma: norms of each head of q and k, and of the outputs of both halves before the residual.
    let queryNorm, keyNorm, attentionPostNorm, feedForwardPostNorm: UnsafePointer<Float>?
    /// Queries, keys and values stacked: [query width + key width + value width][width].
    let qkv: WeightMatrix
    let qkvBias: UnsafePointer<Float>?
    let attentionOutput: WeightMatrix
    /// Gate and up stacked: [2 * feed-forward width][width].
    let gateUp: WeightMatrix
    let down: WeightMatrix
}

/// All weights of a model as its kernels want them, in one mapping advised for huge pages: every decoded token reads them
/// whole.
final class Weights: @unchecked Sendable {  // immutable after init
    let layers: [LayerWeights]
    let outputNorm: UnsafePointer<Float>
    /// [vocabulary][width]; shared with the embeddings where the file has no output matrix.
    let output: WeightMatrix
    let embedding: GGUFTensor
    private let memory: WeightMemory

    init(_ file: GGUFFile, _ shape: ModelShape, host: KernelHost, linear: LinearPrecision) throws {
        let embedding = try file.required(file.tensor("token_embd.weight"), "token_embd.weight")
        var loader = WeightLoader(file: file, host: host, linear: linear, memory: nil)
        _ = try Self.read(&loader, shape)  // first pass: checks names and shapes, adds up sizes
        try loader.requireAllUsed()
        let memory = try WeightMemory(floats: loader.used)
        loader = WeightLoader(file: file, host: host, linear: linear, memory: memory)
        (layers, outputNorm, output) = try Self.read(&loader, shape)
        self.embedding = embedding
        self.memory = memory
    }

    /// Whether a matrix is f32, so that many rows need OpenBLAS.
    var needsBLAS: Bool {
        output.isDense || layers.contains { $0.qkv.isDense || $0.attentionOutput.isDense || $0.gateUp.isDense || $0.down.isDense }
    }

    private static func read(
        _ loader: inout WeightLoader, _ shape: ModelShape
    ) throws -> ([LayerWeights], UnsafePointer<Float>, WeightMatrix) {
        var layers: [LayerWeights] = []
        for (index, layer) in shape.layers.enumerated() {
            layers.append(try loader.layer(index, layer, shape))
        }
        let norm = try loader.vector("output_norm.weight", shape.width)
        let name = loader.file.tensor("output.weight") == nil ? "token_embd.weight" : "output.weight"
        return (layers, norm, try loader.matrix([(name, shape.vocabularySize)], inputs: shape.width))
    }
}

/// Lays weights out one after another, 64-byte aligned; without memory it only checks and adds up.
private struct WeightLoader {
    let file: GGUFFile
    let host: KernelHost
    let linear: LinearPrecision
    let memory: WeightMemory?
    /// Floats.
    var used = 0
    /// Tensors that the model's shape asks for; the embeddings and the factors of rotary frequencies are read elsewhere.
    private var names: Set<String> = ["token_embd.weight", "rope_freqs.weight"]

    init(file: GGUFFile, host: KernelHost, linear: LinearPrecision, memory: WeightMemory?) {
        (self.file, self.host, self.linear, self.memory) = (file, host, linear, memory)
    }

    /// A tensor that nothing uses belongs to another model than this one (more layers, experts, other norms): what came out
    /// without it would be wrong.
    func requireAllUsed() throws {
        guard let stray = file.tensors.first(where: { !names.contains($0.name) }) else { return }
        throw file.failure(
            "tensor \(stray.name.printable()) has no place in a model of its architecture and hyperparameters")
    }

    mutating func layer(_ index: Int, _ layer: CacheLayer, _ shape: ModelShape) throws -> LayerWeights {
        let prefix = "blk.\(index)."
        let q = layer.queryHeads * layer.headDimK, k = layer.kvHeads * layer.headDimK, v = layer.kvHeads * layer.headDimV
        let gemma = shape.architecture == .gemma3
        let biases = ["q", "k", "v"].map { "\(prefix)attn_\($0).bias" }
        let hasBias = biases.contains { file.tensor($0) != nil }
        return LayerWeights(
            attentionNorm: try vector(prefix + "attn_norm.weight", shape.width),
            feedForwardNorm: try vector(prefix + "ffn_norm.weight", shape.width),
            queryNorm: gemma ? try vector(prefix + "attn_q_norm.weight", layer.headDimK) : nil,
            keyNorm: gemma ? try vector(prefix + "attn_k_norm.weight", layer.headDimK) : nil,
            attentionPostNorm: gemma ? try vector(prefix + "post_attention_norm.weight", shape.width) : nil,
            feedForwardPostNorm: gemma ? try vector(prefix + "post_ffw_norm.weight", shape.width) : nil,
            qkv: try matrix(
                [(prefix + "attn_q.weight", q), (prefix + "attn_k.weight", k), (prefix + "attn_v.weight", v)],
                inputs: shape.width),
            qkvBias: hasBias ? try dense(zip(biases, [q, k, v]).map { ($0, $1) }, inputs: 1) : nil,
            attentionOutput: try matrix(
                [(prefix + "attn_output.weight", shape.width)], inputs: layer.queryHeads * layer.headDimV),
            gateUp: try matrix(
                [(prefix + "ffn_gate.weight", shape.feedForwardWidth), (prefix + "ffn_up.weight", shape.feedForwardWidth)],
                inputs: shape.width),
            down: try matrix([(prefix + "ffn_down.weight", shape.width)], inputs: shape.feedForwardWidth))
    }

    mutating func vector(_ name: String, _ count: Int) throws -> UnsafePointer<Float> {
        try dense([(name, 1)], inputs: count)
    }

    /// Stacks tensors of `inputs` columns and the given numbers of rows: quantised ones as they are, if that is wanted and
    /// all of them are.
    mutating func matrix(_ parts: [(name: String, rows: Int)], inputs: Int) throws -> WeightMatrix {
        let outputs = parts.reduce(0) { $0 + $1.rows }, start = used
        let sizes = try parts.map { Self.packedBytes(try tensor($0.name, rows: $0.rows, inputs: inputs)) }
        guard linear != .f32, !sizes.contains(nil) else {
            let weights = try dense(parts, inputs: inputs)
            return WeightMatrix(outputs: outputs, inputs: inputs, storage: .dense(weights), bytes: 4 * outputs * inputs)
        }
        var packed: [lhk_packed_rows] = []
        for (part, bytes) in zip(parts, sizes) {
            let tensor = try tensor(part.name, rows: part.rows, inputs: inputs), at = reserve(bytes: bytes!)
            if memory != nil { try pack(tensor, rows: part.rows, to: at) }
            packed.append(lhk_packed_rows(type: Int32(tensor.type.rawValue), n: part.rows, weights: at))
        }
        return WeightMatrix(outputs: outputs, inputs: inputs, storage: .packed(packed), bytes: 4 * (used - start))
    }

    /// Stacks tensors as f32.
    private mutating func dense(_ parts: [(name: String, rows: Int)], inputs: Int) throws -> UnsafePointer<Float> {
        let start = used
        for part in parts {
            let tensor = try tensor(part.name, rows: part.rows, inputs: inputs)
            if let memory { try dequantize(tensor, to: memory.base + used) }
            used += part.rows * inputs
        }
        _ = reserve(bytes: 0)
        return UnsafePointer(memory?.base ?? WeightMemory.placeholder) + start
    }

    /// The next `bytes`, and rounds what is used up to whole cache lines.
    private mutating func reserve(bytes: Int) -> UnsafeMutablePointer<Float> {
        defer { used = (used + (bytes + 3) / 4 + 15) / 16 * 16 }
        return (memory?.base ?? WeightMemory.placeholder) + used
    }

    private mutating func tensor(_ name: String, rows: Int, inputs: Int) throws -> GGUFTensor {
        guard let tensor = file.tensor(name) else { throw file.failure("tensor \(name) is missing") }
        let isVector = rows == 1 || inputs == 1
        let expected = isVector ? [rows * inputs] : [inputs, rows]
        guard tensor.dimensions == expected else {
            throw file.failure("tensor \(name) has shape \(tensor.dimensions), not \(expected)")
        }
        names.insert(name)
        return tensor
    }

    /// Bytes of a packed matrix, or nil where its type has no packed form.
    private static func packedBytes(_ tensor: GGUFTensor) -> Int? {
        var bytes = 0
        let type = Int32(tensor.type.rawValue)
        return lhk_packed_bytes(type, tensor.rowCount, tensor.dimensions[0], &bytes, nil) == LHK_OK ? bytes : nil
    }

    private func pack(_ tensor: GGUFTensor, rows: Int, to target: UnsafeMutablePointer<Float>) throws {
        let bytes = file.bytes(of: tensor)
        guard let source = bytes.baseAddress else { return }
        try LayerError.check {
            lhk_run_pack(host.raw, Int32(tensor.type.rawValue), rows, tensor.dimensions[0], source, target, $0)
        }
    }

    private func dequantize(_ tensor: GGUFTensor, to target: UnsafeMutablePointer<Float>) throws {
        let bytes = file.bytes(of: tensor)
        guard let source = bytes.baseAddress else { return }
        try LayerError.check { error in
            lhk_run_dequantize(
                host.raw, Int32(tensor.type.rawValue), source, target, tensor.rowCount, tensor.dimensions[0], error)
        }
    }
}

/// One anonymous mapping, freed with the object.
private final class WeightMemory: Sendable {
    nonisolated(unsafe) let base: UnsafeMutablePointer<Float>
    private let bytes: Int
    /// What pointers of the counting pass are offsets of; never read.
    static var placeholder: UnsafeMutablePointer<Float> { UnsafeMutablePointer(bitPattern: 64)! }

    init(floats: Int) throws {
        let huge = 2 << 20
        bytes = (floats * 4 + huge) / huge * huge
        guard let memory = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), memory != MAP_FAILED
        else { throw ModelError("no memory for weights of \(bytes >> 20) MiB") }
        madvise(memory, bytes, MADV_HUGEPAGE)
        base = memory.bindMemory(to: Float.self, capacity: floats)
    }

    deinit { munmap(base, bytes) }
}
