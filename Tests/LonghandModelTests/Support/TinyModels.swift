// SPDX-License-Identifier: Apache-2.0

import LonghandModel

extension GGUFWriter {
    /// A whole model of random weights with two layers: width 32, 4 query and 2 KV heads of dimension 8, feed-forward
    /// width 48, and four rows of embeddings more than there are tokens.
    static func tinyModel(_ architecture: ModelShape.Architecture) -> GGUFWriter {
        let isGemma = architecture == .gemma3
        var writer = isGemma ? scoredPairs() : bytePairs()
        guard case .array(_, let tokens) = writer["tokenizer.ggml.tokens"] else { return writer }
        let prefix = architecture.rawValue
        let numbers: [(String, UInt32)] = [
            ("block_count", 2), ("embedding_length", 32), ("feed_forward_length", 48), ("context_length", 64),
            ("attention.head_count", 4), ("attention.head_count_kv", 2),
        ]
        for (key, value) in numbers { writer["\(prefix).\(key)"] = .uint32(value) }
        writer["\(prefix).attention.layer_norm_rms_epsilon"] = .float32(1e-5)
        if isGemma { writer["gemma3.attention.sliding_window"] = .uint32(16) }

        writer.tensors = []
        var generator = SplitMix(seed: 1)
        func add(_ name: String, _ dimensions: Int...) {
            let values = (0..<dimensions.reduce(1, *)).map { _ in Float.random(in: -0.2...0.2, using: &generator) }
            writer.tensors.append(.floats(name, dimensions, values))
        }
        add("token_embd.weight", 32, tokens.count + 4)
        add("output_norm.weight", 32)
        for layer in 0..<2 {
            let prefix = "blk.\(layer)."
            add(prefix + "attn_norm.weight", 32)
            add(prefix + "ffn_norm.weight", 32)
            add(prefix + "attn_q.weight", 32, 32)
            add(prefix + "attn_k.weight", 32, 16)
            add(prefix + "attn_v.weight", 32, 16)
            add(prefix + "attn_output.weight", 32, 32)
            add(prefix + "ffn_gate.weight", 32, 48)
            add(prefix + "ffn_up.weight", 32, 48)
            add(prefix + "ffn_down.weight", 48, 32)
            guard isGemma else { continue }
            add(prefix + "attn_q_norm.weight", 8)
            add(prefix + "attn_k_norm.weight", 8)
            add(prefix + "post_attention_norm.weight", 32)
            add(prefix + "post_ffw_norm.weight", 32)
        }
        return writer
    }

    /// Removes a tensor, or replaces it by one of other dimensions.
    mutating func setTensor(_ name: String, _ dimensions: [Int]?) {
        tensors.removeAll { $0.name == name }
        guard let dimensions else { return }
        tensors.append(.floats(name, dimensions, [Float](repeating: 0.1, count: dimensions.reduce(1, *))))
    }
}

extension GGUFWriter.Tensor {
    static func floats(_ name: String, _ dimensions: [Int], _ values: [Float]) -> Self {
        let data = values.flatMap { value in withUnsafeBytes(of: value.bitPattern.littleEndian, Array.init) }
        return Self(name: name, dimensions: dimensions.map(UInt64.init), type: 0, data: data)
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct SplitMix: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
