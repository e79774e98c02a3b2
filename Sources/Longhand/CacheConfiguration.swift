// SPDX-License-Identifier: Apache-2.0
import CLonghand

/// Masks and score modifiers of a layer's attention; the default is causal attention with scale 1/sqrt(headDimK).
///
/// Applied in this order: score = scale * q.k, softcap, ALiBi, masks, sink logit.
public struct AttentionParameters: Hashable, Sendable {
    /// A query sees only keys up to its own position.
    public var causal = true
    /// nil takes 1/sqrt(headDimK).
    public var scale: Float?
    /// score = softcap * tanh(score / softcap); nil: none.
    public var softcap: Float?
    /// A query sees this many keys before its own; nil: all.
    public var windowLeft: Int?
    /// A query sees this many keys after its own; nil: all that `causal` leaves.
    public var windowRight: Int?
    /// The first keys that stay visible under a left window.
    public var sinkTokens = 0
    /// [queryHeads]: adds -slope * distance to the score.
    public var alibiSlopes: [Float]?
    /// [queryHeads]: a learnable logit per head that joins the softmax sum.
    public var sinkLogits: [Float]?

    public init() {}
}

/// Parameters of a position method such as `rope`; the default is plain rotary embedding of whole heads, base 10000.
public struct PositionParameters: Hashable, Sendable {
    public enum Scaling: UInt32, Sendable {
        case none = 0
        case linear = 1
        case ntk = 2
        case yarn = 3
    }

    /// Rotated dimensions, even; 0 takes headDimK.
    public var dimensions = 0
    /// Rotates the pairs (x[2t], x[2t+1]) instead of (x[t], x[t + dimensions/2]).
    public var interleaved = false
    public var scaling = Scaling.none
    /// Frequency base, above 1.
    public var base: Float = 10000
    /// Context extension factor, at least 1.
    public var factor: Float = 1
    /// Context that the model was trained for (YaRN).
    public var originalContext = 0
    /// YaRN magnitude; 0 takes 1 + 0.1 ln(factor).
    public var attentionFactor: Float = 0
    /// YaRN; 0 takes 32.
    public var betaFast: Float = 0
    /// YaRN; 0 takes 1.
    public var betaSlow: Float = 0
    /// [dimensions/2] divisors of the frequencies (Llama 3), or nil.
    public var factors: [Float]?

    public init() {}
}

/// A tensor that calibration found for one layer; methods look it up by name.
public struct CalibratedParameter: Hashable, Sendable {
    /// Begins with the method's name, such as `sale.tau`; unique within a layer.
    public var name: String
    /// One to four dimensions, row-major.
    public var shape: [Int]
    public var values: [Float]

    public init(name: String, shape: [Int], values: [Float]) {
        self.name = name
        self.shape = shape
        self.values = values
    }
}

/// The attention of one layer.
public struct CacheLayer: Hashable, Sendable {
    /// A multiple of `kvHeads`.
    public var queryHeads: Int
    public var kvHeads: Int
    /// Head dimension of queries and keys.
    public var headDimK: Int
    /// Head dimension of values and outputs.
    public var headDimV: Int
    public var attention = AttentionParameters()
    public var position = PositionParameters()
    /// For those of the cache's methods that are calibrated.
    public var parameters: [CalibratedParameter] = []

    public init(queryHeads: Int, kvHeads: Int, headDimK: Int, headDimV: Int) {
        self.queryHeads = queryHeads
        self.kvHeads = kvHeads
        self.headDimK = headDimK
        self.headDimV = headDimV
    }
}

/// What a cache binds. Methods are given as `name[:key=value[,key=value...]]`.
public struct CacheConfiguration: Hashable, Sendable {
    public var layers: [CacheLayer]
    /// Most tokens of the sequence. Unused capacity costs address space, not memory.
    public var capacity: Int
    /// Most rows of one append or attend.
    public var maxRows = 512
    public var store = "bf16"
    /// Stores of some layers in place of `store`; no layer may have two.
    public var layerStores: [LayerStore] = []
    /// Selector for calls of two or more query rows.
    public var prefill = "all"
    /// Selector for calls of one query row.
    public var decode = "all"
    public var attention = "flash"
    /// `none` for models without positions at this place.
    public var position = "rope"

    public init(layers: [CacheLayer], capacity: Int) {
        self.layers = layers
        self.capacity = capacity
    }
}

/// Memory lent to the C structs of one call.
package struct Arena: ~Copyable {
    private var floats: [UnsafeMutablePointer<Float>] = []
    private var strings: [UnsafeMutablePointer<CChar>] = []
    private var parameters: [UnsafeMutablePointer<lhk_parameter>] = []

    package init() {}

    mutating func lend(_ values: [Float]?, count: Int, _ name: String) throws(LonghandError) -> UnsafePointer<Float>? {
        guard let values else { return nil }
        guard values.count == count else {
            throw LonghandError(.argument, "\(name) has \(values.count) elements, not \(count)")
        }
        let copy = UnsafeMutablePointer<Float>.allocate(capacity: max(1, count))
        copy.initialize(from: values, count: count)
        floats.append(copy)
        return UnsafePointer(copy)
    }

    mutating func lend(_ text: String) -> UnsafePointer<CChar> {
        let bytes = Array(text.utf8CString)
        let copy = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
        copy.initialize(from: bytes, count: bytes.count)
        strings.append(copy)
        return UnsafePointer(copy)
    }

    package mutating func lend(_ list: [CalibratedParameter]) throws(LonghandError) -> UnsafePointer<lhk_parameter>? {
        guard !list.isEmpty else { return nil }
        let copy = UnsafeMutablePointer<lhk_parameter>.allocate(capacity: list.count)
        parameters.append(copy)
        for (index, parameter) in list.enumerated() {
            var count = 1
            for size in parameter.shape {
                let (product, overflow) = count.multipliedReportingOverflow(by: max(0, size))
                count = overflow ? -1 : product
            }
            let values = try lend(parameter.values, count: count, "parameter '\(parameter.name)'")
            let tensor = try Tensor(UnsafeMutableRawPointer(mutating: values), shape: parameter.shape)
            (copy + index).initialize(to: lhk_parameter(name: lend(parameter.name), tensor: tensor.raw))
        }
        return UnsafePointer(copy)
    }

    deinit {
        for pointer in parameters { pointer.deallocate() }
        for pointer in floats { pointer.deallocate() }
        for pointer in strings { pointer.deallocate() }
    }
}

extension CacheLayer {
    func lower(index: Int, store: String? = nil, into arena: inout Arena) throws(LonghandError) -> lhk_cache_layer {
        var layer = lhk_cache_layer()
        layer.struct_size = UInt32(MemoryLayout<lhk_cache_layer>.size)
        layer.query_heads = try narrow(queryHeads, "layer \(index): queryHeads")
        layer.kv_heads = try narrow(kvHeads, "layer \(index): kvHeads")
        layer.head_dim_k = try narrow(headDimK, "layer \(index): headDimK")
        layer.head_dim_v = try narrow(headDimV, "layer \(index): headDimV")

        layer.params.struct_size = UInt32(MemoryLayout<lhk_attention_params>.size)
        layer.params.flags = attention.causal ? LHK_ATTENTION_CAUSAL : 0
        layer.params.scale = attention.scale ?? 0
        layer.params.softcap = attention.softcap ?? 0
        layer.params.window_left = Int64(attention.windowLeft ?? -1)
        layer.params.window_right = Int64(attention.windowRight ?? -1)
        layer.params.sink_tokens = Int64(attention.sinkTokens)
        layer.params.alibi_slopes = try arena.lend(
            attention.alibiSlopes, count: queryHeads, "layer \(index): alibiSlopes")
        layer.params.sink_logits = try arena.lend(attention.sinkLogits, count: queryHeads, "layer \(index): sinkLogits")

        layer.position.struct_size = UInt32(MemoryLayout<lhk_position_params>.size)
        layer.position.dims = try narrow(position.dimensions, "layer \(index): dimensions")
        layer.position.interleaved = position.interleaved ? 1 : 0
        layer.position.scaling = position.scaling.rawValue
        layer.position.base = position.base
        layer.position.factor = position.factor
        layer.position.original_context = Int64(position.originalContext)
        layer.position.attention_factor = position.attentionFactor
        layer.position.beta_fast = position.betaFast
        layer.position.beta_slow = position.betaSlow
        let factorCount = position.factors?.count ?? 0
        layer.position.factor_count = try narrow(factorCount, "layer \(index): factors")
        layer.position.factors = try arena.lend(position.factors, count: factorCount, "factors")
        layer.parameter_count = try narrow(parameters.count, "layer \(index): number of parameters")
        layer.parameters = try arena.lend(parameters)
        layer.store = store.map { arena.lend($0) }
        return layer
    }
}

extension CacheConfiguration {
    /// Lowers everything to C for the duration of `body`.
    func withRaw(_ body: (UnsafePointer<lhk_cache_config>) throws(LonghandError) -> Void) throws(LonghandError) {
        var arena = Arena()
        var lowered: [lhk_cache_layer] = []
        let stores = try stores()
        for (index, layer) in layers.enumerated() {
            lowered.append(try layer.lower(index: index, store: layerStores.isEmpty ? nil : stores[index], into: &arena))
        }
        let count = try narrow(layers.count, "number of layers")
        let array = UnsafeMutablePointer<lhk_cache_layer>.allocate(capacity: max(1, lowered.count))
        defer { array.deallocate() }
        array.initialize(from: lowered, count: lowered.count)
        var config = lhk_cache_config(
            struct_size: UInt32(MemoryLayout<lhk_cache_config>.size), layer_count: count, layers: array,
            capacity: Int64(capacity), max_rows: Int64(maxRows), store: arena.lend(store), prefill: arena.lend(prefill),
            decode: arena.lend(decode), attention: arena.lend(attention), position: arena.lend(position))
        try body(&config)
    }
}
