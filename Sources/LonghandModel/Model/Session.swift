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

    /// - Parameters:
    ///   - context: most tokens of the sequence.
    ///   - methods: names of store, selectors, attention and position; its layers and sizes are replaced by the model's.
    ///   - chunk: most tokens of one pass, 1 to 4096.
    public init(
        model: Model, registry: Registry, context: Int, methods: CacheConfiguration = .init(layers: [], capacity: 0),
        chunk: Int = 512
    ) throws {
        guard (1...4096).contains(chunk) else { throw ModelError("chunk of \(chunk) tokens is not 1 to 4096") }
        guard (1...Int(Int32.max)).contains(context) else { throw ModelError("context of \(context) tokens is not 1 to \(Int32.max)") }
        var configuration = methods
        configuration.layers = model.shape.layers
        configuration.capacity = context
        configuration.maxRows = min(chunk, context)
        cache = try Cache(configuration, registry: registry, host: model.host)
        buffers = Activations(model.shape, rows: min(chunk, context))
        self.model = model
        self.chunk = min(chunk, context)
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

    init(_ shape: ModelShape, rows: Int) {
        func floats(_ count: Int) -> UnsafeMutablePointer<Float> {
            UnsafeMutableRawPointer.allocate(byteCount: max(1, count) * 4, alignment: 64).bindMemory(to: Float.self, capacity: count)
        }
        residual = floats(rows * shape.width)
        normed = floats(rows * shape.width)
        qkv = floats(rows * shape.qkvWidth)
        attended = floats(rows * shape.attentionWidth)
        gateUp = floats(rows * 2 * shape.feedForwardWidth)
        hidden = floats(rows * shape.feedForwardWidth)
        logits = floats(shape.vocabularySize)
    }

    deinit { for buffer in [residual, normed, qkv, attended, gateUp, hidden, logits] { UnsafeMutableRawPointer(buffer).deallocate() } }
}
