// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import LonghandLayers

/// Queries, keys and values of one block in one layer as they go into the cache, before positions. The views are valid
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
/// A prompt goes through the layers in passes of `chunk` tokens, a pass through each layer in blocks: keys and values of
/// a block are appended, then its attention, output projection and feed-forward run at once (Blockwise Parallel
/// Transformer, arXiv 2305.19370). Attention is causal, so a block needs the keys of no later one. Only the residual
/// stream exists for a whole pass; every other activation exists for one block. What is computed does not depend on the
/// order: where the blocks are the same, so are the results, bit for bit.
public final class Session {
    public let model: Model
    public let cache: Cache
    /// Most tokens of one pass through the layers, at least `block`.
    public let chunk: Int
    /// Most tokens that go through a layer at a time.
    public var block: Int { cache.configuration.maxRows }
    /// Logits after the last token that was processed, [vocabulary]; overwritten by the next pass.
    public var logits: UnsafeBufferPointer<Float> { UnsafeBufferPointer(start: buffers.logits, count: model.shape.vocabularySize) }
    /// Tokens processed so far.
    public var length: Int { cache.length }

    /// Times of operators are added to it; nil, as at the start, costs nothing.
    public var profile: Profile?

    /// Sees what every layer computes for every block, before the cache takes it. An error ends the pass and leaves the
    /// layers with different lengths: truncate to the length before the pass to go on.
    public var observer: ((ProjectedRows) throws -> Void)?

    /// Layers that a pass runs, from the first on: all of them, unless only these are looked at.
    var depth: Int

    let buffers: Activations

    /// Bytes of all activations: those of the session and what the cache needs for one call (positions, selection,
    /// attention).
    public var activationBytes: Int { buffers.bytes + cache.workspaceBytes }

    /// A session with a cache of its own that takes `chunk` tokens at a time, as block and as pass; parameters and errors
    /// as in `makeCache`.
    public convenience init(
        model: Model, registry: Registry, context: Int, methods: CacheConfiguration = .init(layers: [], capacity: 0),
        chunk: Int = 512
    ) throws {
        let cache = try Self.makeCache(
            for: model.header, registry: registry, host: model.host, context: context, methods: methods, block: chunk)
        try self.init(model: model, cache: cache)
    }

    /// A session on an empty cache from `makeCache`.
    ///
    /// - Parameters:
    ///   - model: the weights, which many sessions may share.
    ///   - cache: for this model alone.
    ///   - chunk: most tokens of one pass; less than a block counts as one block.
    /// - Throws: `ModelError` where the cache is that of another model, or activations need too much memory.
    public init(model: Model, cache: Cache, chunk: Int = 0) throws {
        guard cache.configuration.layers.map(\.uncalibrated) == model.shape.layers else {
            throw ModelError("\(model.path): the cache was made for layers of another shape")
        }
        self.chunk = min(max(chunk, cache.configuration.maxRows), cache.capacity)
        try Self.checkActivations(model.header, chunk: self.chunk, block: cache.configuration.maxRows)
        buffers = try Activations(model.shape, chunk: self.chunk, block: cache.configuration.maxRows)
        depth = model.shape.layerCount
        self.model = model
        self.cache = cache
    }

    /// The cache of a session, which needs no weights: an unknown method or option shows before these are read.
    ///
    /// - Parameters:
    ///   - header: of the model's file.
    ///   - registry: where the methods are looked for.
    ///   - host: whose workers they run on.
    ///   - context: most tokens of the sequence, 1 to 2^31 - 1.
    ///   - methods: names of store, selectors, attention and position; its layers and sizes are replaced by the model's,
    ///     with the parameters of methods that have the option `calibration=FILE`.
    ///   - block: most tokens that go through a layer at a time, at least 3.
    ///   - chunk: most tokens of one pass through the layers, as the session will be given.
    public static func makeCache(
        for header: ModelHeader, registry: Registry, host: KernelHost, context: Int, methods: CacheConfiguration,
        block: Int = 512, chunk: Int = 0
    ) throws -> Cache {
        guard block >= leastBlock else {
            throw ModelError("blocks of \(block) tokens are too small; the least is \(leastBlock)")
        }
        guard (1...Int(Int32.max)).contains(context) else {
            throw ModelError("context of \(context) tokens is not 1 to \(Int32.max)")
        }
        var configuration = methods
        configuration.layers = header.shape.layers
        try configuration.loadCalibrations()
        configuration.capacity = context
        configuration.maxRows = min(block, context)
        try checkActivations(header, chunk: min(max(block, chunk), context), block: configuration.maxRows)
        return try Cache(configuration, registry: registry, host: host)
    }

    private static func checkActivations(_ header: ModelHeader, chunk: Int, block: Int) throws {
        let bytes = Activations.bytes(header.shape, chunk: chunk, block: block)
        guard bytes > Activations.limit else { return }
        throw ModelError(
            "\(header.path): passes of \(chunk) tokens in blocks of \(block) need \(bytes >> 20) MiB of activations; the "
                + "limit is \(Activations.limit >> 20) MiB: take a smaller chunk or smaller blocks")
    }

    /// The least block with which `rows` never leaves a single token.
    public static let leastBlock = 3

    /// Tokens of the next pass or block of a prompt of which `left` remain. The cache takes a single query row as
    /// decoding, with another selector, so none is left over at the end.
    static func rows(left: Int, most: Int) -> Int { left - most == 1 && most > 2 ? most - 1 : min(left, most) }

    /// Processes tokens and leaves the logits after the last one.
    ///
    /// - Parameters:
    ///   - tokens: one or more.
    ///   - progress: called after every pass with the number of tokens done; throw from it to stop early (what was
    ///     processed stays in the cache).
    public func process(_ tokens: [Int32], progress: (Int) throws -> Void = { _ in }) throws {
        guard !tokens.isEmpty else { throw ModelError("there are no tokens to process") }
        try requireRoom(tokens.count)
        var done = 0
        while done < tokens.count {
            let rows = Self.rows(left: tokens.count - done, most: chunk)
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
        let vocabulary = model.shape.vocabularySize, batch = min(block, 64)
        let many = UnsafeMutablePointer<Float>.allocate(capacity: batch * vocabulary)
        defer { many.deallocate() }
        var done = 0
        while done < tokens.count {
            let rows = Self.rows(left: tokens.count - done, most: chunk)
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
}
