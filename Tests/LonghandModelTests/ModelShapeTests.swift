// SPDX-License-Identifier: Apache-2.0

import Longhand
import LonghandModel
import Testing

/// A way to spoil a model, and what its error must say.
struct Fault: Sendable, CustomTestStringConvertible {
    let name: String
    let architecture: ModelShape.Architecture
    let reason: String
    let change: @Sendable (inout GGUFWriter) -> Void

    var testDescription: String { name }

    /// A metadata entry with another value, or none.
    static func entry(
        _ key: String, _ value: GGUFWriter.Value?, _ reason: String, _ architecture: ModelShape.Architecture = .llama
    ) -> Fault {
        let shown = value.map { "\($0)" } ?? "missing"
        return Fault(name: "\(key) \(shown)", architecture: architecture, reason: reason) {
            $0["\(architecture.rawValue).\(key)"] = value
        }
    }

    /// A tensor with other dimensions, or none.
    static func tensor(
        _ name: String, _ dimensions: [Int]?, _ reason: String, _ architecture: ModelShape.Architecture = .llama
    ) -> Fault {
        Fault(name: "\(name) \(dimensions.map { "\($0)" } ?? "missing")", architecture: architecture, reason: reason) {
            $0.setTensor(name, dimensions)
        }
    }
}

/// Files that are well-formed, but whose hyperparameters or tensors do not make a model.
@Suite struct ModelShapeTests {
    /// Processes three tokens and gives the logits.
    private func run(_ path: String) throws -> [Float] {
        let registry = try Registry()
        try registry.discover()
        let session = try Session(
            model: Model(path: path, host: .serial()), registry: registry, context: 16, chunk: 16)
        try session.process([1, 2, 3])
        return Array(session.logits)
    }

    @Test(arguments: ModelShape.Architecture.allCases) func soundModelsRun(_ architecture: ModelShape.Architecture) throws {
        let logits = try withFile(GGUFWriter.tinyModel(architecture).bytes(), run)
        #expect(logits.allSatisfy { $0.isFinite })
        #expect(Set(logits).count > 100)
    }

    /// Rows of embeddings past the vocabulary may be sampled; they have no text of their own.
    @Test func moreRowsThanTokens() throws {
        let header = try withFile(GGUFWriter.tinyModel(.llama).bytes()) { try ModelHeader(path: $0) }
        let id = Int32(header.shape.vocabularySize - 1)
        #expect(Int(id) >= header.tokenizer.vocabulary.count)
        var decoder = StreamingDecoder(header.tokenizer)
        #expect(decoder.append(id) + decoder.finish() == "\u{FFFD}")
        #expect(!header.tokenizer.isEndOfGeneration(id))
    }

    static let numbers: [Fault] =
        ["block_count", "embedding_length", "feed_forward_length", "context_length", "attention.head_count"].flatMap { key in
            [
                .entry(key, nil, "metadata \"llama.\(key)\" is missing"),
                .entry(key, .uint32(0), "llama.\(key) is 0; it must be 1 to"),
                .entry(key, .int32(-1), "llama.\(key) is -1; it must be 1 to"),
                .entry(key, .uint32(.max), "llama.\(key) is 4294967295; it must be 1 to"),
                .entry(key, .int64(.max), "llama.\(key) is 9223372036854775807; it must be 1 to"),
                .entry(key, .uint64(.max), "must be an integer below 2^63"),
                .entry(key, .string("two"), "must be an integer"),
                .entry(key, .float32(2), "must be an integer"),
                .entry(key, .int32s([2, 2]), "must be an integer"),
            ]
        }

    static let heads: [Fault] = [
        .entry("attention.head_count", .uint32(6), "embedding_length 32 is not a multiple of 6 heads"),
        .entry("attention.head_count", .uint32(64), "embedding_length 32 is not a multiple of 64 heads"),
        .entry("attention.head_count", .uint32(8), "tensor blk.0.attn_k.weight has shape [32, 16], not [32, 8]"),
        .entry("attention.head_count", .uint32(32), "llama.attention.key_length is 1; it must be 2 to 4096"),
        .entry("attention.head_count_kv", .uint32(0), "llama.attention.head_count_kv is 0"),
        .entry("attention.head_count_kv", .uint32(3), "4 query heads are not a multiple of 3 KV heads"),
        .entry("attention.head_count_kv", .uint32(8), "4 query heads are not a multiple of 8 KV heads"),
        .entry("attention.key_length", .uint32(1), "llama.attention.key_length is 1; it must be 2 to 4096"),
        .entry("attention.key_length", .uint32(5000), "llama.attention.key_length is 5000"),
        .entry("attention.key_length", .uint32(9), "llama.rope.dimension_count is 9; it must be even"),
        .entry("attention.key_length", .uint32(16), "tensor blk.0.attn_q.weight has shape [32, 32], not [32, 64]"),
        .entry("attention.value_length", .uint32(16), "tensor blk.0.attn_v.weight has shape [32, 16], not [32, 32]"),
        .entry("attention.sliding_window", nil, "gemma3.attention.sliding_window\" is missing", .gemma3),
        .entry("attention.sliding_window", .uint32(0), "gemma3.attention.sliding_window is 0", .gemma3),
        .entry("attention.sliding_window_pattern", .uint32(0), "sliding_window_pattern is 0", .gemma3),
        .entry("block_count", .uint32(3), "tensor blk.2.attn_norm.weight is missing"),
        .entry("block_count", .uint32(1024), "tensor blk.2.attn_norm.weight is missing"),
        .entry("block_count", .uint32(1), "tensor blk.1.attn_norm.weight has no place in a model"),
        .entry("embedding_length", .uint32(64), "its rows are not 64 wide"),
        .entry("feed_forward_length", .uint32(64), "tensor blk.0.ffn_gate.weight has shape [32, 48], not [32, 64]"),
    ]

    static let positions: [Fault] =
        [0, 1, -5, .nan, .infinity].map { .entry("rope.freq_base", .float32($0), "llama.rope.freq_base is") }
        + [0, -1, .nan, .infinity].map {
            .entry("attention.layer_norm_rms_epsilon", .float32($0), "rms_epsilon is \($0); it must be positive")
        }
        + [-1, .nan, .infinity].map {
            .entry("final_logit_softcapping", .float32($0), "final_logit_softcapping is \($0)", .gemma3)
        }
        + [-1, .nan, .infinity].map {
            .entry("attn_logit_softcapping", .float32($0), "attn_logit_softcapping is \($0)", .gemma3)
        } + [
            .entry("attention.layer_norm_rms_epsilon", nil, "rms_epsilon\" is missing"),
            .entry("attention.layer_norm_rms_epsilon", .float64(1e300), "it must be positive"),
            .entry("rope.dimension_count", .uint32(0), "llama.rope.dimension_count is 0; it must be 2 to 8"),
            .entry("rope.dimension_count", .uint32(7), "llama.rope.dimension_count is 7; it must be even"),
            .entry("rope.dimension_count", .uint32(10), "llama.rope.dimension_count is 10; it must be 2 to 8"),
            .entry("rope.scaling.type", .string("longrope"), "rope scaling \"longrope\" is not supported"),
            .entry("rope.scaling.type", .uint32(1), "must be a string"),
            .entry("rope.scaling.type", .string("linear"), "llama.rope.scaling.factor\" is missing"),
            Fault(name: "factor 0.5", architecture: .llama, reason: "scaling.factor is 0.5; it must be at least 1") {
                $0["llama.rope.scaling.type"] = .string("yarn")
                $0["llama.rope.scaling.factor"] = .float32(0.5)
            },
            Fault(name: "attn_factor", architecture: .llama, reason: "rope.scaling.attn_factor is nan") {
                $0["llama.rope.scaling.type"] = .string("yarn")
                $0["llama.rope.scaling.factor"] = .float32(2)
                $0["llama.rope.scaling.attn_factor"] = .float32(.nan)
            },
            .tensor("rope_freqs.weight", [5], "rope_freqs.weight does not hold 4 values of type F32"),
            Fault(name: "rope_freqs nan", architecture: .llama, reason: "not positive and finite") {
                $0.tensors.append(.floats("rope_freqs.weight", [4], [1, 2, .nan, 4]))
            },
            Fault(name: "rope_freqs 0", architecture: .llama, reason: "not positive and finite") {
                $0.tensors.append(.floats("rope_freqs.weight", [4], [1, 2, 0, 4]))
            },
        ]

    static let tensors: [Fault] =
        GGUFWriter.tinyModel(.gemma3).tensors.map { .tensor($0.name, nil, "tensor \($0.name) is missing", .gemma3) }
        + GGUFWriter.tinyModel(.gemma3).tensors.map { .tensor($0.name, [3, 7, 2], "tensor \($0.name) ", .gemma3) } + [
            .tensor("token_embd.weight", [32], "tensor token_embd.weight"),
            .tensor("token_embd.weight", [32, 100], "the tokenizer has 268 tokens, the embeddings only 100 rows"),
            .tensor("output.weight", [32, 100], "tensor output.weight has shape [32, 100], not [32, 272]"),
            .tensor("blk.0.attn_k.weight", [16, 32], "tensor blk.0.attn_k.weight has shape [16, 32], not [32, 16]"),
            .tensor("blk.0.attn_norm.weight", [32, 1], "tensor blk.0.attn_norm.weight has shape [32, 1], not [32]"),
            .tensor("blk.0.attn_q.bias", [32], "tensor blk.0.attn_k.bias is missing"),
            .tensor("blk.2.attn_norm.weight", [32], "tensor blk.2.attn_norm.weight has no place"),
            .tensor("blk.0.ffn_gate_exps.weight", [32, 48, 4], "tensor blk.0.ffn_gate_exps.weight has no place"),
            .tensor("blk.0.attn_q_norm.weight", [8], "tensor blk.0.attn_q_norm.weight has no place"),
            Fault(name: "overflow", architecture: .llama, reason: "its size overflows 64 bits") {
                $0.setTensor("token_embd.weight", nil)
                $0.tensors.append(.init(name: "token_embd.weight", dimensions: [32, 1 << 60], type: 0, data: [0, 0, 0, 0]))
            },
            Fault(name: "architecture", architecture: .llama, reason: "architecture \"mamba\\u{07}\" is not supported") {
                $0["general.architecture"] = .string("mamba\u{7}")
            },
            Fault(name: "no architecture", architecture: .llama, reason: "\"general.architecture\" is missing") {
                $0["general.architecture"] = nil
            },
        ]

    @Test(arguments: [numbers, heads, positions, tensors].joined()) func refused(_ fault: Fault) throws {
        var writer = GGUFWriter.tinyModel(fault.architecture)
        fault.change(&writer)
        let message = try withFile(writer.bytes()) { path in
            do {
                _ = try Model(path: path, host: .serial())
                return "accepted"
            } catch {
                #expect("\(error)".hasPrefix("\(path): "))
                return "\(error)"
            }
        }
        #expect(message.contains(fault.reason), "\(message)")
        #expect(!message.contains("\n"))
    }

    @Test func absurdActivations() throws {
        var writer = GGUFWriter.tinyModel(.llama)
        writer["llama.feed_forward_length"] = .uint32(1 << 20)
        let header = try withFile(writer.bytes()) { try ModelHeader(path: $0) }
        let error = #expect(throws: ModelError.self) {
            _ = try Session.makeCache(
                for: header, registry: Registry(), host: .serial(), context: 8192, methods: .init(layers: [], capacity: 0))
        }
        #expect(error?.description.contains("MiB of activations; the limit is 2048 MiB: take a smaller chunk") == true)
    }

    @Test func cachesOfOtherModels() throws {
        let registry = try Registry()
        try registry.discover()
        let host = try KernelHost.serial()
        let header = try withFile(GGUFWriter.tinyModel(.gemma3).bytes()) { try ModelHeader(path: $0) }
        let cache = try Session.makeCache(
            for: header, registry: registry, host: host, context: 16, methods: .init(layers: [], capacity: 0))
        let model = try withFile(GGUFWriter.tinyModel(.llama).bytes()) { try Model(path: $0, host: host) }
        #expect(throws: ModelError.self) { try Session(model: model, cache: cache) }
    }

    /// Random values of random types under the hyperparameters' keys: a model runs or is refused in one line.
    @Test func randomHyperparameters() throws {
        var generator = SplitMix(seed: testSeed())
        let integers: [Int64] = [0, 1, 2, 3, 4, 5, 7, 8, 16, 32, 33, 48, 1023, 1 << 20, 1 << 30, 1 << 31, 1 << 40, -1, .max, .min]
        let floats: [Float] = [0, 1, -1, 2, 1e-30, 1e30, 3.4e38, .nan, .infinity, -.infinity, .leastNonzeroMagnitude]
        let names = [
            "block_count", "embedding_length", "feed_forward_length", "context_length", "attention.head_count",
            "attention.head_count_kv", "attention.key_length", "attention.value_length", "rope.dimension_count",
            "attention.sliding_window", "attention.sliding_window_pattern", "attention.layer_norm_rms_epsilon",
            "rope.freq_base", "rope.local.freq_base", "rope.scaling.factor", "rope.scaling.attn_factor",
            "rope.scaling.original_context_length", "final_logit_softcapping", "attn_logit_softcapping",
        ]
        var accepted = 0
        for _ in 0..<1000 {
            let architecture = ModelShape.Architecture.allCases.randomElement(using: &generator)!
            var writer = GGUFWriter.tinyModel(architecture)
            if Bool.random(using: &generator) {
                let kind = ["linear", "yarn", "none", "ntk"].randomElement(using: &generator)!
                writer["\(architecture.rawValue).rope.scaling.type"] = .string(kind)
            }
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                let name = names.randomElement(using: &generator)!
                let isFloat = name.contains("epsilon") || name.contains("base") || name.contains("factor") || name.contains("cap")
                writer["\(architecture.rawValue).\(name)"] =
                    isFloat && Int.random(in: 0..<8, using: &generator) > 0
                    ? .float32(floats.randomElement(using: &generator)!) : .int64(integers.randomElement(using: &generator)!)
            }
            try withFile(writer.bytes()) { path in
                do {
                    _ = try run(path)
                    accepted += 1
                } catch {
                    #expect(!"\(error)".contains("\n") && !"\(error)".isEmpty)
                }
            }
        }
        print("\(accepted) of 1000 random models ran")
    }
}
