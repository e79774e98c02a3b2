// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Longhand
import LonghandCommVQ

/// Trains the codebooks of the store `commvq` on the keys and values of a trace.
public struct CommVQCalibration {
    /// How much of the energy of keys, as queries see them, and of values the codes of a head leave, as fractions, on tokens
    /// not trained on.
    public struct HeadError: Sendable, Codable {
        public let layer, head: Int
        public let keys, values: Double
    }

    /// Form of the store's codes, its option `form`.
    public enum Form: String, Sendable, CaseIterable {
        /// Codebooks over all channels: 1 or 2 bits.
        case additive
        /// Sparse levels of 16 vectors: 1 to 3 bits.
        case product

        /// Bits per channel that there are codebooks for.
        public var bits: ClosedRange<Int> { self == .additive ? 1...2 : 1...Int(LHK_COMMVQ_PRODUCT_BITS) }
        /// Steps that are as good as more.
        public var keySteps: Int { 30 }
        /// Rounds that are as good as more.
        public var valueRounds: Int { self == .additive ? 8 : 20 }
    }

    public let form: Form
    /// Bits per channel.
    public var bits = 2
    public var seed: UInt64 = 1
    /// Steps of expectation and maximisation, or of k-means, per level of a key's codebook.
    public var keySteps: Int
    /// Rounds of least squares and search for bits, or of k-means and turns of the axes, for a value's codebook.
    public var valueRounds: Int

    /// The first tokens have keys like no others, and the store keeps them exactly: they are left out.
    private static let skipped = 4
    private static let least = 512

    public init(form: Form = .additive) {
        self.form = form
        (keySteps, valueRounds) = (form.keySteps, form.valueRounds)
    }

    /// Trains all layers of a trace and writes their codebooks, as F16 tensors `layers.<i>.commvq.<name>`.
    ///
    /// - Parameters:
    ///   - trace: of the model that the codebooks are for.
    ///   - host: whose workers train.
    ///   - path: of the safetensors file to write.
    ///   - progress: called after every layer with what was found; throw from it to stop: no file is left then.
    /// - Throws: `ModelError` for a trace that is too short, `LonghandError` for bits that the form does not have, and for layers
    ///   that the store does not take.
    public func run(
        trace: TraceFile, host: KernelHost, to path: String, progress: ([HeadError], _ done: Int) throws -> Void = { _, _ in }
    ) throws {
        guard trace.tokens >= Self.least else {
            throw ModelError("\(trace.file.path): the trace has \(trace.tokens) tokens; training needs \(Self.least) or more")
        }
        let declarations = trace.layers.flatMap { layer -> [SafetensorsWriter.Declaration] in
            parameters(of: layer).map { .init("layers.\(layer.layer).commvq.\($0.name)", .f16, shape: $0.shape) }
        }
        let writer = try SafetensorsWriter(
            path: path, tensors: declarations,
            metadata: [
                "format": CalibrationFile.format, "method": "commvq", "form": form.rawValue, "bits": "\(bits)", "seed": "\(seed)",
                "key_steps": "\(keySteps)", "value_rounds": "\(valueRounds)", "tokens": "\(trace.tokens)",
                "model": trace.file.metadata["model"] ?? "", "text": trace.file.metadata["text"] ?? "",
            ])
        for (index, layer) in trace.layers.enumerated() {
            let (tensors, errors) = try train(trace, layer, host)
            for (part, values) in tensors.enumerated() {
                try values.map { Float16($0).bitPattern.littleEndian }.withUnsafeBytes {
                    try writer.write($0, tensor: index * tensors.count + part, at: 0)
                }
            }
            try progress(errors, index + 1)
        }
        try writer.finish()
    }

    /// Names and shapes of what a layer is trained for, in the order of the C structures.
    private func parameters(of layer: TraceLayer) -> [(name: String, shape: [Int])] {
        let heads = layer.kvHeads, (k, v) = (layer.headDimK, layer.headDimV), codes = Int(LHK_COMMVQ_CODES)
        switch form {
        case .additive:
            return [
                ("key_codebook", [heads, bits * k / 8, codes, k]), ("key_weight", [heads, k / 2]),
                ("value_codebook", [heads, bits * v, v]), ("value_offset", [heads, v]),
            ]
        case .product:
            return [
                ("product_keys", [heads, bits * k / 4, codes, k]), ("product_weight", [heads, k / 2]),
                ("product_centre", [heads, k]), ("product_values", [heads, bits * v / 4, codes, v]),
                ("product_axes", [heads, v, v]), ("product_offset", [heads, v]),
            ]
        }
    }

    private func train(_ trace: TraceFile, _ layer: TraceLayer, _ host: KernelHost) throws -> ([[Float]], [HeadError]) {
        let range = min(Self.skipped, trace.tokens)..<trace.tokens
        let sizes = parameters(of: layer).map { $0.shape.reduce(1, *) }
        let keys = try Self.copy(trace, layer, .keysBefore, range)
        defer { keys.deallocate() }
        let values = try Self.copy(trace, layer, .values, range)
        defer { values.deallocate() }
        let queries = try Self.copy(trace, layer, .queriesBefore, range)
        defer { queries.deallocate() }
        let books = sizes.map { UnsafeMutableBufferPointer<Float>.allocate(capacity: $0) }
        let found = UnsafeMutableBufferPointer<Double>.allocate(capacity: 2 * layer.kvHeads)
        defer {
            for buffer in books { buffer.deallocate() }
            found.deallocate()
        }
        let judged = range.count / 8
        var samples = lhk_commvq_samples(
            struct_size: UInt32(MemoryLayout<lhk_commvq_samples>.size), bits: try narrow(bits, "bits"),
            kv_heads: try narrow(layer.kvHeads, "kvHeads"), head_dim_k: try narrow(layer.headDimK, "headDimK"),
            head_dim_v: try narrow(layer.headDimV, "headDimV"), rotated: try narrow(layer.position.dimensions, "dimensions"),
            interleaved: layer.position.interleaved ? 1 : 0,
            query_heads: try narrow(layer.queryHeads, "queryHeads"), tokens: Int64(range.count - judged),
            check: Int64(judged), key_steps: Int64(keySteps), value_rounds: Int64(valueRounds), seed: seed &+ UInt64(layer.layer),
            keys: keys.baseAddress!, values: values.baseAddress!, queries: queries.baseAddress!)
        let at = books.map { $0.baseAddress! }, keyErrors = found.baseAddress!, valueErrors = keyErrors + layer.kvHeads
        switch form {
        case .additive:
            var out = lhk_commvq_codebooks(
                struct_size: UInt32(MemoryLayout<lhk_commvq_codebooks>.size), reserved: 0, keys: at[0], weights: at[1],
                values: at[2], offsets: at[3], key_error: keyErrors, value_error: valueErrors)
            try check { lhk_commvq_train(host.raw, &samples, &out, $0) }
        case .product:
            var out = lhk_commvq_product(
                struct_size: UInt32(MemoryLayout<lhk_commvq_product>.size), reserved: 0, keys: at[0], weights: at[1],
                centre: at[2], values: at[3], axes: at[4], offsets: at[5], key_error: keyErrors, value_error: valueErrors)
            try check { lhk_commvq_train_product(host.raw, &samples, &out, $0) }
        }
        let errors = (0..<layer.kvHeads).map {
            HeadError(layer: layer.layer, head: $0, keys: found[$0], values: found[layer.kvHeads + $0])
        }
        return (books.map { Array($0) }, errors)
    }

    /// Rows of all heads, [heads][tokens][dim].
    private static func copy(
        _ trace: TraceFile, _ layer: TraceLayer, _ part: TracePart, _ range: Range<Int>
    ) throws -> UnsafeMutableBufferPointer<Float> {
        let rows = try (0..<layer.heads(part).heads).flatMap { try trace.rows(layer: layer.layer, part, head: $0, range) }
        let copy = UnsafeMutableBufferPointer<Float>.allocate(capacity: rows.count)
        _ = copy.initialize(from: rows)
        return copy
    }
}
