// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import LonghandLayers

/// What to record of a model reading a text.
public struct TraceOptions: Sendable {
    /// Layers to record; nil: all.
    public var layers: [Int]?
    /// F32, F16 or BF16. In F16, values beyond 65504 become infinite.
    public var type = SafetensorsType.f32
    /// Position method, as in `CacheConfiguration.position`.
    public var position = "rope"
    /// Most tokens of one pass, and so of what is held in memory.
    public var chunk = 512
    /// The text that the tokens come from: its name, and its bytes for their number and SHA-256.
    public var textName = ""
    public var text = ""

    public init() {}
}

/// Records queries, keys and values of a model reading tokens, with exact attention over an f32 store, into a
/// safetensors file. The file is laid out beforehand and filled chunk by chunk.
public final class TraceRecorder {
    /// Size of the file in bytes.
    public var byteCount: Int { writer.byteCount }

    private let session: Session
    private let tokens: [Int32]
    private let type: SafetensorsType
    private let writer: SafetensorsWriter
    /// Position of a layer's first tensor in the file; its parts follow in the order of `TracePart`. nil: not recorded.
    private let firstTensor: [Int?]
    private let positions: [PositionMethod?]
    private let layers: [TraceLayer]
    private let scratch: UnsafeMutablePointer<Float>
    private let halves: UnsafeMutablePointer<UInt16>

    /// Creates the file. Throws `SafetensorsError` where it cannot be written, `ModelError` for a layer that the model
    /// lacks or a type that is not F32, F16 or BF16.
    public init(model: Model, registry: Registry, tokens: [Int32], path: String, options: TraceOptions) throws {
        guard !tokens.isEmpty else { throw ModelError("there are no tokens to trace") }
        let count = model.shape.layerCount
        let chosen = options.layers ?? Array(0..<count)
        guard !chosen.isEmpty else { throw ModelError("there are no layers to trace") }
        if let wrong = chosen.first(where: { !(0..<count).contains($0) }) {
            throw ModelError("layer \(wrong) cannot be traced: the model has layers 0 to \(count - 1)")
        }
        guard options.type.ggufType != nil else { throw ModelError("a trace cannot be of type \(options.type.rawValue)") }
        var methods = CacheConfiguration(layers: [], capacity: 0)
        (methods.store, methods.position) = ("f32", options.position)
        session = try Session(
            model: model, registry: registry, context: tokens.count, methods: methods, chunk: options.chunk)
        session.depth = chosen.max()! + 1
        let rows = session.chunk
        layers = model.shape.layers.enumerated().map { TraceLayer($0, $1) }
        positions = try model.shape.layers.enumerated().map { index, layer in
            guard chosen.contains(index) else { return nil }
            return try PositionMethod.bind(
                options.position, layer: layer, maxRows: rows, capacity: tokens.count, registry: registry,
                host: model.host)
        }
        var declarations = [SafetensorsWriter.Declaration(TraceMetadata.tokenTensor, .i32, shape: [tokens.count])]
        var first = [Int?](repeating: nil, count: count)
        for index in Set(chosen).sorted() {
            first[index] = declarations.count
            for part in TracePart.allCases {
                let (heads, dim) = layers[index].heads(part)
                declarations.append(
                    .init(part.tensorName(layer: index), options.type, shape: [heads, tokens.count, dim]))
            }
        }
        firstTensor = first
        writer = try SafetensorsWriter(
            path: path, tensors: declarations,
            metadata: try Self.metadata(model, tokens.count, layers.filter { first[$0.layer] != nil }, options))
        self.tokens = tokens
        type = options.type
        scratch = .allocate(capacity: rows * model.shape.qkvWidth)
        halves = .allocate(capacity: rows * model.shape.qkvWidth)
    }

    deinit {
        scratch.deallocate()
        halves.deallocate()
    }

    /// Runs the model and completes the file.
    ///
    /// - Parameter progress: called with the number of tokens done; throw from it to stop: no file is left then.
    public func record(progress: (Int) throws -> Void = { _ in }) throws {
        try tokens.withUnsafeBytes { try writer.write($0, tensor: 0, at: 0) }
        session.observer = { [unowned self] in try record($0) }
        defer { session.observer = nil }
        try session.process(tokens, progress: progress)
        try writer.finish()
    }

    private func record(_ rows: ProjectedRows) throws {
        guard firstTensor[rows.layer] != nil else { return }
        try copy(rows.queries, rows, .queriesBefore)
        try copy(rows.keys, rows, .keysBefore)
        try copy(rows.values, rows, .values)
        try place(rows.queries, rows, .queriesAfter)
        try place(rows.keys, rows, .keysAfter)
    }

    /// Writes a view [rows][heads][dim] as it is.
    private func copy(_ view: Tensor, _ rows: ProjectedRows, _ part: TracePart) throws {
        let (heads, dim) = layers[rows.layer].heads(part)
        let source = view.raw.data!.assumingMemoryBound(to: Float.self)
        for head in 0..<heads {
            for row in 0..<rows.rows {
                let from = source + row * Int(view.raw.stride.0) + head * Int(view.raw.stride.1)
                (scratch + (head * rows.rows + row) * dim).update(from: from, count: dim)
            }
        }
        try write(rows, part)
    }

    /// Writes a view [rows][heads][dim] with positions applied.
    private func place(_ view: Tensor, _ rows: ProjectedRows, _ part: TracePart) throws {
        let (heads, dim) = layers[rows.layer].heads(part)
        guard let position = positions[rows.layer] else { return try copy(view, rows, part) }
        let out = try Tensor(scratch, shape: [rows.rows, heads, dim], strides: [dim, rows.rows * dim, 1])
        try position.apply(view, first: rows.first, out: out)
        try write(rows, part)
    }

    /// Writes the scratch [heads][rows][dim] to its places in the file.
    private func write(_ rows: ProjectedRows, _ part: TracePart) throws {
        let (heads, dim) = layers[rows.layer].heads(part)
        let tensor = firstTensor[rows.layer]! + TracePart.allCases.firstIndex(of: part)!
        let count = rows.rows * dim
        var data = UnsafeRawPointer(scratch)
        if type != .f32 {
            let dtype = type == .bf16 ? LHK_DTYPE_BF16 : LHK_DTYPE_F16
            try LayerError.check {
                lhk_layer_narrow(session.model.host.raw.pointee.isa, dtype, scratch, halves, heads * count, $0)
            }
            data = UnsafeRawPointer(halves)
        }
        for head in 0..<heads {
            let bytes = UnsafeRawBufferPointer(start: data + head * count * type.byteCount, count: count * type.byteCount)
            try writer.write(bytes, tensor: tensor, at: (head * tokens.count + rows.first) * dim * type.byteCount)
        }
    }

    private static func metadata(
        _ model: Model, _ tokens: Int, _ layers: [TraceLayer], _ options: TraceOptions
    ) throws -> [String: String] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        return [
            "format": TraceMetadata.format, "layout": TraceMetadata.layout,
            "model": URL(fileURLWithPath: model.path).lastPathComponent, "model_bytes": "\(model.file.byteCount)",
            "architecture": model.shape.architecture.rawValue, "tokens": "\(tokens)",
            "layers": String(decoding: try encoder.encode(layers), as: UTF8.self), "position": options.position,
            "text": options.textName, "text_bytes": "\(options.text.utf8.count)", "text_sha256": SHA256.hex(options.text.utf8),
        ]
    }
}
