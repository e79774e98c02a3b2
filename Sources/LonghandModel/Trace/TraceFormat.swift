// SPDX-License-Identifier: Apache-2.0
import Longhand

/// What a trace keeps of a layer: queries and keys before and after the position method, and values.
public enum TracePart: String, Sendable, CaseIterable {
    case queriesBefore = "q_pre"
    case keysBefore = "k_pre"
    case values = "v"
    case queriesAfter = "q_post"
    case keysAfter = "k_post"

    /// Name of the tensor in the file.
    func tensorName(layer: Int) -> String { "layers.\(layer).\(rawValue)" }
}

/// A layer of a trace, as its metadata describe it: what a method needs to know to be created for it.
public struct TraceLayer: Codable, Sendable, Hashable {
    /// Rotary (or other) positions; the fields are those of `PositionParameters`.
    public struct Position: Codable, Sendable, Hashable {
        public var dimensions: Int
        public var interleaved: Bool
        public var scaling: UInt32
        public var base: Float
        public var factor: Float
        public var originalContext: Int
        public var attentionFactor: Float
        public var factors: [Float]?
    }

    public var layer: Int
    public var queryHeads, kvHeads, headDimK, headDimV: Int
    /// Of the scores; nil: 1/sqrt(headDimK), and none.
    public var scale, softcap: Float?
    /// A query sees this many keys before its own; nil: all.
    public var windowLeft: Int?
    public var position: Position

    init(_ index: Int, _ layer: CacheLayer) {
        self.layer = index
        (queryHeads, kvHeads, headDimK, headDimV) = (layer.queryHeads, layer.kvHeads, layer.headDimK, layer.headDimV)
        (scale, softcap, windowLeft) = (layer.attention.scale, layer.attention.softcap, layer.attention.windowLeft)
        let p = layer.position
        position = Position(
            dimensions: p.dimensions == 0 ? layer.headDimK : p.dimensions, interleaved: p.interleaved,
            scaling: p.scaling.rawValue, base: p.base, factor: p.factor, originalContext: p.originalContext,
            attentionFactor: p.attentionFactor, factors: p.factors)
    }

    /// The layer's attention, as a cache takes it.
    public var cacheLayer: CacheLayer {
        var result = CacheLayer(queryHeads: queryHeads, kvHeads: kvHeads, headDimK: headDimK, headDimV: headDimV)
        result.attention.scale = scale
        result.attention.softcap = softcap
        result.attention.windowLeft = windowLeft
        result.position.dimensions = position.dimensions
        result.position.interleaved = position.interleaved
        result.position.scaling = PositionParameters.Scaling(rawValue: position.scaling) ?? .none
        result.position.base = position.base
        result.position.factor = position.factor
        result.position.originalContext = position.originalContext
        result.position.attentionFactor = position.attentionFactor
        result.position.factors = position.factors
        return result
    }

    /// [heads, dim] of a part.
    func heads(_ part: TracePart) -> (heads: Int, dim: Int) {
        switch part {
        case .queriesBefore, .queriesAfter: (queryHeads, headDimK)
        case .keysBefore, .keysAfter: (kvHeads, headDimK)
        case .values: (kvHeads, headDimV)
        }
    }
}

/// Names and texts of the file's metadata.
enum TraceMetadata {
    static let format = "longhand.trace/1"
    static let layout =
        "layers.N.{q_pre,k_pre,v,q_post,k_post}: [heads][tokens][dim], before (pre) and after (post) "
        + "the position method; tokens: [tokens] token ids"
    static let tokenTensor = "tokens"
}
