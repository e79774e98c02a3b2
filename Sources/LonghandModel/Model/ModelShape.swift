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
        logitSoftcap = try reader.softcap("final_logit_softcapping")
        guard let embedding = file.tensor("token_embd.weight"), embedding.dimensions.count == 2,
            embedding.dimensions[0] == width
        else { throw file.failure("tensor token_embd.weight is missing, or its rows are not \(width) wide") }
        vocabularySize = embedding.dimensions[1]
        guard vocabularySize <= Int(Int32.max) else {
            throw file.failure("tensor token_embd.weight has \(vocabularySize) rows; the limit is \(Int32.max)")
        }
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

    /// A cap on scores or logits; files write 0 for none.
    func softcap(_ key: String) throws -> Float? {
        guard let value = try file.float("\(prefix).\(key)") else { return nil }
        guard value >= 0, Float(value).isFinite else {
            throw file.failure("\(prefix).\(key) is \(value); it must be positive, or 0 for none")
        }
        return Float(value) > 0 ? Float(value) : nil
    }

    /// Width of a head; without the key, the width of the model divided among its heads.
    func headDimension(_ key: String, width: Int, heads: Int) throws -> Int {
        guard try file.integer("\(prefix).\(key)") == nil, !width.isMultiple(of: heads) else {
            return try count(key, 2...4096, default: width / heads)
        }
        throw file.failure(
            "\(prefix).embedding_length \(width) is not a multiple of \(heads) heads, and \(prefix).\(key) is missing")
    }

    func layers(_ architecture: ModelShape.Architecture, count layerCount: Int, width: Int) throws -> [CacheLayer] {
        let heads = try count("attention.head_count", 1...1024)
        let kvHeads = try count("attention.head_count_kv", 1...1024, default: heads)
        guard heads % kvHeads == 0 else { throw file.failure("\(heads) query heads are not a multiple of \(kvHeads) KV heads") }
        let dimK = try headDimension("attention.key_length", width: width, heads: heads)
        let dimV = try headDimension("attention.value_length", width: width, heads: heads)
        var layer = CacheLayer(queryHeads: heads, kvHeads: kvHeads, headDimK: dimK, headDimV: dimV)
        layer.attention.softcap = try softcap("attn_logit_softcapping")
        layer.position = try position(headDim: dimK, interleaved: architecture == .llama)
        // The 27B model, which files tell apart by its layers alone, scales scores by its width per head instead.
        if architecture == .gemma3 && layerCount == 62 { layer.attention.scale = 1 / Float(width / heads).squareRoot() }
        guard architecture == .gemma3 else { return Array(repeating: layer, count: layerCount) }
        var local = layer
        local.attention.windowLeft = try count("attention.sliding_window", 1...1 << 30) - 1
        local.position.base = try base("rope.local.freq_base")
        local.position.scaling = .none
        local.position.factor = 1
        let period = try count("attention.sliding_window_pattern", 1...1024, default: 6)
        return (0..<layerCount).map { ($0 + 1) % period == 0 ? layer : local }
    }

    func position(headDim: Int, interleaved: Bool) throws -> PositionParameters {
        var position = PositionParameters()
        position.dimensions = try count("rope.dimension_count", 2...headDim, default: headDim)
        guard position.dimensions.isMultiple(of: 2) else {
            throw file.failure("\(prefix).rope.dimension_count is \(position.dimensions); it must be even")
        }
        position.interleaved = interleaved
        position.base = try base("rope.freq_base")
        switch try file.string("\(prefix).rope.scaling.type") ?? "none" {
        case "none": break
        case "linear": position.scaling = .linear
        case "yarn": position.scaling = .yarn
        case let other: throw file.failure("rope scaling \"\(other.printable())\" is not supported")
        }
        if position.scaling != .none {
            position.factor = try positive("rope.scaling.factor")
            position.originalContext = try count("rope.scaling.original_context_length", 0...1 << 30, default: 0)
            guard position.factor >= 1 else {
                throw file.failure("\(prefix).rope.scaling.factor is \(position.factor); it must be at least 1")
            }
            if try file.float("\(prefix).rope.scaling.attn_factor") != nil {
                position.attentionFactor = try positive("rope.scaling.attn_factor")
            }
        }
        position.factors = try frequencyFactors(count: position.dimensions / 2)
        return position
    }

    /// The base of rotary frequencies, above 1.
    func base(_ key: String) throws -> Float {
        let value = try positive(key, default: 10000)
        guard value > 1 else { throw file.failure("\(prefix).\(key) is \(value); it must be above 1") }
        return value
    }

    /// Llama 3.1 files carry the divisors of the rotary frequencies as a tensor.
    func frequencyFactors(count: Int) throws -> [Float]? {
        guard let tensor = file.tensor("rope_freqs.weight") else { return nil }
        guard tensor.type == .f32, tensor.elementCount == count else {
            throw file.failure("tensor rope_freqs.weight does not hold \(count) values of type F32")
        }
        let bytes = file.bytes(of: tensor)
        let factors = (0..<count).map { bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
        guard factors.allSatisfy({ $0 > 0 && $0.isFinite }) else {
            throw file.failure("tensor rope_freqs.weight holds a value that is not positive and finite")
        }
        return factors
    }
}
