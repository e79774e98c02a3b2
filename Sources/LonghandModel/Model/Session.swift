// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import LonghandLayers

/// Queries, keys and values of one chunk in one layer as they go into the cache, before positions. The views are valid
/// during the call of the observer only.
public struct ProjectedRows {
    public let layer: Int
    /// Position of the first row.
    public let first: Int
    public let rows: Int
    /// [rows][queryHeads][headDimK]
    public let queries: Tensor
    /// [rows][kvHeads][headDimK]
    public let keys: Tensor
    /// [rows][kvHeads][headDimV]
    public let values: Tensor
}

/// One sequence being read and continued by a model. Not thread-safe; the work runs on the host's workers.
///
/// Tokens go through the layers in chunks, so that activation memory depends on the chunk and not on the prompt.
public final class Session {
    public let model: Model
    public let cache: Cache
    /// Most tokens of one pass through the layers.
    public let chunk: Int
    /// Logits after the last token that was processed, [vocabulary]; overwritten by the next pass.
    public var logits: UnsafeBufferPointer<Float> { UnsafeBufferPointer(start: buffers.logits, count: model.shape.vocabularySize) }
    /// Tokens processed so far.
    public var length: Int { cache.length }

    /// Sees what every layer computes for every chunk, before the cache takes it. An error ends the pass and leaves the
    /// layers with different lengths: truncate to the length before the pass to go on.
    public var observer: ((ProjectedRows) throws -> Void)?

    private let buffers: Activations

    /// A session with a cache of its own; parameters and errors as in `makeCache`.
    public convenience init(
        model: Model, registry: Registry, context: Int, methods: CacheConfiguration = .init(layers: [], capacity: 0),
        chunk: Int = 512
    ) throws {
        let cache = try Self.makeCache(
            for: model.header, registry: registry, host: model.host, context: context, methods: methods, chunk: chunk)
        try self.init(model: model, cache: cache)
    }

    /// A session on an empty cache from `makeCache`. Throws `ModelError` where the cache is that of another model or there
    /// is no memory.
    public init(model: Model, cache: Cache) throws {
        guard cache.configuration.layers == model.shape.layers else {
            throw ModelError("\(model.path): the cache was made for layers of another shape")
        }
        chunk = cache.configuration.maxRows
        buffers = try Activations(model.shape, rows: chunk)
        self.model = model
        self.cache = cache
    }

    /// The cache of a session, which needs no weights: an unknown method or option shows before these are read.
    ///
    /// - Parameters:
    ///   - context: most tokens of the sequence, 1 to 2^31 - 1.
    ///   - methods: names of store, selectors, attention and position; its layers and sizes are replaced by the model's.
    ///   - chunk: most tokens of one pass through the layers, 1 to 4096.
    public static func makeCache(
        for header: ModelHeader, registry: Registry, host: KernelHost, context: Int, methods: CacheConfiguration,
        chunk: Int = 512
    ) throws -> Cache {
        guard (1...4096).contains(chunk) else { throw ModelError("chunk of \(chunk) tokens is not 1 to 4096") }
        guard (1...Int(Int32.max)).contains(context) else {
            throw ModelError("context of \(context) tokens is not 1 to \(Int32.max)")
        }
        var configuration = methods
        configuration.layers = header.shape.layers
        configuration.capacity = context
        configuration.maxRows = min(chunk, context)
        let bytes = Activations.bytes(header.shape, rows: configuration.maxRows)
        guard bytes <= Activations.limit else {
            throw ModelError(
                "\(header.path): passes of \(configuration.maxRows) tokens need \(bytes >> 20) MiB of activations; the "
                    + "limit is \(Activations.limit >> 20) MiB: take a smaller chunk")
        }
        return try Cache(configuration, registry: registry, host: host)
    }

    /// Processes `tokens` and leaves the logits after the last one.
    ///
    /// - Parameter progress: called after every chunk with the number of tokens done; throw from it to stop early (what
    ///   was processed stays in the cache).
    public func process(_ tokens: [Int32], progress: (Int) throws -> Void = { _ in }) throws {
        guard !tokens.isEmpty else { throw ModelError("there are no tokens to process") }
        try requireRoom(tokens.count)
        var done = 0
        while done < tokens.count {
            let rows = min(chunk, tokens.count - done)
            try run(tokens[done..<done + rows])
            done += rows
            if done == tokens.count { try project(rows - 1..<rows, into: buffers.logits) }
            try progress(done)
        }
    }

    /// Processes `tokens` and calls `body` with the logits after each of them, in order. They are valid for the call.
    public func process(
        _ tokens: [Int32], logitsOfEach body: (_ index: Int, _ logits: UnsafeBufferPointer<Float>) throws -> Void
    ) throws {
        try requireRoom(tokens.count)
        let vocabulary = model.shape.vocabularySize, batch = 64
        let many = UnsafeMutablePointer<Float>.allocate(capacity: batch * vocabulary)
        defer { many.deallocate() }
        var done = 0
        while done < tokens.count {
            let rows = min(chunk, tokens.count - done)
            try run(tokens[done..<done + rows])
            for first in stride(from: 0, to: rows, by: batch) {
                let end = min(first + batch, rows)
                try project(first..<end, into: many)
                for row in first..<end {
                    try body(done + row, UnsafeBufferPointer(start: many + (row - first) * vocabulary, count: vocabulary))
                }
            }
            done += rows
        }
    }

    /// One pass of the layers over up to `chunk` tokens, without logits; `project` then gives those of its rows.
    func pass(_ tokens: ArraySlice<Int32>) throws {
        precondition(!tokens.isEmpty && tokens.count <= chunk)
        try requireRoom(tokens.count)
        try run(tokens)
    }

    private func requireRoom(_ count: Int) throws {
        guard count <= cache.capacity - cache.length else {
            throw ModelError("\(count) tokens do not fit: \(cache.length) of \(cache.capacity) tokens of context are in use")
        }
    }

    /// Logits [rows][vocabulary] of some rows of the last chunk.
    func project(_ rows: Range<Int>, into logits: UnsafeMutablePointer<Float>) throws {
        let shape = model.shape, b = buffers
        norm(b.residual + rows.lowerBound * shape.width, model.weights.outputNorm, b.normed, rows: rows.count)
        try linear(
            b.normed, model.weights.output, logits, rows: rows.count, outputs: shape.vocabularySize, inputs: shape.width)
        if let cap = shape.logitSoftcap {
            for i in 0..<rows.count * shape.vocabularySize { logits[i] = cap * tanhf(logits[i] / cap) }
        }
    }

    /// One chunk through all layers.
    private func run(_ tokens: ArraySlice<Int32>) throws {
        let shape = model.shape, count = tokens.count * shape.width
        let embedding = model.weights.embedding
        let table = model.file.bytes(of: embedding)
        try tokens.withUnsafeBufferPointer { ids in
            try LayerError.check {
                lhk_layer_embed(
                    isa, Int32(embedding.type.rawValue), table.baseAddress!, shape.vocabularySize, shape.width,
                    ids.baseAddress!, ids.count, buffers.residual, $0)
            }
        }
        if shape.embeddingScale != 1 { lhk_layer_scale(isa, buffers.residual, shape.embeddingScale, buffers.residual, count) }
        for index in 0..<shape.layerCount {
            try attention(index, rows: tokens.count)
            try feedForward(index, rows: tokens.count)
        }
    }

    private func attention(_ index: Int, rows: Int) throws {
        let layer = model.shape.layers[index], w = model.weights.layers[index], width = model.shape.width, b = buffers
        let q = layer.queryHeads * layer.headDimK, k = layer.kvHeads * layer.headDimK, v = layer.kvHeads * layer.headDimV
        let stride = q + k + v
        norm(b.residual, w.attentionNorm, b.normed, rows: rows)
        try linear(b.normed, w.qkv, b.qkv, rows: rows, outputs: stride, inputs: width)
        if let bias = w.qkvBias {
            for row in 0..<rows { lhk_layer_add(isa, b.qkv + row * stride, bias, b.qkv + row * stride, stride) }
        }
        if let queryNorm = w.queryNorm, let keyNorm = w.keyNorm {
            for row in 0..<rows {
                let at = b.qkv + row * stride
                normHeads(at, queryNorm, heads: layer.queryHeads, dim: layer.headDimK)
                normHeads(at + q, keyNorm, heads: layer.kvHeads, dim: layer.headDimK)
            }
        }
        func view(_ offset: Int, heads: Int, dim: Int) throws -> Tensor {
            try Tensor(b.qkv + offset, shape: [rows, heads, dim], strides: [stride, dim, 1])
        }
        let projected = try ProjectedRows(
            layer: index, first: cache.length(layer: index), rows: rows,
            queries: view(0, heads: layer.queryHeads, dim: layer.headDimK),
            keys: view(q, heads: layer.kvHeads, dim: layer.headDimK),
            values: view(q + k, heads: layer.kvHeads, dim: layer.headDimV))
        try observer?(projected)
        try cache.append(layer: index, keys: projected.keys, values: projected.values)
        let outWidth = layer.queryHeads * layer.headDimV
        try cache.attend(
            layer: index, queries: projected.queries,
            out: Tensor(b.attended, shape: [rows, layer.queryHeads, layer.headDimV]))
        try linear(b.attended, w.attentionOutput, b.normed, rows: rows, outputs: width, inputs: outWidth)
        if let post = w.attentionPostNorm { norm(b.normed, post, b.normed, rows: rows) }
        lhk_layer_add(isa, b.residual, b.normed, b.residual, rows * width)
    }

    private func feedForward(_ index: Int, rows: Int) throws {
        let w = model.weights.layers[index], width = model.shape.width, hidden = model.shape.feedForwardWidth, b = buffers
        norm(b.residual, w.feedForwardNorm, b.normed, rows: rows)
        try linear(b.normed, w.gateUp, b.gateUp, rows: rows, outputs: 2 * hidden, inputs: width)
        let gate = model.shape.architecture == .gemma3 ? LHK_GATE_GELU_TANH : LHK_GATE_SILU
        lhk_run_gate(model.host.raw, gate, b.gateUp, b.hidden, rows, hidden)
        try linear(b.hidden, w.down, b.normed, rows: rows, outputs: width, inputs: hidden)
        if let post = w.feedForwardPostNorm { norm(b.normed, post, b.normed, rows: rows) }
        lhk_layer_add(isa, b.residual, b.normed, b.residual, rows * width)
    }

    private var isa: lhk_isa { model.host.raw.pointee.isa }

    private func norm(_ x: UnsafePointer<Float>, _ w: UnsafePointer<Float>, _ out: UnsafeMutablePointer<Float>, rows: Int) {
        let width = model.shape.width
        lhk_run_rms_norm(model.host.raw, x, width, w, model.shape.normEpsilon, out, width, rows, width)
    }

    private func normHeads(_ x: UnsafeMutablePointer<Float>, _ w: UnsafePointer<Float>, heads: Int, dim: Int) {
        lhk_layer_rms_norm(isa, x, dim, w, model.shape.normEpsilon, x, dim, heads, dim)
    }

    private func linear(
        _ x: UnsafePointer<Float>, _ w: UnsafePointer<Float>, _ y: UnsafeMutablePointer<Float>, rows: Int, outputs: Int,
        inputs: Int
    ) throws {
        var shape = lhk_linear_shape(m: rows, n: outputs, k: inputs, ldx: inputs, ldy: outputs)
        try LayerError.check { lhk_run_linear(model.host.raw, &shape, x, w, y, $0) }
    }
}

/// Activations of one chunk, allocated once.
private final class Activations {
    let residual, normed, qkv, attended, gateUp, hidden, logits: UnsafeMutablePointer<Float>
    private let memory: UnsafeMutableRawPointer

    /// Far above what models need (a width of 8192 and chunks of 512 tokens: 250 MiB), so that a file with absurd
    /// hyperparameters is refused.
    static let limit = 1 << 30

    /// Floats of each buffer in the order above, in whole cache lines. No overflow: all factors are limited.
    private static func counts(_ shape: ModelShape, rows: Int) -> [Int] {
        let perRow = [
            shape.width, shape.width, shape.qkvWidth, shape.attentionWidth, 2 * shape.feedForwardWidth,
            shape.feedForwardWidth,
        ]
        return (perRow.map { rows * $0 } + [shape.vocabularySize]).map { ($0 + 15) / 16 * 16 }
    }

    static func bytes(_ shape: ModelShape, rows: Int) -> Int { 4 * counts(shape, rows: rows).reduce(0, +) }

    init(_ shape: ModelShape, rows: Int) throws {
        let bytes = Self.bytes(shape, rows: rows)
        var allocated: UnsafeMutableRawPointer?
        guard posix_memalign(&allocated, 64, bytes) == 0, let memory = allocated else {
            throw ModelError("no memory for activations of \(bytes >> 20) MiB")
        }
        let floats = memory.bindMemory(to: Float.self, capacity: bytes / 4)
        var start = 0
        let buffers = Self.counts(shape, rows: rows).map { count in
            defer { start += count }
            return floats + start
        }
        (residual, normed, qkv, attended) = (buffers[0], buffers[1], buffers[2], buffers[3])
        (gateUp, hidden, logits) = (buffers[4], buffers[5], buffers[6])
        self.memory = memory
    }

    deinit { free(memory) }
}
