// SPDX-License-Identifier: Apache-2.0
import Longhand

/// Hyperparameters of a decoder-only transformer, read from the metadata of a GGUF file.
public struct ModelShape: Sendable {
    /// The supported architectures, named as in `general.architecture`.
    public enum Architecture: String, Sendable, CaseIterable {
        /// Llama 2 and 3, SmolLM2: RMSNorm, interleaved rotary pairs, SwiGLU.
        case llama
        /// Gemma 3 (text): norms after attention and feed-forward too, norms of q and k, GeGLU, sliding-window layers.
        case gemma3
    }

    public let architecture: Architecture
    public let layerCount: Int
    /// Width of the residual stream.
    public let width: Int
    public let feedForwardWidth: Int
    public let vocabularySize: Int
    /// Tokens the model was trained for.
    public let contextLength: Int
    public let normEpsilon: Float
    /// Factor on the embeddings.
    public let embeddingScale: Float
    /// logits = cap * tanh(logits / cap), or nil.
    public let logitSoftcap: Float?
    /// Heads, masks and positions of each layer.
    public let layers: [CacheLayer]

    /// Floats per token of queries, keys and values together.
    var qkvWidth: Int { layers.map { $0.queryHeads * $0.headDimK + $0.kvHeads * ($0.headDimK + $0.headDimV) }.max() ?? 0 }
    /// Floats per token of the heads' outputs.
    var attentionWidth: Int { layers.map { $0.queryHeads * $0.headDimV }.max() ?? 0 }

    /// Throws `GGUFError` where metadata are missing, out of range, or ask for something that is not supported.
    public init(_ file: GGUFFile) throws {
        let name = try file.architecture()
        guard let architecture = Architecture(rawValue: name) else {
            let known = Architecture.allCases.map(\.rawValue).joined(separator: ", ")
            throw file.failure("architecture \"\(name.printable())\" is not supported; supported are \(known)")
        }
        let reader = ShapeReader(file: file, prefix: name)
        self.architecture = architecture
        layerCount = try reader.count("block_count", 1...1024)
        width = try reader.count("embedding_length", 1...1 << 17)
        feedForwardWidth = try reader.count("feed_forward_length", 1...1 << 20)
        contextLength = try reader.count("context_length", 1...1 << 30)
        normEpsilon = try reader.positive("attention.layer_norm_rms_epsilon")
        embeddingScale = architecture == .gemma3 ? Float(width).squareRoot() : 1
        logitSoftcap = try file.float("\(name).final_logit_softcapping").map(Float.init)
        guard let embedding = file.tensor("token_embd.weight"), embedding.dimensions.count == 2,
            embedding.dimensions[0] == width
        else { throw file.failure("tensor token_embd.weight is missing, or its rows are not \(width) wide") }
        vocabularySize = embedding.dimensions[1]
        layers = try reader.layers(architecture, count: layerCount, width: width)
    }
}

/// Reads the hyperparameters of one architecture.
private struct ShapeReader {
    let file: GGUFFile
    let prefix: String

    func count(_ key: String, _ range: ClosedRange<Int>, default fallback: Int? = nil) throws -> Int {
        let value = try file.required(file.integer("\(prefix).\(key)") ?? fallback, "\(prefix).\(key)")
        guard range.contains(value) else {
            throw file.failure("\(prefix).\(key) is \(value); it must be \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    func positive(_ key: String, default fallback: Double? = nil) throws -> Float {
        let value = try file.required(file.float("\(prefix).\(key)") ?? fallback, "\(prefix).\(key)")
        guard value > 0, Float(value).isFinite else { throw file.failure("\(prefix).\(key) is \(value); it must be positive") }
        return Float(value)
    }

    func layers(_ architecture: ModelShape.Architecture, count layerCount: Int, width: Int) throws -> [CacheLayer] {
        let heads = try count("attention.head_count", 1...1024)
        let kvHeads = try count("attention.head_count_kv", 1...1024, default: heads)
        guard heads % kvHeads == 0 else { throw file.failure("\(heads) query heads are not a multiple of \(kvHeads) KV heads") }
        let dimK = try count("attention.key_length", 1...4096, default: width / heads)
        let dimV = try count("attention.value_length", 1...4096, default: width / heads)
        var layer = CacheLayer(queryHeads: heads, kvHeads: kvHeads, headDimK: dimK, headDimV: dimV)
        layer.attention.softcap = try file.float("\(prefix).attn_logit_softcapping").map(Float.init)
        layer.position = try position(headDim: dimK, interleaved: architecture == .llama)
        guard architecture == .gemma3 else { return Array(repeating: layer, count: layerCount) }
        var local = layer
        local.attention.windowLeft = try count("attention.sliding_window", 1...1 << 30) - 1
        local.position.base = try positive("rope.local.freq_base", default: 10000)
        local.position.scaling = .none
        local.position.factor = 1
        let period = try count("attention.sliding_window_pattern", 1...1024, default: 6)
        return (0..<layerCount).map { ($0 + 1) % period == 0 ? layer : local }
    }

    func position(headDim: Int, interleaved: Bool) throws -> PositionParameters {
        var position = PositionParameters()
        position.dimensions = try count("rope.dimension_count", 2...headDim, default: headDim)
        position.interleaved = interleaved
        position.base = try positive("rope.freq_base", default: 10000)
        switch try file.string("\(prefix).rope.scaling.type") ?? "none" {
        case "none": break
        case "linear": position.scaling = .linear
        case "yarn": position.scaling = .yarn
        case let other: throw file.failure("rope scaling \"\(other.printable())\" is not supported")
        }
        if position.scaling != .none {
            position.factor = try positive("rope.scaling.factor")
            position.originalContext = try count("rope.scaling.original_context_length", 0...1 << 30, default: 0)
            position.attentionFactor = try Float(file.float("\(prefix).rope.scaling.attn_factor") ?? 0)
        }
        position.factors = try frequencyFactors(count: position.dimensions / 2)
        return position
    }

    /// Llama 3.1 files carry the divisors of the rotary frequencies as a tensor.
    func frequencyFactors(count: Int) throws -> [Float]? {
        guard let tensor = file.tensor("rope_freqs.weight") else { return nil }
        guard tensor.type == .f32, tensor.elementCount == count else {
            throw file.failure("tensor rope_freqs.weight does not hold \(count) values of type F32")
        }
        let bytes = file.bytes(of: tensor)
        return (0..<count).map { bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
    }
}
