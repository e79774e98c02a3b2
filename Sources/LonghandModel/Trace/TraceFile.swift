// SPDX-License-Identifier: Apache-2.0
import Foundation

/// A recorded trace, mapped read-only: what calibration and benchmarks read.
public final class TraceFile: Sendable {
    public let file: SafetensorsFile
    /// Number of tokens.
    public let tokens: Int
    /// The layers it holds, ascending.
    public let layers: [TraceLayer]
    /// Position method that was applied, as in `CacheConfiguration.position`.
    public let position: String

    /// Opens and checks a trace; throws `SafetensorsError` where it is missing, malformed or something else.
    public init(path: String) throws {
        let file = try SafetensorsFile(path: path)
        func failure(_ reason: String) -> SafetensorsError { SafetensorsError(path: path, reason: reason) }
        let format = file.metadata["format"]
        guard format == TraceMetadata.format else {
            let shown = format.map { "has the format \"\($0.printable())\"" } ?? "has no format in its metadata"
            throw failure("is not a trace: it \(shown), not \"\(TraceMetadata.format)\"")
        }
        guard let ids = file.tensor(TraceMetadata.tokenTensor), ids.type == .i32, ids.shape.count == 1, ids.shape[0] > 0 else {
            throw failure("the trace has no tensor \"\(TraceMetadata.tokenTensor)\" of type I32 [tokens]")
        }
        guard let text = file.metadata["layers"], text.utf8.count < 1 << 24,
            let layers = try? JSONDecoder().decode([TraceLayer].self, from: Data(text.utf8)), !layers.isEmpty
        else { throw failure("the metadata \"layers\" of the trace do not describe layers") }
        for layer in layers {
            guard layer.layer >= 0, [layer.queryHeads, layer.kvHeads, layer.headDimK, layer.headDimV].allSatisfy({ $0 > 0 }),
                layer.queryHeads % layer.kvHeads == 0
            else { throw failure("the metadata \"layers\" of the trace describe an impossible layer") }
            for part in TracePart.allCases {
                let name = part.tensorName(layer: layer.layer), (heads, dim) = layer.heads(part)
                guard let tensor = file.tensor(name), tensor.shape == [heads, ids.shape[0], dim], tensor.type.ggufType != nil
                else { throw failure("the trace has no tensor \"\(name)\" of shape [\(heads), \(ids.shape[0]), \(dim)]") }
            }
        }
        guard zip(layers, layers.dropFirst()).allSatisfy({ $0.layer < $1.layer }) else {
            throw failure("the layers of the trace are not ascending")
        }
        self.file = file
        self.layers = layers
        tokens = ids.shape[0]
        position = file.metadata["position"] ?? "rope"
    }

    /// Ids of the tokens that were read.
    public var tokenIDs: [Int32] {
        let bytes = file.bytes(of: file.tensor(TraceMetadata.tokenTensor)!)
        return withExtendedLifetime(file) {
            (0..<tokens).map { Int32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Int32.self)) }
        }
    }

    /// Rows of one head as f32 [rows][dim]: those of the tokens in `range`, or all. Throws `SafetensorsError` for a layer,
    /// head or token that the trace lacks.
    public func rows(layer: Int, _ part: TracePart, head: Int, _ range: Range<Int>? = nil) throws -> [Float] {
        let range = range ?? 0..<tokens
        guard let description = layers.first(where: { $0.layer == layer }),
            case let (heads, dim) = description.heads(part), (0..<heads).contains(head), range.lowerBound >= 0,
            range.upperBound <= tokens
        else {
            throw SafetensorsError(
                path: file.path, reason: "the trace has no tokens \(range) of head \(head) in layer \(layer)")
        }
        let first = (head * tokens + range.lowerBound) * dim
        return try file.floats(of: file.tensor(part.tensorName(layer: layer))!, first..<first + range.count * dim)
    }
}
